package server

import (
	"net/http"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/spec"
)

// settleLook is how often settle looks again at what is no part of the View.
const settleLook = 50 * time.Millisecond

// settle waits a moment, Options.Settle at the most, before a write that would make a
// set smaller, or its ordinals others, as long as all that speaks against it passes by itself within a
// second: members that run and only have not run long enough yet, a node whose
// heartbeat is late. So a script may scale down as soon as --wait has returned.
// Apply judges in any case.
func (s *Server) settle(r *http.Request, ns, name string, start, replicas int) {
	end := time.NewTimer(s.o.Settle)
	defer end.Stop()
	again := time.NewTicker(settleLook)
	defer again.Stop()
	for {
		v := s.o.Store.View()
		set := v.Set(ns, name)
		if set == nil || start <= set.Start() && start+replicas >= set.Start()+set.Replicas() || !s.settling(v, ns, name) {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-s.ending:
			return
		case <-end.C:
			return
		case <-again.C:
		}
	}
}

// settling tells whether some of a set's members are not steady or on a late node,
// and nothing worse is the matter with any.
func (s *Server) settling(v *state.View, ns, name string) bool {
	some := false
	for _, m := range v.SetMembers(ns, name) {
		ok, reason, _ := v.Healthy(m)
		switch {
		case ok:
			some = some || s.o.Control.Silent(m.Node)
		case reason == "NotSteady" && m.Seen.Phase == spec.MemberRunning:
			some = true
		default:
			return false
		}
	}
	return some
}
