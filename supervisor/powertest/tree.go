package powertest

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Write makes the tree below dir, which is there and empty.
func (t *Tree) Write(dir string) error { return t.im.write(rootID, dir) }

func (im image) write(id uint64, path string) error {
	n := im[id]
	for name, child := range n.names {
		at := filepath.Join(path, name)
		if err := im.make(im[child], at); err != nil {
			return err
		}
		if im[child].isDir() {
			if err := im.write(child, at); err != nil {
				return err
			}
		}
	}
	if id == rootID {
		return nil
	}
	return errors.Join(os.Chmod(path, os.FileMode(n.mode&0o777)), os.Chtimes(path, time.Time{}, time.Unix(0, n.mtime)))
}

func (im image) make(n *node, at string) error {
	mode := os.FileMode(n.mode & 0o777)
	var err error
	switch n.mode & syscall.S_IFMT {
	case syscall.S_IFDIR:
		err = os.Mkdir(at, 0o700)
	case syscall.S_IFREG:
		err = os.WriteFile(at, n.data, mode)
	case syscall.S_IFLNK:
		err = os.Symlink(string(n.data), at)
	default:
		err = syscall.Mknod(at, n.mode, int(n.rdev))
	}
	if err != nil {
		return err
	}
	if n.uid != 0 || n.gid != 0 {
		err = os.Lchown(at, int(n.uid), int(n.gid))
	}
	if n.mode&syscall.S_IFMT == syscall.S_IFLNK {
		return err
	}
	return errors.Join(err, os.Chmod(at, mode))
}
