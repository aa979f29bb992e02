// Package plan decides the next commands for each set, and says why it waits. It
// is pure: the same View, time and facts give the same plan. It can only do what
// the log allows, so a plan may be shown, thrown away or made twice.
package plan

import (
	"time"

	"supd/raftstore/state"
	"supd/supervisor/spec"
)

// Facts are what the leader knows beside the View.
type Facts struct {
	// Silent tells whether a node has not answered within the last second.
	Silent func(node string) bool
	// Unsettled tells whether it is not known what runs on a node, whatever the log says: it is
	// silent, or its agent has just begun. Nil: it is known.
	Unsettled func(node string) bool
	// Rand makes unique ids for new members and volumes: it is called with what
	// the id is for and returns a UID. Plan takes it as an argument to stay pure.
	UID func() string
	// Since is when this leader began to plan, or to plan anew after a freeze: nothing is
	// rolled back for what went on, or did not, before it could do anything. Zero: always.
	Since time.Time
	// MayStop is the fresh answer of a member to the leader (see Plan.Asks). Nil: nobody is
	// asked, the log's word is enough; so it is where a plan is only shown.
	MayStop func(m *state.Member) Word
	// Mute says why a member can't be asked, where its answer is SaidNo for that; "": it
	// was asked. Nil: nobody knows.
	Mute func(m *state.Member) string
}

// Plan is what should change next.
type Plan struct {
	// Commands to propose, in order. Each may be refused by Apply without harm.
	Commands []state.Command
	Waits    []Wait
	// Asks are the members that are to be asked whether they may be stopped.
	Asks []Ask
	// Next is when to plan again if nothing changes; zero: not needed.
	Next time.Time
}

// Wait is a spec.Wait with its set.
type Wait struct {
	Namespace, Set string
	spec.Wait
}
