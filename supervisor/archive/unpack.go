package archive

import (
	"archive/tar"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Unpack reads a stream and makes what it holds at dest or, where dest is a directory, in it under name. Nothing is written
// outside of that: links in the way are not followed. A file appears under its name when all of it is on disk; files of that
// name are replaced, directories are added to.
func Unpack(r io.Reader, dest, name string) (Report, error) {
	u := unpacker{r: tar.NewReader(r), dirs: map[string]fs.FileMode{}, ended: -1}
	dir, base, err := place(dest, name)
	if err != nil {
		return u.Report, err
	}
	if u.root, err = os.OpenRoot(dir); err != nil {
		return u.Report, fmt.Errorf("cannot write %s: %w", dest, cause(err))
	}
	defer u.root.Close()
	u.dir, u.base = dir, base
	for {
		h, err := u.r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return u.Report, fmt.Errorf("%w: %v", ErrCutShort, err)
		}
		if err := u.entry(h); err != nil {
			return u.Report, err
		}
	}
	if u.ended != u.Files {
		return u.Report, fmt.Errorf("%w after %d files", ErrCutShort, u.Files)
	}
	return u.Report, u.finish()
}

// place says in which directory, under which name, the root is made, as cp -r has it.
func place(dest, name string) (dir, base string, err error) {
	st, err := os.Stat(dest)
	switch {
	case err == nil && st.IsDir() && (name == "" || name == "." || name == ".."):
		return dest, ".", nil
	case err == nil && st.IsDir():
		if name != filepath.Base(name) || name == "/" {
			return "", "", fmt.Errorf("%q is no name of a file", name)
		}
		return dest, name, nil
	case err == nil && strings.HasSuffix(dest, "/"):
		return "", "", fmt.Errorf("cannot write %s: it is no directory", dest)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return "", "", fmt.Errorf("cannot write %s: %w", dest, cause(err))
	case err != nil && strings.HasSuffix(dest, "/"):
		return "", "", fmt.Errorf("cannot write %s: there is no such directory", dest)
	}
	return filepath.Dir(dest), filepath.Base(dest), nil
}

type unpacker struct {
	Report
	r         *tar.Reader
	root      *os.Root
	dir, base string
	dirs      map[string]fs.FileMode // made here, and the mode that each gets at the end
	ended     int                    // the number of entries that the stream's end tells
}

// at is where an entry belongs, below the root.
func (u *unpacker) at(name string) (string, error) {
	clean := path.Clean(name)
	if !filepath.IsLocal(clean) {
		return "", fmt.Errorf("the stream names %q, which is outside of what is copied", name)
	}
	return path.Join(u.base, clean), nil
}

func (u *unpacker) entry(h *tar.Header) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		n, err := strconv.Atoi(h.PAXRecords[endName])
		if err != nil {
			return fmt.Errorf("cannot read the stream's end: %w", err)
		}
		u.ended = n
		return nil
	}
	if u.ended >= 0 {
		return errors.New("something follows the stream's end")
	}
	name, err := u.at(h.Name)
	if err != nil {
		return err
	}
	mode := fs.FileMode(h.Mode).Perm()
	switch h.Typeflag {
	case tar.TypeDir:
		err = u.mkdir(name, mode)
	case tar.TypeSymlink:
		err = u.link(name, h.Linkname)
	case tar.TypeReg:
		err = u.file(name, h.Size, mode)
	default:
		err = fmt.Errorf("an entry of kind %q", h.Typeflag)
	}
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", filepath.Join(u.dir, name), err)
	}
	u.Files++
	return nil
}

// mkdir makes a directory that may be written to until the end. One that is there stays as it is.
func (u *unpacker) mkdir(name string, mode fs.FileMode) error {
	err := u.root.Mkdir(name, 0o700)
	if errors.Is(err, fs.ErrExist) {
		st, err := u.root.Stat(name)
		if err == nil && !st.IsDir() {
			err = errors.New("it is there, and no directory")
		}
		return cause(err)
	}
	if err == nil {
		u.dirs[name] = mode
	}
	return cause(err)
}

func (u *unpacker) link(name, to string) error {
	tmp := tempName(name)
	if err := u.root.Symlink(to, tmp); err != nil {
		return cause(err)
	}
	return u.rename(tmp, name)
}

func (u *unpacker) file(name string, size int64, mode fs.FileMode) error {
	tmp := tempName(name)
	f, err := u.root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return cause(err)
	}
	n, err := io.Copy(f, u.r)
	u.Bytes += n
	if err == nil && n != size {
		err = fmt.Errorf("%d bytes of %d came", n, size)
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("%w after %d bytes of %d", ErrCutShort, n, size)
	}
	if err == nil {
		err = f.Chmod(mode) // whatever the umask is
	}
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(cause(err), u.root.Remove(tmp))
	}
	return u.rename(tmp, name)
}

func (u *unpacker) rename(tmp, name string) error {
	if err := u.root.Rename(tmp, name); err != nil {
		return errors.Join(cause(err), u.root.Remove(tmp))
	}
	return nil
}

// tempName is a name beside name that nobody else has.
func tempName(name string) string {
	return path.Join(path.Dir(name), ".supd-cp-"+rand.Text())
}

// finish gives directories their modes, the deepest first, and has all names on disk.
func (u *unpacker) finish() error {
	names := make([]string, 0, len(u.dirs))
	for name := range u.dirs {
		names = append(names, name)
	}
	slices.Sort(names)
	slices.Reverse(names)
	for _, name := range names {
		if err := u.syncDir(name, u.dirs[name]); err != nil {
			return fmt.Errorf("cannot write %s: %w", filepath.Join(u.dir, name), cause(err))
		}
	}
	if _, made := u.dirs["."]; !made {
		d, err := u.root.Open(".")
		if err != nil {
			return nil // it may be written to, but not read: its names get to disk a little later
		}
		return errors.Join(d.Sync(), d.Close())
	}
	return nil
}

func (u *unpacker) syncDir(name string, mode fs.FileMode) error {
	d, err := u.root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Chmod(mode), d.Sync(), d.Close())
}

// cause takes the path off an error whose reader is told another.
func cause(err error) error {
	var pe *fs.PathError
	var le *os.LinkError
	switch {
	case errors.As(err, &pe):
		return pe.Err
	case errors.As(err, &le):
		return le.Err
	}
	return err
}
