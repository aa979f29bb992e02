package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"supd/supervisor/keeper"
	"supd/supervisor/spec"
)

// memory is what the agent must know of a member after a restart of the daemon. It
// is lost without harm: files are written once more, settings told once more, hooks run once more.
type memory struct {
	Version int `json:"version"`
	// Files are the hashes of what was last rendered, by place.
	Files map[string]string `json:"files,omitempty"`
	// Settings are what the keeper was last told, by process.
	Settings map[string]keeper.Settings `json:"settings,omitempty"`
	// Attempts count the tries of init steps and hooks that have not succeeded yet.
	Attempts map[string]int `json:"attempts,omitempty"`
	// Hooked are the execs whose postStart hook has succeeded, by process.
	Hooked map[string]execID `json:"hooked,omitempty"`
	// Runs are the latest of hooks that the log asked for.
	Runs map[string]spec.HookStatus `json:"runs,omitempty"`
	// Peers are what processes know of their peers.
	Peers map[string]peersMark `json:"peers,omitempty"`
	// Joined is the uid for which onJoin has succeeded, of a member without volumes.
	Joined string `json:"joined,omitempty"`
	// Stops are those of execs with a preStop hook, by process.
	Stops map[string]stopMark `json:"stops,omitempty"`
}

const memoryVersion = 1

func (j job) memoryFile() string { return filepath.Join(j.dir(), "agent.json") }

// recall reads the memory; what is missing, damaged or of another version is empty.
func (j job) recall() (*memory, error) {
	m := &memory{}
	b, err := os.ReadFile(j.memoryFile())
	switch {
	case err == nil:
		if json.Unmarshal(b, m) != nil || m.Version != memoryVersion {
			*m = memory{}
		}
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("cannot read what was rendered: %w", err)
	}
	m.Version = memoryVersion
	if m.Files == nil {
		m.Files = map[string]string{}
	}
	if m.Settings == nil {
		m.Settings = map[string]keeper.Settings{}
	}
	if m.Attempts == nil {
		m.Attempts = map[string]int{}
	}
	if m.Hooked == nil {
		m.Hooked = map[string]execID{}
	}
	if m.Runs == nil {
		m.Runs = map[string]spec.HookStatus{}
	}
	if m.Peers == nil {
		m.Peers = map[string]peersMark{}
	}
	if m.Stops == nil {
		m.Stops = map[string]stopMark{}
	}
	return m, nil
}

// store writes the memory, whole or not at all.
func (j job) store(m *memory) error {
	b, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("cannot write what was rendered: %w", err)
	}
	f := renderedFile{Name: j.memoryFile(), Base: j.dir(), Rel: filepath.Base(j.memoryFile()), Content: b, Mode: 0o600, UID: -1, GID: -1}
	if err := f.write(); err != nil {
		return writeFailure(f.Name, err)
	}
	return nil
}

// remember changes the memory. A member's step and its hook may do so at once.
func (j job) remember(change func(*memory)) error {
	j.memory.Lock()
	defer j.memory.Unlock()
	m, err := j.recall()
	if err != nil {
		return err
	}
	change(m)
	return j.store(m)
}
