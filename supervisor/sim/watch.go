package sim

import (
	"fmt"
	"regexp"
	"slices"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/plan"
	"supd/supervisor/spec"
)

// started is called when a keeper starts a process group.
func (c *checker) started(h *host, p *process) {
	if c.frozen {
		c.fail("S6", "%s is started on %s though there is nothing to do", p.identity, h.name)
	}
	if c.forgotten[h.id] {
		c.fail("S1", "%s is started on %s, which was forgotten", p.identity, h.name)
	}
	for _, q := range h.procs {
		if q != p && c.excused(h, q) {
			c.fail("S1", "%s is started on %s beside %s, which is stale there (epoch %d) and not stopped yet", p.identity, h.name, q.identity, q.epoch)
		}
	}
	for _, other := range c.w.hosts {
		if q := other.procs[p.identity]; q != nil && q != p && !c.excused(other, q) {
			c.fail("S1", "%s starts on %s while it runs on %s", p.identity, h.name, other.name)
		}
	}
	if m := c.members[p.identity]; m != nil && m.epoch == p.epoch && m.held {
		c.fail("position", "%s is started on %s though it is held", p.identity, h.name)
	}
	if c.epochs[p.epoch] != p.identity {
		c.fail("S2", "%s starts with epoch %d, which was given to %q", p.identity, p.epoch, c.epochs[p.epoch])
	}
	if p.epoch <= c.startedUpTo[p.identity] {
		c.fail("S2", "%s starts with epoch %d after epoch %d", p.identity, p.epoch, c.startedUpTo[p.identity])
	}
	c.startedUpTo[p.identity] = p.epoch
	for _, d := range p.dirs {
		c.use(h, p, d)
	}
	if m := c.members[p.identity]; m != nil {
		c.complete(p, m)
	}
}

// use: an identity gets the very directory it had before, nobody else's (S3, S4).
func (c *checker) use(h *host, p *process, d *dir) {
	if d.marked || c.abandoned(d.uid) {
		c.fail("S3", "%s starts on %s, which was abandoned", p.identity, d.uid)
	}
	if d.identity != p.identity {
		c.fail("S3", "%s starts on the directory of %s", p.identity, d.identity)
	}
	k := p.identity + " " + d.template
	if home, ok := c.homes[k]; ok && home != (homeDir{h.name, d.uid}) {
		c.fail("S4", "%s had its %s in %v and starts with %s on %s", p.identity, d.template, home, d.uid, h.name)
	}
	c.homes[k] = homeDir{h.name, d.uid}
}

// stopBegun is called when an agent has a process group stopped: the log must ask
// for it, or an operator has vouched that it is over. That its daemon went away or came
// back is no reason (S13).
func (c *checker) stopBegun(h *host, p *process) {
	m := c.members[p.identity]
	if c.frozen {
		c.fail("S6", "%s is stopped on %s though there is nothing to do", p.identity, h.name)
	}
	if m != nil && m.node == h.name && m.epoch == p.epoch && !m.stopping() && !c.excused(h, p) {
		c.fail("S13", "%s is stopped on %s though its epoch %d is wanted to run", p.identity, h.name, p.epoch)
	}
}

func (c *checker) stopped(h *host, p *process, power bool) {
	c.w.say("%s: %s is gone (epoch %d, power=%v)", h.name, p.identity, p.epoch, power)
}

// made is called when an agent makes a directory. A host that lags may make an empty
// one for a reservation that is elsewhere by now; its uid is nobody's any more.
func (c *checker) made(h *host, d *dir) {
	if home, ok := c.homes[d.identity+" "+d.template]; ok && c.volumeOf(d) != nil {
		c.fail("S4", "%s makes a new directory %s for %s, which has its own in %v", h.name, d.uid, d.identity, home)
	}
}

func (c *checker) volumeOf(d *dir) *volumeRecord {
	for _, k := range sortedKeys(c.volumes) {
		if c.volumes[k].uid == d.uid {
			return c.volumes[k]
		}
	}
	return nil
}

func (c *checker) trashed(h *host, d *dir) {
	c.w.say("%s puts %s of %s into the trash", h.name, d.uid, d.identity)
	if v := c.volumeOf(d); v == nil || v.phase != spec.VolumeReleasing && !v.released {
		c.fail("S3", "%s puts %s of %s into the trash, which was not released", h.name, d.uid, d.identity)
	}
	for _, p := range h.procs {
		if slices.Contains(p.dirs, d) {
			c.fail("S3", "%s puts %s into the trash while %s writes it", h.name, d.uid, p.identity)
		}
	}
}

func (c *checker) emptied(h *host, d *dir) {
	c.w.say("%s empties %s of %s", h.name, d.uid, d.identity)
	if v := c.volumeOf(d); v == nil || !v.emptying {
		c.fail("S3", "%s empties %s of %s, which the log has not given up", h.name, d.uid, d.identity)
	}
	c.unhome(d.uid)
}

// abandoned tells whether an operator has given a directory up.
func (c *checker) abandoned(uid string) bool {
	for _, v := range c.volumes {
		if v.uid == uid {
			return v.given
		}
	}
	return false
}

