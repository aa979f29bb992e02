package supervisor

import (
	"context"
	"net/netip"

	"supd/configs"
	"supd/netid"
)

// holdPlan takes this daemon's share of the lock on the cluster's loopback
// addresses. Another cluster that has them is told of, once, and it is tried again
// with the next View.
func (d *Daemon) holdPlan(ctx context.Context) {
	c := d.store.View().Cluster
	if c.Plan != configs.PlanLoopback {
		return
	}
	prefix, err := netip.ParsePrefix(c.PlanCIDR)
	if err != nil {
		d.log.Error("the cluster's address plan cannot be read", "plan", c.PlanCIDR, "err", err)
		return
	}
	d.mu.Lock()
	held := d.hold != nil && d.hold.Prefix == prefix
	d.mu.Unlock()
	if held {
		return
	}
	hold, err := netid.HoldLoopback(ctx, prefix, netid.LoopbackOptions{ClusterID: c.ID})
	if err != nil {
		d.mu.Lock()
		said := d.holdErr == err.Error()
		d.holdErr = err.Error()
		d.mu.Unlock()
		if !said {
			d.log.Error("the cluster's loopback addresses are not ours", "plan", c.PlanCIDR, "err", err)
		}
		return
	}
	d.keepHold(hold)
}

// keepHold replaces the hold on a plan.
func (d *Daemon) keepHold(h *netid.Hold) {
	d.mu.Lock()
	old := d.hold
	d.hold = h
	d.mu.Unlock()
	if old != nil {
		if err := old.Close(); err != nil {
			d.log.Warn("loopback plan not let go", "err", err)
		}
	}
}
