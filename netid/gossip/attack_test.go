package gossip_test

import (
	"bytes"
	"compress/lzw"
	"crypto/aes"
	"crypto/cipher"
	crand "crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"testing"
	"time"

	"github.com/hashicorp/go-msgpack/v2/codec"

	"supd/netid/gossip"
)

// message is a message of memberlist's: its kind and msgpack values.
func message(t *testing.T, kind byte, values ...any) []byte {
	t.Helper()
	b := bytes.NewBuffer([]byte{kind})
	enc := codec.NewEncoder(b, &codec.MsgpackHandle{})
	for _, v := range values {
		if err := enc.Encode(v); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func compressed(t *testing.T, plain []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := lzw.NewWriter(&b, lzw.LSB, 8)
	if _, err := w.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return message(t, 9, map[string]any{"Algo": 0, "Buf": b.Bytes()})
}

func nodeState(vsn []byte, meta string) map[string]any {
	return map[string]any{"Name": "evil", "Addr": []byte{127, 0, 0, 1}, "Port": 1, "Meta": []byte(meta), "Incarnation": 1, "State": 0, "Vsn": vsn}
}

// attacks end the process when memberlist v0.6.0 gets them unfiltered, or make it
// use memory without bound, or take a stranger for a node.
func attacks(t *testing.T) map[string][]byte {
	header := func(nodes, user any) map[string]any {
		return map[string]any{"Nodes": nodes, "UserStateLen": user, "Join": true}
	}
	six := []byte{1, 5, 5, 1, 1, 1}
	return map[string][]byte{
		"empty compressed":   compressed(t, nil),
		"huge user message":  message(t, 8, map[string]any{"UserMsgLen": int64(1) << 62}),
		"short version list": message(t, 6, header(1, 0), nodeState([]byte{1}, "{}")),
		"version list of 5":  message(t, 6, header(1, 0), nodeState([]byte{1, 5, 5, 1, 1}, "{}")),
		"no version list":    message(t, 6, header(1, 0), nodeState(nil, "{}")),
		"no metadata":        message(t, 6, header(1, 0), nodeState(six, "")),
		"huge metadata":      message(t, 6, header(1, 0), nodeState(six, string(make([]byte, 4000)))),
		"many nodes":         message(t, 6, header(1<<20, 0)),
		"minus one node":     message(t, 6, header(-1, 0)),
		"much user state":    message(t, 6, header(0, 20<<20)),
		"encrypted":          {10, 0xff, 0xff, 0xff, 0xff},
		"label":              {244, 0},
		"nothing":            {},
		"kind only":          {6},
		"bad state":          append([]byte{6}, bytes.Repeat([]byte{0x91}, 5000)...),
		"alive, no versions": message(t, 4, map[string]any{"Node": "evil", "Addr": []byte{127, 0, 0, 1}, "Port": 1, "Incarnation": 1}),
		"alive, no address":  message(t, 4, map[string]any{"Node": "evil", "Addr": []byte{}, "Vsn": six, "Incarnation": 1}),
		"alive, not ours":    message(t, 4, nodeStateAsAlive(six)),
		"compound bomb":      {7, 255, 0xff, 0xff},
		"nested compounds":   nested(2000),
		"compound with user": {7, 1, 0, 1, 8},
		"CRC only":           {12, 0, 0, 0, 0},
	}
}

func nodeStateAsAlive(vsn []byte) map[string]any {
	return map[string]any{"Node": "evil", "Addr": []byte{127, 0, 0, 1}, "Port": 1, "Incarnation": 1, "Meta": []byte("not json"), "Vsn": vsn}
}

// nested is n compounds within each other.
func nested(n int) []byte {
	b := []byte{0}
	for range n {
		b = append(binary.BigEndian.AppendUint16([]byte{7, 1}, uint16(len(b))), b...)
	}
	return b
}

// sealed is b as one who has a key sends it, with what head says of it before.
func sealed(t *testing.T, key, head, b []byte) []byte {
	t.Helper()
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	out := make([]byte, 13, 13+len(b)+16)
	out[0] = 1
	if _, err := crand.Read(out[1:]); err != nil {
		t.Fatal(err)
	}
	return aead.Seal(out, out[1:13], b, head)
}

func sealedPacket(t *testing.T, key, b []byte) []byte {
	t.Helper()
	return sealed(t, key, nil, b)
}

func sealedStream(t *testing.T, key, b []byte) []byte {
	t.Helper()
	head := binary.BigEndian.AppendUint32([]byte{10}, uint32(len(b)+29))
	return append(head, sealed(t, key, head, b)...)
}

// ways are how an attacker sends: without a key, with another, and, a node that is out
// of its mind, with the right one.
func ways(t *testing.T) map[string]struct{ packet, stream func([]byte) []byte } {
	plain := func(b []byte) []byte { return b }
	with := func(key []byte, seal func(*testing.T, []byte, []byte) []byte) func([]byte) []byte {
		return func(b []byte) []byte { return seal(t, key, b) }
	}
	other := bytes.Repeat([]byte{8}, 32)
	return map[string]struct{ packet, stream func([]byte) []byte }{
		"no key":    {plain, plain},
		"other key": {with(other, sealedPacket), with(other, sealedStream)},
		"the key":   {with(testKey, sealedPacket), with(testKey, sealedStream)},
	}
}

func TestAttacks(t *testing.T) {
	t.Parallel()
	for way, send := range ways(t) {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			a := start(t, gossip.Options{Meta: meta("a.1")})
			for name, b := range attacks(t) {
				t.Logf("%s: %d bytes", name, len(b))
				sendPacket(t, a.Addr(), send.packet(b))
				sendStream(t, a.Addr(), send.stream(b))
			}
			survived(t, a)
			if n := a.Dropped(); (n > 0) != (way != "the key") {
				t.Errorf("%d were dropped for want of a key", n)
			}
		})
	}
}

