package raftstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
)

// walkBolt reads every page that can be reached, so that damage shows now, and returns
// which entries there are. It opens the log for reading only: opening it for writing looks
// for free pages in a goroutine of bbolt's own, whose panic on a damaged page nobody can catch.
func walkBolt(path string) (entries []uint64, err error) {
	if info, serr := os.Stat(path); errors.Is(serr, fs.ErrNotExist) || serr == nil && info.Size() == 0 {
		return nil, nil
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockWait, ReadOnly: true})
	if err != nil {
		return nil, boltError(err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := checkPages(path, db.Info().PageSize); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	err = db.View(func(tx *bbolt.Tx) error {
		buckets := 0
		err := tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
			buckets++
			switch string(name) {
			case "logs":
				return inOrder(b, func(k []byte) error {
					if len(k) != 8 {
						return fmt.Errorf("an entry is named %q", k)
					}
					entries = append(entries, binary.BigEndian.Uint64(k))
					return nil
				})
			case "conf":
				return inOrder(b, known)
			}
			return fmt.Errorf("it has a part named %q", name)
		})
		if err == nil && buckets == 1 {
			err = errors.New("one of its two parts is missing")
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	return entries, nil
}

// Owner is the id of the server whose store is in dir, as the store itself says. Nobody may
// have it open.
func Owner(dir string) (owner string, err error) {
	err = guarded(func() error {
		owner, err = readOwner(dir)
		return err
	})
	return owner, err
}

func readOwner(dir string) (string, error) {
	path := filepath.Join(dir, "raft.db")
	if _, err := os.Stat(path); err != nil {
		return "", err
	}
	if _, err := walkBolt(path); err != nil {
		return "", err
	}
	b, err := raftboltdb.New(raftboltdb.Options{Path: path, BoltOptions: &bbolt.Options{Timeout: lockWait, ReadOnly: true}})
	if err != nil {
		return "", boltError(err)
	}
	owner, err := sealed{b}.Get([]byte(keyOwner))
	return string(owner), errors.Join(err, b.Close())
}

// inOrder reads a bucket, whose keys must ascend.
func inOrder(b *bbolt.Bucket, key func([]byte) error) error {
	last := ""
	return b.ForEach(func(k, v []byte) error {
		if v == nil || string(k) <= last {
			return fmt.Errorf("what is named %q is out of place", k)
		}
		last = string(k)
		return key(k)
	})
}

// known refuses what neither Raft nor this package keeps: a name with a bit flipped is a value lost.
func known(k []byte) error {
	switch name := string(k); {
	case name == keyOwner, name == keyTerm, name == keyVoteTerm, name == keyVoteFor:
		return nil
	}
	return fmt.Errorf("it keeps something named %q", k)
}
