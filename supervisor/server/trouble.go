package server

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"

	"supd/raftstore/state"
	"supd/supervisor/client"
	"supd/supervisor/spec"
)

// nodeTrouble answers what keeps this node from its part.
func (s *Server) nodeTrouble(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, http.StatusOK, s.ownTrouble())
}

// ownTrouble is all that this node has to tell of itself.
func (s *Server) ownTrouble() client.Trouble {
	rs := s.o.Cluster.Status()
	votes := !rs.NoVote
	out := client.Trouble{Trouble: rs.Trouble + rs.Warning, Votes: &votes}
	if rs.Trouble != "" && rs.Warning != "" {
		out.Trouble = rs.Trouble + "; " + rs.Warning
	}
	return out
}

// trouble asks a node what keeps it from its part.
func (s *Server) trouble(ctx context.Context, node string) (client.Trouble, error) {
	if node == s.o.Node {
		return s.ownTrouble(), nil
	}
	c, err := s.nodeClient(node)
	if err != nil {
		return client.Trouble{}, err
	}
	return c.NodeTrouble(ctx)
}

// askTroubles asks nodes what troubles them, all at once.
func askTroubles(s *Server, r *http.Request, objects []object) {
	ctx, cancel := context.WithTimeout(r.Context(), ownerTimeout)
	defer cancel()
	var wg sync.WaitGroup
	for i := range objects {
		n, ok := objects[i].value.(spec.Node)
		if !ok {
			continue
		}
		wg.Go(func() {
			if !n.Status.Alive {
				n.Status.TroubleReason = "Node" + n.Status.State + ": it does not answer the leader"
				objects[i].value = n
				return
			}
			told, err := s.trouble(ctx, n.Metadata.Name)
			switch {
			case spec.CodeOf(err) == spec.CodeNotFound:
				n.Status.TroubleReason = notAsked + ": its supd is too old to say"
			case err != nil:
				n.Status.TroubleReason = err.Error()
			default:
				if told.Votes == nil { // it tells of no other trouble, as far as that is known
					votes := told.Trouble == ""
					told.Votes = &votes
				}
				n.Status.Trouble, n.Status.CanVote, n.Status.TroubleReason = &told.Trouble, told.Votes, ""
			}
			objects[i].value = n
		})
	}
	wg.Wait()
}

// noLeaderBecause adds to an error without a leader what this node knows of why: its own
// log cannot be written, say.
func (s *Server) noLeaderBecause(what string) error {
	err := noLeader(what)
	if t := s.o.Cluster.Status().Trouble; t != "" {
		err.Message += "; node " + s.o.Node + " is in trouble, so ask another (--addr): " + t
	}
	return err
}

// drainWaits are what a node that is being drained waits for: one for each member that
// is not known to be gone.
func (rd reading) drainWaits(n *state.Node) (out []spec.Wait) {
	if !n.Draining {
		return nil
	}
	waits := map[string][]spec.Wait{}
	for _, m := range rd.v.DrainLeft(n.Name) {
		s := rd.v.Set(m.Namespace, m.Set)
		if s == nil {
			continue
		}
		k := s.Meta.Key()
		if _, asked := waits[k]; !asked {
			waits[k] = rd.waits(s)
		}
		w, ok := waitOf(waits[k], m.Name())
		if !ok {
			w = spec.Wait{Subject: m.Name(), Reason: "Draining", Message: "is stopped next; it is " + strings.ToLower(rd.v.Phase(m))}
		}
		out = append(out, w)
	}
	slices.SortFunc(out, func(a, b spec.Wait) int { return strings.Compare(a.Subject, b.Subject) })
	return out
}
