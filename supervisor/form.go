package supervisor

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"time"

	"supd/configs"
	"supd/netid"
	"supd/raftstore"
	"supd/raftstore/state"
	"supd/supervisor/control"
)

// join sees to it that this node becomes part of a cluster, once, and then tells
// gossip which.
func (d *Daemon) join(ctx context.Context) error {
	if err := d.form(ctx); err != nil {
		return err
	}
	for told := ""; ; {
		changed := d.store.Changed()
		if id := d.store.View().Cluster.ID; id != "" && id != told {
			if err := d.gossip.UpdateMeta(d.metaNow()); err != nil {
				d.log.Warn("other nodes not told of the cluster", "err", err)
			} else {
				told = id
				d.log.Info("part of cluster", "cluster", id)
			}
		}
		d.holdPlan(ctx)
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// form waits until this node has Raft state: because it formed a cluster with
// others, or because a leader took it in. What fails (a full disk, say) is said and
// tried again.
func (d *Daemon) form(ctx context.Context) error {
	said := ""
	for {
		gossipChanged, viewChanged := d.gossip.Changed(), d.store.Changed()
		done, waits, err := d.formStep(ctx)
		if err != nil {
			waits = err.Error()
		}
		d.cluster.waits.Store(&waits)
		if waits != said {
			said = waits
			if err != nil {
				d.log.Error("cluster not joined yet", "err", err)
			} else if waits != "" {
				d.log.Info("waiting", "reason", waits)
			}
		}
		if done {
			return nil
		}
		select {
		case <-gossipChanged:
		case <-viewChanged:
		case <-time.After(time.Second):
		case <-ctx.Done():
			return nil
		}
	}
}

// formStep does what is next; done when this node has state and has noted it.
func (d *Daemon) formStep(ctx context.Context) (done bool, waits string, err error) {
	if d.store.HasState() {
		if !d.id.Member {
			d.id.Member = true
			if err := d.id.save(); err != nil {
				d.id.Member = false
				return false, "", err
			}
		}
		return true, "", nil
	}
	if d.id.Store > 0 {
		// It has been part of a cluster: it must not form another, whoever is here.
		return false, "to be taken back into its cluster, with an empty raft store", nil
	}
	if d.id.Alone {
		return d.bootstrap(ctx, []control.Server{{ID: d.id.ID, Addr: d.meta.Raft, Voter: true}})
	}
	f := control.Form(d.id.ID, d.o.Config.BootstrapExpect, d.id.Ballot, peers{d.gossip}.Peers())
	if f.Ballot != d.id.Ballot {
		old := d.id.Ballot
		d.id.Ballot = f.Ballot
		if err := d.id.save(); err != nil {
			d.id.Ballot = old
			return false, "", err
		}
		if err := d.gossip.UpdateMeta(d.metaNow()); err != nil {
			return false, "", err
		}
	}
	if len(f.Servers) == 0 {
		return false, f.Waits, nil
	}
	return d.bootstrap(ctx, f.Servers)
}

// bootstrap makes the first membership of a new cluster.
func (d *Daemon) bootstrap(ctx context.Context, servers []control.Server) (done bool, waits string, err error) {
	if err := d.store.Bootstrap(ctx, raftServers(servers)); err != nil && !d.store.HasState() {
		return false, "", err
	}
	d.log.Info("cluster formed", "nodes", len(servers))
	return d.formStep(ctx)
}

func raftServers(in []control.Server) []raftstore.Server {
	var out []raftstore.Server
	for _, s := range in {
		out = append(out, raftstore.Server{ID: s.ID, Addr: s.Addr, Voter: s.Voter})
	}
	return out
}

// initCluster makes the first command of a new cluster.
func (d *Daemon) initCluster(ctx context.Context) (*state.InitCluster, error) {
	c := &state.InitCluster{ID: newID(), Incarnation: newID(), Plan: d.o.Config.AddressPlan, Zone: d.o.Config.Zone, CA: string(d.pki.CA())}
	if c.Plan != configs.PlanLoopback {
		return c, nil
	}
	hold, err := netid.DrawLoopback(ctx, netid.LoopbackOptions{ClusterID: c.ID})
	if err != nil {
		return nil, err
	}
	d.keepHold(hold)
	c.PlanCIDR = hold.Prefix.String()
	return c, nil
}

// newID makes a random id.
func newID() string {
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		panic("supervisor: the kernel gives no randomness: " + err.Error())
	}
	return hex.EncodeToString(b[:])
}
