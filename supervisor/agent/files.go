package agent

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"supd/supervisor/keeper"
	"supd/supervisor/spec"
	"supd/supervisor/template"
	"supd/volumes"
)

// renderedFile is one file to write: Rel below Base, which is a directory of the
// member's. Base may be writable by the member, so Rel is never followed out of it.
type renderedFile struct {
	Name    string // as the definition has it
	Base    string
	Rel     string
	Content []byte
	Mode    fs.FileMode
	UID     int // -1: leave
	GID     int
	// InPlace: somebody may have it mounted, so the same file is written again.
	InPlace bool
}

func (f renderedFile) sum() string {
	h := sha256.Sum256(f.Content)
	return hex.EncodeToString(h[:])
}

// maxFile bounds a file that is copied for a member.
const maxFile = 16 << 20

// renderFiles resolves a process's files and decides where each is written: within
// the member's own directories in place, elsewhere beside them with a mount.
func (j job) renderFiles(proc spec.Process, f *template.Facts, acc account, dirs map[string]volumes.Dir, mounts []keeper.Mount) ([]renderedFile, []keeper.Mount, error) {
	var files []renderedFile
	var extra []keeper.Mount
	for i, spec := range proc.Files {
		path, err := template.Render(spec.Path, f)
		if err != nil {
			return nil, nil, failf(TemplateFailed, "the path of file %d of process %s: %v", i, proc.Name, err)
		}
		if !filepath.IsAbs(path) {
			return nil, nil, failf(FileFailed, "the path %q of a file of process %s is not absolute", path, proc.Name)
		}
		path = filepath.Clean(path)
		rf := renderedFile{Name: path, Mode: 0o600, UID: -1, GID: -1}
		if acc.Set {
			rf.UID, rf.GID = int(acc.UID), int(acc.GID)
		}
		if spec.Mode != "" {
			mode, err := strconv.ParseUint(spec.Mode, 8, 9)
			if err != nil {
				return nil, nil, failf(FileFailed, "the mode %q of file %s is not octal", spec.Mode, path)
			}
			rf.Mode = fs.FileMode(mode)
		}
		if rf.Content, err = j.fileContent(proc, spec, path, f); err != nil {
			return nil, nil, err
		}
		base, rel, own := j.ownPlace(path, dirs, mounts)
		switch {
		case own:
			rf.Base, rf.Rel = base, rel
		case j.a.o.Root:
			rf.Base, rf.Rel, rf.InPlace = filepath.Join(j.dir(), "files"), proc.Name+"."+strconv.Itoa(i), true
			extra = append(extra, keeper.Mount{Source: filepath.Join(rf.Base, rf.Rel), Target: path})
		default:
			return nil, nil, failf(NeedsRoot, "file %s of process %s is in none of the member's own directories; only root can show it there. Use a path below ${volume.NAME}, or run supd as root", path, proc.Name)
		}
		files = append(files, rf)
	}
	return files, extra, nil
}

func (j job) fileContent(proc spec.Process, file spec.File, path string, f *template.Facts) ([]byte, error) {
	if file.FromFile == "" {
		s, err := template.Render(file.Content, f)
		if err != nil {
			return nil, failf(TemplateFailed, "the content of file %s of process %s: %v", path, proc.Name, err)
		}
		return []byte(s), nil
	}
	in, err := os.Open(file.FromFile)
	if err != nil {
		return nil, failf(SecretMissing, "file %s of process %s: %v", path, proc.Name, err)
	}
	b, err := io.ReadAll(io.LimitReader(in, maxFile+1))
	err = errors.Join(err, in.Close())
	if err == nil && len(b) > maxFile {
		err = fmt.Errorf("%s has more than %d bytes", file.FromFile, maxFile)
	}
	if err != nil {
		return nil, failf(SecretMissing, "file %s of process %s: %v", path, proc.Name, err)
	}
	return b, nil
}

// ownPlace finds the directory of the member that path is in, by its host path or
// as the process sees it through its mounts.
func (j job) ownPlace(path string, dirs map[string]volumes.Dir, mounts []keeper.Mount) (base, rel string, ok bool) {
	best := -1
	try := func(root, seen string) {
		r, err := filepath.Rel(seen, path)
		if err != nil || r == "." || !filepath.IsLocal(r) || len(seen) <= best {
			return
		}
		base, rel, ok, best = root, r, true, len(seen)
	}
	for _, name := range sortedKeys(dirs) {
		try(dirs[name].Data, dirs[name].Data)
	}
	for _, s := range j.part.Template.Scratch {
		try(j.scratch(s.Name), j.scratch(s.Name))
	}
	for _, m := range mounts {
		if !strings.HasPrefix(m.Target, "/etc/hosts") && !strings.HasPrefix(m.Target, "/etc/resolv.conf") && !m.ReadOnly {
			try(m.Source, filepath.Clean(m.Target))
		}
	}
	return outermost(base, rel, mounts, ok)
}