// planned checks a plan made on the newest state by the one leader.
func (c *checker) planned(h *host, out plan.Plan) {
	for _, cmd := range out.Commands {
		if _, timed := cmd.(*state.EmptyVolume); c.frozen && !timed {
			c.fail("S6", "%s plans %s though there is nothing to do", h.name, name(cmd))
		}
	}
	if c.braked && !c.stopping && len(out.Commands) > 0 {
		c.fail("freeze", "%s plans %s while the cluster is frozen", h.name, name(out.Commands[0]))
	}
	now := c.now()
	acts := map[string]bool{} // sets with a command
	starts := map[string]bool{}
	keeps := map[string]bool{}
	for _, cmd := range out.Commands {
		switch x := cmd.(type) {
		case *state.StartMember:
			acts[x.Namespace+"/"+x.Set], starts[key(x.Namespace, x.Set, x.Ordinal)] = true, true
			c.gate(x, now)
		case *state.StopMember:
			acts[x.Namespace+"/"+x.Set] = true
			c.agreed(x)
		case *state.KeepMember:
			acts[x.Namespace+"/"+x.Set], keeps[key(x.Namespace, x.Set, x.Ordinal)] = true, true
		case *state.AskHook:
			acts[x.Namespace+"/"+x.Set] = true
			c.agreedToLeave(x)
		case *state.StartHeld:
			acts[x.Namespace+"/"+x.Set] = true
		case *state.LetGo:
			acts[x.Namespace+"/"+x.Set] = true
		case *state.DropMember:
			acts[x.Namespace+"/"+x.Set] = true
		case *state.Reserve:
			acts[x.Namespace+"/"+x.Set] = true
		case *state.TakeOver:
			acts[x.Namespace+"/"+x.Set], starts[key(x.Namespace, x.Set, x.Slot.Ordinal)] = true, true
		case *state.Place:
			acts[x.Namespace+"/"+x.Set] = true
		case *state.DropSet:
			acts[x.Namespace+"/"+x.Name] = true
		case *state.UndoRollout:
			acts[x.Namespace+"/"+x.Name] = true
		}
	}
	waits := map[string]bool{}
	for _, x := range out.Waits {
		c.says(x)
		waits[x.Namespace+"/"+x.Set] = true
	}
	for _, k := range sortedKeys(c.sets) {
		c.repairs(k, starts, keeps)
		if why := c.unfinished(k); why != "" && !acts[k] && !waits[k] {
			c.fail("S11", "set %s: %s, and the plan neither does anything nor says what it waits for", k, why)
		}
	}
}

var camel = regexp.MustCompile(`^[A-Z][A-Za-z]+$`)

// says: a wait names its subject, a reason and whom or what it waits for (S11).
func (c *checker) says(x plan.Wait) {
	if x.Subject == "" || !camel.MatchString(x.Reason) || len(x.Message) < 10 {
		c.fail("S11", "a wait that does not say for whom: %+v", x)
	}
}

// gate: an ordinal that never ran waits for the lower ones, as the policy has it.
func (c *checker) gate(x *state.StartMember, now time.Time) {
	k := x.Namespace + "/" + x.Set
	s, m := c.sets[k], c.members[key(x.Namespace, x.Set, x.Ordinal)]
	if s == nil || m == nil || m.epoch != 0 || s.spec.PodManagementPolicy == spec.Parallel {
		return
	}
	for o := s.start; o < x.Ordinal; o++ {
		lower := c.members[fmt.Sprintf("%s-%d", k, o)]
		open := lower != nil && c.available(s, lower, now)
		if s.spec.PodManagementPolicy == spec.OrderedStarted {
			open = lower != nil && lower.wish == state.WishRun && lower.seen.Epoch == lower.epoch && lower.seen.Started && c.nodeReady(lower) &&
				(lower.seen.Ready || now.Sub(lower.seen.StartedOK) >= time.Second)
		}
		if !open {
			c.fail("rule 1", "%s is started for the first time before %s-%d (%s)", m.name(), x.Set, o, s.spec.PodManagementPolicy)
		}
	}
}

// repairs: what ran before and is down starts at once, whatever the others do (S9).
func (c *checker) repairs(k string, starts, keeps map[string]bool) {
	s := c.sets[k]
	if c.stopping || c.braked || s.deleting || s.spec.UpdateStrategy.Type == spec.Recreate && !s.paused {
		return
	}
	for _, m := range c.setMembers(k) {
		id := key(namespace, m.set, m.ordinal)
		switch {
		case m.wish == state.WishGone && !s.wants(m.ordinal), m.left: // who has left goes
		case m.wish == state.WishGone:
			if !keeps[id] {
				c.fail("S9", "%s is wanted again and not kept", id)
			}
		case s.positions(): // all may have to wait for one
		case c.unbound(s, m): // what it would start with needs a directory that was given up
		case m.epoch != 0 && m.down() && c.nodeReady(m) && !c.draining(m.node) && !starts[id]:
			c.fail("S9", "%s ran before, is down on a ready node and is not started", id)
		}
	}
}

// unfinished says what the plan should do for a set, or "". What merely takes its
// time to become ready is no step of the plan.
func (c *checker) unfinished(k string) string {
	s := c.sets[k]
	members := c.setMembers(k)
	if c.stopping {
		for _, m := range members {
			if !m.down() && c.nodeReady(m) {
				return m.name() + " is to be stopped"
			}
		}
		return ""
	}
	if s.deleting {
		return "it is being deleted"
	}
	have := 0
	for _, m := range members {
		if !s.wants(m.ordinal) {
			return m.name() + " is not wanted"
		}
		have++
		switch {
		case m.epoch == 0:
			return m.name() + " was never started"
		case m.wish != state.WishRun || m.down():
			return m.name() + " is stopped"
		case m.restartUpTo >= m.epoch:
			return m.name() + " is to be restarted"
		case m.revision != s.wanted(m.ordinal) && !s.kept(m.ordinal) && s.spec.UpdateStrategy.Type != spec.OnDelete:
			return m.name() + " is outdated"
		}
	}
	if have < s.replicas {
		return "members are missing"
	}
	return ""
}
