package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// forgottenFile in the data directory says that the cluster has given this node up.
// Nothing is ever started with such a directory again.
const forgottenFile = "forgotten.json"

type forgottenNote struct {
	ID  string    `json:"id"`
	Why string    `json:"why"`
	At  time.Time `json:"at"`
}

// recall reads the note of an earlier run, before anything else is done.
func (l *lease) recall() {
	why := recallForgotten(l.o.DataDir, l.o.Self().ID)
	l.mu.Lock()
	l.forgotten = why
	l.mu.Unlock()
	if why != "" {
		l.log.Error("this node was forgotten: nothing is started with its data directory any more", "reason", why)
	}
}

// recallForgotten reads a note. One that is there and can't be read counts; one of another
// id does not: the directory has begun anew since.
func recallForgotten(dataDir, id string) string {
	b, err := os.ReadFile(filepath.Join(dataDir, forgottenFile))
	var n forgottenNote
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return ""
	case err != nil:
		return "the note that it was forgotten cannot be read: " + err.Error()
	case json.Unmarshal(b, &n) != nil || n.Why == "":
		return "it was forgotten; the note of it is damaged"
	case n.ID != id:
		return ""
	}
	return n.Why
}

// forget notes, for good, that the cluster has given this node up. It returns the error
// that heartbeats end with.
func (l *lease) forget(why string) error {
	l.mu.Lock()
	first := l.forgotten == ""
	if first {
		l.forgotten, l.until, l.registered = why, 0, nil
	}
	l.mu.Unlock()
	if first {
		l.log.Error("the cluster has forgotten this node: all its members are stopped, their directories are kept and marked, and nothing is started here again",
			"reason", why, "next", "keep the data directory for what is in it; start supd with an empty one to join anew")
		if err := l.noteForgotten(why); err != nil {
			l.log.Error("cannot note that this node was forgotten; it is asked for again at the next start", "err", err)
		}
	}
	l.box.put(func() {}) // the loop ends what runs
	return fmt.Errorf("this node was forgotten: %s", why)
}

func (l *lease) noteForgotten(why string) error {
	b, err := json.MarshalIndent(forgottenNote{ID: l.o.Self().ID, Why: why, At: time.Now().UTC()}, "", "  ")
	if err != nil {
		return err
	}
	f := renderedFile{
		Name: filepath.Join(l.o.DataDir, forgottenFile), Base: l.o.DataDir, Rel: forgottenFile,
		Content: append(b, '\n'), Mode: 0o600, UID: -1, GID: -1,
	}
	return f.write()
}

// gone is why this node was forgotten, or "".
func (l *lease) gone() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.forgotten
}

// Forgotten is why the cluster has given this node up, or "". Once it has, that stays.
func (a *Agent) Forgotten() string { return a.lease.gone() }

// markAll marks every directory of a forgotten node, until all are.
func (t *trash) markAll(ctx context.Context) {
	why := "its node was forgotten: " + t.lease.gone()
	for failures := 1; ctx.Err() == nil; failures++ {
		err := t.o.Pool.AbandonAll(why)
		if err == nil {
			return
		}
		if failures == 1 {
			t.o.Logger.Warn("cannot mark all directories of this forgotten node; it is tried again", "err", err)
		}
		pause(ctx, backoff(failures, time.Second, time.Minute))
	}
}

// bootID names the host's present boot, "" if it can't be read.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
