package netid

import (
	"errors"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// accepted connects over a loopback listener and returns the accepting end.
func accepted(t *testing.T, network, addr string) (server, client net.Conn) {
	t.Helper()
	l, err := net.Listen(network, addr)
	if err != nil {
		t.Skipf("cannot listen on %s: %v", addr, err)
	}
	t.Cleanup(func() { _ = l.Close() })
	client, err = net.Dial(network, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	server, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	return server, client
}

func TestPeerUIDIsOurs(t *testing.T) {
	t.Parallel()
	for _, addr := range []string{"127.0.0.1:0", "127.77.1.2:0", "[::1]:0"} {
		t.Run(addr, func(t *testing.T) {
			t.Parallel()
			server, client := accepted(t, "tcp", addr)
			for _, c := range []net.Conn{server, client} {
				if uid, err := PeerUID(c); err != nil || int(uid) != os.Geteuid() {
					t.Errorf("got uid %d, %v; want %d", uid, err, os.Geteuid())
				}
			}
		})
	}
}

// What a stranger leaves behind when he hangs up looks like root's: it must not count.
func TestPeerUIDOfAClosedConnection(t *testing.T) {
	t.Parallel()
	server, client := accepted(t, "tcp", "127.0.0.1:0")
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	if uid, err := PeerUID(server); !errors.Is(err, ErrPeerUnknown) {
		t.Errorf("got uid %d, %v; want %v", uid, err, ErrPeerUnknown)
	}
}

func TestGuardedKeepsStrangersOut(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root to connect as another user")
	}
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := Guarded(inner, slog.New(slog.DiscardHandler))
	t.Cleanup(func() { _ = l.Close() })
	got := make(chan net.Conn, 1)
	go func() {
		if c, err := l.Accept(); err == nil {
			got <- c
		}
	}()
	// bash: "cat" sees the end of the connection when the guard closes it.
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	stranger := exec.CommandContext(t.Context(), "bash", "-c", `exec 3<>/dev/tcp/127.0.0.1/`+port+` && cat <&3`)
	stranger.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := stranger.CombinedOutput(); len(out) > 0 {
		t.Fatalf("the stranger read %q, %v", out, err)
	}
	select {
	case c := <-got:
		t.Fatalf("the stranger was let in from %s", c.RemoteAddr())
	default:
	}
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	select {
	case own := <-got:
		_ = own.Close()
	case <-time.After(30 * time.Second):
		t.Fatal("our own connection was not let in")
	}
}
