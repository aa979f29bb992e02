package supervisor

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"supd/configs"
	"supd/supervisor/pki"
	"supd/supervisor/powertest"
)

func nodeIn(dir string) (*Daemon, *pki.Store, error) {
	d := &Daemon{o: Options{Config: configs.Daemon{Name: "n1", DataDir: filepath.Join(dir, "var", "lib", "supd")}}}
	if err := d.openDir(); err != nil {
		return nil, nil, err
	}
	store, err := pki.Open(filepath.Join(d.o.Config.DataDir, "pki"))
	return d, store, err
}

// TestPowerChild is what a node writes of itself outside of the log: identity, seed, certificate.
func TestPowerChild(t *testing.T) {
	dir, say := powertest.Child(t)
	d, store, err := nodeIn(dir)
	if err != nil {
		t.Fatal(err)
	}
	say("id %s", d.id.ID)
	say("key %x", store.Public())
	if store.Pin() == "" {
		seed, err := pki.NewSeed()
		if err == nil {
			err = store.SaveSeed(seed)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	say("pin %s", store.Pin())
	for range 3 {
		d.id.Ballot = fmt.Sprintf("b%x", rand.Uint32())
		if err := d.id.save(); err != nil {
			t.Fatal(err)
		}
		say("ballot %s", d.id.Ballot)
	}
	d.id.Member = true
	if err := d.id.save(); err != nil {
		t.Fatal(err)
	}
	say("member -")
}

// TestPowerCut: whatever a node was once known by it is known by for ever, and it opens.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	powertest.Lives(t, powertest.Life{
		Child: "TestPowerChild", Cuts: 300, PerLife: 30, KillWithin: 60,
		Check: func(dir string, said []string) error {
			d, store, err := nodeIn(dir)
			if err != nil {
				return err
			}
			now := map[string]string{
				"id": d.id.ID, "key": fmt.Sprintf("%x", store.Public()), "pin": store.Pin(), "ballot": d.id.Ballot, "member": "",
			}
			if d.id.Member {
				now["member"] = "-"
			}
			last := map[string]string{}
			for _, line := range said {
				what, v, _ := strings.Cut(line, " ")
				last[what] = v
			}
			delete(last, "ballot") // the next one may be there already; see below
			var errs []error
			for what, v := range last {
				if now[what] != v {
					errs = append(errs, fmt.Errorf("its %s is %q, and was %q", what, now[what], v))
				}
			}
			if bytes.Contains([]byte(strings.Join(said, "\n")), []byte("ballot ")) && now["ballot"] == "" {
				errs = append(errs, errors.New("its ballot is forgotten"))
			}
			return errors.Join(errs...)
		},
	})
}
