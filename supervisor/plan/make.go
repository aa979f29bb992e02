package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/spec"
)

// Make decides what should change next. It is called by the leader after every
// change of the View and at Plan.Next.
func Make(v *state.View, now time.Time, f Facts) Plan {
	p := &planner{v: v, now: now, f: f}
	if v.Cluster.ID == "" {
		return p.out
	}
	for s := range v.Sets("") {
		p.set(s)
	}
	if v.Cluster.Frozen == nil {
		p.emptyTrash()
	}
	return p.out
}

// MakeSet decides for one set alone; waits of others are left out.
func MakeSet(v *state.View, s *state.Set, now time.Time, f Facts) Plan {
	p := &planner{v: v, now: now, f: f}
	p.set(s)
	return p.out
}

type planner struct {
	v     *state.View
	now   time.Time
	f     Facts
	out   Plan
	ips   map[string]bool // addresses that have a holder, or get one by this plan
	ports map[string]bool // "address:port" given by this plan
	count map[string]int  // members put on a node by this plan
}

func (p *planner) propose(c state.Command) { p.out.Commands = append(p.out.Commands, c) }

func (p *planner) wait(s *state.Set, subject, reason, format string, args ...any) {
	p.out.Waits = append(p.out.Waits, Wait{
		Namespace: s.Meta.Namespace, Set: s.Meta.Name,
		Wait: spec.Wait{Subject: subject, Reason: reason, Message: fmt.Sprintf(format, args...)},
	})
}

// again asks to be called at t.
func (p *planner) again(t time.Time) {
	if p.out.Next.IsZero() || t.Before(p.out.Next) {
		p.out.Next = t
	}
}

func (p *planner) silent(m *state.Member) bool {
	return p.f.Silent != nil && p.f.Silent(m.Node)
}

func (p *planner) unsettled(m *state.Member) bool {
	return p.f.Unsettled != nil && p.f.Unsettled(m.Node)
}

// set plans one set: shutdown, deletion, or the steps towards the wish; frozen, it only
// says what waits.
func (p *planner) set(s *state.Set) {
	commands, waits := len(p.out.Commands), len(p.out.Waits)
	p.steps(s)
	if p.v.Cluster.Frozen != nil && !p.v.Cluster.Stopping {
		p.freeze(s, commands, waits)
	}
}

func (p *planner) steps(s *state.Set) {
	w := p.look(s)
	switch {
	case p.v.Cluster.Stopping:
		p.shutdown(w)
	case s.Deleting:
		p.delete(w)
	default:
		p.reserve(w)
		p.keep(w)
		p.replace(w)
		p.takeOver(w)
		p.repair(w)
		p.waitFirst(w)
		p.first(w)
		p.afterLeave(w)
		p.remove(w)
		p.drain(w)
		if p.rollBack(w) {
			return // the rest is to be planned anew
		}
		p.update(w)
		p.settle(w)
	}
}

// world is one set with what the steps ask of it again and again.
type world struct {
	s       *state.Set
	members []*state.Member // all, by ordinal
	wanted  []*state.Member // those the set wants, by ordinal
	leaving []*state.Member // the others, by ordinal
	going   *state.Member   // the one of them whose removal is proposed now
	placing bool            // ordinals get their places by this plan
	begun   map[int]bool    // ordinals that this plan starts for the first time
	down    map[int]bool    // who is unavailable, or is made so by this plan; nil: not asked yet
	first   *int            // the ordinal that bootstraps if nobody runs; nil: not asked yet
	moving  map[int]bool    // ordinals that get another place, or wait for one
}

// member is the wanted one of an ordinal, nil while it has no place.
func (w *world) member(ordinal int) *state.Member {
	i, ok := slices.BinarySearchFunc(w.wanted, ordinal, func(m *state.Member, o int) int { return m.Ordinal - o })
	if !ok {
		return nil
	}
	return w.wanted[i]
}

