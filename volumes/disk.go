package volumes

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// disk is every change this package makes on disk, each by a name relative to an
// open directory, none through a symbolic link, each labelled for Fault.
type disk struct{ fault Fault }

// folder is an open directory.
type folder struct {
	f    *os.File
	path string
}

func (d *folder) fd() int                { return int(d.f.Fd()) }
func (d *folder) at(name string) string  { return filepath.Join(d.path, name) }
func (d *folder) close()                 { _ = d.f.Close() } // opened for reading: nothing can be lost
func newFolder(fd int, p string) *folder { return &folder{f: os.NewFile(uintptr(fd), p), path: p} }
func (d *folder) stat() (unix.Stat_t, error) {
	var st unix.Stat_t
	err := again(func() error { return unix.Fstat(d.fd(), &st) })
	if err != nil {
		return st, failed("look at", d.path, err)
	}
	return st, nil
}

const openFolder = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC

// again repeats f while signals interrupt it.
func again(f func() error) error {
	for {
		if err := f(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func (d disk) check(op, path string) error {
	if d.fault == nil {
		return nil
	}
	if err := d.fault(op, path); err != nil {
		return failed(op, path, err)
	}
	return nil
}

// do makes one labelled change.
func (d disk) do(op, path string, f func() error) error {
	if err := d.check(op, path); err != nil {
		return err
	}
	if err := again(f); err != nil {
		return failed(op, path, err)
	}
	return nil
}

// openBase opens an absolute path; only its last part may not be a symbolic link.
func (d disk) openBase(path string) (*folder, error) {
	var fd int
	err := again(func() (err error) { fd, err = unix.Open(path, openFolder, 0); return err })
	if err != nil {
		return nil, openError(unix.AT_FDCWD, path, path, err)
	}
	return newFolder(fd, path), nil
}

func (d disk) open(in *folder, name string) (*folder, error) {
	var fd int
	err := again(func() (err error) { fd, err = unix.Openat(in.fd(), name, openFolder, 0); return err })
	if err != nil {
		return nil, openError(in.fd(), name, in.at(name), err)
	}
	return newFolder(fd, in.at(name)), nil
}

// openError tells a symbolic link from another non-directory: the kernel answers
// ENOTDIR to both.
func openError(dirfd int, name, path string, err error) error {
	if !errors.Is(err, unix.ENOTDIR) && !errors.Is(err, unix.ELOOP) {
		return failed("open", path, err)
	}
	var st unix.Stat_t
	if unix.Fstatat(dirfd, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK {
		return refuse(ErrSymlink, path, path+" is a symbolic link; it is not followed")
	}
	return refuse(ErrInTheWay, path, path+" is not a directory")
}

// openOrMake opens a directory of ours, or makes it with mode.
func (d disk) openOrMake(in *folder, name string, mode uint32) (*folder, error) {
	sub, err := d.open(in, name)
	if err == nil {
		if err := d.finish(sub, mode); err != nil {
			return nil, err
		}
		// Whoever made it may have been killed before this, and what is moved into it must not go with it.
		if err := d.sync(in); err != nil {
			sub.close()
			return nil, err
		}
		return sub, nil
	}
	if !isMissing(err) {
		return nil, err
	}
	if err := d.mkdir(in, name, mode); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	if err := d.sync(in); err != nil {
		return nil, err
	}
	return d.open(in, name)
}

// finish sets the mode that a crash kept mkdir from setting.
func (d disk) finish(f *folder, mode uint32) error {
	st, err := f.stat()
	if err == nil && st.Mode&0o777 == 0o700 && mode != 0o700 && int(st.Uid) == os.Geteuid() {
		err = d.chmod(f, mode)
	}
	if err != nil {
		f.close()
	}
	return err
}

// mkdir makes a directory with exactly mode, whatever the umask.
func (d disk) mkdir(in *folder, name string, mode uint32) error {
	err := d.do("make directory", in.at(name), func() error { return unix.Mkdirat(in.fd(), name, 0o700) })
	if err != nil || mode == 0o700 {
		return err
	}
	sub, err := d.open(in, name)
	if err != nil {
		return err
	}
	defer sub.close()
	return d.chmod(sub, mode)
}

func (d disk) chmod(f *folder, mode uint32) error {
	return d.do("set the mode of", f.path, func() error { return unix.Fchmod(f.fd(), mode) })
}

func (d disk) chown(f *folder, uid, gid int) error {
	return d.do("set the owner of", f.path, func() error { return unix.Fchown(f.fd(), uid, gid) })
}

func (d disk) sync(f *folder) error {
	return d.do("sync directory", f.path, func() error { return unix.Fsync(f.fd()) })
}

// rename moves a directory; it never replaces anything.
func (d disk) rename(from *folder, name string, to *folder, as string) error {
	err := d.do("rename", from.at(name), func() error {
		err := unix.Renameat2(from.fd(), name, to.fd(), as, unix.RENAME_NOREPLACE)
		if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOSYS) {
			return err
		}
		// A file system without RENAME_NOREPLACE. Nobody else makes names here,
		// and a rename over a directory that is not empty fails anyway.
		var st unix.Stat_t
		if err := unix.Fstatat(to.fd(), as, &st, unix.AT_SYMLINK_NOFOLLOW); !errors.Is(err, unix.ENOENT) {
			return unix.EEXIST
		}
		return unix.Renameat(from.fd(), name, to.fd(), as)
	})
	if errors.Is(err, fs.ErrExist) {
		return refuse(ErrInTheWay, to.at(as), to.at(as)+" is already there")
	}
	return err
}

func (d disk) unlink(in *folder, name string) error {
	return d.do("remove file", in.at(name), func() error { return unix.Unlinkat(in.fd(), name, 0) })
}

func (d disk) rmdir(in *folder, name string) error {
	return d.do("remove directory", in.at(name), func() error {
		return unix.Unlinkat(in.fd(), name, unix.AT_REMOVEDIR)
	})
}

// openFile opens a regular file of ours.
func (d disk) openFile(in *folder, name string, flags int) (*os.File, error) {
	var fd int
	err := again(func() (err error) {
		fd, err = unix.Openat(in.fd(), name, flags|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, openError(in.fd(), name, in.at(name), err)
	}
	f := os.NewFile(uintptr(fd), in.at(name))
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		_ = f.Close()
		return nil, refuse(ErrInTheWay, in.at(name), in.at(name)+" is not a regular file")
	}
	return f, nil
}

// write replaces a small file so that after a crash it is the old or the new one.
func (d disk) write(in *folder, name string, b []byte) error {
	temp := "." + name + ".tmp"
	// A leftover of a crash; it never was the file itself.
	if err := d.unlink(in, temp); err != nil && !isMissing(err) {
		return err
	}
	if err := d.writeNew(in, temp, b); err != nil {
		return errors.Join(err, d.discard(in, temp))
	}
	err := d.do("rename", in.at(temp), func() error { return unix.Renameat(in.fd(), temp, in.fd(), name) })
	if err != nil {
		return errors.Join(err, d.discard(in, temp))
	}
	return d.sync(in)
}

// discard takes a temporary file away after a failure.
func (d disk) discard(in *folder, temp string) error {
	if err := d.unlink(in, temp); err != nil && !isMissing(err) {
		return err
	}
	return nil
}

func (d disk) writeNew(in *folder, name string, b []byte) error {
	var fd int
	err := d.do("make file", in.at(name), func() (err error) {
		fd, err = unix.Openat(in.fd(), name,
			unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o644)
		return err
	})
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), in.at(name))
	err = d.do("write", f.Name(), func() error { _, err := f.Write(b); return err })
	if err == nil {
		err = d.do("sync", f.Name(), f.Sync)
	}
	if cerr := f.Close(); err == nil && cerr != nil {
		err = failed("close", f.Name(), cerr)
	}
	return err
}
