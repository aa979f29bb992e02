package gossip

import (
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"
)

// How often one address is told of whose gossip is dropped, and of how many addresses at
// a time: a sender can make up as many as it likes.
const (
	strangerPause = time.Minute
	maxStrangers  = 256
)

// strangers counts what is dropped unread, and tells of who sends it.
type strangers struct {
	log *slog.Logger

	mu    sync.Mutex // guards what follows
	count uint64
	told  map[netip.Addr]time.Time
}

func newStrangers(log *slog.Logger) *strangers {
	return &strangers{log: log, told: map[netip.Addr]time.Time{}}
}

// dropped notes that something from an address was dropped, and logs it once a minute.
func (s *strangers) dropped(from net.Addr, err error, now time.Time) {
	if s.note(from, now) {
		s.log.Warn("gossip dropped: the sender does not share this cluster's key", "from", from.String(), "err", err)
	}
}

// note tells whether this is to be logged.
func (s *strangers) note(from net.Addr, now time.Time) bool {
	at, _ := netip.ParseAddrPort(from.String()) // the zero one is an address too
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count++
	if last, ok := s.told[at.Addr()]; ok && now.Sub(last) < strangerPause {
		return false
	}
	if len(s.told) >= maxStrangers {
		for a, last := range s.told {
			if now.Sub(last) >= strangerPause {
				delete(s.told, a)
			}
		}
	}
	if len(s.told) >= maxStrangers {
		return false
	}
	s.told[at.Addr()] = now
	return true
}

func (s *strangers) total() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}