// outermost gives a place below part of a volume as one below the volume: the way to the part is the member's to change, and
// only from above it can a link in it be told.
func outermost(base, rel string, mounts []keeper.Mount, ok bool) (string, string, bool) {
	for _, m := range mounts {
		if m.Beneath == "" || m.Source != base {
			continue
		}
		part, err := filepath.Rel(m.Beneath, m.Source)
		if err != nil || !filepath.IsLocal(part) {
			return "", "", false
		}
		return m.Beneath, filepath.Join(part, rel), ok
	}
	return base, rel, ok
}

// writeAll writes what was rendered. At a start everything is made to be so; at an
// adoption only what renders differently than last time is touched, for a program
// may have changed its own file since.
func (j job) writeAll(r *rendering, start bool) error {
	mem, err := j.recall()
	if err != nil {
		return err
	}
	changed := start && len(mem.Files) > 0
	if start {
		if err := j.makeSubPaths(r.files); err != nil {
			return err
		}
		mem.Files = map[string]string{}
	}
	for _, f := range r.files {
		key := f.Base + "//" + f.Rel
		if !start && mem.Files[key] == f.sum() {
			continue
		}
		if err := f.write(); err != nil {
			return writeFailure(f.Name, err)
		}
		mem.Files[key] = f.sum()
		changed = true
	}
	for name, content := range map[string][]byte{"hosts": r.hosts, "resolv.conf": r.resolv} {
		if content == nil {
			continue
		}
		f := renderedFile{Name: "/etc/" + name, Base: j.dir(), Rel: name, Content: content, Mode: 0o644, UID: -1, GID: -1, InPlace: true}
		if err := f.write(); err != nil {
			return writeFailure(f.Name, err)
		}
	}
	if !changed {
		return nil
	}
	return j.remember(func(m *memory) { m.Files = mem.Files })
}

func writeFailure(name string, err error) error {
	f := failureOf(err)
	reason := f.Reason
	if reason == CannotStart {
		reason = FileFailed
	}
	return failf(reason, "cannot write file %s: %v", name, err)
}

// write makes the file be as it should. One with the right content stays as it is.
func (f renderedFile) write() error {
	root, err := os.OpenRoot(f.Base)
	if err != nil {
		return err
	}
	err = f.writeIn(root)
	return errors.Join(err, root.Close())
}

func (f renderedFile) writeIn(root *os.Root) error {
	if err := f.parents(root); err != nil {
		return err
	}
	st, err := root.Lstat(f.Rel)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return f.replace(root)
	case err != nil:
		return err
	case st.IsDir():
		return fmt.Errorf("%s is a directory", f.Rel)
	case !st.Mode().IsRegular(), f.mayBeAnothers(st):
		return f.replace(root) // a link or a pipe is not written through
	}
	return f.update(root, st)
}

// update changes a file that is there as little as possible.
func (f renderedFile) update(root *os.Root, st fs.FileInfo) error {
	file, err := root.OpenFile(f.Rel, os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrPermission) && !f.InPlace {
		return f.replace(root)
	}
	if err != nil {
		return err
	}
	same, err := f.holds(file, st)
	switch {
	case err != nil:
	case same:
		err = f.dress(file)
	case f.InPlace:
		if err = file.Truncate(0); err == nil {
			_, err = file.WriteAt(f.Content, 0)
		}
		if err == nil {
			err = f.dress(file)
		}
	default:
		return errors.Join(file.Close(), f.replace(root))
	}
	return errors.Join(err, file.Close())
}

// mayBeAnothers tells whether a file has a second name: a member may have given one to a file that is not his, so that its
// owner and mode are set to his.
func (f renderedFile) mayBeAnothers(st fs.FileInfo) bool {
	sys, ok := st.Sys().(*syscall.Stat_t)
	return !f.InPlace && (!ok || sys.Nlink > 1)
}

// holds tells whether an open file has the right content. Its size is looked at
// first: a member may have made it larger than memory.
func (f renderedFile) holds(file *os.File, want fs.FileInfo) (bool, error) {
	st, err := file.Stat()
	if err != nil {
		return false, err
	}
	if !os.SameFile(st, want) || f.mayBeAnothers(st) {
		return false, fmt.Errorf("%s was changed meanwhile", f.Rel)
	}
	if st.Size() != int64(len(f.Content)) {
		return false, nil
	}
	old, err := io.ReadAll(io.LimitReader(file, st.Size()+1))
	return bytes.Equal(old, f.Content), err
}

