package gossip

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/go-msgpack/v2/codec"
	"github.com/hashicorp/memberlist"
)

// memberlist v0.6.0 panics, and so ends the process, on some messages: a compressed
// one that is empty, a user message of enormous length, a member with a version list
// that is too short. We use none of these kinds, so only what a key of the cluster
// sealed, is of the kinds that we use, and is well formed, gets through to it: one
// node that is out of its mind must not end the others. The kinds are memberlist's, by
// number.
const (
	kindPing         = 0
	kindIndirectPing = 1
	kindAck          = 2
	kindSuspect      = 3
	kindAlive        = 4
	kindDead         = 5
	kindPushPull     = 6
	kindCompound     = 7
	kindNack         = 11
	kindCRC          = 12
	kindError        = 13
)

// Bounds of what a well-meaning node sends.
const (
	maxNesting = 3
	maxState   = 4 << 20
	versions   = 6
)

// packetOK tells whether a packet may go to memberlist.
func packetOK(b []byte, depth int) bool {
	if len(b) == 0 || depth > maxNesting {
		return false
	}
	switch b[0] {
	case kindPing, kindIndirectPing, kindAck, kindSuspect, kindDead, kindNack:
		return true
	case kindAlive:
		return aliveOK(b[1:])
	case kindCRC:
		return depth == 0 && len(b) > 5 && packetOK(b[5:], depth+1)
	case kindCompound:
		return compoundOK(b[1:], depth+1)
	}
	return false
}

// compoundOK checks a packet of packets: a count, their lengths, themselves.
func compoundOK(b []byte, depth int) bool {
	if len(b) < 1 || len(b) < 1+2*int(b[0]) {
		return false
	}
	n := int(b[0])
	lengths, rest := b[1:1+2*n], b[1+2*n:]
	for i := range n {
		size := int(binary.BigEndian.Uint16(lengths[2*i:]))
		if size > len(rest) || !packetOK(rest[:size], depth) {
			return false
		}
		rest = rest[size:]
	}
	return true
}

// alive and the types below are memberlist's, as far as they are checked.
type alive struct {
	Node string
	Addr []byte
	Meta []byte
	Vsn  []uint8
}

func aliveOK(b []byte) bool {
	var a alive
	if err := codec.NewDecoderBytes(b, &codec.MsgpackHandle{}).Decode(&a); err != nil {
		return false
	}
	return nodeOK(a.Node, a.Addr, a.Meta, a.Vsn)
}

func nodeOK(name string, addr, meta []byte, vsn []uint8) bool {
	return name != "" && len(name) <= maxName && (len(addr) == 4 || len(addr) == 16) &&
		len(meta) <= memberlist.MetaMaxSize && len(vsn) == versions
}

type header struct {
	Nodes        int
	UserStateLen int
}

type nodeState struct {
	Name string
	Addr []byte
	Meta []byte
	Vsn  []uint8
}

// stream is a connection whose first message is read and checked as a whole
// before memberlist sees any of it. Each side sends one.
type stream struct {
	net.Conn
	keys      *keys
	strangers *strangers

	once   sync.Once
	in     io.Reader
	err    error
	done   func()
	closed sync.Once
}

// Read reads what has been checked.
func (s *stream) Read(b []byte) (int, error) {
	s.once.Do(func() { s.in, s.err = s.take() })
	if s.err != nil {
		return 0, s.err
	}
	return s.in.Read(b)
}

// take reads the other side's message and gives it, still sealed, if it may go to
// memberlist.
func (s *stream) take() (io.Reader, error) {
	raw, plain, err := s.keys.sealedStream(s.Conn)
	if errors.Is(err, errUnsealed) {
		s.strangers.dropped(s.RemoteAddr(), err, time.Now())
	}
	if err != nil {
		return nil, err
	}
	if err := checked(plain); err != nil {
		return nil, err
	}
	return bytes.NewReader(raw), nil
}

// Close closes the connection and lets another one in.
func (s *stream) Close() error {
	s.closed.Do(s.done)
	return s.Conn.Close()
}

var errUnwanted = errors.New("unwanted message")

// checked tells what is wrong with a stream's message. What follows a message that is
// whole is not read by memberlist either.
func checked(b []byte) error {
	if len(b) == 0 {
		return fmt.Errorf("cannot take a gossip message: %w: it is empty", errUnwanted)
	}
	dec := codec.NewDecoderBytes(b[1:], &codec.MsgpackHandle{})
	var err error
	switch b[0] {
	case kindPing, kindAck, kindError:
		var any map[string]any
		err = dec.Decode(&any)
	case kindPushPull:
		err = stateOK(dec)
	default:
		err = fmt.Errorf("%w of kind %d", errUnwanted, b[0])
	}
	if err != nil {
		return fmt.Errorf("cannot take a gossip message: %w", err)
	}
	return nil
}

// stateOK reads an exchange of the whole state.
func stateOK(dec *codec.Decoder) error {
	var h header
	if err := dec.Decode(&h); err != nil {
		return err
	}
	if h.Nodes < 0 || h.Nodes > 2*maxNodes || h.UserStateLen != 0 {
		return fmt.Errorf("%w: %d nodes, %d bytes of other state", errUnwanted, h.Nodes, h.UserStateLen)
	}
	for range h.Nodes {
		var n nodeState
		if err := dec.Decode(&n); err != nil {
			return err
		}
		if !nodeOK(n.Name, n.Addr, n.Meta, n.Vsn) {
			return fmt.Errorf("%w: node %.40q is malformed", errUnwanted, n.Name)
		}
	}
	return nil
}
