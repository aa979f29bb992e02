package gossip

import (
	"context"
	"log"
	"log/slog"
	"strings"
	"sync"
)

// adapt makes memberlist's logger out of ours. What it calls errors are packets
// lost and nodes not reached: nothing an operator need hear of, beside what the
// table tells.
func adapt(to *lines) *log.Logger { return log.New(to, "", 0) }

// lines takes a line per Write, such as "[WARN] memberlist: text", until it is
// ended: memberlist's timers may fire after it was shut down.
type lines struct {
	log *slog.Logger

	mu    sync.RWMutex // held for reading while something is logged
	ended bool
}

func (l *lines) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.ended {
		return len(b), nil
	}
	level, text := slog.LevelDebug, strings.TrimSpace(string(b))
	word, rest, ok := strings.Cut(text, "] ")
	if ok && strings.HasPrefix(word, "[") {
		text = strings.TrimPrefix(rest, "memberlist: ")
		word = word[1:]
	} else {
		word = ""
	}
	if word == "ERR" && strings.Contains(text, "Conflicting address") {
		level = slog.LevelWarn // two nodes with one data directory's id
	}
	l.log.Log(context.Background(), level, "memberlist", "level", word, "text", text)
	return len(b), nil
}
