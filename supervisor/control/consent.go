package control

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/client"
	"supd/supervisor/plan"
	"supd/supervisor/spec"
)

const (
	// answerHolds is how long a member's yes counts from when it was asked, without the
	// time that its probe took: long enough to plan by it, and no longer, whatever keeps
	// the answer or this process.
	answerHolds = 2 * time.Second
	// askTimeout bounds one question: it is more than most probes' timeouts, and who takes
	// longer has not said yes.
	askTimeout = 30 * time.Second
	// askPause is how long nobody is asked again who said no, or did not answer.
	askPause = time.Second
	// askPatience is when a question that is still open is told to be so.
	askPatience = 2 * time.Second
	// muteHolds is how long one counts as asked in vain that is asked no more.
	muteHolds = 10 * time.Second
	// maxMutes bounds how many are told with each heartbeat.
	maxMutes = 64
)

// Answer is a member's word on whether it may be stopped, and how long its probe took.
type Answer struct {
	Yes  bool
	Took time.Duration
}

// consents are the answers of members on whether they may be stopped, of one term. They
// never enter the log: what the members' own nodes report there is for people and for the
// next leader.
type consents struct {
	mu     sync.Mutex // guards what follows
	of     map[plan.Ask]*consent
	silent map[plan.Ask]silence
	new    chan struct{} // closed and replaced with each answer
}

// silence is a member that was asked in vain, again and again.
type silence struct {
	since, last time.Time
	why         string // "is silent since "
}

type consent struct {
	asked time.Time
	done  bool
	yes   bool
	until time.Time // after it the answer is nothing
}

func newConsents() *consents {
	return &consents{of: map[plan.Ask]*consent{}, silent: map[plan.Ask]silence{}, new: make(chan struct{})}
}

func (c *consents) changed() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.new
}

func askOf(m *state.Member) plan.Ask {
	return plan.Ask{Namespace: m.Namespace, Set: m.Set, Ordinal: m.Ordinal, Node: m.Node, Epoch: m.Epoch}
}

// word is what a member has said, if that is fresh.
func (c *consents) word(m *state.Member) plan.Word {
	c.mu.Lock()
	defer c.mu.Unlock()
	x := c.of[askOf(m)]
	switch {
	case x == nil || !x.done || time.Now().After(x.until):
		return plan.NotAsked
	case x.yes:
		return plan.SaidYes
	}
	return plan.SaidNo
}

// due are those that are to be asked now; they count as asked from here on. Answers to
// what nobody wants to know any more are forgotten when they are old.
func (c *consents) due(asks []plan.Ask) (now []plan.Ask) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := time.Now()
	for q, x := range c.of {
		if x.done && at.After(x.until) {
			delete(c.of, q)
		}
	}
	for _, q := range asks {
		if c.of[q] == nil {
			c.of[q] = &consent{asked: at}
			now = append(now, q)
		}
	}
	return now
}

// next is how long it takes until somebody may be asked again; 0: nobody waits for that.
func (c *consents) next() (next time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, x := range c.of {
		if left := max(time.Until(x.until), 0) + time.Millisecond; x.done && !x.yes && (next == 0 || left < next) {
			next = left
		}
	}
	return next
}

// answer notes what a member has said, or that it could not be asked.
func (c *consents) answer(q plan.Ask, said Answer, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	x := c.of[q]
	x.done, x.yes, x.until = true, said.Yes, x.asked.Add(said.Took+answerHolds)
	if !said.Yes {
		x.until = time.Now().Add(askPause)
	}
	if err != nil {
		s := c.silent[q]
		if s.since.IsZero() {
			s.since = x.asked
		}
		s.last, s.why = time.Now(), "cannot ask it: "+err.Error()+", since "
		if spec.CodeOf(err) == spec.CodeNoLeader || spec.CodeOf(err) == spec.CodeTimeout || errors.Is(err, context.DeadlineExceeded) {
			s.why = "is silent since "
		}
		c.silent[q] = s
	} else {
		delete(c.silent, q)
	}
	close(c.new)
	c.new = make(chan struct{})
}

// mute says why a member could not be asked, or "".
func (c *consents) mute(m *state.Member) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.muteLocked(askOf(m), time.Now())
}

func (c *consents) muteLocked(q plan.Ask, now time.Time) string {
	s := c.silent[q]
	x := c.of[q]
	open := x != nil && !x.done && now.Sub(x.asked) >= askPatience
	if open && s.since.IsZero() {
		s.since, s.why = x.asked, "is silent since "
	}
	if s.since.IsZero() || !open && now.Sub(s.last) >= muteHolds {
		return ""
	}
	return "node " + q.Node + " " + s.why + s.since.UTC().Format("15:04:05")
}

// mutes are all that were asked in vain, in order; who is asked no more is forgotten.
func (c *consents) mutes(now time.Time) (out []client.Mute) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for q := range c.silent {
		if c.of[q] == nil && now.Sub(c.silent[q].last) >= muteHolds {
			delete(c.silent, q)
		}
	}
	names := maps.Clone(c.silent)
	for q := range c.of {
		names[q] = silence{}
	}
	for q := range names {
		if why := c.muteLocked(q, now); why != "" {
			out = append(out, client.Mute{Namespace: q.Namespace, Set: q.Set, Ordinal: q.Ordinal, Epoch: q.Epoch, Why: why})
		}
	}
	slices.SortFunc(out, func(a, b client.Mute) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Set, b.Set), cmp.Compare(a.Ordinal, b.Ordinal))
	})
	return out[:min(len(out), maxMutes)]
}

// ask asks one member.
func (c *Control) ask(ctx context.Context, asked *consents, q plan.Ask) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var said Answer
	var err error
	if c.o.MayStop != nil {
		if said, err = c.o.MayStop(ctx, q); err != nil {
			said.Yes = false
			c.log.Warn("cannot ask a member whether it may be stopped; it is asked again",
				"namespace", q.Namespace, "set", q.Set, "member", spec.MemberName(q.Set, q.Ordinal), "node", q.Node, "err", err)
		}
	}
	asked.answer(q, said, err)
}
