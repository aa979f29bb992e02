package volumes_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"supd/supervisor/racetest"
	"supd/volumes"
)

// TestNotLedAstray: root measures, releases and removes a volume while its member, with a directory still open, changes what
// is in it for links to elsewhere.
func TestNotLedAstray(t *testing.T) {
	t.Parallel()
	canary := racetest.Canary(t, "a", "b", "c")
	dir, err := os.MkdirTemp("", "supd-race-") // t.TempDir is root's alone
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	must(t, os.Chmod(dir, 0o711))
	p := open(t, volumes.Options{Dir: filepath.Join(dir, "volumes")})
	var total int64
	for i := range 8 {
		c := claim(0, fmt.Sprintf("%08x-1", i))
		c.HasOwner, c.OwnerUID, c.OwnerGID = true, racetest.UID, racetest.UID
		data := ensure(t, p, c).Data
		c.Made = true
		sub := filepath.Join(data, "sub")
		must(t, os.Mkdir(sub, 0o755))
		must(t, os.Chown(sub, racetest.UID, racetest.UID))
		for n := range 50 {
			must(t, os.WriteFile(filepath.Join(sub, fmt.Sprint(n)), nil, 0o666))
		}
		flips, stop := racetest.Flip(t, sub, canary)
		for range 20 {
			if n, err := p.Usage(t.Context(), c); err == nil && n > 1<<20 {
				t.Errorf("it takes %d bytes", n)
			}
		}
		must(t, p.Trash(c))
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		_ = p.Empty(ctx, c) // he may go on making links for as long as he likes
		cancel()
		stop()
		must(t, p.Empty(t.Context(), c))
		total += flips()
	}
	if t.Logf("%d flips", total); total == 0 {
		t.Error("nobody raced")
	}
}
