package keeper_test

import (
	"os/exec"
	"testing"
	"time"

	"supd/supervisor/keeper"
)

// What a program tells by sd_notify is heard after an upgrade as before it, on the same socket.
func TestUpgradeKeepsHearing(t *testing.T) {
	t.Parallel()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("needs python3")
	}
	r := newRig(t, "")
	s := r.shell("d/a", `exec "$1" -c '
import os, signal, socket, time
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
n = os.environ["NOTIFY_SOCKET"]
s.connect("\0" + n[1:] if n[0] == "@" else n)
signal.signal(signal.SIGUSR1, lambda *a: s.send(b"READY=1\nSTATUS=after"))
s.send(b"STATUS=before")
while True: time.sleep(0.01)'`, python)
	s.Notify, s.StopTimeout = true, 0
	was := r.mustStart(s)
	within(t, "its first words", func() bool { return r.status("d/a").Notify.Text == "before" }) // a text alone is no news
	r.mustUpgrade()
	if err := r.Signal(t.Context(), "d/a", "main", "USR1"); err != nil {
		t.Fatal(err)
	}
	now := r.see("d/a", "its next words", func(s keeper.Status) bool { return s.Notify.Ready && s.Notify.Text == "after" })
	if now.PID != was.PID || now.StartedAt.Sub(was.StartedAt).Abs() > time.Millisecond {
		t.Errorf("it was %+v, and is %+v", was, now)
	}
}
