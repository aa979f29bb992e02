package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"supd/configs"
	"supd/supervisor/client"
	"supd/supervisor/keeper"
	"supd/supervisor/spec"
)

// door is a listener of a node.
type door struct{ node, what, network, addr string }

func doorsOf(t *testing.T, p *devProcess, nodes int) (doors []door) {
	t.Helper()
	for k := 1; k <= nodes; k++ {
		cfg, err := configs.LoadDaemon(configs.DaemonSources{File: filepath.Join(p.dir, nodeName(k), "supd.yaml")})
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range []door{
			{"", "the API", "tcp", cfg.API},
			{"", "raft", "tcp", cfg.Raft},
			{"", "gossip", "tcp", cfg.Gossip},
			{"", "gossip", "udp", cfg.Gossip},
			{"", "DNS", "tcp", cfg.DNS},
			{"", "DNS", "udp", cfg.DNS},
			{"", "the API's socket", "unix", cfg.Socket},
			{"", "the keeper's socket", "unix", cfg.KeeperSocket()},
		} {
			d.node = cfg.Name
			doors = append(doors, d)
		}
	}
	return doors
}

func (d door) String() string { return d.what + " of " + d.node + " over " + d.network }

func (d door) dial() (net.Conn, error) {
	if d.network != "unix" {
		return net.DialTimeout(d.network, d.addr, 5*time.Second)
	}
	short, done, err := client.ShortSocketPath(d.addr)
	if err != nil {
		return nil, err
	}
	defer done()
	return net.DialTimeout("unix", short, 5*time.Second)
}

// garbage is what strangers and broken programs send, in one piece each.
func garbage(r *rand.Rand) [][]byte {
	noise := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	}
	huge := func(head ...byte) []byte { return append(head, noise(4000)...) }
	hello := append([]byte{22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3}, noise(200)...) // a ClientHello that is cut
	packet := binary.BigEndian.AppendUint16(nil, 40)
	return [][]byte{
		{},
		{0},
		{0xff},
		noise(1), noise(60), noise(1400), noise(64 << 10),
		hello, hello[:5], huge(22, 3, 1, 0xff, 0xff), huge(23, 3, 3, 0x40, 1),
		{21, 3, 3, 0, 2, 2, 0},
		[]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
		[]byte("GET /v1/nodes HTTP/1.1\r\nHost: evil.example\r\n\r\n"),
		[]byte("PUT /v1/namespaces/default/statefulsets/web HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999999999\r\n\r\n{"),
		[]byte("POST /v1/internal/register HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n"),
		[]byte("GET /" + strings.Repeat("a", 100_000) + " HTTP/1.1\r\n\r\n"),
		[]byte("GET / HTTP/1.1\r\n" + strings.Repeat("X-A: "+strings.Repeat("b", 1000)+"\r\n", 200)),
		[]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), []byte("CONNECT a:1 HTTP/1.1\r\n\r\n"),
		[]byte("supd-raft/1 node-2 node-1.00000000\n"), []byte("supd-raft/1 " + strings.Repeat("n", 9000) + "\n"),
		huge(0xff, 0xff), huge(0, 0, 0, 0xff), huge(1), huge(244), append(packet, noise(40)...), append(packet, noise(20)...),
		[]byte(strings.Repeat(`{"op":`, 20_000) + "\n"), []byte(`{"op":"hello","protocol":-1}` + "\n" + `{"op":"no such call"}` + "\n" + `{"op":"list","after":18446744073709551615}` + "\n"),
		[]byte(`{"op":"stop","member":"../../etc","process":"\u0000"}` + "\n"), []byte(`{"op":"start"}` + "\n" + `{"op":"run"}` + "\n" + `{"op":"exec"}` + "\n" + `{"op":"signal","signal":"SIGKILL"}` + "\n"),
		bytes.Repeat([]byte{0x80}, 10_000),
	}
}

// pour sends each piece to a door by a connection of its own, and looks what comes back for a moment; some connections stay
// open and say a byte now and then until ctx ends.
func (d door) pour(ctx context.Context, r *rand.Rand) error {
	var slow []net.Conn
	defer func() {
		for _, c := range slow {
			_ = c.Close()
		}
	}()
	for i, b := range garbage(r) {
		if d.network == "udp" && len(b) > 60_000 {
			b = b[:60_000]
		}
		c, err := d.dial()
		if err != nil {
			return fmt.Errorf("piece %d: %w", i, err)
		}
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		_, _ = c.Write(b) // it may have hung up
		if i%3 == 0 && d.network != "udp" {
			slow = append(slow, c)
			continue
		}
		_ = c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		_, _ = c.Read(make([]byte, 4096)) // whatever it says
		_ = c.Close()
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		for _, c := range slow {
			_ = c.SetDeadline(time.Now().Add(time.Second))
			_, _ = c.Write([]byte{'a'}) // as above
		}
	}
}

// logLines are the lines of a node's log that hold something.
func (p *devProcess) logLines(t *testing.T, node, with string) (lines []string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(p.dir, node, "supd.log"))
	if err != nil {
		t.Fatal(err)
	}
	for l := range strings.Lines(string(b)) {
		if strings.Contains(l, with) {
			lines = append(lines, l)
		}
	}
	return lines
}

