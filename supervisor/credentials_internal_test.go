package supervisor

import (
	"log/slog"
	"strings"
	"testing"

	"supd/configs"
)

func TestMakeSeed(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		has   lacks
		makes bool
		err   string
	}{
		"new, alone":                         {lacks{expect: 1}, true, ""},
		"new, with others":                   {lacks{expect: 3}, false, "supd secret"},
		"new, with others, by the secret":    {lacks{expect: 3, ca: true}, false, ""},
		"new, waits":                         {lacks{}, false, ""},
		"member":                             {lacks{ca: true, member: true, others: 2}, false, ""},
		"member of before TLS, alone":        {lacks{member: true, expect: 1}, true, ""},
		"member of before TLS, with others":  {lacks{member: true, others: 2, expect: 3}, false, "bootstrap_secret_file"},
		"first of before TLS, others joined": {lacks{member: true, others: 2, expect: 1}, false, "bootstrap_secret_file"},
	} {
		makes, err := makeSeed(x.has)
		if makes != x.makes || (err == nil) != (x.err == "") || err != nil && !strings.Contains(err.Error(), x.err) {
			t.Errorf("%s: %t, %v", name, makes, err)
		}
	}
}

// TestTrustedWhileStarting: handshakes come when they like; before the store is open nobody is trusted, and asking is no race.
func TestTrustedWhileStarting(t *testing.T) {
	t.Parallel()
	c := configs.DefaultDaemon()
	c.Name, c.DataDir, c.Raft = "node-1", t.TempDir(), "127.0.0.1:0"
	c.BootstrapSecret = "the secret of all daemons in these tests"
	d := &Daemon{o: Options{Config: c}, log: slog.New(slog.DiscardHandler)}
	defer func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}()
	for _, step := range []func() error{d.openDir, d.openPKI} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.trusted("node-2.00000002"); err == nil || !strings.Contains(err.Error(), "still starting") {
		t.Errorf("before the store is open: %v, want nobody trusted", err)
	}
	asked, opened := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(asked)
		for d.trusted("node-2.00000002") != nil {
			select {
			case <-opened:
				return
			default:
			}
		}
	}()
	err := d.openStore()
	close(opened)
	<-asked
	if err != nil {
		t.Fatal(err)
	}
	if err := d.trusted("node-2.00000002"); err != nil {
		t.Errorf("after the store is open: %v", err)
	}
}