func (p *planner) look(s *state.Set) *world {
	w := &world{s: s, members: p.v.SetMembers(s.Meta.Namespace, s.Meta.Name), begun: map[int]bool{}}
	for _, m := range w.members {
		if s.Wants(m.Ordinal) && !m.Left() { // who has left goes, and comes back as a new one
			w.wanted = append(w.wanted, m)
		} else {
			w.leaving = append(w.leaving, m)
		}
	}
	return w
}

func (p *planner) nodeReady(m *state.Member) bool {
	n := p.v.Node(m.Node)
	return n != nil && n.State == spec.NodeReady
}

// available, and if it only lacks time, asks to be called when it has it.
func (p *planner) available(w *world, m *state.Member) bool {
	if p.v.Available(w.s, m, p.now) {
		return true
	}
	if m.Ready() && p.nodeReady(m) {
		p.again(m.ReadySince.Add(w.s.Spec.MinReady.D()))
	}
	return false
}

// why says in a clause what keeps a member from being available.
func (p *planner) why(w *world, m *state.Member) string {
	if ok, _, message := p.v.Healthy(m); !ok {
		return m.Name() + ": " + message
	}
	if p.v.Available(w.s, m, p.now) {
		return m.Name() + ": it is being restarted"
	}
	return fmt.Sprintf("%s: it has been ready for less than minReady %s", m.Name(), w.s.Spec.MinReady)
}

// shutdown stops all members, from the highest down, without touching the wish.
func (p *planner) shutdown(w *world) {
	for i := len(w.members) - 1; i >= 0; i-- {
		m := w.members[i]
		if m.Epoch == 0 || m.Down() || m.MayStart() || !p.nodeReady(m) {
			continue
		}
		if m.Wish == state.WishRun {
			p.propose(stop(w.s, m, state.WhyShutdown, 0))
		}
		p.wait(w.s, m.Name(), "Shutdown", "waits until it has stopped on node %s", m.Node)
		if w.s.Spec.PodManagementPolicy != spec.Parallel {
			return
		}
	}
}

// delete removes a set's members from the highest down, gated by nobody's health.
func (p *planner) delete(w *world) {
	for i := len(w.members) - 1; i >= 0; i-- {
		m := w.members[i]
		switch {
		case m.Wish != state.WishGone:
			c := stop(w.s, m, "SetDeleted", 0)
			c.Gone = true
			p.propose(c)
		case m.Down() || p.v.Over(w.s, m):
			p.propose(p.drop(m))
		default:
			p.waitGone(w, m)
		}
		if w.s.Spec.PodManagementPolicy != spec.Parallel {
			return
		}
	}
	if len(w.members) == 0 {
		p.propose(&state.DropSet{Namespace: w.s.Meta.Namespace, Name: w.s.Meta.Name, IfGeneration: w.s.Meta.Generation})
	}
}

func (p *planner) waitGone(w *world, m *state.Member) {
	if p.nodeReady(m) {
		p.wait(w.s, m.Name(), "Stopping", "waits until it has stopped on node %s", m.Node)
		return
	}
	p.wait(w.s, m.Name(), "NodeLost", "cannot be known to be gone until its node %s answers", m.Node)
}

func stop(s *state.Set, m *state.Member, why string, budget int) *state.StopMember {
	return &state.StopMember{
		Namespace: m.Namespace, Set: m.Set, Ordinal: m.Ordinal, Why: why, Budget: budget,
		IfEpoch: m.Epoch, IfGeneration: m.Generation, IfSet: s.Meta.Generation,
	}
}

func (p *planner) drop(m *state.Member) *state.DropMember {
	return &state.DropMember{
		Namespace: m.Namespace, Set: m.Set, Ordinal: m.Ordinal,
		IfEpoch: m.Epoch, IfGeneration: m.Generation, ReleaseAt: p.now,
	}
}

// keep takes removals back that a scale-up has overtaken.
func (p *planner) keep(w *world) {
	for _, m := range w.wanted {
		if m.Wish == state.WishGone {
			p.propose(&state.KeepMember{Namespace: m.Namespace, Set: m.Set, Ordinal: m.Ordinal, IfEpoch: m.Epoch, IfGeneration: m.Generation})
		}
	}
}

