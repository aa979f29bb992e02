package netid_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"supd/netid"
)

func opts(cluster, dir string) netid.LoopbackOptions {
	return netid.LoopbackOptions{ClusterID: cluster, LockDir: dir}
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func closed(t *testing.T, h *netid.Hold) {
	t.Helper()
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestDrawIsAPlanOfItsOwn(t *testing.T) {
	t.Parallel()
	dir, seen := t.TempDir(), map[netip.Prefix]bool{}
	for i := range 50 {
		h, err := netid.DrawLoopback(within(t), opts(fmt.Sprint("c", i), dir))
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		p := h.Prefix
		if p.Bits() != 20 || p != p.Masked() || !netid.LoopbackNet.Contains(p.Addr()) || seen[p] {
			t.Fatalf("drew %v", p)
		}
		seen[p] = true
	}
}

func TestDrawFollowsItsSeed(t *testing.T) {
	t.Parallel()
	draw := func(dir string) netip.Prefix {
		o := opts("c", dir)
		o.Rand = bytes.NewReader([]byte("0123456789abcdef"))
		h, err := netid.DrawLoopback(within(t), o)
		if err != nil {
			t.Fatal(err)
		}
		closed(t, h)
		return h.Prefix
	}
	if a, b := draw(t.TempDir()), draw(t.TempDir()); a != b {
		t.Errorf("drew %v and %v", a, b)
	}
}

func TestDaemonsOfOneClusterShareAnotherIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, err := netid.DrawLoopback(within(t), opts("mine", dir))
	if err != nil {
		t.Fatal(err)
	}
	second, err := netid.HoldLoopback(within(t), first.Prefix, opts("mine", dir))
	if err != nil {
		t.Fatal(err)
	}
	refused := func() {
		t.Helper()
		if h, err := netid.HoldLoopback(within(t), first.Prefix, opts("other", dir)); !errors.Is(err, netid.ErrPlanTaken) {
			t.Fatalf("got %v, %v", h, err)
		}
	}
	refused()
	closed(t, first)
	refused() // the second still holds it
	closed(t, second)
	// Nobody runs; the other cluster has had the same plan for long.
	other, err := netid.HoldLoopback(within(t), first.Prefix, opts("other", dir))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := netid.HoldLoopback(within(t), first.Prefix, opts("mine", dir)); !errors.Is(err, netid.ErrPlanTaken) {
		t.Fatalf("got %v", err)
	}
	closed(t, other)
}

func TestDrawAvoidsPlansOfClustersThatAreDown(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	seeded := func(cluster string) netid.LoopbackOptions {
		o := opts(cluster, dir)
		o.Rand = bytes.NewReader([]byte("0123456789abcdef"))
		return o
	}
	a, err := netid.DrawLoopback(within(t), seeded("a"))
	if err != nil {
		t.Fatal(err)
	}
	closed(t, a)
	b, err := netid.DrawLoopback(within(t), seeded("b"))
	if err != nil {
		t.Fatal(err)
	}
	closed(t, b)
	if a.Prefix == b.Prefix {
		t.Error("drew the plan of a cluster that may have members there")
	}
	again, err := netid.DrawLoopback(within(t), seeded("a"))
	if err != nil {
		t.Fatal(err)
	}
	closed(t, again)
	if again.Prefix != a.Prefix {
		t.Errorf("drew %v, had %v already", again.Prefix, a.Prefix)
	}
}

func TestDrawAvoidsAddressesInUse(t *testing.T) {
	t.Parallel()
	o := opts("c", t.TempDir())
	o.Rand = bytes.NewReader([]byte("fedcba9876543210"))
	h, err := netid.DrawLoopback(within(t), o)
	if err != nil {
		t.Fatal(err)
	}
	closed(t, h)
	addr := h.Prefix.Addr().Next().Next()
	l, err := net.Listen("tcp", netip.AddrPortFrom(addr, 0).String())
	if err != nil {
		t.Skipf("no address %v here: %v", addr, err)
	}
	defer l.Close()
	o = opts("c", t.TempDir())
	o.Rand = bytes.NewReader([]byte("fedcba9876543210"))
	h2, err := netid.DrawLoopback(within(t), o)
	if err != nil {
		t.Fatal(err)
	}
	closed(t, h2)
	if h2.Prefix == h.Prefix {
		t.Errorf("drew %v, where %v listens", h.Prefix, l.Addr())
	}
}

// TestManyWantOneStalePlan: all daemons of one cluster get it, or all of the other.
func TestManyWantOneStalePlan(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h, err := netid.DrawLoopback(within(t), opts("old", dir))
	if err != nil {
		t.Fatal(err)
	}
	closed(t, h)
	var mu sync.Mutex
	got := map[string]int{}
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			cluster := []string{"red", "blue"}[i%2]
			share, err := netid.HoldLoopback(within(t), h.Prefix, opts(cluster, dir))
			if err != nil && !errors.Is(err, netid.ErrPlanTaken) {
				t.Errorf("%s: %v", cluster, err)
			}
			if err == nil {
				t.Cleanup(func() { _ = share.Close() })
				mu.Lock()
				got[cluster]++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(got) > 1 {
		t.Errorf("two clusters hold %v: %v", h.Prefix, got)
	}
}

func TestLockFileIsNoLink(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h, err := netid.DrawLoopback(within(t), opts("c", dir))
	if err != nil {
		t.Fatal(err)
	}
	closed(t, h)
	files, err := filepath.Glob(dir + "/*")
	if err != nil || len(files) != 1 {
		t.Fatalf("%q, %v", files, err)
	}
	target := filepath.Join(t.TempDir(), "precious")
	for _, err := range []error{os.WriteFile(target, []byte("1"), 0o600), os.Remove(files[0]), os.Symlink(target, files[0])} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := netid.HoldLoopback(within(t), h.Prefix, opts("c", dir)); err == nil {
		t.Error("followed a link")
	}
	if b, _ := os.ReadFile(target); string(b) != "1" {
		t.Error("overwrote what was linked to")
	}
}

func TestOnlyLoopbackPlansAreHeld(t *testing.T) {
	t.Parallel()
	for _, p := range []string{"10.0.0.0/20", "127.64.0.0/16", "127.64.0.1/20", "127.0.0.0/20"} {
		if _, err := netid.HoldLoopback(within(t), netip.MustParsePrefix(p), opts("c", t.TempDir())); err == nil {
			t.Errorf("held %s", p)
		}
	}
	if _, err := netid.DrawLoopback(within(t), opts("", t.TempDir())); err == nil {
		t.Error("drew for no cluster")
	}
}

func TestCheckHost(t *testing.T) {
	t.Parallel()
	if err := netid.CheckHost(netip.MustParsePrefix("127.64.0.0/20")); err != nil {
		t.Error(err)
	}
	if err := netid.CheckHost(netip.MustParsePrefix("192.0.2.0/24")); err == nil {
		t.Error("this host answers on 192.0.2.1?")
	}
}

func TestMachine(t *testing.T) {
	t.Parallel()
	a, err := netid.MachineID()
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := netid.MachineID(); a != b || len(a) != 32 {
		t.Errorf("%q, then %q", a, b)
	}
	known := map[string]string{"n1": "m1", "n2": "m1"}
	for _, c := range []struct {
		plan, node, machine string
		ok                  bool
	}{
		{"loopback", "n3", "m1", true},
		{"loopback", "n3", "m2", false},
		{"none", "n3", "m2", true},
		{"loopback", "n1", "m1", true},
	} {
		if err := netid.CheckMachine(c.plan, known, c.node, c.machine); (err == nil) != c.ok {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
