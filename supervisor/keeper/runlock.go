package keeper

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

func (k *Keeper) runLock(run *Run) string {
	if run.Lock != "" {
		return run.Lock
	}
	return k.files.defaultLock(key{run.Member, run.Process})
}

// startLock makes sure that a Run that is part of a start may begin, and takes its lock. The number tells it from others.
func (k *Keeper) startLock(run *Run) (lock int, number uint64, err error) {
	key := key{run.Member, run.Process}
	m := k.member(run.Member)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.mayStart(run.Epoch); err != nil {
		return -1, 0, err
	}
	if p := m.procs[run.Process]; p != nil && !p.status.Gone() {
		return -1, 0, fmt.Errorf("%w: %s is %s in epoch %d", ErrBusy, key, p.status.State, p.start.Epoch)
	}
	if k.cg != nil {
		procs, err := cgroupProcs(k.cg.process(key))
		if err != nil {
			return -1, 0, err
		}
		if len(procs) > 0 {
			return -1, 0, fmt.Errorf("%w: %s: process %s is in its cgroup", ErrBusy, key, pidList(procs))
		}
	}
	if err := k.mustBeMine(); err != nil {
		return -1, 0, err
	}
	path := k.runLock(run)
	if lock, err = k.takeLock(path); err != nil {
		return -1, 0, err
	}
	if m.runs == nil {
		m.runs = map[string]uint64{}
	}
	m.runs[path] = k.nextRun()
	return lock, m.runs[path], nil
}

// endLeft kills what a Run has left behind with its lock, unless somebody else has that by now.
func (b *beside) endLeft() error {
	m := b.k.member(b.key.member)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.runs[b.lock] != b.number {
		return nil
	}
	if err := endHolders(b.lock); err != nil {
		return err
	}
	delete(m.runs, b.lock)
	return nil
}

// runsLeft refuses while a Run that was part of a start is not known to be gone. Called with the member's lock held.
func (m *member) runsLeft() error {
	for path := range m.runs {
		free, err := lockFree(path)
		if err != nil {
			return err
		}
		if !free {
			return fmt.Errorf("%w: a step of a start of %s still runs: %s is held by %s", ErrBusy, m.name, path, holderText(path))
		}
		delete(m.runs, path)
	}
	return nil
}

// endHolders kills those who inherited a lock, and waits until it is free. One held by somebody who can't be seen is
// ErrLocked.
func endHolders(path string) error {
	for until := time.Now().Add(auxTimeout); ; {
		free, err := lockFree(path)
		if err != nil || free {
			return err
		}
		holders, err := lockHolders(path)
		for _, s := range holders {
			err = errors.Join(err, signalProcess(s, unix.SIGKILL))
		}
		if err != nil {
			return err
		}
		if time.Now().After(until) { // who is being killed can't be seen, and soon has it no more
			return fmt.Errorf("%w: %s is held by %s", ErrLocked, path, holderText(path))
		}
		time.Sleep(drainFirst) // they end as soon as they are scheduled
	}
}

// endAux kills what an earlier keeper ran beside members: nobody waits for it any more.
func (k *Keeper) endAux() error {
	if k.cg == nil {
		return nil
	}
	dirs, err := filepath.Glob(filepath.Join(k.cg.root, "*", "*", "aux"))
	if err != nil {
		return err
	}
	var errs []error
	for _, dir := range dirs {
		full, err := populated(dir)
		if err == nil && full {
			err = errors.Join(killCgroup(dir), waitEmpty(dir))
		}
		if err == nil {
			err = removeCgroup(dir)
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, fmt.Errorf("cannot end what ran beside a member: %w", err))
		}
	}
	return errors.Join(errs...)
}