// repair starts again what ran before and is down: it waits for nobody. A member that
// is to leave is one until its turn comes: the gate of its removal wants it healthy.
func (p *planner) repair(w *world) {
	hold := p.recreating(w)
	cold := !hold && p.cold(w)
	if cold {
		p.startCold(w)
	} else {
		p.letGo(w)
	}
	for _, m := range w.members {
		if m.Epoch == 0 || m.Wish == state.WishGone || !m.MayStart() || w.moving[m.Ordinal] || m.Left() {
			continue
		}
		switch {
		case cold: // startCold has said what it waits for
		case hold:
			p.wait(w.s, m.Name(), "Recreate", "starts when all members have stopped")
		case p.draining(m): // drain says what becomes of it
		case !p.nodeReady(m):
			p.wait(w.s, m.Name(), "NodeLost", "waits for its node %s, where its place is, to answer again", m.Node)
		default:
			p.start(w, m)
		}
	}
	for _, m := range w.wanted {
		if w.moving[m.Ordinal] {
			continue
		}
		if m.Wish == state.WishRun && !m.MayStart() && !p.nodeReady(m) {
			p.waitNode(w, m)
		}
		if m.Wish == state.WishStop && !m.Down() {
			p.waitGone(w, m)
		}
	}
}

// recreating tells whether the Recreate strategy is stopping members of an old revision.
func (p *planner) recreating(w *world) bool {
	if w.s.Spec.UpdateStrategy.Type != spec.Recreate || w.s.Paused != nil {
		return false
	}
	for _, m := range w.wanted {
		if m.Epoch != 0 && !m.MayStart() && w.s.Behind(m) {
			return true
		}
	}
	return false
}

func (p *planner) start(w *world, m *state.Member) {
	if c := p.startOf(w, m); c != nil {
		p.propose(c)
	}
}

// startOf is the start of a member as it is wanted, or nil when it has said what that waits for.
func (p *planner) startOf(w *world, m *state.Member) *state.StartMember {
	if p.unbound(w, m, "is not started") {
		return nil
	}
	ports, taken := p.nextPorts(w, m)
	if taken != "" {
		p.wait(w.s, m.Name(), "PortTaken", "%s", taken)
		return nil
	}
	n := p.v.Node(m.Node)
	return &state.StartMember{
		Namespace: m.Namespace, Set: m.Set, Ordinal: m.Ordinal, Revision: w.s.NextRevision(m),
		Bootstrap: p.bootstraps(w, m), IfEpoch: m.Epoch, IfGeneration: m.Generation,
		Fence: w.s.Spec.OnNodeLoss == spec.Fence && n != nil && n.Fences, Ports: ports,
	}
}

// unbound tells, and says, that a member's next revision needs a directory that is not
// there any more: it was dropped from the definition and released.
func (p *planner) unbound(w *world, m *state.Member, what string) bool {
	name, phase := p.v.Unbound(w.s, m, w.s.NextRevision(m))
	if name == "" {
		return false
	}
	if phase == "" {
		phase = "gone"
	}
	p.wait(w.s, m.Name(), "VolumeDropped", "%s with revision %s: that needs the directory %s, which was dropped from the definition and is %s",
		what, spec.RevisionName(w.s.Meta.Name, w.s.NextRevision(m)), name, phase)
	return true
}

// bootstraps: the lowest wanted ordinal of those with data, while none of the set runs; without any
// data the lowest. In a formed set with positions those decide it, if anybody has run.
func (p *planner) bootstraps(w *world, m *state.Member) bool {
	if w.first == nil {
		w.first = new(int)
		*w.first = w.s.Start()
		if i := slices.IndexFunc(w.wanted, func(o *state.Member) bool { return p.v.HasPosition(w.s, o) }); i >= 0 {
			*w.first = w.wanted[i].Ordinal
		}
	}
	if m.Ordinal != *w.first {
		return false
	}
	if p.v.TellsPositions(w.s) && slices.ContainsFunc(w.members, func(o *state.Member) bool { return o.Epoch != 0 }) {
		return false
	}
	for _, other := range w.members {
		if other.Ordinal != m.Ordinal && other.Epoch != 0 && !other.MayStart() && !(other.Wish == state.WishGone && other.Down()) {
			return false
		}
	}
	return true
}

