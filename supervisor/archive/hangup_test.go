package archive_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"supd/supervisor/archive"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "unpack" {
		os.Exit(archive.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// TestClientGoes: who copies a file hangs up in its middle. Nothing of it is left.
func TestClientGoes(t *testing.T) {
	t.Parallel()
	from, to := t.TempDir(), t.TempDir()
	var stream bytes.Buffer
	must(t, os.WriteFile(filepath.Join(from, "big"), bytes.Repeat([]byte("x"), 1<<20), 0o644))
	if _, err := archive.Pack(&stream, from); err != nil {
		t.Fatal(err)
	}
	c := exec.Command("/proc/self/exe", "unpack", to)
	in, err := c.StdinPipe()
	must(t, err, c.Start())
	_, err = in.Write(stream.Bytes()[:stream.Len()/2])
	must(t, err)
	for deadline := time.Now().Add(20 * time.Second); ; { // until it writes
		found, err := filepath.Glob(filepath.Join(to, "*", ".supd-cp-*"))
		more, err2 := filepath.Glob(filepath.Join(to, ".supd-cp-*"))
		must(t, err, err2)
		if len(found)+len(more) > 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("no temporary file is seen, but %v", tree(t, to))
		}
		<-time.After(time.Millisecond)
	}
	must(t, c.Process.Signal(syscall.SIGHUP), in.Close())
	if err := c.Wait(); err == nil || c.ProcessState.ExitCode() != 1 {
		t.Errorf("it ended with %v, want exit status 1", err)
	}
	for _, line := range tree(t, to) {
		if strings.Contains(line, "big") || strings.Contains(line, ".supd-cp-") {
			t.Errorf("left: %.80s", line)
		}
	}
}
