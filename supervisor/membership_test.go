package supervisor_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"supd/configs"
	"supd/supervisor/spec"
)

// TestAllAddressesChange stops a cluster and starts it with every address another
// one: no server of Raft's membership is where it was.
func TestAllAddressesChange(t *testing.T) {
	t.Parallel()
	nodes := together(t, 3)
	if err := nodes[0].write(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	var moved []configs.Daemon
	for _, n := range nodes {
		n.end()
		c, addrs := n.cfg, freeAddrs(t, 4)
		c.API, c.Raft, c.Gossip, c.DNS = addrs[0], addrs[1], addrs[2], addrs[3]
		moved = append(moved, c)
	}
	// The first two have exchanged Raft's addresses: what was one's is the other's.
	moved[0].Raft, moved[1].Raft = nodes[1].cfg.Raft, nodes[0].cfg.Raft
	for i := range moved {
		moved[i].Join = []string{moved[2].Gossip, moved[0].Gossip}
		nodes[i] = start(t, moved[i])
	}
	for i, n := range nodes {
		eventually(t, n.cfg.Name+" is at its new address", func(ctx context.Context) error {
			if err := allReady(ctx, n, 3); err != nil {
				return err
			}
			return n.write(ctx, 10+i)
		})
	}
	// Once more, with no change: Raft's membership is right by itself now.
	for i, n := range nodes {
		n.end()
		nodes[i] = start(t, moved[i])
	}
	for _, n := range nodes {
		eventually(t, n.cfg.Name+" is back", func(ctx context.Context) error { return allReady(ctx, n, 3) })
	}
}

// TestDeadVoterIsReplaced: a node without a vote gets that of one that is lost.
func TestDeadVoterIsReplaced(t *testing.T) {
	t.Parallel()
	var nodes []*node
	for i := range 4 {
		c := conf(t, fmt.Sprintf("node-%d", i+1), 4)
		c.Heartbeat, c.Lease = spec.Duration(100*time.Millisecond), spec.Duration(2400*time.Millisecond)
		c.VoterReplaceAfter = spec.Duration(200 * time.Millisecond)
		if i > 0 {
			c.Join = []string{nodes[0].cfg.Gossip}
		}
		nodes = append(nodes, start(t, c))
	}
	for _, n := range nodes {
		eventually(t, n.cfg.Name+" sees all nodes ready", func(ctx context.Context) error { return allReady(ctx, n, 4) })
	}
	st, err := nodes[0].api.Cluster(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(st.Voters) != 3 {
		t.Fatalf("voters of four nodes: %v", st.Voters)
	}
	gone := slices.IndexFunc(nodes, func(n *node) bool { return slices.Contains(st.Voters, n.cfg.Name) })
	spare := slices.IndexFunc(nodes, func(n *node) bool { return !slices.Contains(st.Voters, n.cfg.Name) })
	nodes[gone].end()
	eventually(t, "the fourth node votes, the dead one does not", func(ctx context.Context) error {
		st, err := nodes[spare].api.Cluster(ctx)
		if err != nil {
			return err
		}
		if len(st.Voters) != 3 || st.CanLose != 1 || !slices.Contains(st.Voters, nodes[spare].cfg.Name) ||
			slices.Contains(st.Voters, nodes[gone].cfg.Name) {
			return fmt.Errorf("voters %v, can lose %d", st.Voters, st.CanLose)
		}
		return nil
	})
	// It comes back without a vote, and stays so.
	back := start(t, nodes[gone].cfg)
	eventually(t, "the dead node is back", func(ctx context.Context) error { return allReady(ctx, back, 4) })
	if st, err = back.api.Cluster(t.Context()); err != nil || len(st.Voters) != 3 {
		t.Errorf("voters %v: %v", st.Voters, err)
	}
}
