package raftstore

import (
	"time"

	"github.com/hashicorp/raft"
)

// transport is Raft's, whose pipelines never hang. In raft.Raft a leader that hears of a newer term stops reading a pipeline's
// answers, while who sends may wait for just that, for ever: then raft never ends, and its process neither.
type transport struct {
	*raft.NetworkTransport
	stuck time.Duration // longer than a send and the answers before it take
}

func (t transport) AppendEntriesPipeline(id raft.ServerID, target raft.ServerAddress) (raft.AppendPipeline, error) {
	p, err := t.NetworkTransport.AppendEntriesPipeline(id, target)
	if err != nil {
		return nil, err
	}
	return pipeline{p, t.stuck}, nil
}

type pipeline struct {
	raft.AppendPipeline
	stuck time.Duration
}

// AppendEntries sends. Where nobody has read the answers for too long the pipeline is closed, which ends the wait.
func (p pipeline) AppendEntries(args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	late := time.AfterFunc(p.stuck, func() {
		_ = p.Close() // it never fails
	})
	defer late.Stop()
	return p.AppendPipeline.AppendEntries(args, resp)
}
