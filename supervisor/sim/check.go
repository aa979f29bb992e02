package sim

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/spec"
)

// checker judges the world by its own record of it: of wishes accepted and entries
// committed (take.go), and of what processes and directories did (watch.go). It keeps
// a View of its own only to learn whether an entry is accepted and to compare hashes.
type checker struct {
	w      *World
	broken *Violation

	ref     *state.View
	results []string
	hashes  map[uint64]string

	logNow      time.Time
	stopping    bool
	braked      bool // by an operator's freeze
	incarnation string
	nodes       map[string]*nodeRecord
	sets        map[string]*setRecord    // "ns/set"
	members     map[string]*memberRecord // "ns/web-0"
	volumes     map[string]*volumeRecord // "ns/data-web-0"
	ips         map[string]string        // by identity, as long as set or volume lives
	epochs      map[uint64]string        // whom an epoch was given to
	lastEp      uint64

	startedUpTo map[string]uint64  // the highest epoch that ran, by identity
	homes       map[string]homeDir // by identity + template, once used
	frozen      bool
	accepted    map[string]int // entries by kind, to know what walks reach
	forgotten   map[string]bool
	// vouched are the epochs, by host's id and identity, that an operator has vouched for
	// not to run: they alone may be there twice (S1).
	vouched map[string]uint64
}

type nodeRecord struct {
	id, boot string
	state    string
	cordoned bool
	draining bool
	run      string
	seq      uint64
}

type setRecord struct {
	spec            spec.StatefulSetSpec
	hash, current   string
	replicas, start int
	deleting        bool
	accept          []string
	kind            string
	paused          bool
	kinds           map[string]spec.StatefulSetSpec // what it was made from, by template
	shrunk          bool                            // by a restore, which no health gates
	gone            []int                           // ordinals after which something is to be done
	formed          bool                            // by its hook
	marked          bool                            // and that is noted
	first           []spec.VolumeSpec               // the volumes it was made with
}

func (s *setRecord) wants(o int) bool {
	return !s.deleting && o >= s.start && o < s.start+s.replicas
}

func (s *setRecord) wanted(o int) string {
	if s.kept(o) {
		return s.current
	}
	return s.hash
}

// kept: no rollout touches the ordinal, whatever it runs.
func (s *setRecord) kept(o int) bool {
	r := s.spec.UpdateStrategy.RollingUpdate
	return r != nil && o < r.Partition && s.current != ""
}

// good: a template that works, for all members.
func (s *setRecord) good() bool {
	return s.kind == kindGood && !s.paused && s.spec.UpdateStrategy.Type == spec.RollingUpdate &&
		s.spec.UpdateStrategy.RollingUpdate.Partition == 0
}

func (s *setRecord) budget() int {
	if r := s.spec.UpdateStrategy.RollingUpdate; r != nil {
		if n, err := r.MaxUnavailable.Of(s.replicas); err == nil {
			return max(1, n)
		}
	}
	return 1
}

type memberRecord struct {
	set         string
	ordinal     int
	node        string
	wish        state.Wish
	epoch       uint64
	revision    string
	restartUpTo uint64
	seen        state.Observation
	readySince  time.Time
	asked       *askRecord
	held        bool
	fresh       bool // new volumes since it ran
	left        bool // by its onLeave hook, as the log has it
}

func (m *memberRecord) name() string { return spec.MemberName(m.set, m.ordinal) }

func (m *memberRecord) stopping() bool { return m.wish == state.WishStop || m.wish == state.WishGone }

func (m *memberRecord) ready() bool {
	return m.wish == state.WishRun && m.epoch != 0 && m.seen.Epoch == m.epoch && m.seen.Phase == spec.MemberRunning && m.seen.Ready
}

// down: never started, or its last epoch reported stopped.
func (m *memberRecord) down() bool {
	return m.epoch == 0 || m.seen.Epoch == m.epoch && m.seen.Phase == spec.MemberStopped
}

type volumeRecord struct {
	uid, node, identity string
	phase               string // Bound (or to be), Retained, Releasing
	at                  time.Time
	undo, emptying      bool
	given               bool // abandoned
	released            bool // before that: a host that lags may still put it into the trash, where it is kept
	trashed             bool
	made                bool // reported
	back                bool // by a restore, without its directory
	missing             bool // its node's last word
}

type homeDir struct{ host, uid string }

func newChecker(w *World) *checker {
	return &checker{
		w: w, ref: state.New(), hashes: map[uint64]string{}, nodes: map[string]*nodeRecord{}, sets: map[string]*setRecord{},
		members: map[string]*memberRecord{}, volumes: map[string]*volumeRecord{}, ips: map[string]string{},
		epochs: map[uint64]string{}, startedUpTo: map[string]uint64{}, homes: map[string]homeDir{},
		accepted: map[string]int{}, forgotten: map[string]bool{}, vouched: map[string]uint64{},
	}
}

