package client

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Frame is one message of a connection upgraded to ExecProtocol: its kind in a byte, its length in four, then so many
// bytes.
type Frame struct {
	Kind FrameKind
	Data []byte
}

// FrameKind says what a frame holds.
type FrameKind byte

// The kinds. The first three come from the client, the others from the daemon; exit or error is the last.
const (
	FrameStdin    FrameKind = 1
	FrameStdinEnd FrameKind = 2
	FrameResize   FrameKind = 3 // rows and columns, two bytes each
	FrameStdout   FrameKind = 4
	FrameStderr   FrameKind = 5
	FrameExit     FrameKind = 6 // an ExecResult
	FrameError    FrameKind = 7 // as the body of an answer that is an error
)

// MaxFrame bounds what a frame holds.
const MaxFrame = 64 << 10

const frameHead = 5

// ReadFrame reads one frame. io.EOF: there are no more; a frame cut short is io.ErrUnexpectedEOF.
func ReadFrame(r io.Reader) (Frame, error) {
	var head [frameHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return Frame{}, err
	}
	f := Frame{Kind: FrameKind(head[0])}
	n := binary.BigEndian.Uint32(head[1:])
	if f.Kind < FrameStdin || f.Kind > FrameError {
		return f, fmt.Errorf("a frame of kind %d", f.Kind)
	}
	if n > MaxFrame {
		return f, fmt.Errorf("a frame of %d bytes, the most is %d", n, MaxFrame)
	}
	f.Data = make([]byte, n)
	if _, err := io.ReadFull(r, f.Data); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return f, err
	}
	return f, nil
}

// WriteFrame writes one frame, in one write.
func WriteFrame(w io.Writer, f Frame) error {
	if len(f.Data) > MaxFrame {
		return fmt.Errorf("a frame of %d bytes, the most is %d", len(f.Data), MaxFrame)
	}
	b := make([]byte, frameHead, frameHead+len(f.Data))
	b[0] = byte(f.Kind)
	binary.BigEndian.PutUint32(b[1:], uint32(len(f.Data)))
	_, err := w.Write(append(b, f.Data...))
	return err
}

func resizeFrame(rows, cols uint16) Frame {
	b := binary.BigEndian.AppendUint16(nil, rows)
	return Frame{FrameResize, binary.BigEndian.AppendUint16(b, cols)}
}

// Size reads a resize frame.
func (f Frame) Size() (rows, cols uint16, ok bool) {
	if f.Kind != FrameResize || len(f.Data) != 4 {
		return 0, 0, false
	}
	return binary.BigEndian.Uint16(f.Data), binary.BigEndian.Uint16(f.Data[2:]), true
}