// replace puts a new file there, whole or not at all. It is not synced: after a
// crash of the host every start renders anew.
func (f renderedFile) replace(root *os.Root) error {
	tmp := filepath.Join(filepath.Dir(f.Rel), ".supd-"+newRun())
	out, err := root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = out.Write(f.Content)
	if err == nil {
		err = f.dress(out)
	}
	err = errors.Join(err, out.Close())
	if err == nil {
		err = root.Rename(tmp, f.Rel)
	}
	if err != nil {
		return errors.Join(err, root.Remove(tmp))
	}
	return nil
}

// dress gives an open file its mode and owner.
func (f renderedFile) dress(file *os.File) error {
	if f.UID >= 0 {
		if err := file.Chown(f.UID, f.GID); err != nil {
			return err
		}
	}
	return file.Chmod(f.Mode)
}

// parents makes the missing directories above the file, the member's own.
func (f renderedFile) parents(root *os.Root) error {
	dir := filepath.Dir(f.Rel)
	if dir == "." {
		return nil
	}
	return makeDirsIn(root, dir, f.UID, f.GID)
}

func makeDirsIn(root *os.Root, dir string, uid, gid int) error {
	at := ""
	for _, part := range strings.Split(filepath.ToSlash(dir), "/") {
		at = filepath.Join(at, part)
		err := root.Mkdir(at, 0o755)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err == nil && uid >= 0 {
			err = giveDir(root, at, uid, gid)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// giveDir gives a directory just made to its user. By its name alone something else may be there by now.
func giveDir(root *os.Root, at string, uid, gid int) error {
	dir, err := root.OpenFile(at, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	return errors.Join(dir.Chown(uid, gid), dir.Close())
}

// makeSubPaths makes the directories that processes mount of volumes. Nothing of
// the member runs now, so none of them can be swapped for a symbolic link after
// they were looked at. One of the files that are to be written is no directory.
func (j job) makeSubPaths(files []renderedFile) error {
	dirs := map[string]volumes.Dir{}
	for _, vol := range j.part.Volumes {
		d, err := j.a.o.Pool.Where(claimOf(j.part, vol))
		if err != nil {
			return err
		}
		dirs[vol.Template] = d
	}
	t := j.part.Template
	for _, p := range t.Processes {
		if err := j.makeSubPathsOf(p.Exec, dirs, files); err != nil {
			return err
		}
	}
	for _, s := range t.Init {
		if err := j.makeSubPathsOf(s.Exec, dirs, files); err != nil {
			return err
		}
	}
	return nil
}

func (j job) makeSubPathsOf(e spec.Exec, dirs map[string]volumes.Dir, files []renderedFile) error {
	for _, m := range e.Mounts {
		base, ok := j.storage(m.Volume, dirs)
		if m.SubPath == "" || !ok || !filepath.IsLocal(m.SubPath) {
			continue // refused elsewhere, if wrong
		}
		if slices.ContainsFunc(files, func(f renderedFile) bool { return f.Base == base && f.Rel == filepath.Clean(m.SubPath) }) {
			continue
		}
		acc, err := j.accounts().find(e.User, e.Group, nil)
		if err != nil {
			return err
		}
		uid, gid := -1, -1
		if acc.Set {
			uid, gid = int(acc.UID), int(acc.GID)
		}
		if err := makeSubPath(base, filepath.Clean(m.SubPath), uid, gid); err != nil {
			return writeFailure(filepath.Join(base, m.SubPath), err)
		}
	}
	return nil
}

func makeSubPath(base, rel string, uid, gid int) error {
	root, err := os.OpenRoot(base)
	if err != nil {
		return err
	}
	err = subPathIn(root, rel, uid, gid)
	return errors.Join(err, root.Close())
}

// subPathIn makes rel unless it is there, a file or a directory, and refuses a
// symbolic link anywhere on the way: the mount would follow it out of the volume.
func subPathIn(root *os.Root, rel string, uid, gid int) error {
	at := ""
	for _, part := range strings.Split(filepath.ToSlash(rel), "/") {
		at = filepath.Join(at, part)
		st, err := root.Lstat(at)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return makeDirsIn(root, rel, uid, gid)
		case err != nil:
			return err
		case st.Mode()&fs.ModeSymlink != 0:
			return failf(string(volumes.ErrSymlink), "%s is a symbolic link", at)
		}
	}
	return nil
}
