package sim

import (
	"time"

	"supd/raftstore/state"
	"supd/supervisor/spec"
)

// away tells whether a node is Lost or forgotten.
func (c *checker) away(node string) bool {
	n := c.nodes[node]
	return n == nil || n.state == spec.NodeLost
}

func (c *checker) draining(node string) bool {
	n := c.nodes[node]
	return n != nil && n.draining
}

// hostID is the id of the host that has a node's name now, or of the forgotten one.
func (c *checker) hostID(node string) string {
	if n := c.nodes[node]; n != nil {
		return n.id
	}
	return node
}

// booted: a host that was booted anew runs nothing of what it was seen to run.
func (c *checker) booted(n *nodeRecord, x *state.Node) {
	if n.boot != "" && x.Boot != "" && n.boot != x.Boot {
		for _, id := range sortedKeys(c.members) {
			if m := c.members[id]; m.node == x.Name && m.seen.Epoch == m.epoch {
				m.seen.Ready, m.seen.Steady = false, false
			}
		}
	}
	n.boot = x.Boot
}

// over notes that an operator vouches for the end of a member's epoch.
func (c *checker) over(id string, m *memberRecord) {
	if m.epoch == 0 {
		return
	}
	k := c.hostID(m.node) + " " + id
	c.vouched[k] = max(c.vouched[k], m.epoch)
	m.seen = state.Observation{Epoch: m.epoch, Phase: spec.MemberStopped}
}

// takeTakeOver: a member gets another place only when nobody runs it: it is looked at, not
// asked for.
func (c *checker) takeTakeOver(x *state.TakeOver) {
	id := key(x.Namespace, x.Set, x.Slot.Ordinal)
	m, s := c.members[id], c.sets[x.Namespace+"/"+x.Set]
	for _, h := range c.w.hosts {
		if p := h.procs[id]; p != nil && !c.excused(h, p) {
			c.fail("S1", "%s is taken over by %s while epoch %d runs on %s", id, x.Slot.Node, p.epoch, h.name)
		}
	}
	if n := c.nodes[x.Slot.Node]; n == nil || n.state != spec.NodeReady || n.cordoned {
		c.fail("rule 7", "%s is taken over by %s, which takes no members", id, x.Slot.Node)
	}
	if old := c.ips[id]; old != x.Slot.IP {
		c.fail("S12", "%s had the address %s and is taken over with %s", id, old, x.Slot.IP)
	}
	for _, vs := range s.spec.Volumes {
		name := spec.VolumeName(vs.Name, x.Set, x.Slot.Ordinal)
		if v := c.volumes[namespace+"/"+name]; v != nil && v.node != x.Slot.Node && c.homes[id+" "+vs.Name].uid != "" {
			c.fail("S4", "%s is taken over by %s, its %s is on %s", id, x.Slot.Node, name, v.node)
			continue
		} else if v == nil {
			m.fresh = true
		}
		c.bind(id, name, x.Slot, vs.Name)
	}
	c.leave(id, s, x.Slot.Node)
	m.node, m.seen = x.Slot.Node, state.Observation{Epoch: m.epoch, Phase: spec.MemberStopped}
}

// takeForget: only a node that is Lost, or cordoned and empty, is given up.
func (c *checker) takeForget(x *state.ForgetNode) {
	n := c.nodes[x.Name]
	if n == nil || n.id != x.ID {
		return // said before
	}
	empty := n.cordoned
	for _, id := range sortedKeys(c.members) {
		m := c.members[id]
		if m.node != x.Name {
			continue
		}
		empty = false
		c.over(id, m)
		m.node = x.ID
	}
	if n.state != spec.NodeLost && !empty {
		c.fail("S1", "%s is forgotten while it is %s, cordoned=%v", x.Name, n.state, n.cordoned)
	}
	for _, k := range sortedKeys(c.volumes) {
		v := c.volumes[k]
		switch {
		case v.node != x.Name:
		case v.phase == spec.VolumeReleasing:
			delete(c.volumes, k)
			c.unhome(v.uid)
			c.forgetIP(v.identity)
		default:
			v.node = x.ID
		}
	}
	c.forgotten[x.ID] = true
	delete(c.nodes, x.Name)
}

// takeAbandon: a directory is given up by its name while it can't be reached, or its node does not find it. In the
// second case nobody is vouched for.
func (c *checker) takeAbandon(x *state.AbandonVolume) {
	k := x.Namespace + "/" + x.Name
	v := c.volumes[k]
	if v == nil || v.given {
		return
	}
	if c.away(v.node) == x.Missing || x.Missing && !v.missing {
		c.fail("S3", "%s is abandoned while its node %s is %s, missing there: %v", x.Name, v.node, c.nodes[v.node].state, v.missing)
	}
	m := c.members[v.identity]
	switch {
	case m == nil || m.node != v.node || v.phase == spec.VolumeRetained:
	case !x.Missing:
		c.over(v.identity, m)
	case m.wish == state.WishRun:
		m.wish = state.WishStop
	}
	v.released = v.phase == spec.VolumeReleasing
	v.phase, v.given, v.undo, v.at = spec.VolumeAbandoned, true, false, time.Time{}
	delete(c.volumes, k)
	c.volumes[k+"."+v.uid[:min(8, len(v.uid))]] = v
	c.unhome(v.uid)
	c.forgetIP(v.identity)
}

// unhome: a directory that was given up is nobody's home any more.
func (c *checker) unhome(uid string) {
	for _, k := range sortedKeys(c.homes) {
		if c.homes[k].uid == uid {
			delete(c.homes, k)
		}
	}
}
