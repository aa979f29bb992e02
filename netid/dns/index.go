package dns

import (
	"sync"

	"supd/raftstore/state"
)

// index is which sets each service governs in one View, which the View itself
// finds only by looking at every set. It is made by the first question that asks.
type index struct {
	view *state.View
	once sync.Once
	sets map[string][]*state.Set // by "namespace/service"
}

// index of the newest View. Two questions at once may each make one.
func (s *Server) index(v *state.View) *index {
	x := s.newest.Load()
	if x == nil || x.view != v {
		x = &index{view: v}
		s.newest.Store(x)
	}
	return x
}

func (x *index) governs(namespace, service string) []*state.Set {
	x.once.Do(func() {
		x.sets = map[string][]*state.Set{}
		for s := range x.view.Sets("") {
			for _, service := range x.view.ServicesOf(s) {
				k := s.Meta.Namespace + "/" + service
				x.sets[k] = append(x.sets[k], s)
			}
		}
	})
	return x.sets[namespace+"/"+service]
}
