package keeper

import (
	"bufio"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// diagnose tells at which step a fork and exec failed, of what and for whom; the kernel gives one number for all of them.
// It looks from the view that the program was to have.
func diagnose(e *Exec, path string, err error) *ErrExec {
	var ex *ErrExec
	switch {
	case err == nil:
		return nil
	case errors.As(err, &ex):
		return ex
	case e.SetUser && errors.Is(err, unix.EPERM) && os.Geteuid() != 0:
		return &ErrExec{"user", fmt.Errorf("another user (%d:%d) needs root: %w", e.UID, e.GID, err)}
	}
	dir := workDir(e)
	if st, serr := os.Stat(dir); serr != nil {
		return &ErrExec{"chdir", fmt.Errorf("the working directory: %w", serr)}
	} else if !st.IsDir() {
		return &ErrExec{"chdir", &os.PathError{Op: "chdir", Path: dir, Err: unix.ENOTDIR}}
	}
	if errors.Is(err, unix.EACCES) {
		if why := whoIs(e).barred(dir+"/.", 0); why != "" {
			return &ErrExec{"chdir", fmt.Errorf("%s: %s: %w", dir, why, err)}
		}
	}
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.ENOMEM) {
		return &ErrExec{"fork", err}
	}
	return &ErrExec{"exec", execError(e, path, err)}
}

// execError says what was missing or forbidden, and to whom.
func execError(e *Exec, path string, err error) error {
	if err == nil {
		return nil
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(workDir(e), path)
	}
	if why := execWhy(whoIs(e), path, err); why != "" {
		return fmt.Errorf("%s: %s: %w", path, why, err)
	}
	return fmt.Errorf("%s: %w", path, err)
}

func execWhy(w who, path string, err error) string {
	switch {
	case errors.Is(err, unix.ENOENT):
		if _, serr := os.Stat(path); serr != nil {
			return "" // it is the program that isn't there
		}
		if i := interpreter(path); i != "" {
			return "its interpreter " + i + " is missing (the first line of the script names it)"
		}
		if i := loader(path); i != "" {
			return "its dynamic loader " + i + " is missing: is it a program for this system?"
		}
	case errors.Is(err, unix.EACCES):
		for _, p := range []string{path, interpreter(path), loader(path)} {
			if p == "" {
				continue
			}
			if why := w.mayNotRun(p); why != "" {
				if p != path {
					why = "its interpreter " + p + ": " + why
				}
				return why
			}
		}
		return "not for " + w.String()
	case errors.Is(err, unix.ENOEXEC):
		return notAProgram(path)
	case errors.Is(err, unix.ETXTBSY):
		return "somebody is writing it"
	case errors.Is(err, unix.E2BIG):
		return "its arguments and environment are too long"
	}
	return ""
}

// who is whom a program is started as, as far as the permissions of files go.
type who struct {
	uid, gid uint32
	groups   []uint32
}

func whoIs(e *Exec) who {
	if !e.SetUser {
		groups, err := os.Getgroups()
		if err != nil {
			groups = nil // the answer is only told
		}
		w := who{uid: uint32(os.Geteuid()), gid: uint32(os.Getegid())}
		for _, g := range groups {
			w.groups = append(w.groups, uint32(g))
		}
		return w
	}
	return who{e.UID, e.GID, e.Groups}
}

func (w who) String() string {
	return "user " + strconv.FormatUint(uint64(w.uid), 10) + ", group " + strconv.FormatUint(uint64(w.gid), 10)
}

// may asks the mode of a file for the x bit; access lists it doesn't know.
func (w who) may(st *unix.Stat_t) bool {
	mode := st.Mode & 0o777
	switch {
	case w.uid == 0:
		return st.Mode&unix.S_IFMT == unix.S_IFDIR || mode&0o111 != 0
	case st.Uid == w.uid:
		return mode&0o100 != 0
	case st.Gid == w.gid, slices.Contains(w.groups, st.Gid):
		return mode&0o010 != 0
	}
	return mode&0o001 != 0
}

// barred names the first directory on the way to path that w may not enter; "" if there is none. Links are followed.
func (w who) barred(path string, depth int) string {
	at := "/"
	parts := strings.Split(strings.Trim(path, "/"), "/")
	for i, part := range parts {
		var st unix.Stat_t
		if unix.Stat(at, &st) != nil {
			return ""
		}
		if !w.may(&st) {
			return fmt.Sprintf("%s may not enter %s (mode %04o, of %d:%d)", w, at, st.Mode&0o7777, st.Uid, st.Gid)
		}
		at = filepath.Join(at, part)
		link, err := os.Readlink(at)
		if err != nil || depth > 8 {
			continue
		}
		if !filepath.IsAbs(link) {
			link = filepath.Join(filepath.Dir(at), link)
		}
		if i < len(parts)-1 {
			link += "/."
		}
		if why := w.barred(link, depth+1); why != "" {
			return why
		}
	}
	return ""
}

// mayNotRun says why w may not execute a file.
func (w who) mayNotRun(path string) string {
	if why := w.barred(path, 0); why != "" {
		return why
	}
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return ""
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
	case unix.S_IFDIR:
		return "it is a directory"
	default:
		return "it is no regular file"
	}
	if !w.may(&st) {
		return fmt.Sprintf("%s may not execute it (mode %04o, of %d:%d)", w, st.Mode&0o7777, st.Uid, st.Gid)
	}
	var on unix.Statfs_t
	if unix.Statfs(path, &on) == nil && on.Flags&unix.ST_NOEXEC != 0 {
		return "its file system is mounted noexec"
	}
	return ""
}

// interpreter reads the #! line of a script, "" if it has none.
func interpreter(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	line, _ := bufio.NewReaderSize(f, 256).ReadString('\n') // a program without one is as good
	if rest, ok := strings.CutPrefix(line, "#!"); ok {
		if f := strings.Fields(rest); len(f) > 0 {
			return f[0]
		}
	}
	return ""
}

// loader is the dynamic loader that a program asks for, "" if none or it is no such program.
func loader(path string) string {
	f, err := elf.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP || p.Filesz > unix.PathMax {
			continue
		}
		b := make([]byte, p.Filesz)
		if _, err := p.ReadAt(b, 0); err != nil {
			return ""
		}
		return strings.TrimRight(string(b), "\x00")
	}
	return ""
}

// notAProgram says what a file is that the kernel can't execute.
func notAProgram(path string) string {
	if st, err := os.Stat(path); err == nil && st.Size() == 0 {
		return "it is empty"
	}
	f, err := elf.Open(path)
	var bad *elf.FormatError
	switch {
	case err == nil:
		defer f.Close()
		return fmt.Sprintf("it is a program for %s, this machine is %s", strings.ToLower(strings.TrimPrefix(f.Machine.String(), "EM_")), runtime.GOARCH)
	case errors.As(err, &bad), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "it is neither a program nor a script that begins with #!"
	case errors.Is(err, fs.ErrPermission):
		return "it can't be read to see what it is"
	}
	return ""
}