// fail notes the first violation.
func (c *checker) fail(property, format string, args ...any) {
	if c.broken != nil {
		return
	}
	msg := fmt.Sprintf(format, args...)
	c.w.say("VIOLATION %s: %s", property, msg)
	c.broken = &Violation{Property: property, Message: msg, Seed: c.w.seed, Step: c.w.step, Trace: c.w.trace.last(c.w.step)}
}

// hashEvery bounds how often whole Views are compared.
const hashEvery = 149

// commit takes a new entry of the log and returns what Apply made of it.
func (c *checker) commit(b []byte, stray bool) state.Result {
	e, err := state.Decode(b)
	if err != nil {
		c.fail("S14", "an entry just encoded cannot be decoded: %v", err)
		return state.Result{}
	}
	i := c.ref.Index + 1
	next, res := c.w.m.Apply(c.ref, i, e)
	c.ref = next
	c.results = append(c.results, verdict(res))
	k := name(e.Cmd)
	if res.Err != nil {
		k += " refused " + res.Err.Reason
	} else if !res.Changed {
		k += " unchanged"
	}
	c.accepted[k]++
	if i%hashEvery == 0 {
		c.hashes[i] = next.Hash()
	}
	c.tell(i, e, res, stray)
	if c.frozen {
		switch e.Cmd.(type) {
		case *state.RegisterNode, *state.Report, *state.EmptyVolume: // a release runs out by itself
		default:
			c.fail("S6", "%s reached the log though there is nothing to do", name(e.Cmd))
		}
	}
	c.take(e, res, stray)
	return res
}

func verdict(r state.Result) string {
	if r.Err != nil {
		return "refused " + r.Err.Reason
	}
	return fmt.Sprintf("changed=%v created=%v", r.Changed, r.Created)
}

func (c *checker) tell(i uint64, e state.Entry, res state.Result, stray bool) {
	from := e.Who
	if stray {
		from += ", stray"
	}
	out := verdict(res)
	if res.Err != nil {
		out += ": " + res.Err.Message
	}
	c.w.say("[%d] %s %+v (%s) -> %s", i, name(e.Cmd), brief(e.Cmd), from, out)
}

// brief leaves out what makes a definition long.
func brief(c state.Command) any {
	switch c := c.(type) {
	case *state.PutSet:
		return fmt.Sprintf("%s replicas=%d %s %s min=%s %v hash=%s maxUnav=%v accept=%v silent=%v", c.Name, *c.Spec.Replicas, c.Spec.PodManagementPolicy, c.Spec.UpdateStrategy.Type, c.Spec.MinReady,
			c.Spec.Processes[0].Command, c.Template.Hash(), *c.Spec.UpdateStrategy.RollingUpdate, c.AcceptUnhealthy, c.Silent)
	case *state.Report:
		var out []string
		for _, m := range c.Members {
			out = append(out, fmt.Sprintf("%s-%d e%d %s ready=%v steady=%v", m.Set, m.Ordinal, m.Seen.Epoch, m.Seen.Phase, m.Seen.Ready, m.Seen.Steady))
		}
		for _, v := range c.Volumes {
			out = append(out, v.Name+" "+v.UID+" "+v.Event)
		}
		return fmt.Sprintf("%s %s#%d %s", c.Node, c.Run, c.Seq, strings.Join(out, ", "))
	case *state.RegisterNode:
		return c.Node.Name + " " + c.Node.Run
	case *state.RestoreCluster:
		return c.IfIncarnation + " becomes " + c.Incarnation
	}
	s := fmt.Sprintf("%+v", c)
	return strings.TrimPrefix(s, "&")
}

func name(c state.Command) string {
	return strings.TrimPrefix(fmt.Sprintf("%T", c), "*state.")
}

// applied compares a host's verdict and View with those of the first to apply.
func (c *checker) applied(h *host, i uint64, res state.Result) {
	if got, want := verdict(res), c.results[i-1]; got != want {
		c.fail("S14", "entry %d: %s on %s, %s where it was applied first", i, got, h.name, want)
	}
	c.hash(h)
}

// hash compares a host's View where the hash of that index is known.
func (c *checker) hash(h *host) {
	if want, ok := c.hashes[h.view.Index]; ok && h.view.Hash() != want {
		c.fail("S14", "the View of %s at index %d has another hash than its first", h.name, h.view.Index)
	}
}

