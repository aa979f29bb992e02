package server

import (
	"context"
	"net/http"

	"supd/supervisor/client"
	"supd/supervisor/spec"
)

// upgradeKeeper has a node's keeper become the binary on that node's disk, from any node.
func (s *Server) upgradeKeeper(w http.ResponseWriter, r *http.Request) error {
	node := r.PathValue("name")
	if s.o.Store.View().Node(node) == nil {
		return spec.Errorf(spec.CodeNotFound, "there is no node %s", node)
	}
	if node == s.o.Node {
		return s.nodeUpgradeKeeper(w, r)
	}
	c, err := s.patientClient(node, client.UpgradeTimeout)
	if err != nil {
		return err
	}
	done, err := c.NodeUpgradeKeeper(r.Context(), s.o.Node, who(r))
	if err != nil {
		if e := asError(err); e.Code == spec.CodeNoLeader && (e.Reason == client.ReasonNoDaemon || e.Reason == client.ReasonUnknown) {
			return unreachable("cannot upgrade the keeper of node "+node, err)
		}
		return err
	}
	return writeJSON(w, http.StatusOK, done)
}

func unreachable(what string, err error) error {
	e := asError(err)
	out := spec.Errorf(spec.CodeNoLeader, "%s: it does not answer: %s", what, e.Message)
	out.Reason = e.Reason
	return out
}

// nodeUpgradeKeeper has this node's keeper become the binary on disk.
func (s *Server) nodeUpgradeKeeper(w http.ResponseWriter, r *http.Request) error {
	// A client that goes away must not leave the outcome untold to the log.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), client.UpgradeTimeout)
	defer cancel()
	done, err := s.o.Keeper.Upgrade(ctx)
	if err != nil {
		s.log.Warn("keeper not upgraded", "who", who(r), "err", err)
		return err
	}
	done.Node = s.o.Node
	s.log.Info("keeper upgraded", "who", who(r), "from", done.From, "version", done.Version, "pid", done.PID)
	return writeJSON(w, http.StatusOK, done)
}

// nodeKeeper tells of this node's keeper.
func (s *Server) nodeKeeper(w http.ResponseWriter, r *http.Request) error {
	k, err := s.o.Keeper.Status(r.Context())
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, k)
}

// keeperStatus asks a node for its keeper.
func (s *Server) keeperStatus(ctx context.Context, node string) (*spec.KeeperStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, ownerTimeout)
	defer cancel()
	if node == s.o.Node {
		k, err := s.o.Keeper.Status(ctx)
		if err != nil {
			return nil, err
		}
		return &k, nil
	}
	c, err := s.nodeClient(node)
	if err != nil {
		return nil, err
	}
	k, err := c.NodeKeeper(ctx)
	if err != nil {
		return nil, err
	}
	return &k, nil
}
