package keeper

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"supd/supervisor/powertest"
)

// TestPowerChild writes what a keeper does, in random order: epochs given up, records, lives, and takes records away.
func TestPowerChild(t *testing.T) {
	dir, say := powertest.Child(t)
	k := &Keeper{files: files{filepath.Join(dir, "keeper")}}
	if err := errors.Join(k.files.make(), k.files.settle()); err != nil {
		t.Fatal(err)
	}
	if _, err := k.files.recorded(); err != nil {
		t.Fatal(err)
	}
	for range 60 {
		m := &member{name: fmt.Sprintf("default/web-%d", rand.IntN(3))}
		p := key{m.name, "main"}
		epoch := rand.Uint64N(1 << 40)
		var err error
		switch rand.IntN(4) {
		case 0:
			was, rerr := k.files.readEpoch(m.name)
			if epoch = max(epoch, was); rerr == nil {
				err = m.saveFloor(k, epoch)
			}
			say("floor %s %d", m.name, epoch)
		case 1:
			say("begin %s 0", m.name)
			err = writeSynced(k.files.record(p), &record{Version: recordVersion, Start: Start{Member: p.member, Process: p.process, Epoch: epoch}})
			say("record %s %d", m.name, epoch)
		case 2:
			err = writeInPlace(k.files.life(p), &life{Version: firstVersion, Message: strings.Repeat("x", rand.IntN(5000))})
		case 3:
			say("begin %s 0", m.name)
			err = removeSynced(k.files.record(p))
			say("record %s 0", m.name)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestPowerCut: after a cut no epoch given up is forgotten, and each record is the last one, or that which was under way.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	powertest.Lives(t, powertest.Life{
		Child: "TestPowerChild", Cuts: 400, PerLife: 50, KillWithin: 300,
		Check: func(dir string, said []string) error {
			f := files{filepath.Join(dir, "keeper")}
			floors, records, open := map[string]uint64{}, map[string]uint64{}, map[string]bool{}
			for _, line := range said {
				var what, m string
				var epoch uint64
				if n, err := fmt.Sscan(line, &what, &m, &epoch); n == 0 { // some lines have fewer words
					panic("line of the program under test: " + err.Error())
				}
				switch what {
				case "floor":
					floors[m] = epoch
				case "record":
					records[m], open[m] = epoch, false
				case "begin":
					open[m] = true
				}
			}
			if err := f.make(); err != nil {
				return err
			}
			if _, err := f.recorded(); err != nil {
				return err
			}
			for m, epoch := range floors {
				if got, err := f.readEpoch(m); err != nil || got < epoch {
					return fmt.Errorf("%s: epoch %d is given up, and was %d: %v", m, got, epoch, err)
				}
			}
			for m, epoch := range records {
				r, err := f.readRecord(key{m, "main"})
				if errors.Is(err, fs.ErrNotExist) {
					err = nil
				}
				if err != nil || !open[m] && r.Start.Epoch != epoch {
					return fmt.Errorf("%s: the record is of epoch %d, and was of %d: %v", m, r.Start.Epoch, epoch, err)
				}
			}
			return nil
		},
	})
}
