package keeper

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// viewStep is one change of a private view: a mount on a path, or, without one, the path made read-only.
type viewStep struct {
	path  string
	mount *Mount
	tree  int // the mount's source, as it was before anything was changed
}

// needsView tells whether a mount namespace is wanted.
func needsView(e *Exec) bool { return len(e.Mounts) > 0 || len(e.ReadOnlyPaths) > 0 }

// viewSteps puts the changes in order: what is above comes first, so that a mount below a read-only path stays writable,
// and nothing hides what was mounted before. A path that is mounted and read-only is read-only.
func viewSteps(e *Exec) []viewStep {
	steps := make([]viewStep, 0, len(e.Mounts)+len(e.ReadOnlyPaths))
	for i := range e.Mounts {
		steps = append(steps, viewStep{path: filepath.Clean(e.Mounts[i].Target), mount: &e.Mounts[i], tree: -1})
	}
	for _, p := range e.ReadOnlyPaths {
		steps = append(steps, viewStep{path: filepath.Clean(p), tree: -1})
	}
	slices.SortStableFunc(steps, func(a, b viewStep) int {
		return slices.Compare(strings.Split(a.path, "/"), strings.Split(b.path, "/"))
	})
	// "/" splits into two empty parts: it sorts before all else.
	return steps
}

// stageMounts makes the private view. Mounts of the host still come through, none of ours go out.
func stageMounts(e *Exec) error {
	if !needsView(e) {
		return nil
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return &os.PathError{Op: "make private", Path: "/", Err: err}
	}
	steps := viewSteps(e)
	defer func() {
		for _, s := range steps {
			if s.tree >= 0 {
				unix.Close(s.tree)
			}
		}
	}()
	for i := range steps { // all first: a mount may hide the source of the next
		if m := steps[i].mount; m != nil {
			fd, err := openSource(m)
			if err != nil {
				return err
			}
			steps[i].tree, err = detach(fd)
			unix.Close(fd)
			if err != nil {
				return &os.PathError{Op: "open source", Path: m.Source, Err: err}
			}
		}
	}
	if err := makePoints(steps); err != nil {
		return err
	}
	for _, s := range steps {
		if err := s.do(); err != nil {
			return err
		}
	}
	return nil
}

// makePoints makes the mount points that are missing, while all is writable yet. One below another mount is made in it,
// when that is there.
func makePoints(steps []viewStep) error {
	if !slices.ContainsFunc(steps, func(s viewStep) bool { return s.mount == nil }) {
		return nil
	}
	for i, s := range steps {
		if s.mount == nil || slices.ContainsFunc(steps[:i], func(o viewStep) bool { return o.mount != nil && covers(o.path, s.path) }) {
			continue
		}
		fd, err := s.target()
		if err != nil {
			return err
		}
		unix.Close(fd)
	}
	return nil
}

// covers tells whether path is dir or below it; both are clean.
func covers(dir, path string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

func (s viewStep) do() error {
	if s.mount == nil {
		return readOnlyPath(s.path)
	}
	fd, err := s.target()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := attach(s.tree, fd, s.path, s.mount.ReadOnly); err != nil {
		return &os.PathError{Op: "mount " + s.mount.Source + " on", Path: s.path, Err: err}
	}
	return nil
}

// target opens the mount point, and makes it where there is none.
func (s viewStep) target() (int, error) {
	var st unix.Stat_t
	if err := unix.Fstat(s.tree, &st); err != nil {
		return -1, &os.PathError{Op: "stat source", Path: s.mount.Source, Err: err}
	}
	return openTarget(s.path, &point{dir: st.Mode&unix.S_IFMT == unix.S_IFDIR})
}

// openSource opens what is to be mounted. Below Beneath no link leads out of it.
func openSource(m *Mount) (int, error) {
	if m.Beneath == "" {
		fd, err := unix.Open(m.Source, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return -1, &os.PathError{Op: "open source", Path: m.Source, Err: err}
		}
		return fd, nil
	}
	rel, err := filepath.Rel(m.Beneath, m.Source)
	if err != nil || !filepath.IsLocal(rel) {
		return -1, fmt.Errorf("the source %s is not beneath %s: %w", m.Source, m.Beneath, unix.EXDEV)
	}
	dir, err := unix.Open(m.Beneath, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open source", Path: m.Beneath, Err: err}
	}
	defer unix.Close(dir)
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS}
	for try := 0; ; try++ {
		fd, err := unix.Openat2(dir, rel, &how)
		switch {
		case err == nil:
			return fd, nil
		case errors.Is(err, unix.EAGAIN) && try < 100, errors.Is(err, unix.EINTR): // something was renamed meanwhile
			continue
		case errors.Is(err, unix.EXDEV):
			return -1, fmt.Errorf("the source %s: a link leads out of %s: %w", m.Source, m.Beneath, err)
		case errors.Is(err, unix.ENOSYS):
			return -1, fmt.Errorf("mounting part of a volume (%s) needs Linux 5.6 or later: %w", m.Source, err)
		}
		return -1, &os.PathError{Op: "open source", Path: m.Source, Err: err}
	}
}

