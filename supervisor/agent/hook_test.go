package agent

import (
	"context"
	"errors"
	"strings"
	"testing"

	"supd/supervisor/keeper"
	"supd/supervisor/spec"
)

// hooked is a process with hooks of these names, each of which runs /hook/NAME.
func hooked(name string, hooks ...string) spec.Process {
	p := sleeper(name)
	p.Hooks = spec.Hooks{}
	for _, h := range hooks {
		p.Hooks[h] = spec.Hook{Command: []string{"/hook/" + h, "${member.name}"}}
	}
	return p
}

// hookRuns answers hooks by their command; others succeed.
func (w *world) hookRuns(f func(ctx context.Context, r keeper.Run) (keeper.RunResult, error)) {
	w.keeper.runs(func(ctx context.Context, r keeper.Run) (keeper.RunResult, error) {
		if strings.HasPrefix(r.Argv[0], "/hook/") {
			return f(ctx, r)
		}
		return keeper.RunResult{}, nil
	})
}

func runsOf(calls []string, command string) (n int) {
	for _, c := range calls {
		if strings.Contains(c, command) {
			n++
		}
	}
	return n
}

// told is a hook's status in the log.
func (w *world) told(i int, hook string) spec.HookStatus {
	w.t.Helper()
	for _, h := range w.member(i).Seen.Hooks {
		if h.Name == hook {
			return h
		}
	}
	w.t.Fatalf("the log knows nothing of hook %s of web-%d: %+v", hook, i, w.member(i).Seen.Hooks)
	return spec.HookStatus{}
}

func (w *world) events(reason string) (out []string) {
	for e := range w.View().Events() {
		if e.Reason == reason {
			out = append(out, e.Message)
		}
	}
	return out
}

func TestHookErrorsAreTheHooksOwn(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		want bool
	}{
		{failf(HookFailed, "x"), true},
		{failf(KeeperDown, "x"), false},
		{context.Canceled, false},
		{errors.New("disk"), false},
	} {
		if got := failedHook(c.err); got != c.want {
			t.Errorf("%v: %v, want %v", c.err, got, c.want)
		}
	}
}