// everyTurn checks what must hold at every instant, whatever happened.
func (c *checker) everyTurn() {
	holders := map[string]string{}
	writers := map[string]string{}
	for _, h := range c.w.hosts {
		for _, id := range sortedKeys(h.procs) {
			if c.excused(h, h.procs[id]) {
				continue
			}
			if other := holders[id]; other != "" {
				c.fail("S1", "%s runs on %s and on %s", id, other, h.name)
			}
			holders[id] = h.name
			for _, d := range h.procs[id].dirs {
				if other := writers[d.uid]; other != "" {
					c.fail("S2", "%s is written by %s and %s", d.uid, other, id)
				}
				writers[d.uid] = id
			}
		}
	}
	if c.w.m.Resolve != nil && c.w.step%4 == 0 {
		c.names()
	}
}

// excused: an operator has vouched, by a typed name, that this process is dead.
func (c *checker) excused(h *host, p *process) bool {
	return p.epoch <= c.vouched[h.id+" "+p.identity]
}

// names: a member's name always resolves to its address; the service's to the ready
// members on nodes that are well, or to all ready ones if that leaves none (S12).
func (c *checker) names() {
	for _, k := range sortedKeys(c.sets) {
		service := spec.ServiceFQDN(c.sets[k].spec.ServiceName, namespace, spec.ClusterZone)
		var well, ready []string
		for _, m := range c.setMembers(k) {
			ip := c.ips[key(namespace, m.set, m.ordinal)]
			if got := c.w.m.Resolve(c.ref, m.name()+"."+service); !slices.Equal(got, []string{ip}) {
				c.fail("S12", "%s resolves to %v, its address is %s", m.name(), got, ip)
			}
			if m.ready() {
				ready = append(ready, ip)
				if c.nodeReady(m) {
					well = append(well, ip)
				}
			}
		}
		if len(well) == 0 {
			well = ready
		}
		got := c.w.m.Resolve(c.ref, service)
		slices.Sort(got)
		slices.Sort(well)
		if !slices.Equal(got, well) {
			c.fail("S12", "service %s resolves to %v, want %v", service, got, well)
		}
	}
}

// setMembers returns the record's members of a set by ordinal.
func (c *checker) setMembers(key string) (out []*memberRecord) {
	for _, id := range sortedKeys(c.members) {
		if m := c.members[id]; namespace+"/"+m.set == key {
			out = append(out, m)
		}
	}
	return out
}

func (c *checker) nodeReady(m *memberRecord) bool {
	n := c.nodes[m.node]
	return n != nil && n.state == spec.NodeReady
}

func (c *checker) healthy(m *memberRecord) bool { return c.nodeReady(m) && m.ready() && m.seen.Steady }

func (c *checker) available(s *setRecord, m *memberRecord, now time.Time) bool {
	return c.nodeReady(m) && m.ready() && now.Sub(m.readySince) >= s.spec.MinReady.D()
}

// freeze: from here on nothing may happen (S6).
func (c *checker) freeze() { c.frozen = true }

// arrived tells whether everything is as wished, in the log and in the world.
func (c *checker) arrived() bool { return c.missing() == "" }

// missing says what is not as wished, or "".
func (c *checker) missing() string {
	var out []string
	running := map[string]*process{}
	for _, h := range c.w.hosts {
		maps.Copy(running, h.procs)
	}
	for _, k := range sortedKeys(c.sets) {
		s := c.sets[k]
		if s.deleting {
			out = append(out, k+" is still being deleted")
			continue
		}
		if !s.good() {
			out = append(out, k+" has no good template")
		}
		out = append(out, c.unhooked(k, s)...)
		for o := s.start; o < s.start+s.replicas; o++ {
			id := k + fmt.Sprintf("-%d", o)
			m, p := c.members[id], running[id]
			delete(running, id)
			switch {
			case m == nil:
				out = append(out, id+" has no record")
			case p == nil:
				out = append(out, id+" does not run")
			case p.epoch != m.epoch || !c.available(s, m, c.now()) || !c.healthy(m):
				out = append(out, fmt.Sprintf("%s is not well (epoch %d, runs %d, %s, seen %+v)", id, m.epoch, p.epoch, m.wish, m.seen))
			case m.revision != s.hash || m.restartUpTo >= m.epoch:
				out = append(out, id+" is due for a restart")
			}
		}
		for _, m := range c.setMembers(k) {
			if !s.wants(m.ordinal) {
				out = append(out, m.name()+" is not wanted and still there")
			}
		}
	}
	for _, id := range sortedKeys(running) {
		out = append(out, id+" runs and is not wanted")
	}
	if len(out) > 0 {
		for _, x := range c.w.waits {
			out = append(out, fmt.Sprintf("wait %s %s: %s", x.Subject, x.Reason, x.Message))
		}
	}
	return strings.Join(out, "; ")
}

// now is the time as the log and the leader have it.
func (c *checker) now() time.Time {
	t := birth.Add(c.w.now)
	if c.w.lead != nil {
		t = c.w.lead.host.clock()
	}
	if t.Before(c.logNow) {
		return c.logNow
	}
	return t
}