// detach makes a mount of what a descriptor is of, attached nowhere yet, with all that is mounted below it. Before
// Linux 5.2 there is no such thing, and attach takes the descriptor itself.
func detach(fd int) (tree int, err error) {
	tree, err = unix.OpenTree(fd, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH|unix.AT_RECURSIVE)
	if errors.Is(err, unix.ENOSYS) {
		return unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	}
	return tree, err
}

// attach mounts a tree on what a descriptor is of: the very objects that were looked at, whatever their names lead to by
// now.
func attach(tree, target int, path string, readOnly bool) error {
	later := false // before Linux 5.12 it is made read-only when it is mounted
	if readOnly {
		err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
		if later = errors.Is(err, unix.ENOSYS); err != nil && !later {
			return err
		}
	}
	err := unix.MoveMount(tree, "", target, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
	if errors.Is(err, unix.ENOSYS) {
		err = unix.Mount(fdPath(tree), fdPath(target), "", unix.MS_BIND|unix.MS_REC, "")
	}
	if err != nil || !later {
		return err
	}
	return remountReadOnly(path)
}

func remountReadOnly(path string) error {
	fd, err := openTarget(path, nil)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var fs unix.Statfs_t // keep the flags that a remount would take off
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return err
	}
	keep := uintptr(fs.Flags) & (unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOATIME | unix.MS_NODIRATIME)
	return unix.Mount("", fdPath(fd), "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|keep, "")
}

func fdPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// keepWritable are what a read-only root leaves as they are: few programs do without them.
var keepWritable = []string{"/dev", "/proc"}

func readOnlyPath(path string) error {
	err := error(nil)
	if path == "/" {
		err = readOnlyRoot()
	} else {
		var fd int
		if fd, err = openTarget(path, nil); err == nil {
			var tree int
			if tree, err = detach(fd); err == nil {
				err = attach(tree, fd, path, true)
				unix.Close(tree)
			}
			unix.Close(fd)
		}
	}
	var named *os.PathError
	if err == nil || errors.As(err, &named) && named.Path == path {
		return err
	}
	return &os.PathError{Op: "make read-only", Path: path, Err: err}
}

func readOnlyRoot() error {
	var trees []int
	defer func() {
		for _, fd := range trees {
			unix.Close(fd)
		}
	}()
	for _, p := range keepWritable {
		fd, err := unix.OpenTree(unix.AT_FDCWD, p, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
		if err != nil {
			return &os.PathError{Op: "keep writable", Path: p, Err: err}
		}
		trees = append(trees, fd)
	}
	err := unix.MountSetattr(unix.AT_FDCWD, "/", unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
	if errors.Is(err, unix.ENOSYS) { // a remount would leave what is mounted below writable
		return fmt.Errorf("a read-only root needs Linux 5.12 or later: %w", err)
	}
	if err != nil {
		return err
	}
	for i, p := range keepWritable {
		if err := unix.MoveMount(trees[i], "", unix.AT_FDCWD, p, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
			return &os.PathError{Op: "keep writable", Path: p, Err: err}
		}
	}
	return nil
}
