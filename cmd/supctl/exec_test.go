package main

import (
	"context"
	"strings"
	"testing"

	"supd/supervisor/server/servertest"
)

// The command's exit status is supctl's; what kept it from running has its own.
func TestExecStatus(t *testing.T) {
	t.Parallel()
	n := servertest.Story()
	n.Name = n.View().MemberNamed("default", "web-0").Node
	addr := serve(t, n)
	for _, c := range []struct {
		args, stdin    string
		status         int
		stdout, stderr string
	}{
		{"exec web-0 -- say -l hi", "", 0, "default/web-0 main: say -l hi\n", "to stderr\n"},
		{"exec -i m/web-0 -- cat", "input", 0, "input", ""},
		{"exec -it web-0 -- cat", "input", 0, "input", "Unable to use a TTY - input is not a terminal\n"},
		{"exec web-0 -- cat", "input", 0, "", ""},
		{"exec web-0 -- exit 0", "", 0, "", ""},
		{"exec web-0 -- exit 3", "", 3, "", "command terminated with exit code 3\n"},
		{"exec web-0 -- exit SIGTERM", "", 143, "", "command terminated with exit code 143 (SIGTERM)\n"},
		{"exec web-0 -- exit 37", "", 37, "", "command terminated with exit code 37\n"},
		{"exec web-0 -- missing", "", 127, "", "supctl: cannot run missing in member web-0: it is not in PATH\n"},
		{"exec web-0 cat", "", 2, "", "supctl: want MEMBER -- COMMAND [ARG...]\n"},
		{"exec -- web-0 cat", "", 2, "", "supctl: want MEMBER -- COMMAND [ARG...]\n"},
		{"exec sts/web -- cat", "", 2, "", "supctl: want a member, not a statefulset\n"},
		{"exec web-7 -- cat", "", 3, "", "supctl: there is no member web-7 in namespace default\n"},
	} {
		r := call(t, t.Context(), n, c.stdin, append([]string{"--addr", addr}, strings.Fields(c.args)...)...)
		if r.status != c.status || r.stdout != c.stdout || r.stderr != c.stderr {
			t.Errorf("supctl %s = %d %q %q, want %d %q %q", c.args, r.status, r.stdout, r.stderr, c.status, c.stdout, c.stderr)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r := call(t, ctx, n, "", "--addr", addr, "exec", "web-0", "--", "hang"); r.status == 0 {
		t.Errorf("interrupted: %+v", r)
	}
}

func TestParsePlace(t *testing.T) {
	t.Parallel()
	for arg, want := range map[string]place{
		"file":           {"", "file"},
		"./x:y":          {"", "./x:y"},
		"/a/x:y":         {"", "/a/x:y"},
		"web-0:/etc":     {"web-0", "/etc"},
		"m/web-0:a:b":    {"web-0", "a:b"},
		"pod/web-0:data": {"web-0", "data"},
	} {
		if got, err := parsePlace(arg); err != nil || got != want {
			t.Errorf("%s: %+v, %v, want %+v", arg, got, err, want)
		}
	}
	for _, arg := range []string{"", ":x", "web-0:", "sts/web:x"} {
		if got, err := parsePlace(arg); err == nil {
			t.Errorf("%s: %+v, want an error", arg, got)
		}
	}
	for p, want := range map[string]string{"a/b": "b", "a/b/": "b", "a/.": ".", ".": ".", "/": ".", "b": "b", "..": ".."} {
		if got := lastName(p); got != want {
			t.Errorf("%s: %s, want %s", p, got, want)
		}
	}
}
