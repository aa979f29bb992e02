package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestChaosLeavesNothing kills a test binary in the middle: with it all processes of its hosts end, and the next lab
// removes what else was left.
func TestChaosLeavesNothing(t *testing.T) {
	if why := chaosSkip(); why != "" {
		t.Skip("TestChaosLeavesNothing is NOT run: " + why)
	}
	t.Parallel()
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command("/proc/self/exe", "-test.run=^TestChaosVictim$", "-test.v")
	c.Env = append(os.Environ(), "SUPD_CHAOS_BIN="+bin, "SUPD_CHAOS_VICTIM=1")
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	id, said := "", ""
	for lines := bufio.NewScanner(out); id == "" && lines.Scan(); {
		said += lines.Text() + "\n"
		_, id, _ = strings.Cut(lines.Text(), "the lab is ")
	}
	if id == "" {
		t.Fatalf("the victim has no lab: %v: %s", c.Wait(), said)
	}
	if len(processesWith(id)) < 3 {
		t.Errorf("of the lab these run: %v", processesWith(id))
	}
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait() // killed
	err = waitFor(20*time.Second, func() error {
		if left := processesWith(id); len(left) > 0 {
			return fmt.Errorf("left: %v", left)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	root, err := cgroup2()
	if err != nil {
		t.Fatal(err)
	}
	left := []string{filepath.Join(os.TempDir(), labStart+id), filepath.Join(root, labStart+id)}
	for _, path := range left {
		if _, err := os.Stat(path); err != nil {
			t.Errorf("was there a lab? %v", err)
		}
	}
	removeDeadLabs(t)
	for _, path := range left {
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", path, err)
		}
	}
}

// TestChaosVictim is the test binary that is killed.
func TestChaosVictim(t *testing.T) {
	if os.Getenv("SUPD_CHAOS_VICTIM") == "" {
		t.Skip("only TestChaosLeavesNothing runs it")
	}
	l := newLab(t, os.Getenv("SUPD_CHAOS_BIN"))
	if err := l.hosts[0].boot(time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := waitFor(20*time.Second, func() error {
		if l.hosts[0].supd() == 0 {
			return errors.New("the daemon does not run")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	fmt.Println("the lab is " + l.id)
	<-t.Context().Done()
}
