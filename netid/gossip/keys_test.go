package gossip_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"testing"
	"time"

	"supd/netid/gossip"
)

func key(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }

// TestOtherKeysAreNotHeard: nodes that do not share a key never know of each other.
func TestOtherKeysAreNotHeard(t *testing.T) {
	t.Parallel()
	a := start(t, gossip.Options{Meta: meta("a.1")})
	other := startWith(t, gossip.Options{Meta: meta("x.9"), Join: []string{a.Addr()}}, key(9))
	b := start(t, gossip.Options{Meta: meta("b.2"), Join: []string{a.Addr(), other.Addr()}})
	together(t, a, b, other)
	until(t, a, "b found", alive("b.2"))
	poll(t, "the other was dropped", func() bool { return a.Dropped() > 1 && other.Dropped() > 0 })
	for _, n := range append(a.Nodes(), b.Nodes()...) {
		if n.ID == "x.9" {
			t.Errorf("%+v is known", n)
		}
	}
}

func poll(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: not so after 20s", what)
		}
	}
}

// TestRotation: three nodes change keys one by one, first to take the new one, then to
// use it, then without the old one; they never lose each other, and the old key opens
// nothing any more.
func TestRotation(t *testing.T) {
	t.Parallel()
	a, b, c := three(t)
	nodes := []*node{a, b, c}
	for _, ring := range [][][]byte{{testKey, key(2)}, {key(2), testKey}, {key(2)}} {
		for _, n := range nodes {
			if err := n.SetKeys(ring...); err != nil {
				t.Fatal(err)
			}
		}
	}
	next := meta("a.1")
	next.ClusterID = "rotated"
	if err := a.UpdateMeta(next); err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		until(t, n, "all with the new key", func(known map[string]gossip.Node) bool {
			return known["a.1"].ClusterID == "rotated" && known["b.2"].Alive && known["c.3"].Alive
		})
	}
	before := a.Dropped()
	sendPacket(t, a.Addr(), sealedPacket(t, testKey, []byte{0}))
	poll(t, "the old key opens nothing", func() bool { return a.Dropped() > before })
}

func TestNothingWithoutAKey(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	g, err := gossip.New(gossip.Options{Bind: "127.0.0.1:0", Meta: meta("a.1"), Join: []string{l.Addr().String()}})
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range [][][]byte{{}, {nil}, {make([]byte, 16)}, {testKey, {1}}} {
		if err := g.SetKeys(bad...); err == nil {
			t.Errorf("took %d keys", len(bad))
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := l.(*net.TCPListener).SetDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Accept(); err == nil {
		t.Error("it has connected")
	}
	if _, err := net.Dial("tcp", g.Addr()); err == nil {
		t.Error("its address is not given back")
	}
}

// TestNothingIsSentInPlainText looks at a stream and at packets.
func TestNothingIsSentInPlainText(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	udp, err := net.ListenPacket("udp", l.Addr().String())
	if err != nil {
		t.Skipf("the port is taken for UDP: %v", err)
	}
	defer udp.Close()
	a := start(t, gossip.Options{Meta: meta("a.1"), Join: []string{l.Addr().String()}})
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	head := make([]byte, 64)
	if _, err := io.ReadFull(c, head); err != nil {
		t.Fatal(err)
	}
	if head[0] != 10 || bytes.Contains(head, []byte("Nodes")) {
		t.Errorf("a stream begins with %q", head)
	}
	// A node that is known is sent packets.
	at := udp.LocalAddr().(*net.UDPAddr)
	known := nodeState([]byte{1, 5, 5, 1, 1, 1}, `{"n":"e"}`)
	sendPacket(t, a.Addr(), sealedPacket(t, testKey, message(t, 4, map[string]any{
		"Node": "e.1", "Addr": []byte{127, 0, 0, 1}, "Port": at.Port, "Incarnation": 1, "Meta": known["Meta"], "Vsn": known["Vsn"],
	})))
	if err := udp.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 65536)
	for range 3 {
		n, _, err := udp.ReadFrom(buf)
		if err != nil {
			t.Fatal(err)
		}
		if buf[0] != 1 || bytes.Contains(buf[:n], []byte("e.1")) || bytes.Contains(buf[:n], []byte("a.1")) {
			t.Errorf("a packet is %q", buf[:n])
		}
	}
}
