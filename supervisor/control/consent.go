package control

import (
	"context"
	"sync"
	"time"

	"supd/raftstore/state"
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
	mu  sync.Mutex // guards what follows
	of  map[plan.Ask]*consent
	new chan struct{} // closed and replaced with each answer
}

type consent struct {
	asked time.Time
	done  bool
	yes   bool
	until time.Time // after it the answer is nothing
}

func newConsents() *consents { return &consents{of: map[plan.Ask]*consent{}, new: make(chan struct{})} }

func (c *consents) changed() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.new
}

// word is what a member has said, if that is fresh.
func (c *consents) word(m *state.Member) plan.Word {
	c.mu.Lock()
	defer c.mu.Unlock()
	x := c.of[plan.Ask{Namespace: m.Namespace, Set: m.Set, Ordinal: m.Ordinal, Node: m.Node, Epoch: m.Epoch}]
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

// answer notes what a member has said.
func (c *consents) answer(q plan.Ask, said Answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	x := c.of[q]
	x.done, x.yes, x.until = true, said.Yes, x.asked.Add(said.Took+answerHolds)
	if !said.Yes {
		x.until = time.Now().Add(askPause)
	}
	close(c.new)
	c.new = make(chan struct{})
}

// ask asks one member.
func (c *Control) ask(ctx context.Context, asked *consents, q plan.Ask) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var said Answer
	if c.o.MayStop != nil {
		var err error
		if said, err = c.o.MayStop(ctx, q); err != nil {
			said.Yes = false
			c.log.Warn("cannot ask a member whether it may be stopped; it is asked again",
				"namespace", q.Namespace, "set", q.Set, "member", spec.MemberName(q.Set, q.Ordinal), "node", q.Node, "err", err)
		}
	}
	asked.answer(q, said)
}
