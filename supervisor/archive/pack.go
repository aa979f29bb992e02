package archive

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Pack writes what is at path, and all below it. The path itself may be a symbolic link, which is followed; those below
// are packed as links. What can't be opened is told and left out; what fails or shrinks while it is read ends it.
func Pack(w io.Writer, path string) (Report, error) {
	p := packer{w: tar.NewWriter(w)}
	root, err := filepath.EvalSymlinks(path)
	if err != nil {
		return p.Report, fmt.Errorf("cannot read %s: %w", path, err)
	}
	err = filepath.WalkDir(root, func(at string, d fs.DirEntry, err error) error {
		if err != nil {
			return p.fail(at, at == root, err)
		}
		name, rerr := filepath.Rel(root, at)
		if rerr != nil {
			return rerr
		}
		return p.add(at, filepath.ToSlash(name))
	})
	if err == nil {
		err = p.w.WriteHeader(&tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: endRecord(p.Files)})
	}
	if err == nil {
		err = p.w.Close()
	}
	return p.Report, err
}

type packer struct {
	Report
	w *tar.Writer
}

// fail notes what can't be packed. Without its root there is nothing.
func (p *packer) fail(at string, root bool, err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	err = fmt.Errorf("cannot read %s: %w", at, err)
	if root {
		return err
	}
	p.Failed = append(p.Failed, err)
	return nil
}

// add packs one entry. It is opened before it is looked at, so that it is what it was taken for.
func (p *packer) add(at, name string) error {
	st, err := os.Lstat(at)
	if err != nil {
		return p.fail(at, name == ".", err)
	}
	h := &tar.Header{Name: name, Mode: int64(st.Mode().Perm()), Format: tar.FormatPAX}
	switch {
	case st.IsDir():
		h.Typeflag, h.Name = tar.TypeDir, name+"/"
	case st.Mode()&fs.ModeSymlink != 0:
		h.Typeflag = tar.TypeSymlink
		if h.Linkname, err = os.Readlink(at); err != nil {
			return p.fail(at, name == ".", err)
		}
	case st.Mode().IsRegular():
		return p.file(at, h)
	default:
		if name == "." {
			return fmt.Errorf("cannot read %s: it is no file, directory or link", at)
		}
		p.Skipped = append(p.Skipped, at)
		return nil
	}
	p.Files++
	return p.w.WriteHeader(h)
}

func (p *packer) file(at string, h *tar.Header) error {
	f, err := os.OpenFile(at, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return p.fail(at, h.Name == ".", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = errors.New("it was replaced by something that is no file")
	}
	if err != nil {
		return p.fail(at, h.Name == ".", err)
	}
	h.Typeflag, h.Size, h.Mode = tar.TypeReg, st.Size(), int64(st.Mode().Perm())
	if err := p.w.WriteHeader(h); err != nil {
		return err
	}
	n, err := io.CopyN(p.w, f, h.Size) // what it grows by meanwhile is left out
	p.Bytes += n
	switch {
	case errors.Is(err, io.EOF):
		return fmt.Errorf("cannot read %s: it had %d bytes and lost %d meanwhile", at, h.Size, h.Size-n)
	case err != nil:
		return fmt.Errorf("cannot send %s: %w", at, err)
	}
	p.Files++
	return nil
}
