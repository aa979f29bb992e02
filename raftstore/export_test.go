package raftstore

import (
	"encoding/binary"
	"fmt"

	"github.com/hashicorp/raft"

	"supd/raftstore/state"
)

// WatchStable has said called after each term or vote that is on disk. Before Run.
func (s *Store) WatchStable(said func(key string, value uint64)) {
	s.stable.StableStore = watched{s.stable.StableStore, said}
}

type watched struct {
	raft.StableStore

	said func(string, uint64)
}

func (w watched) SetUint64(k []byte, v uint64) error {
	err := w.StableStore.SetUint64(k, v)
	if err == nil {
		w.said(string(k), v)
	}
	return err
}

// Stable reads a term of the vote or of the node, 0 if there is none.
func (s *Store) Stable(key string) uint64 {
	b, err := s.bolt.Get([]byte(key))
	if err != nil || len(b) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

// Whole is the View with every entry of the log, committed or not: what this node can answer for after a crash. It ends at
// the first that is missing.
func (s *Store) Whole() (*state.View, error) {
	v, _, err := s.readSnapshot()
	if err != nil {
		return nil, err
	}
	first, err := s.bolt.FirstIndex()
	if err != nil {
		return nil, err
	}
	last, err := s.bolt.LastIndex()
	if err != nil {
		return nil, err
	}
	for i := max(first, v.Index+1); i <= last; i++ {
		var l raft.Log
		if err := s.bolt.GetLog(i, &l); err != nil {
			return nil, fmt.Errorf("entry %d of %d to %d: %w", i, first, last, err)
		}
		if l.Type == raft.LogCommand {
			v, _ = s.apply(v, &l)
		}
	}
	return v, nil
}
