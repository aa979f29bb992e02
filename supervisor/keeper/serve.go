package keeper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

// listen serves the socket until ctx ends or one of the keeper's loops fails, and returns when all connections are done.
func (k *Keeper) listen(ctx context.Context) error {
	l, err := k.listener()
	if err == nil {
		err = k.home.open(l)
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	k.gate.start(ctx)
	k.watchHome()
	var loops sync.WaitGroup
	defer loops.Wait()
	defer cancel()
	loops.Go(func() { k.hangups(ctx) })
	accepted := make(chan error, 1)
	go func() { accepted <- k.accept(ctx) }() // ends with home.end, and is waited for
	close(k.ready)
	k.log.Info("keeper runs", "dir", k.opts.Dir, "boot", k.boot, "cgroup", k.info().Cgroup)
	select {
	case <-ctx.Done():
	case err = <-k.failed:
		cancel()
	case aerr := <-accepted:
		return errors.Join(aerr, k.home.end())
	}
	err = errors.Join(err, k.home.end())
	return errors.Join(err, <-accepted)
}

// accept takes connections, each into a goroutine of its own, until the socket is closed for good.
func (k *Keeper) accept(ctx context.Context) error {
	var conns sync.WaitGroup
	defer conns.Wait()
	w := k.gate.enter(nil)
	defer k.gate.leave(w)
	for _, h := range k.given.conns() {
		if c := k.takeConn(h); c != nil {
			conns.Go(func() { k.serve(ctx, c, &h) })
		}
	}
	k.given.done()
	for {
		l := k.home.listener()
		c, err := k.acceptOne(l)
		switch {
		case errors.Is(err, net.ErrClosed):
			if k.home.listener() == l {
				return nil
			}
		case errors.Is(err, os.ErrDeadlineExceeded):
			if !k.gate.park(w, &handedConn{}) {
				return nil
			}
		case err != nil:
			k.log.Error("cannot accept", "err", err)
			select { // out of descriptors, most likely: don't spin
			case <-k.gate.now().Done():
			case <-time.After(100 * time.Millisecond):
			}
		default:
			c := k.newConn(c, nil)
			conns.Go(func() { k.serve(ctx, c, nil) })
		}
	}
}

// acceptOne fails with os.ErrDeadlineExceeded when the gate is shut.
func (k *Keeper) acceptOne(l *net.UnixListener) (*net.UnixConn, error) {
	done := make(chan struct{})
	cancel := context.AfterFunc(k.gate.now(), func() {
		defer close(done)
		_ = l.SetDeadline(time.Unix(1, 0)) // it fails on a closed one, which is as good
	})
	defer func() {
		if !cancel() {
			<-done
			_ = l.SetDeadline(time.Time{})
		}
	}()
	return l.AcceptUnix()
}

// serve deals with a connection to its end; h is what an earlier keeper has left to do.
func (k *Keeper) serve(ctx context.Context, c *conn, h *handedConn) {
	defer k.gate.leave(c.w)
	defer c.Close()
	err := k.goOn(ctx, c, h)
	if err == nil {
		err = k.converse(ctx, c)
	}
	if err != nil {
		k.log.Debug("connection ended", "err", err)
	}
}

// converse answers one client's calls, one after the other.
func (k *Keeper) converse(ctx context.Context, c *conn) error {
	if err := peerAllowed(c.UnixConn); err != nil {
		return err
	}
	defer c.in.drop()
	for {
		line, err := c.readLine(k.gate.now())
		if err == nil && line == nil {
			return nil
		}
		if err != nil && !errors.Is(err, errStill) {
			return err
		}
		var resp *response
		if err == nil {
			resp = k.carryOut(ctx, c, line)
		}
		if resp == nil { // not begun: it is the next keeper's
			if !k.stand(c, handedConn{Unread: c.unread(line)}) {
				return nil
			}
			continue
		}
		c.in.drop()
		if err := k.say(c, resp); err != nil {
			return err
		}
	}
}

// say sends an answer.
func (k *Keeper) say(c *conn, resp *response) error {
	b, err := json.Marshal(resp)
	if err != nil {
		return err
	}
	k.gate.answering(c.w)
	_, err = c.Write(append(b, '\n'))
	return err
}

// carryOut carries out one request; nil if that is left to the next keeper.
func (k *Keeper) carryOut(ctx context.Context, c *conn, line []byte) *response {
	var req request
	if err := json.Unmarshal(line, &req); err != nil {
		return &response{Error: toWire(invalid("cannot read the request: %v", err))}
	}
	if !k.gate.begin(c.w, req.String()) {
		return nil
	}
	resp, err := k.answer(ctx, &req, c)
	if errors.Is(err, errStill) {
		return nil
	}
	resp.Error = toWire(err)
	return resp
}

// answer carries out one request. errStill: it is as if it had not begun.
func (k *Keeper) answer(ctx context.Context, q *request, c *conn) (resp *response, err error) {
	resp = &response{}
	switch q.Op {
	case "hello":
		if q.Protocol < MinProtocol {
			err = fmt.Errorf("%w: the client speaks version %d, this keeper %d to %d", ErrProtocol, q.Protocol, MinProtocol, Protocol)
			break
		}
		i := k.info()
		resp.Info = &i
	case "start":
		if q.Start == nil {
			err = invalid("nothing to start")
			break
		}
		err = k.startProcess(*q.Start)
	case "update":
		if q.Settings == nil {
			err = invalid("no settings")
			break
		}
		err = k.updateProcess(q.Member, q.Process, *q.Settings)
	case "stop":
		err = k.stopProcess(q.Member, q.Process, q.Hook)
	case "restart":
		err = k.restartProcess(q.Member, q.Process, q.Timeout, q.Reason)
	case "renew":
		if q.Lease == nil {
			err = invalid("no lease")
			break
		}
		err = k.renew(*q.Lease)
	case "giveup":
		err = k.giveUp(q.Member, q.Epoch, q.Locks)
	case "forget":
		err = k.forget(q.Member, q.Process)
	case "signal":
		err = k.signalOne(q.Member, q.Process, q.Signal)
	case "list":
		resp.Table, err = k.list(q.After, c)
	case "run":
		if q.Run == nil {
			err = invalid("nothing to run")
			break
		}
		resp.Result, err = k.runBeside(ctx, *q.Run, c)
	case "exec":
		if q.Session == nil {
			err = invalid("nothing to run")
			break
		}
		resp.Session, err = k.serveSession(ctx, q.Session, c.in.take(), c)
	case "upgrade":
		err = k.upgrade(ctx, q.Binary, c)
	default:
		err = fmt.Errorf("%w: %q is not a call this keeper knows", ErrInvalid, q.Op)
	}
	return resp, err
}

// list waits until there is news for one who knows version after.
func (k *Keeper) list(after uint64, c *conn) (*Table, error) {
	t, changed := k.table.after(after)
	if t != nil {
		return t, nil
	}
	period := k.gate.now()
	here, leave := c.present(period)
	defer leave()
	for {
		select {
		case <-here.Done():
			if period.Err() != nil {
				return nil, errStill
			}
			return nil, errors.New("the client has gone")
		case <-changed:
		}
		if t, changed = k.table.after(after); t != nil {
			return t, nil
		}
	}
}
