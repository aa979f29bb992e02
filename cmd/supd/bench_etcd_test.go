package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// etcdCluster is three etcd.
type etcdCluster struct {
	b              *testing.B
	exe, dir       string
	clients, peers []string // addresses
	netns          []int    // processes in whose network namespaces they run; nil: here
	cmds           []*exec.Cmd
}

// startEtcd starts three etcd on loopback. Without etcd it gives nil, and the log says so.
func startEtcd(b *testing.B) *etcdCluster {
	b.Helper()
	exe := etcdBinary(b)
	if exe == "" {
		return nil
	}
	var ports portChoice
	defer ports.release()
	e := &etcdCluster{b: b, exe: exe, dir: b.TempDir()}
	for range 3 {
		for _, list := range []*[]string{&e.clients, &e.peers} {
			addr, err := ports.next()
			if err != nil {
				b.Fatal(err)
			}
			*list = append(*list, addr)
		}
	}
	ports.release()
	e.startAll()
	return e
}

func etcdBinary(b *testing.B) string {
	exe, err := exec.LookPath("etcd")
	if err != nil {
		b.Logf("WITHOUT etcd beside it: it is not installed (Debian: apt-get install etcd-server): %v", err)
	}
	return exe
}

func (e *etcdCluster) startAll() {
	e.b.Helper()
	e.cmds = make([]*exec.Cmd, len(e.clients))
	e.b.Cleanup(func() {
		for i := range e.cmds {
			e.end(i, syscall.SIGKILL)
		}
	})
	for i := range e.clients {
		e.start(i)
	}
	e.leader()
}

// start starts one, the first time or again.
func (e *etcdCluster) start(i int) {
	e.b.Helper()
	var initial []string
	for k, addr := range e.peers {
		initial = append(initial, fmt.Sprintf("e%d=http://%s", k, addr))
	}
	dir := filepath.Join(e.dir, fmt.Sprint(i))
	args := []string{
		e.exe, "--data-dir", dir, "--name", fmt.Sprintf("e%d", i),
		"--listen-client-urls", "http://" + e.clients[i], "--advertise-client-urls", "http://" + e.clients[i],
		"--listen-peer-urls", "http://" + e.peers[i], "--initial-advertise-peer-urls", "http://" + e.peers[i],
		"--initial-cluster", strings.Join(initial, ","), "--initial-cluster-state", "new", "--log-level", "error",
	}
	if e.netns != nil {
		args = append([]string{"nsenter", "-t", fmt.Sprint(e.netns[i]), "--net"}, args...)
	}
	cmd := exec.Command(args[0], args[1:]...)
	out, err := os.OpenFile(dir+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		e.b.Fatal(err)
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		e.b.Fatal(err)
	}
	e.cmds[i] = cmd
}

// signal sends one a signal.
func (e *etcdCluster) signal(i int, sig syscall.Signal) {
	if err := e.cmds[i].Process.Signal(sig); err != nil {
		e.b.Errorf("etcd: %v; see %s/%d.log", err, e.dir, i)
	}
}

// end ends one and buries it.
func (e *etcdCluster) end(i int, sig syscall.Signal) {
	if e.cmds[i] == nil {
		return
	}
	e.signal(i, sig)
	_ = e.cmds[i].Wait() // "signal: killed"
	e.cmds[i] = nil
}

// leader is the index of the one that leads.
func (e *etcdCluster) leader() (lead int) {
	e.b.Helper()
	until(e.b, "etcd has a leader", func() error {
		for i := range e.clients {
			if leads, err := e.leads(i); err != nil {
				return err
			} else if leads {
				lead = i
				return nil
			}
		}
		return errors.New("none leads")
	})
	return lead
}

// store writes through node (leader + n) mod 3.
func (e *etcdCluster) store() store {
	lead := e.leader()
	var pids []int
	for _, c := range e.cmds {
		pids = append(pids, c.Process.Pid)
	}
	return store{name: "etcd", pids: pids, connect: func(n int) (func(context.Context, string) error, func()) {
		return e.client((lead+n)%3, fmt.Sprintf("p%d", n))
	}}
}

// dial connects to a node, in its namespace.
func (e *etcdCluster) dial(ctx context.Context, i int) (net.Conn, error) {
	if e.netns != nil {
		return dialIn(ctx, e.netns[i], e.clients[i])
	}
	return new(net.Dialer).DialContext(ctx, "tcp", e.clients[i])
}

// leads asks an etcd's metrics.
func (e *etcdCluster) leads(i int) (bool, error) {
	hc := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return e.dial(ctx, i)
	}}}
	resp, err := hc.Get("http://" + e.clients[i] + "/metrics")
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return strings.Contains(string(text), "\netcd_server_is_leader 1\n"), err
}

// client puts values under one key through etcd's own protocol.
func (e *etcdCluster) client(i int, key string) (func(context.Context, string) error, func()) {
	e.b.Helper()
	conn, err := grpc.NewClient("passthrough:///"+e.clients[i], grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return e.dial(ctx, i) }))
	if err != nil {
		e.b.Fatal(err)
	}
	write := func(ctx context.Context, text string) error {
		request := append(field(1, key), field(2, text)...)
		var answer []byte
		return conn.Invoke(ctx, "/etcdserverpb.KV/Put", &request, &answer, grpc.ForceCodec(bytesCodec{}))
	}
	return write, func() { _ = conn.Close() }
}

// field encodes a short string as protobuf does.
func field(number byte, text string) []byte {
	out := []byte{number<<3 | 2}
	for n := len(text); ; n >>= 7 {
		if n < 0x80 {
			out = append(out, byte(n))
			break
		}
		out = append(out, byte(n)|0x80)
	}
	return append(out, text...)
}

// bytesCodec passes encoded messages on as they are.
type bytesCodec struct{}

func (bytesCodec) Name() string                  { return "proto" }
func (bytesCodec) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }
func (bytesCodec) Unmarshal(b []byte, v any) error {
	*v.(*[]byte) = append([]byte(nil), b...)
	return nil
}