// TestGarbageAtEveryDoor: what strangers and broken programs send to a running cluster is refused and said once; daemons, keepers
// and members live on as they were, and writes go on.
func TestGarbageAtEveryDoor(t *testing.T) {
	if testing.Short() {
		t.Skip("starts daemons and members")
	}
	t.Parallel()
	const nodes = 3
	p := startDev(t, openDir(t), "--nodes", fmt.Sprint(nodes))
	api := dial(t, p.ready)
	if _, _, err := api.PutStatefulSet(t.Context(), set(3), client.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	members := memberPids(t, api, 3)
	var daemons []int
	before := map[string]int{}
	for k := 1; k <= nodes; k++ {
		daemons = append(daemons, p.pid(t, k, "supd.pid"), p.pid(t, k, "keeper.pid"))
		before[nodeName(k)] = len(p.logLines(t, nodeName(k), ""))
	}

	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	began := time.Now()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var crowd sync.WaitGroup
	for i, d := range doorsOf(t, p, nodes) {
		crowd.Go(func() {
			if err := d.pour(ctx, rand.New(rand.NewPCG(seed, uint64(i)))); err != nil {
				t.Errorf("%s: %v", d, err)
			}
		})
	}
	for i := range 40 {
		until(t, "a write meanwhile", func() error {
			_, err := api.LabelNode(t.Context(), nodeName(1), client.Labels{Set: map[string]string{"n": fmt.Sprint(i)}}, client.WriteOptions{})
			return err
		})
		<-time.After(100 * time.Millisecond)
	}
	cancel()
	crowd.Wait()
	minutes := 1 + int(time.Since(began)/time.Minute)

	if got := memberPids(t, api, 3); !slices.Equal(got, members) {
		t.Errorf("members are %v, were %v", got, members)
	}
	list, _, err := client.List[spec.Member](t.Context(), api, client.Members, client.ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range list {
		if m.Status.Processes[0].Restarts != 0 {
			t.Errorf("%s was restarted %d times", m.Metadata.Name, m.Status.Processes[0].Restarts)
		}
	}
	st, err := api.Cluster(t.Context())
	if err != nil || len(st.Nodes) != nodes {
		t.Errorf("the cluster has %d nodes, %v", len(st.Nodes), err)
	}
	for k := 1; k <= nodes; k++ {
		node := nodeName(k)
		if got := []int{p.pid(t, k, "supd.pid"), p.pid(t, k, "keeper.pid")}; !slices.Equal(got, daemons[2*k-2:2*k]) || !alive(got[0]) || !alive(got[1]) {
			t.Errorf("supd and keeper of %s are %v, were %v", node, got, daemons[2*k-2:2*k])
		}
		for _, what := range []string{"API connection refused", "raft connection refused"} {
			if got := p.logLines(t, node, what); len(got) == 0 || len(got) > minutes {
				t.Errorf("%s says %q %d times in %d minutes, want once a minute:\n%s", node, what, len(got), minutes, strings.Join(got, ""))
			}
		}
		if got := p.logLines(t, node, "panic"); len(got) > 0 {
			t.Errorf("%s: %s", node, got)
		}
		if got := len(p.logLines(t, node, "")) - before[node]; got > 60*minutes {
			t.Errorf("%s wrote %d lines into its log meanwhile:\n%s", node, got, strings.Join(p.logLines(t, node, "")[before[node]:], ""))
		}
	}
	for _, d := range doorsOf(t, p, nodes) {
		if err := d.answers(t.Context()); err != nil {
			t.Errorf("%s, afterwards: %v", d, err)
		}
	}
}

// answers tells whether a door still does its work.
func (d door) answers(ctx context.Context) error {
	if d.what == "the keeper's socket" {
		k := keeper.Dial(d.addr)
		defer k.Close()
		_, err := k.Hello(ctx)
		return err
	}
	c, err := d.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	if d.what != "DNS" {
		return nil // that the cluster works tells the rest
	}
	ask := []byte{0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 3, 'w', 'e', 'b', 7, 'd', 'e', 'f', 'a', 'u', 'l', 't', 3, 's', 'v', 'c', 7, 'c', 'l', 'u', 's', 't', 'e', 'r', 5, 'l', 'o', 'c', 'a', 'l', 0, 0, 1, 0, 1}
	want := 0
	if d.network == "tcp" {
		ask, want = append(binary.BigEndian.AppendUint16(nil, uint16(len(ask))), ask...), 2
	}
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Write(ask); err != nil {
		return err
	}
	got := make([]byte, 4096)
	n, err := c.Read(got)
	if err == nil && want == 2 && n == 2 { // the length came alone
		var more int
		more, err = c.Read(got[n:])
		n += more
	}
	if err != nil || n < want+12 || got[want] != 0xab || got[want+1] != 0xcd {
		return errors.Join(err, fmt.Errorf("it answers %x", got[:n]))
	}
	return nil
}
