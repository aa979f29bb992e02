package state

import (
	"fmt"
	"maps"
	"net"
	"time"

	"supd/supervisor/spec"
)

func (t *tx) initCluster(c *InitCluster) *spec.Error {
	if t.Cluster.ID != "" {
		return refuse("ClusterExists", "the cluster %s has been formed already", t.Cluster.ID)
	}
	if c.ID == "" || c.Zone == "" {
		return refuse("Invalid", "a cluster needs an id and a zone")
	}
	t.Cluster.ID, t.Cluster.Incarnation = c.ID, c.Incarnation
	t.Cluster.Plan, t.Cluster.PlanCIDR, t.Cluster.Zone = c.Plan, c.PlanCIDR, c.Zone
	t.Cluster.CA = c.CA
	t.Cluster.CreatedAt = t.now
	t.changed, t.created = true, true
	t.event("", "cluster/"+c.ID, "Formed", "the cluster was formed; address plan %s %s", c.Plan, c.PlanCIDR)
	return nil
}

func (t *tx) setStopping(c *SetStopping) *spec.Error {
	if t.Cluster.Stopping == c.Stopping {
		return nil
	}
	t.Cluster.Stopping = c.Stopping
	if c.Stopping {
		t.event("", "cluster/"+t.Cluster.ID, "Stopping", "all members are stopped in order, until the next start")
	} else {
		t.event("", "cluster/"+t.Cluster.ID, "Starting", "members are started again")
	}
	return nil
}

func (t *tx) noteTransfer(c *NoteTransfer) *spec.Error {
	if c.From == "" {
		return refuse("Invalid", "a transfer of leadership needs the node that leads")
	}
	to := "node " + c.To
	if c.To == "" {
		to = "another voter"
	}
	t.event("", "cluster/"+t.Cluster.ID, "LeaderTransfer", "node %s, which leads, is to hand leadership to %s", c.From, to)
	return nil
}

func (t *tx) registerNode(c *RegisterNode) *spec.Error {
	n := c.Node
	if n.Name == "" || n.ID == "" || n.Run == "" {
		return refuse("Invalid", "a node needs a name, an id and a run")
	}
	if f := t.Cluster.Forgot(n.ID); f != nil {
		return forgotten(n.Name, f)
	}
	old := t.Node(n.Name)
	if old != nil && old.ID != n.ID {
		return refuse("NameTaken", "the name %s belongs to node id %s, not %s: give this node another name, or bring the old data directory back",
			n.Name, old.ID, n.ID)
	}
	if err := t.checkMachine(&n); err != nil {
		return err
	}
	if err := t.mayFollow(&n); err != nil {
		return err
	}
	n.Seq, n.Index = 0, 0
	if old == nil {
		n.State, n.Since, n.Created, n.Generation, n.Cordoned = spec.NodeReady, t.now, t.now, 1, false
		n.Own, n.Given, n.Masked, n.Draining = nil, nil, nil, false
		n.DrainSince, n.DrainWho, n.DrainWhy = time.Time{}, "", ""
		t.created = true
		t.saveNode(&n)
		t.event("", "node/"+n.Name, "Joined", "node %s joined with address %s", n.Name, n.HostIP)
		return nil
	}
	n.State, n.Since, n.Created, n.Cordoned = old.State, old.Since, old.Created, old.Cordoned
	n.Generation = old.Generation
	n.Draining, n.DrainSince, n.DrainWho, n.DrainWhy = old.Draining, old.DrainSince, old.DrainWho, old.DrainWhy
	n.Own, n.Given, n.Masked = n.Labels, old.Given, old.Masked
	n.combineLabels()
	if old.Run == n.Run {
		n.Seq = old.Seq
	}
	if same := *old; sameNode(same, n) {
		return nil
	}
	if old.API != n.API || old.Raft != n.Raft || old.HostIP != n.HostIP {
		n.Generation++
	}
	t.saveNode(&n)
	t.newRun(old, &n)
	return nil
}

func sameNode(a, b Node) bool {
	la, lb := a.Labels, b.Labels
	a.Labels, b.Labels, a.Index, b.Index = nil, nil, 0, 0
	return maps.Equal(la, lb) && fmt.Sprint(a) == fmt.Sprint(b)
}

// checkMachine keeps a cluster whose members live on loopback addresses on one machine.
func (t *tx) checkMachine(n *Node) *spec.Error {
	if t.Cluster.Plan != "loopback" {
		return nil
	}
	for other := range t.Nodes() {
		if other.Name != n.Name && other.Machine != n.Machine {
			return refuse("LoopbackPlan", "node %s is on another machine: this cluster gives its members loopback addresses, which only one machine can reach; form a cluster with address_plan: none", n.Name)
		}
	}
	return nil
}

// nodeMoves are the legal changes of a node's state.
var nodeMoves = map[string][]string{
	spec.NodeReady:   {spec.NodeSuspect},
	spec.NodeSuspect: {spec.NodeReady, spec.NodeLost},
	spec.NodeLost:    {spec.NodeReady},
}

// NodeMayMove tells whether a node may go from one state to the other.
func NodeMayMove(from, to string) bool { return contains(nodeMoves[from], to) }

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

func (t *tx) setNode(c *SetNode) *spec.Error {
	old := t.Node(c.Name)
	if old == nil {
		return notFound("node", "-", c.Name)
	}
	if old.Generation != c.IfGeneration {
		return stale("node %s has changed since", c.Name)
	}
	if !NodeMayMove(old.State, c.State) {
		return refuse("IllegalMove", "node %s cannot go from %s to %s", c.Name, old.State, c.State)
	}
	n := *old
	n.State, n.Since = c.State, t.now
	n.Generation++
	t.saveNode(&n)
	t.note(c.State != spec.NodeReady, "", "node/"+c.Name, c.State, "node "+c.Name+" is "+c.State+": "+c.Reason)
	return nil
}

func (t *tx) cordonNode(c *CordonNode) *spec.Error {
	old := t.Node(c.Name)
	if old == nil {
		return notFound("node", "-", c.Name)
	}
	if old.Cordoned == c.Cordon {
		return nil
	}
	n := *old
	n.Cordoned = c.Cordon
	n.Generation++
	n.Draining, n.DrainSince, n.DrainWho, n.DrainWhy = false, time.Time{}, "", ""
	t.saveNode(&n)
	switch {
	case c.Cordon:
		t.event("", "node/"+c.Name, "Cordoned", "no new members are placed on node %s", c.Name)
	case old.Draining:
		t.event("", "node/"+c.Name, "Uncordoned", "the drain of node %s is taken back: what was stopped for it starts again", c.Name)
	default:
		t.event("", "node/"+c.Name, "Uncordoned", "new members may be placed on node %s", c.Name)
	}
	return nil
}

// inPlan tells whether ip belongs to the cluster's address plan.
func (v *View) inPlan(ip string) bool {
	_, cidr, err := net.ParseCIDR(v.Cluster.PlanCIDR)
	return err == nil && cidr.Contains(net.ParseIP(ip))
}