// TestBadSeals: what is no seal at all, or one of a version or length that the library
// would fall over.
func TestBadSeals(t *testing.T) {
	t.Parallel()
	a := start(t, gossip.Options{Meta: meta("a.1")})
	good := sealedPacket(t, testKey, []byte{0})
	padded := bytes.Clone(good)
	padded[0] = 0
	for _, b := range [][]byte{{}, {0}, {1}, {2}, {255}, make([]byte, 29), make([]byte, 45), padded, good[:13], good[:28], append(bytes.Clone(good), 0)} {
		sendPacket(t, a.Addr(), b)
		head := binary.BigEndian.AppendUint32([]byte{10}, uint32(len(b)))
		sendStream(t, a.Addr(), append(head, b...))
	}
	// A packet's seal is none of a stream's, and the other way round.
	ping := message(t, 0, map[string]any{"SeqNo": 1, "Node": "a.1"})
	stream := sealedStream(t, testKey, ping)
	sendPacket(t, a.Addr(), stream)
	sendPacket(t, a.Addr(), stream[5:])
	packet := sealedPacket(t, testKey, ping)
	sendStream(t, a.Addr(), append(binary.BigEndian.AppendUint32([]byte{10}, uint32(len(packet))), packet...))
	survived(t, a)
	if a.Dropped() == 0 {
		t.Error("nothing was counted as dropped")
	}
}

func TestGarbage(t *testing.T) {
	t.Parallel()
	for way, send := range ways(t) {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			a := start(t, gossip.Options{Meta: meta("a.1")})
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			r := rand.New(rand.NewPCG(seed, 1))
			var all [][]byte
			for _, b := range attacks(t) {
				all = append(all, b)
			}
			for i := range 1500 {
				b := bytes.Clone(all[r.IntN(len(all))])
				for range 1 + r.IntN(6) {
					if len(b) > 0 {
						b[r.IntN(min(len(b), 40))] = byte(r.Uint32())
					}
				}
				sendPacket(t, a.Addr(), send.packet(b))
				if i%30 == 0 {
					sendStream(t, a.Addr(), send.stream(b))
				}
			}
			survived(t, a)
		})
	}
}

// survived: it knows no stranger, and takes a good node in.
func survived(t *testing.T, a *node) {
	t.Helper()
	b := start(t, gossip.Options{Meta: meta("b.2"), Join: []string{a.Addr()}})
	until(t, a, "b found", alive("b.2"))
	until(t, b, "a found", alive("a.1"))
	for _, n := range a.Nodes() {
		if n.ID != "a.1" && n.ID != "b.2" {
			t.Errorf("took in %+v", n)
		}
	}
}

// TestAnswersAreCheckedToo: the one we ask to take us in may be anybody.
func TestAnswersAreCheckedToo(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	asked := make(chan struct{}, 100)
	bad := attacks(t)
	go func() {
		defer close(ended)
		for _, b := range [][]byte{
			bad["empty compressed"],
			sealedStream(t, testKey, bad["empty compressed"]), sealedStream(t, testKey, bad["short version list"]), sealedStream(t, testKey, bad["huge user message"]),
		} {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write(b) // it may have hung up
			_ = c.Close()
			asked <- struct{}{}
		}
	}()
	a := start(t, gossip.Options{Meta: meta("a.1"), Join: []string{l.Addr().String()}})
	for range 4 {
		select {
		case <-asked:
		case <-time.After(20 * time.Second):
			t.Fatal("not asked again")
		}
	}
	<-ended
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	survived(t, a)
}

func sendPacket(t *testing.T, addr string, b []byte) {
	t.Helper()
	c, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
}

// sendStream sends b and reads until the other side has hung up on it.
func sendStream(t *testing.T, addr string, b []byte) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write(b); err != nil {
		return // it hung up before all was sent
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return
	}
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, c); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("did not hang up on %d bytes, kind %v", len(b), b[:min(1, len(b))])
		}
	}
}
