package gossip

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/hashicorp/memberlist"
)

// Pauses between rounds of joining: short while nodes start together, longer when
// somebody stays away.
const (
	firstPause = 50 * time.Millisecond
	lastPause  = 5 * time.Second
	// forget: an address that was joined and yet is no node's (a name, or another
	// cluster's) is joined again after so long.
	forget = 30 * time.Second
)

// rejoin joins the nodes that should be here and are not: memberlist itself
// forgets a dead node after half a minute and never asks again.
func (g *Gossip) rejoin(ctx context.Context, list *memberlist.Memberlist) error {
	pause := firstPause
	joined := map[string]time.Time{}
	_, gone := g.nodes.alive()
	for {
		alive, left := g.nodes.alive()
		if left != gone {
			gone, pause = left, firstPause
			clear(joined)
		}
		for _, addr := range missing(g.wanted(), alive, g.advertise.String(), joined, time.Now()) {
			if ctx.Err() != nil {
				return nil
			}
			if _, err := list.Join([]string{addr}); err != nil {
				g.log.Debug("node not joined", "address", addr, "err", err)
				continue
			}
			joined[addr] = time.Now()
		}
		if !g.wait(ctx, pause, gone) {
			return nil
		}
		pause = min(2*pause, lastPause)
	}
}

func (g *Gossip) wanted() []string {
	want := slices.Clone(g.o.Join)
	if g.o.Want != nil {
		want = append(want, g.o.Want()...)
	}
	return want
}

// missing picks the addresses to join.
func missing(want []string, alive map[string]bool, self string, joined map[string]time.Time, now time.Time) []string {
	var out []string
	for _, addr := range want {
		at, ok := joined[addr]
		if addr == "" || addr == self || alive[addr] || ok && now.Sub(at) < forget || slices.Contains(out, addr) {
			continue
		}
		out = append(out, addr)
	}
	return out
}

// wait pauses, with jitter, and no longer when another node has gone; false when
// ctx has ended.
func (g *Gossip) wait(ctx context.Context, pause time.Duration, gone uint64) bool {
	timer := time.NewTimer(pause + rand.N(pause))
	defer timer.Stop()
	for {
		changed := g.nodes.whenChanged()
		if _, left := g.nodes.alive(); left != gone {
			return ctx.Err() == nil
		}
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
			return true
		case <-changed:
		}
	}
}
