package raftstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
)

// bbolt has sums of its two first pages only: a bit that flips in an entry, a term or a vote would be believed. So each has
// a sum of its own. What an earlier build wrote has none and is taken as it is; an earlier build reads what this one writes.

// sealed is the log, and what Raft keeps beside it, with a sum in each value.
type sealed struct{ *raftboltdb.BoltStore }

var (
	_ raft.LogStore    = sealed{}
	_ raft.StableStore = sealed{}
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sealWord begins a sum behind a value.
var sealWord = []byte("\x00sum1")

// seal is what stands behind a value.
func seal(parts ...[]byte) []byte {
	sum := crc32.Checksum(bytes.Join(parts, nil), castagnoli)
	return binary.BigEndian.AppendUint32(bytes.Clone(sealWord), sum)
}

// sealOf is an entry's.
func sealOf(l *raft.Log) []byte {
	head := binary.BigEndian.AppendUint64(nil, l.Index)
	head = binary.BigEndian.AppendUint64(head, l.Term)
	return seal(append(head, byte(l.Type)), l.Data)
}

// StoreLog stores one entry.
func (s sealed) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs stores entries. Those given are Raft's and are left as they are.
func (s sealed) StoreLogs(logs []*raft.Log) error {
	out := make([]*raft.Log, len(logs))
	for i, l := range logs {
		c := *l
		c.Extensions = sealOf(l)
		out[i] = &c
	}
	return s.BoltStore.StoreLogs(out)
}

// GetLog reads an entry; one that is not as it was stored is ErrDamaged.
func (s sealed) GetLog(index uint64, l *raft.Log) error {
	if err := s.BoltStore.GetLog(index, l); err != nil {
		return err
	}
	if l.Index != index || len(l.Extensions) > 0 && !bytes.Equal(l.Extensions, sealOf(l)) {
		return fmt.Errorf("%w: log entry %d is not as it was written", ErrDamaged, index)
	}
	l.Extensions = nil
	return nil
}

// Set stores a value of Raft's own.
func (s sealed) Set(k, v []byte) error {
	return s.BoltStore.Set(k, append(bytes.Clone(v), seal(k, v)...))
}

// SetUint64 stores a number.
func (s sealed) SetUint64(k []byte, v uint64) error {
	return s.Set(k, binary.BigEndian.AppendUint64(nil, v))
}

// Get reads a value; one that is not as it was stored is ErrDamaged.
func (s sealed) Get(k []byte) ([]byte, error) {
	b, err := s.BoltStore.Get(k)
	if err != nil {
		return nil, err
	}
	n := len(b) - len(sealWord) - crc32.Size
	if n < 0 || !bytes.HasPrefix(b[n:], sealWord) {
		return b, nil // an earlier build's
	}
	if !bytes.Equal(b[n:], seal(k, b[:n])) {
		return nil, fmt.Errorf("%w: %s is not as it was written", ErrDamaged, k)
	}
	return b[:n:n], nil
}

// GetUint64 reads a number.
func (s sealed) GetUint64(k []byte) (uint64, error) {
	b, err := s.Get(k)
	if err != nil {
		return 0, err
	}
	if len(b) != 8 {
		return 0, fmt.Errorf("%w: %s is no number", ErrDamaged, k)
	}
	return binary.BigEndian.Uint64(b), nil
}

// What is kept beside the log. The first in order is ours; with it the others are all there, so one that is missing is seen.
const (
	keyOwner    = "0owner" // the server whose log this is
	keyTerm     = "CurrentTerm"
	keyVoteTerm = "LastVoteTerm"
	keyVoteFor  = "LastVoteCand"
)

// own has the store know whose it is: with another server's log this one would forget what it voted for and acknowledged.
func (s *Store) own() error {
	switch b, err := s.bolt.Get([]byte(keyOwner)); {
	case err == nil && string(b) == s.o.ID:
		return nil
	case err == nil:
		return fmt.Errorf("%w: it is that of server %s, and this is server %s; bring the right one back", ErrForeign, b, s.o.ID)
	case !errors.Is(err, raftboltdb.ErrKeyNotFound):
		return err
	}
	if s.closed {
		return nil // nothing is changed
	}
	for _, key := range []string{keyTerm, keyVoteTerm, keyVoteFor} {
		_, err := s.bolt.Get([]byte(key))
		if errors.Is(err, raftboltdb.ErrKeyNotFound) && key == keyVoteFor {
			err = s.bolt.Set([]byte(key), nil)
		} else if errors.Is(err, raftboltdb.ErrKeyNotFound) {
			err = s.bolt.SetUint64([]byte(key), 0)
		}
		if err != nil {
			return err
		}
	}
	return s.bolt.Set([]byte(keyOwner), []byte(s.o.ID))
}

// checkKept makes sure that terms and votes are there and can be read.
func (s *Store) checkKept() error {
	_, err := s.bolt.Get([]byte(keyOwner))
	owned := err == nil
	if err != nil && !errors.Is(err, raftboltdb.ErrKeyNotFound) {
		return err
	}
	for _, key := range []string{keyTerm, keyVoteTerm} {
		n, err := s.bolt.GetUint64([]byte(key))
		missing := errors.Is(err, raftboltdb.ErrKeyNotFound)
		if err != nil && !missing {
			return err
		}
		if missing && owned {
			return fmt.Errorf("%w: %s is missing", ErrDamaged, key)
		}
		if key == keyTerm && n == 0 && s.hadRaft {
			return fmt.Errorf("%w: there is an entry or a snapshot, but no term: the log, raft.db, is not the one that belongs to it", ErrDamaged)
		}
	}
	_, err = s.bolt.Get([]byte(keyVoteFor))
	if errors.Is(err, raftboltdb.ErrKeyNotFound) && !owned {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w: %s: %v", ErrDamaged, keyVoteFor, err)
	}
	return nil
}
