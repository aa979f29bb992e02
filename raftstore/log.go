package raftstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// adaptLogger gives raft's messages to slog. What raft calls info is debug to an
// operator.
func adaptLogger(l *slog.Logger) hclog.Logger {
	return &hcLogger{l: l.With("part", "raft"), said: &repeats{at: map[string]time.Time{}}}
}

type hcLogger struct {
	l    *slog.Logger
	said *repeats
	name string
	args []any
}

var _ hclog.Logger = (*hcLogger)(nil)

func (h *hcLogger) Log(level hclog.Level, msg string, args ...any) {
	to := slog.LevelDebug
	switch level {
	case hclog.Warn:
		to = slog.LevelWarn
	case hclog.Error:
		to = slog.LevelError
	case hclog.NoLevel, hclog.Trace, hclog.Debug, hclog.Info, hclog.Off:
	}
	if msg == "failed to get previous log" {
		to = slog.LevelDebug // a nudge was faster than the entry itself: of no consequence
	}
	ctx := context.Background() // hclog has none to pass on
	if !h.l.Enabled(ctx, to) {
		return
	}
	out := make([]any, 0, len(args))
	for _, a := range args {
		if f, ok := a.(hclog.Format); ok && len(f) > 0 {
			a = fmt.Sprintf(fmt.Sprint(f[0]), f[1:]...)
		}
		if a == "error" {
			a = "err"
		}
		if err, ok := a.(error); ok && errors.Is(err, net.ErrClosed) {
			to = slog.LevelDebug // the end of this node, or of a connection's other end
		}
		out = append(out, a)
	}
	if to >= slog.LevelWarn && h.said.again(msg) {
		to = slog.LevelDebug
	}
	h.l.Log(ctx, to, msg, out...)
}

// repeats keeps raft from saying the same several times a second, for hours, when a
// disk is full or a node is away.
type repeats struct {
	mu sync.Mutex // guards at
	at map[string]time.Time
}

// again tells whether a message was said a moment ago.
func (r *repeats) again(msg string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if now.Sub(r.at[msg]) < 10*time.Second {
		return true
	}
	r.at[msg] = now
	return false
}

func (h *hcLogger) Trace(msg string, args ...any) { h.Log(hclog.Trace, msg, args...) }
func (h *hcLogger) Debug(msg string, args ...any) { h.Log(hclog.Debug, msg, args...) }
func (h *hcLogger) Info(msg string, args ...any)  { h.Log(hclog.Info, msg, args...) }
func (h *hcLogger) Warn(msg string, args ...any)  { h.Log(hclog.Warn, msg, args...) }
func (h *hcLogger) Error(msg string, args ...any) { h.Log(hclog.Error, msg, args...) }

func (h *hcLogger) IsTrace() bool { return false }
func (h *hcLogger) IsDebug() bool { return h.enabled(slog.LevelDebug) }
func (h *hcLogger) IsInfo() bool  { return h.enabled(slog.LevelDebug) }
func (h *hcLogger) IsWarn() bool  { return h.enabled(slog.LevelWarn) }
func (h *hcLogger) IsError() bool { return h.enabled(slog.LevelError) }

func (h *hcLogger) enabled(l slog.Level) bool { return h.l.Enabled(context.Background(), l) }

func (h *hcLogger) ImpliedArgs() []any { return h.args }
func (h *hcLogger) Name() string       { return h.name }

func (h *hcLogger) With(args ...any) hclog.Logger {
	return &hcLogger{l: h.l.With(args...), said: h.said, name: h.name, args: append(h.args[:len(h.args):len(h.args)], args...)}
}

func (h *hcLogger) Named(name string) hclog.Logger {
	return h.ResetNamed(strings.TrimPrefix(h.name+"."+name, "."))
}

func (h *hcLogger) ResetNamed(name string) hclog.Logger {
	return &hcLogger{l: h.l, said: h.said, name: name, args: h.args}
}

// SetLevel does nothing: slog's handler decides.
func (h *hcLogger) SetLevel(hclog.Level)  {}
func (h *hcLogger) GetLevel() hclog.Level { return hclog.NoLevel }

func (h *hcLogger) StandardLogger(o *hclog.StandardLoggerOptions) *log.Logger {
	return log.New(h.StandardWriter(o), "", 0)
}

func (h *hcLogger) StandardWriter(*hclog.StandardLoggerOptions) io.Writer { return lineWriter{h} }

type lineWriter struct{ h *hcLogger }

func (w lineWriter) Write(b []byte) (int, error) {
	w.h.Debug(strings.TrimSpace(string(b)))
	return len(b), nil
}
