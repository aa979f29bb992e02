package pki

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// write replaces a file of the store, for good once it returns: temporary file, sync,
// rename, sync of the directory.
func (s *Store) write(name string, b []byte) error {
	path := filepath.Join(s.dir, name)
	f, err := os.CreateTemp(s.dir, "."+name+".*") // 0600
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // what is left of it is no secret's second home
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	return syncDir(s.dir)
}

// read reads a file of the store. A file that others could read is refused: what was in
// it may be known.
func (s *Store) read(name string) ([]byte, error) {
	path := filepath.Join(s.dir, name)
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if st.Mode().Perm()&0o077 != 0 && name != fileCA && name != fileCertificate {
		return nil, fmt.Errorf("cannot use %s: others than its owner may read it (mode %04o); if nobody did: chmod 600 %s", path, st.Mode().Perm(), path)
	}
	return os.ReadFile(path)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