// first starts ordinals that never ran, in order and behind the gate of the policy.
func (p *planner) first(w *world) {
	ordered := w.s.Spec.PodManagementPolicy != spec.Parallel
	for o := w.s.Start(); o < w.s.Start()+w.s.Replicas(); o++ {
		m := w.member(o)
		if m == nil {
			if ordered {
				return // its wait was told when it could not be reserved
			}
			continue
		}
		if m.Epoch != 0 || m.Wish != state.WishReserved {
			continue
		}
		if ordered {
			if lower := p.holds(w, o); lower != nil {
				p.wait(w.s, m.Name(), "Order", "waits until %s is %s (%s)", lower.Name(), gateWord(w.s), p.why(w, lower))
				return
			}
		}
		switch {
		case !p.nodeReady(m):
			p.wait(w.s, m.Name(), "NodeLost", "waits for its node %s to answer again", m.Node)
		case p.draining(m):
			p.wait(w.s, m.Name(), "Drained", "is not started on its node %s, which is being drained (supctl node uncordon %s)", m.Node, m.Node)
		case p.silent(m): // once started it is tied to its node: not to one that may be dead
			p.wait(w.s, m.Name(), "NodeSilent", "its node %s has not answered within the last second", m.Node)
		case isGone(w.s, o):
			p.wait(w.s, m.Name(), "AfterLeaveWaits", "waits until the afterLeave hook for its earlier life has run")
		case p.v.Lacks(w.s, m) != "": // replace has asked for a new one, or said what it waits for
		default:
			if c := p.startOf(w, m); c != nil {
				p.propose(c)
				w.begun[o] = true
			}
		}
		if ordered {
			return
		}
	}
}

func gateWord(s *state.Set) string {
	if s.Spec.PodManagementPolicy == spec.OrderedStarted {
		return "started"
	}
	return "available"
}

// holds returns the lowest member below ordinal that the policy waits for, or nil.
func (p *planner) holds(w *world, ordinal int) *state.Member {
	for _, m := range w.wanted {
		if m.Ordinal >= ordinal {
			break
		}
		if w.s.Spec.PodManagementPolicy == spec.OrderedStarted {
			if !p.started(m) {
				return m
			}
		} else if !p.available(w, m) {
			return m
		}
	}
	return nil
}

// started: the startup probe has passed or, without one, it has run one second.
func (p *planner) started(m *state.Member) bool {
	if m.Wish != state.WishRun || m.Seen.Epoch != m.Epoch || !m.Seen.Started || !p.nodeReady(m) {
		return false
	}
	if p.hasStartup(m) || m.Seen.Ready {
		return true
	}
	at := m.Seen.StartedOK
	if at.IsZero() {
		at = m.Seen.StartedAt
	}
	at = at.Add(time.Second)
	if p.now.Before(at) {
		p.again(at)
		return false
	}
	return m.Seen.Phase == spec.MemberRunning
}

func (p *planner) hasStartup(m *state.Member) bool {
	r := p.v.Revision(m.Namespace, m.Set, m.Revision)
	if r == nil {
		return false
	}
	for _, proc := range r.Template.Processes {
		if proc.Startup != nil {
			return true
		}
	}
	return false
}

// remove takes unwanted members away: the highest, one at a time, the next when it
// is fully gone and the rest healthy.
func (p *planner) remove(w *world) {
	for i := len(w.leaving) - 1; i >= 0; i-- {
		m := w.leaving[i]
		if m.Wish != state.WishGone {
			p.removeNext(w, m)
			return
		}
		if m.Down() || p.v.Over(w.s, m) {
			p.propose(p.drop(m))
			if _, hooked := p.v.HookOf(m, spec.HookAfterLeave); hooked {
				return // the next waits for that
			}
			continue // at once, so that no rollout comes between two removals
		}
		p.waitGone(w, m)
		if n := p.v.Node(m.Node); n != nil && n.State != spec.NodeLost || !accepted(w.s, m) {
			return
		}
	}
}

