package gossip

import (
	"context"
	"log"
	"log/slog"
	"strings"
)

// adapt makes memberlist's logger out of ours. What it calls errors are packets
// lost and nodes not reached: nothing an operator need hear of, beside what the
// table tells.
func adapt(to *slog.Logger) *log.Logger { return log.New(lines{to}, "", 0) }

// lines takes a line per Write, such as "[WARN] memberlist: text".
type lines struct{ log *slog.Logger }

func (l lines) Write(b []byte) (int, error) {
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
