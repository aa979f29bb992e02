package gossip

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"
)

func TestStrangersAreToldOfOnceAMinute(t *testing.T) {
	t.Parallel()
	s := newStrangers(slog.New(slog.DiscardHandler))
	now := time.Unix(1000, 0)
	from := func(addr string) net.Addr { return net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addr)) }
	for _, step := range []struct {
		addr string
		at   time.Duration
		want bool
	}{
		{"10.0.0.1:1", 0, true},
		{"10.0.0.1:2", time.Second, false}, // another port is the same sender
		{"10.0.0.2:1", time.Second, true},
		{"10.0.0.1:1", time.Minute, true},
		{"10.0.0.1:1", time.Minute + time.Second, false},
	} {
		if got := s.note(from(step.addr), now.Add(step.at)); got != step.want {
			t.Errorf("%s at %s: told %v", step.addr, step.at, got)
		}
	}
	told := 0
	for i := range 1000 {
		if s.note(from(fmt.Sprintf("10.1.%d.%d:1", i/250, i%250)), now.Add(2*time.Minute)) {
			told++
		}
	}
	if told > maxStrangers || len(s.told) > maxStrangers {
		t.Errorf("told of %d, remembers %d", told, len(s.told))
	}
	if s.total() != 1005 {
		t.Errorf("counted %d", s.total())
	}
}
