package keeper

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestWhyAStartFails lets the kernel refuse programs and reads what is said of it.
func TestWhyAStartFails(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to start as another user")
	}
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o711); err != nil {
		t.Fatal(err)
	}
	file := func(name string, mode os.FileMode, content []byte) string {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, content, mode), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	shell, err := os.ReadFile("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	ld := loader("/bin/sh")
	if ld == "" {
		t.Skip("/bin/sh has no dynamic loader here")
	}
	noLoader := bytes.Replace(shell, []byte(ld), []byte(strings.Repeat("/x", 40)[:len(ld)]), 1)
	strange := bytes.Clone(shell)
	strange[18], strange[19] = 183, 0 // e_machine: AArch64
	if shell[18] == 183 {
		strange[18] = 62 // x86-64
	}
	secret := file("secret/inner/prog", 0o755, shell)
	if err := os.Chmod(filepath.Join(dir, "secret"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(secret, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	busy := file("busy", 0o755, shell)
	open, err := os.OpenFile(busy, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	noexec := filepath.Join(dir, "noexec")
	if err := os.Mkdir(noexec, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("none", noexec, "tmpfs", unix.MS_NOEXEC, "size=4m"); err != nil {
		t.Skipf("cannot mount a tmpfs: %v", err)
	}
	defer func() {
		if err := unix.Unmount(noexec, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	for _, c := range []struct {
		name, path, dir string
		step            string
		is              error
		want            string
	}{
		{"missing", "/no/such/thing", "", "exec", unix.ENOENT, "/no/such/thing: no such file"},
		{"no interpreter", file("script", 0o755, []byte("#! /no/such/shell -x\n")), "", "exec", unix.ENOENT, "its interpreter /no/such/shell is missing"},
		{"no loader", file("noloader", 0o755, noLoader), "", "exec", unix.ENOENT, "its dynamic loader /x/x"},
		{"mode", file("plain", 0o644, shell), "", "exec", unix.EACCES, "user 65534, group 65534 may not execute it (mode 0644, of 0:0)"},
		{"way", secret, "", "exec", unix.EACCES, "may not enter " + dir + "/secret (mode 0700, of 0:0)"},
		{"way behind a link", filepath.Join(dir, "link"), "", "exec", unix.EACCES, "may not enter " + dir + "/secret"},
		{"directory", dir, "", "exec", unix.EACCES, "it is a directory"},
		{"interpreter's mode", file("script2", 0o755, []byte("#!"+dir+"/plain\n")), "", "exec", unix.EACCES, "its interpreter " + dir + "/plain: user 65534"},
		{"noexec", file("noexec/prog", 0o755, shell), "", "exec", unix.EACCES, "mounted noexec"},
		{"text", file("text", 0o755, []byte("echo no first line\n")), "", "exec", unix.ENOEXEC, "neither a program nor a script that begins with #!"},
		{"empty", file("empty", 0o755, nil), "", "exec", unix.ENOEXEC, "it is empty"},
		{"other machine", file("strange", 0o755, strange), "", "exec", unix.ENOEXEC, "it is a program for "},
		{"being written", busy, "", "exec", unix.ETXTBSY, "somebody is writing it"},
		{"no directory", "/bin/true", "/no/such/dir", "chdir", unix.ENOENT, "/no/such/dir"},
		{"directory is a file", "/bin/true", "/etc/passwd", "chdir", unix.ENOTDIR, "/etc/passwd"},
		{"directory barred", "/bin/true", filepath.Join(dir, "secret"), "chdir", unix.EACCES, "user 65534, group 65534 may not enter " + dir + "/secret"},
		{"way to the directory", "/bin/true", filepath.Join(dir, "secret", "inner"), "chdir", unix.EACCES, "may not enter " + dir + "/secret"},
	} {
		e := &Exec{Argv: []string{c.path}, Dir: c.dir, SetUser: true, UID: 65534, GID: 65534}
		pid, err := syscall.ForkExec(c.path, e.Argv, &syscall.ProcAttr{Dir: workDir(e), Sys: &syscall.SysProcAttr{Credential: credential(e)}})
		if err == nil {
			_, err := syscall.Wait4(pid, nil, 0, nil)
			t.Errorf("%s: it was started (%v)", c.name, err)
			continue
		}
		ex := diagnose(e, c.path, err)
		if ex.Step != c.step || !errors.Is(ex, c.is) || !strings.Contains(ex.Error(), c.want) {
			t.Errorf("%s: got %q at %s, want %q at %s, %v", c.name, ex, ex.Step, c.want, c.step, c.is)
		}
	}
}
