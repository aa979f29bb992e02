package keeper

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestBackoff(t *testing.T) {
	const first, most = 100 * time.Millisecond, 400 * time.Millisecond
	for _, c := range []struct {
		name  string
		was   backoff
		lived time.Duration
		want  backoff
	}{
		{"a good life", backoff{}, time.Hour, backoff{}},
		{"just good enough", backoff{}, time.Second + 1, backoff{}},
		{"dies at once", backoff{}, time.Millisecond, backoff{1, 0}},
		{"again", backoff{1, 0}, time.Millisecond, backoff{2, first}},
		{"and again", backoff{2, first}, time.Millisecond, backoff{3, 2 * first}},
		{"and again", backoff{3, 2 * first}, time.Millisecond, backoff{4, most}},
		{"for ever", backoff{1000, most}, time.Millisecond, backoff{1001, most}},
		{"recovers", backoff{1000, most}, 2 * time.Second, backoff{}},
		{"lives, but shorter than its pause", backoff{3, time.Minute}, 2 * time.Second, backoff{4, most}},
	} {
		if got := c.was.next(c.lived, first, most, 0.5); got != c.want {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
	}
	low, high := backoff{streak: 1}.next(0, first, most, 0).pause, backoff{streak: 1}.next(0, first, most, 0.999).pause
	if low != 80*time.Millisecond || high < 119*time.Millisecond || high > 120*time.Millisecond {
		t.Errorf("the spread is %s to %s", low, high)
	}
	if got := (backoff{streak: 1}).next(0, 0, 0, 0.5).pause; got != DefaultBackoffFirst {
		t.Errorf("the default is %s", got)
	}
}

func FuzzNames(f *testing.F) {
	f.Add("default/web-0", "main")
	f.Add("", "..")
	f.Add("a_b@c%2F", ".hidden\x00")
	f.Fuzz(func(t *testing.T, member, process string) {
		k := key{member, process}
		got, err := keyOf(k.file())
		if err != nil || got != k {
			t.Errorf("%q became %q, then %v, %v", k, k.file(), got, err)
		}
		if n := fileName(member); n == "." || n == ".." || filepath.Base("x/"+n) != n && n != "" {
			t.Errorf("%q became %q", member, n)
		}
	})
}

func TestParseSignal(t *testing.T) {
	for name, want := range map[string]unix.Signal{
		"": unix.SIGTERM, "SIGINT": unix.SIGINT, "int": unix.SIGINT, "9": unix.SIGKILL, "SIGRTMIN+3": 37, "RTMIN": 34,
	} {
		if got, err := parseSignal(name); err != nil || got != want {
			t.Errorf("%q: got %v, %v, want %v", name, got, err, want)
		}
	}
	for _, name := range []string{"SIGNOT", "0", "65", "-9", "RTMIN+40", "RTMIN+x"} {
		if got, err := parseSignal(name); err == nil {
			t.Errorf("%q: got %v, want an error", name, got)
		}
	}
}

func TestCgroup2Mount(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mountinfo")
	for _, c := range []struct{ text, want string }{
		{"31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n", "/sys/fs/cgroup/unified"},
		{"41 31 0:38 / /sys/fs/cgroup ro,nosuid - cgroup2 cgroup2 rw\n", ""},
		{"41 31 0:38 / /a\\040b rw shared:9 - cgroup2 cgroup rw\n", "/a b"},
		{"", ""},
	} {
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := cgroup2Mount(path); got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%q: got %q, %v, want %q", c.text, got, err, c.want)
		}
	}
}

func TestWriteInPlace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "life")
	for _, l := range []life{{Version: 1, Message: "a long one, longer than the next"}, {Version: 1}, {Version: 1, Message: "x"}} {
		if err := writeInPlace(path, &l); err != nil {
			t.Fatal(err)
		}
		var got life
		if err := readFirstLine(path, &got); err != nil || got.Message != l.Message {
			t.Errorf("got %+v, %v, want %+v", got, err, l)
		}
	}
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st, err)
	}
}
