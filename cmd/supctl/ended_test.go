package main

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"supd/raftstore/state"
	"supd/supervisor/server/servertest"
)

// Whoever follows when his account is revoked is told so, and his script does not take it for an end that is well.
func TestAccessEndsWhileFollowing(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"logs", "web-0", "-f"},
		{"logs", "web", "--all-members", "-f"},
		{"events", "-w"},
		{"get", "members", "-w", "-o", "json"},
		{"wait", "sts/web", "--for", "replicas=9"},
		{"exec", "web-0", "-i", "--", "cat"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			t.Parallel()
			n := servertest.Story()
			n.Name = n.View().MemberNamed("default", "web-0").Node
			x := secure(t, n, "e", 0)
			made := call(t, t.Context(), n, "", "--addr", x.root, "auth", "create", "ci", "--role", "operator")
			file := writeFile(t, made.stdout)
			r, w := io.Pipe()
			in, keep := io.Pipe() // what exec reads goes on
			defer keep.Close()
			var errs bytes.Buffer
			a := &app{stdin: in, stdout: w, stderr: &errs, now: n.Now}
			if args[0] == "wait" { // it writes how far it is to standard error, and nothing else
				a.stdout, a.stderr = io.Discard, io.MultiWriter(w, &errs)
			}
			status := make(chan int, 1)
			go func() {
				status <- a.run(t.Context(), append([]string{"--addr", x.addr, "--token-file", file}, args...))
				_ = w.Close()
			}()
			if args[0] == "exec" {
				go func() { _, _ = io.WriteString(keep, "hello\n") }() // ends with the test, which closes it
			}
			if _, err := r.Read(make([]byte, 1)); err != nil {
				t.Fatalf("%v before it followed: %s", err, errs.String())
			}
			go func() { _, _ = io.Copy(io.Discard, r) }() // ends with the command
			n.Do(&state.RevokeAccount{Name: "ci"})
			if got := <-status; got != exitRefused || !strings.Contains(errs.String(), "access has ended: account ci was revoked") {
				t.Errorf("exit status %d, want %d; it says: %s", got, exitRefused, errs.String())
			}
		})
	}
}
