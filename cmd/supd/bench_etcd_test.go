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

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// startEtcdStore starts three etcd on loopback. Without etcd the store has no connect, and the log says so.
func startEtcdStore(b *testing.B) store {
	b.Helper()
	etcd, err := exec.LookPath("etcd")
	if err != nil {
		b.Logf("WITHOUT etcd beside it: it is not installed (Debian: apt-get install etcd-server): %v", err)
		return store{}
	}
	const nodes = 3
	var ports portChoice
	var clients, peers, initial []string
	for i := range 2 * nodes {
		addr, err := ports.next()
		if err != nil {
			b.Fatal(err)
		}
		if i%2 == 0 {
			clients = append(clients, addr)
		} else {
			initial = append(initial, fmt.Sprintf("e%d=http://%s", len(peers), addr))
			peers = append(peers, addr)
		}
	}
	ports.release()
	dir := b.TempDir()
	var pids []int
	for i := range nodes {
		pids = append(pids, startEtcd(b, etcd, filepath.Join(dir, fmt.Sprint(i)),
			"--name", fmt.Sprintf("e%d", i),
			"--listen-client-urls", "http://"+clients[i], "--advertise-client-urls", "http://"+clients[i],
			"--listen-peer-urls", "http://"+peers[i], "--initial-advertise-peer-urls", "http://"+peers[i],
			"--initial-cluster", strings.Join(initial, ","), "--initial-cluster-state", "new", "--log-level", "error"))
	}
	lead := 0
	until(b, "etcd has a leader", func() error {
		for i, addr := range clients {
			if leads, err := etcdLeads(addr); err != nil {
				return err
			} else if leads {
				lead = i
				return nil
			}
		}
		return errors.New("none leads")
	})
	return store{name: "etcd", pids: pids, connect: func(n int) (func(context.Context, string) error, func()) {
		return etcdClient(b, clients[(lead+n)%nodes], fmt.Sprintf("p%d", n))
	}}
}

func startEtcd(b *testing.B, etcd, dir string, args ...string) (pid int) {
	b.Helper()
	cmd := exec.Command(etcd, append([]string{"--data-dir", dir}, args...)...)
	out, err := os.Create(dir + ".log")
	if err != nil {
		b.Fatal(err)
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := cmd.Process.Kill(); err != nil {
			b.Errorf("etcd: %v; see %s", err, out.Name())
		}
		_ = cmd.Wait() // "signal: killed"
	})
	return cmd.Process.Pid
}

// etcdLeads asks an etcd's metrics.
func etcdLeads(addr string) (bool, error) {
	resp, err := http.Get("http://" + addr + "/metrics")
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return strings.Contains(string(text), "\netcd_server_is_leader 1\n"), err
}

// etcdClient puts values under one key through etcd's own protocol.
func etcdClient(b *testing.B, addr, key string) (func(context.Context, string) error, func()) {
	b.Helper()
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		}))
	if err != nil {
		b.Fatal(err)
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
