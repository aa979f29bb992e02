package server

import (
	"net/http"

	"supd/raftstore/state"
	"supd/supervisor/client"
	"supd/supervisor/spec"
)

// forgetNode gives a machine up by its typed name.
func (s *Server) forgetNode(w http.ResponseWriter, r *http.Request) error {
	var in client.ConfirmRequest
	if err := decodeOptional(r, &in); err != nil {
		return err
	}
	name := r.PathValue("name")
	v := s.o.Store.View()
	n := v.Node(name)
	if n == nil {
		return spec.Errorf(spec.CodeNotFound, "there is no node %s", name)
	}
	if in.Confirm != name {
		return refused("NotConfirmed", "cannot forget node %s: it has to be confirmed that its machine is dead or never comes back connected; confirm with its name (--confirm %s)", name, name)
	}
	return s.simple(w, r, &state.ForgetNode{Name: name, ID: n.ID, IfGeneration: n.Generation})
}

// abandonVolume gives a directory up that cannot be reached, or that its node does not find, by its typed name.
func (s *Server) abandonVolume(w http.ResponseWriter, r *http.Request) error {
	var in client.ConfirmRequest
	if err := decodeOptional(r, &in); err != nil {
		return err
	}
	ns, name := r.PathValue("ns"), r.PathValue("name")
	version, err := ifVersion(r)
	if err != nil {
		return err
	}
	view := s.o.Store.View()
	old := view.Volume(ns, name)
	if old == nil {
		return spec.Errorf(spec.CodeNotFound, "there is no volume %s in namespace %s", name, ns)
	}
	if in.Confirm != name {
		return refused("NotConfirmed", "cannot abandon volume %s: it has to be confirmed that its member does not run any more and that its data may stay behind; confirm with its name (--confirm %s)", name, name)
	}
	n := view.Node(old.Node)
	missing := n != nil && n.State != spec.NodeLost && old.Reason == state.VolumeMissing
	v, res, err := s.propose(r, &state.AbandonVolume{Namespace: ns, Name: name, IfVersion: version, Missing: missing})
	if err != nil {
		return err
	}
	if now := *old; res.Changed {
		now.AbandonedAt = s.o.Now()
		name = now.Name()
	}
	return answerVolume(w, v, res, ns, name)
}