func accepted(s *state.Set, m *state.Member) bool { return slices.Contains(s.AcceptLost, m.Name()) }

// unplaced lists the wanted ordinals that have no place and are not accepted as lost, with why they count, and tells
// whether any is accepted.
func (p *planner) unplaced(w *world) (sick []string, accepted bool) {
	for o := w.s.Start(); o < w.s.Start()+w.s.Replicas(); o++ {
		name := spec.MemberName(w.s.Meta.Name, o)
		switch {
		case p.v.Member(w.s.Meta.Namespace, w.s.Meta.Name, o) != nil:
		case slices.Contains(w.s.AcceptLost, name):
			accepted = true
		default:
			sick = append(sick, name+": it has no place yet")
		}
	}
	return sick, accepted
}

func (p *planner) removeNext(w *world, m *state.Member) {
	sick, unplaced := p.unplaced(w)
	var silent []string
	for _, other := range w.members {
		if other.Wish == state.WishGone || other.Left() || accepted(w.s, other) || m.Left() && other.Epoch == 0 {
			continue
		}
		if other == m && p.leaving(m) {
			continue
		}
		if ok, _, message := p.v.Healthy(other); !ok {
			sick = append(sick, other.Name()+": "+message)
		} else if p.silent(other) {
			silent = append(silent, other.Name())
			sick = append(sick, other.Name()+": its node "+other.Node+" has not answered within the last second")
		} else if w.s.Wants(other.Ordinal) && !p.available(w, other) {
			sick = append(sick, p.why(w, other))
		}
	}
	if len(sick) > 0 {
		p.wait(w.s, m.Name(), "ScaleDownBlocked", "is not removed while any member is unhealthy (%s)", strings.Join(sick, "; "))
		return
	}
	if p.owesAfter(w) { // afterLeave has said what that waits for
		p.wait(w.s, m.Name(), "AfterLeaveWaits", "is removed when the afterLeave hook for %s has run", spec.MemberName(m.Set, w.s.Gone[0].Ordinal))
		return
	}
	if !m.Runs(spec.HookOnLeave) && !p.consents(w, m, "is removed") { // before it begins to leave
		return
	}
	if p.askLeave(w, m, silent, unplaced) {
		return
	}
	c := p.stop(w, m, "ScaleDown", 0)
	c.Gone, c.Silent, c.Unplaced = true, silent, unplaced
	p.propose(c)
	w.going = m
}

// settle notes what has been reached. All run the newest revision only when all are steady, too:
// a program that dies soon after each start seems ready for moments, and who believed it would
// have nothing left to go back to.
func (p *planner) settle(w *world) {
	if len(w.wanted) != w.s.Replicas() || len(w.wanted) == 0 {
		return
	}
	current, formed := true, true
	for _, m := range w.wanted {
		if m.Epoch == 0 || !p.available(w, m) {
			formed, current = false, false
			break
		}
		if m.Revision != w.s.Revision || !m.Seen.Steady {
			current = false
		}
	}
	if !w.s.Formed && p.form(w) {
		formed = false
	}
	if formed && !w.s.Formed {
		p.propose(&state.MarkFormed{Namespace: w.s.Meta.Namespace, Name: w.s.Meta.Name, IfGeneration: w.s.Meta.Generation})
	}
	if current && w.s.Current != w.s.Revision {
		p.propose(&state.SetCurrent{Namespace: w.s.Meta.Namespace, Name: w.s.Meta.Name, Revision: w.s.Revision, IfGeneration: w.s.Meta.Generation})
	}
}

// emptyTrash lets directories go whose time in the trash is over.
func (p *planner) emptyTrash() {
	for v := range p.v.Volumes("") {
		if v.Phase != spec.VolumeReleasing || v.Undo || !v.Trashed || v.Emptying {
			continue
		}
		if p.now.Before(v.ReleaseAt) {
			p.again(v.ReleaseAt)
			continue
		}
		p.propose(&state.EmptyVolume{Namespace: v.Namespace, Name: v.Name(), UID: v.UID, IfGeneration: v.Generation})
	}
}
