package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// The log learns that a directory was made a moment after the member may write to
// it, and much later without a leader. Until then this node remembers it by itself,
// outside of the volumes, which may be on a disk of their own: one that is not
// mounted at the next start must not look like a volume that was never made.

// madeNote is the file that says that a volume was made here.
func (a *Agent) madeNote(uid string) string { return filepath.Join(a.o.DataDir, "made", uid) }

// wasMade tells whether a volume was made here, whatever the log knows.
func (a *Agent) wasMade(uid string) (bool, error) {
	if !filepath.IsLocal(uid) {
		return false, nil // no pool takes it
	}
	_, err := os.Lstat(a.madeNote(uid))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("cannot tell whether volume %s was made before: %w", uid, err)
	}
	return err == nil, nil
}

// noteMade notes, durably, that a volume was made.
func (a *Agent) noteMade(uid string) error {
	dir := filepath.Dir(a.madeNote(uid))
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		err = nil
	}
	if err == nil {
		err = syncDir(a.o.DataDir) // it may be there and not be safe, if its maker was killed
	}
	if err == nil {
		var f *os.File
		if f, err = os.OpenFile(a.madeNote(uid), os.O_CREATE|os.O_WRONLY, 0o600); err == nil {
			err = errors.Join(f.Sync(), f.Close(), syncDir(dir))
		}
	}
	if err != nil {
		return fmt.Errorf("cannot note that volume %s was made: %w", uid, err)
	}
	return nil
}

// forgetMade forgets a volume that is gone.
func (a *Agent) forgetMade(uid string) error {
	err := os.Remove(a.madeNote(uid))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot forget volume %s: %w", uid, err)
	}
	return nil
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
