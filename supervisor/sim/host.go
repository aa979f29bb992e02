package sim

import (
	"bytes"
	"time"

	"supd/raftstore/state"
)

// host is a machine: what is on its disk, its keeper with the processes, and its
// daemon, each of which can go away by itself.
type host struct {
	w        *World
	name, id string
	up       bool // has power
	cut      bool // no network
	paused   bool // the daemon is stopped and will go on
	skew     time.Duration

	// On disk.
	snapshot      []byte
	snapshotIndex int
	dirs          map[string]*dir                // by volume uid
	gaveUp        map[string]uint64              // epochs the keeper refuses, by identity
	started       map[string]uint64              // epochs the keeper has started, by identity
	hooks         map[string]map[uint64]*hookRun // by identity and run

	// The keeper's, gone with the machine.
	procs map[string]*process
	until time.Duration // the lease's end, as supd told it last; -1: none
	boots int
	gone  bool // noted on disk: the cluster has forgotten this host

	// The daemon's, gone with it.
	view  *state.View
	agent *agent
}

// dir is a volume's container on a host's disk.
type dir struct {
	uid, identity, template string
	claim                   uint64
	trashed                 bool
	used                    bool // a process has run on it
	marked                  bool // says on disk that it was abandoned
	away                    bool // its disk is not mounted
	missed                  bool // a start has not found it
}

func newHost(w *World, name string) *host {
	return &host{
		w: w, name: name, id: name + ".id", up: true, dirs: map[string]*dir{}, gaveUp: map[string]uint64{},
		started: map[string]uint64{}, hooks: map[string]map[uint64]*hookRun{}, procs: map[string]*process{}, until: -1,
	}
}

// talks tells whether the host's daemon can be talked to.
func (h *host) talks() bool { return h.up && h.agent != nil && !h.cut && !h.paused }

// clock is what the host believes the time to be.
func (h *host) clock() time.Time { return birth.Add(h.w.now + h.skew) }

// startDaemon restores the View from the snapshot on disk; the tail of the log comes
// when somebody who leads says how far it is committed.
func (w *World) startDaemon(h *host) {
	if !h.up || h.agent != nil {
		return
	}
	h.view = state.New()
	if h.snapshot != nil {
		v, err := state.ReadSnapshot(bytes.NewReader(h.snapshot))
		if err != nil {
			w.check.fail("S14", "%s cannot read its snapshot: %v", h.name, err)
			return
		}
		h.view = v
		w.check.hash(h)
	}
	h.paused = false
	h.agent = newAgent(h)
	w.say("supd of %s starts (run %s) at index %d", h.name, h.agent.run, h.view.Index)
}

func (w *World) killDaemon(h *host) {
	if h.agent == nil {
		return
	}
	w.say("supd of %s is killed", h.name)
	h.agent, h.view, h.paused = nil, nil, false
	if w.lead != nil && w.lead.host == h {
		w.depose("its supd was killed")
	}
}

// follow applies some of the log that this host has not applied yet.
func (h *host) follow() {
	if !h.talks() || h.w.lead == nil || h.w.check.forgotten[h.id] {
		return // who was forgotten is no part of the log's replication any more
	}
	behind := len(h.w.log) - int(h.view.Index)
	if behind <= 0 {
		return
	}
	n := behind
	if !h.w.calm {
		n = h.w.rng.IntN(behind + 1)
	}
	h.catchUp(int(h.view.Index) + n)
}

func (h *host) catchUp(to int) {
	if h.view == nil {
		return
	}
	for int(h.view.Index) < to && h.w.check.broken == nil {
		i := h.view.Index + 1
		e, err := state.Decode(h.w.log[i-1])
		if err != nil {
			h.w.check.fail("S14", "%s cannot decode entry %d: %v", h.name, i, err)
			return
		}
		v, res := h.w.m.Apply(h.view, i, e)
		h.view = v
		h.w.check.applied(h, i, res)
	}
}

// saveSnapshot writes the View to disk, as Raft does now and then.
func (h *host) saveSnapshot() {
	if h.view == nil || h.view.Index == 0 {
		return
	}
	var b bytes.Buffer
	if err := h.view.WriteSnapshot(&b); err != nil {
		h.w.check.fail("S14", "%s cannot write a snapshot: %v", h.name, err)
		return
	}
	h.snapshot, h.snapshotIndex = b.Bytes(), int(h.view.Index)
	h.w.say("snapshot on %s at index %d", h.name, h.view.Index)
}

// powerOff takes everything but the disk.
func (w *World) powerOff(h *host) {
	if !h.up {
		return
	}
	w.say("%s loses power", h.name)
	w.killDaemon(h)
	for _, id := range sortedKeys(h.procs) {
		w.check.stopped(h, h.procs[id], true)
		delete(h.procs, id)
	}
	h.up, h.until = false, -1
	h.boots++
}

func (w *World) powerOn(h *host) {
	if h.up {
		return
	}
	w.say("%s has power again", h.name)
	h.up = true
	if w.disks != nil && w.disks.IntN(2) == 0 {
		w.unmount(h) // a disk did not come back with it
	}
}
