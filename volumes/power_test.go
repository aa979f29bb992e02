package volumes_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"supd/supervisor/powertest"
	"supd/volumes"
)

const canary = "the member's own"

// keepCanary writes what a member would be sorry to lose, as a careful member does.
func keepCanary(t *testing.T, data string) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(data, "canary"), os.O_CREATE|os.O_WRONLY, 0o600)
	must(t, err)
	_, err = f.WriteString(canary)
	must(t, errors.Join(err, f.Sync(), f.Close()))
	d, err := os.Open(data)
	must(t, err)
	must(t, errors.Join(d.Sync(), d.Close()))
}

// TestPowerChild goes on with the volumes that it finds, and makes new ones: all that an agent does with them, in random order.
func TestPowerChild(t *testing.T) {
	dir, say := powertest.Child(t)
	p := open(t, volumes.Options{Dir: filepath.Join(dir, "pool", "volumes")})
	life := rand.Uint32()
	do := func(what string, c volumes.Claim, f func() error) {
		say("begin %s %s %d", what, c.UID, c.Ordinal)
		must(t, f())
		say("done %s %s %d", what, c.UID, c.Ordinal)
	}
	found, err := p.List()
	must(t, err)
	for _, f := range found {
		if f.Foreign { // an emptied one may have lost its marker: it is taken away below
			continue
		}
		c := claim(f.Marker.Ordinal, f.Marker.UID)
		switch f.Place { // who was killed asks again, whether or not it was done
		case volumes.PlaceTrash:
			do("trash", c, func() error { return p.Trash(made(c)) })
		case volumes.PlaceLive:
			do("restore", c, func() error { return p.Restore(made(c)) })
		}
		goOn(t, p, f.Place, c, do)
	}
	for i := range 8 {
		c := claim(i, fmt.Sprintf("%08x-%d", life+uint32(i), i))
		do("make", c, func() error { _, err := p.Ensure(t.Context(), c); return err })
		goOn(t, p, volumes.PlaceLive, c, do)
	}
}

// goOn does a few things with one volume.
func goOn(t *testing.T, p *volumes.Pool, place string, c volumes.Claim, do func(string, volumes.Claim, func() error)) {
	c = made(c)
	for range 1 + rand.IntN(6) {
		switch place {
		case volumes.PlaceLive:
			d, err := p.Where(c)
			must(t, err)
			switch rand.IntN(4) {
			case 0:
				epoch := rand.Uint64N(1000) + 1
				do(fmt.Sprintf("take=%d", epoch), c, func() error {
					if err := p.Take(c, epoch, "node-0"); !errors.Is(err, volumes.ErrOldEpoch) {
						return err
					}
					return p.Take(c, 2000, "node-0")
				})
			case 1:
				step := fmt.Sprintf("s%d", rand.IntN(3))
				do("once="+step, c, func() error { return p.OnceDone(c, step) })
			case 2:
				do("canary", c, func() error { keepCanary(t, d.Data); return nil })
			case 3:
				do("trash", c, func() error { return p.Trash(c) })
				place = volumes.PlaceTrash
			}
		case volumes.PlaceTrash:
			if rand.IntN(3) > 0 {
				do("restore", c, func() error { return p.Restore(c) })
				place = volumes.PlaceLive
				continue
			}
			do("empty", c, func() error { return p.Empty(t.Context(), c) })
			return
		case volumes.PlaceGone:
			do("empty", c, func() error { return p.Empty(t.Context(), c) })
			return
		}
	}
}

// past is what was acknowledged of one volume.
type past struct {
	claim   volumes.Claim
	made    bool
	canary  bool
	epoch   uint64
	once    []string
	place   string
	pending string // what had begun, and may be there or not
}

