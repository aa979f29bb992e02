package keeper

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"
)

// conn is one client's connection, used by one goroutine.
type conn struct {
	*net.UnixConn
	w     *worker
	in    fileReader
	ahead []byte // read by an earlier keeper, or before the gate was shut
	r     *bufio.Reader
}

func (k *Keeper) newConn(u *net.UnixConn, ahead []byte) *conn {
	c := &conn{UnixConn: u, ahead: ahead, in: fileReader{c: u}}
	c.r = bufio.NewReader(c)
	c.w = k.gate.enter(c)
	return c
}

// Read implements io.Reader: first what was read ahead.
func (c *conn) Read(p []byte) (int, error) {
	if len(c.ahead) > 0 {
		n := copy(p, c.ahead)
		c.ahead = c.ahead[n:]
		return n, nil
	}
	return c.in.Read(p)
}

// unread is line and all that was read after it.
func (c *conn) unread(line []byte) []byte {
	more, _ := c.r.Peek(c.r.Buffered()) // it has them
	b := append([]byte(nil), line...)
	b = append(b, more...)
	return append(b, c.ahead...)
}

// stand waits out an upgrade with what is handed over if it comes about; h.Unread is read again if it doesn't. False: the
// keeper ends.
func (k *Keeper) stand(c *conn, h handedConn) bool {
	h.conn = c
	ok := k.gate.park(c.w, &h)
	c.ahead = h.Unread
	c.r.Reset(c)
	return ok
}

// cutShort makes reads fail from when ctx ends until stop.
func (c *conn) cutShort(ctx context.Context) (stop func()) {
	done := make(chan struct{})
	cancel := context.AfterFunc(ctx, func() {
		defer close(done)
		_ = c.SetReadDeadline(time.Unix(1, 0)) // it fails on a closed one, which is as good
	})
	return func() {
		if !cancel() {
			<-done
			_ = c.SetReadDeadline(time.Time{}) // then the next read fails, and says so
		}
	}
}

// readLine reads a request; nil when the client has gone, errStill and what there is of it when ctx has ended.
func (c *conn) readLine(ctx context.Context) ([]byte, error) {
	defer c.cutShort(ctx)()
	var line []byte
	for {
		part, err := c.r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case err == nil:
			return line, nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			return line, errStill
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, nil // closed, by one end or the other
		case len(line) > maxLine:
			return nil, fmt.Errorf("a request of more than %d bytes", maxLine)
		}
	}
}

// present gives a context that ends with ctx or when the client hangs up while its call is under way. leave must be called
// before the connection is read again; it returns when nothing reads it any more.
func (c *conn) present(ctx context.Context) (here context.Context, leave func()) {
	here, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { // ends when leave is called, which waits for it
		defer close(done)
		if _, err := c.r.Peek(1); err != nil {
			cancel()
		}
	}()
	return here, func() {
		_ = c.SetReadDeadline(time.Unix(1, 0)) // it fails on a closed one, which is as good
		<-done
		cancel()
		_ = c.SetReadDeadline(time.Time{}) // then the next read fails, and says so
	}
}