func remember(said []string) map[string]*past {
	all := map[string]*past{}
	for _, line := range said {
		f := strings.Fields(line)
		v := all[f[2]]
		if v == nil {
			var ordinal int
			mustScan(f[3], &ordinal)
			v = &past{claim: claim(ordinal, f[2]), place: volumes.PlaceLive}
			all[f[2]] = v
		}
		what, arg, _ := strings.Cut(f[1], "=")
		v.pending = what
		if f[0] == "begin" {
			continue
		}
		v.pending = ""
		switch what {
		case "make":
			v.made = true
		case "canary":
			v.canary = true
		case "take":
			var e uint64
			mustScan(arg, &e)
			v.epoch = max(v.epoch, e)
		case "once":
			v.once = append(v.once, arg)
		case "trash":
			v.place = volumes.PlaceTrash
		case "restore":
			v.place = volumes.PlaceLive
		case "empty":
			v.place = volumes.PlaceGone
		}
	}
	return all
}

// check looks at one volume after the cut, and then does what an agent would.
func (v *past) check(t *testing.T, p *volumes.Pool, found []volumes.Found) error {
	var places []string
	for _, f := range found {
		if f.Foreign && f.Place != volumes.PlaceGone {
			return fmt.Errorf("%s is foreign: %s", f.Path, f.Why)
		}
		if f.UID8 != v.claim.UID[:8] {
			continue
		}
		places = append(places, f.Place)
		if f.Place != volumes.PlaceGone && (f.Epoch < v.epoch || f.Why != "") {
			return fmt.Errorf("%s: epoch %d, was %d; %s", f.Path, f.Epoch, v.epoch, f.Why)
		}
		if f.Place != volumes.PlaceGone && v.canary {
			if b, err := os.ReadFile(filepath.Join(f.Path, "data", "canary")); err != nil || string(b) != canary {
				return fmt.Errorf("the member's file is %q, %v", b, err)
			}
		}
	}
	may := []string{v.place}
	switch v.pending {
	case "trash":
		may = append(may, volumes.PlaceTrash)
	case "restore":
		may = append(may, volumes.PlaceLive)
	case "empty":
		may = append(may, volumes.PlaceGone, "nowhere")
	}
	at := "nowhere"
	if len(places) == 1 {
		at = places[0]
	}
	switch {
	case len(places) > 1:
		return fmt.Errorf("it is in %v", places)
	case v.place == volumes.PlaceGone && at == "nowhere", !v.made && at == "nowhere":
	case !slices.Contains(may, at):
		return fmt.Errorf("it is %s, and may be %v (%s had begun)", at, may, v.pending)
	}
	return v.goOn(t, p, at)
}

// goOn makes sure that the way on is open.
func (v *past) goOn(t *testing.T, p *volumes.Pool, at string) error {
	c := v.claim
	c.Made = v.made
	switch {
	case v.place == volumes.PlaceGone || v.pending == "empty":
		return p.Empty(t.Context(), c)
	case at == volumes.PlaceTrash:
		if err := p.Restore(c); err != nil {
			return err
		}
	}
	d, err := p.Ensure(t.Context(), c)
	if err != nil {
		return err
	}
	if _, err := os.Stat(d.Data); err != nil {
		return err
	}
	steps, err := p.Once(c)
	for _, s := range v.once {
		if !slices.Contains(steps, s) {
			return fmt.Errorf("once step %s is forgotten: %v, %v", s, steps, err)
		}
	}
	return err
}

// TestPowerCut: after a cut at any point each volume is where it was last known to be, whole, with its epoch and what the
// member had synced; and whatever was under way can be done.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	powertest.Lives(t, powertest.Life{
		Child: "TestPowerChild", Cuts: 400, PerLife: 50, KillWithin: 300,
		Check: func(dir string, said []string) error {
			p := open(t, volumes.Options{Dir: filepath.Join(dir, "pool", "volumes")})
			found, err := p.List()
			if err != nil {
				return err
			}
			for uid, v := range remember(said) {
				if err := v.check(t, p, found); err != nil {
					return fmt.Errorf("volume %s of ordinal %d: %w", uid, v.claim.Ordinal, err)
				}
			}
			return nil
		},
	})
}

// mustScan reads a number that the program under test has said.
func mustScan(text string, into any) {
	if _, err := fmt.Sscan(text, into); err != nil {
		panic("line of the program under test: " + err.Error())
	}
}
