package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// earlier is another build of the programs: of the newest commit whose code is not this source's.
type earlier struct {
	bin, commit string
	// sameLog: it knows the same entries, and writes the same objects.
	sameLog bool
}

// codeOnly are the files by which two builds can differ.
var codeOnly = []string{"*.go", "go.mod", "go.sum", ":(exclude)*_test.go"}

// logOnly are those that decide which entries and objects a build understands.
var logOnly = []string{
	"raftstore/state/level.go", "raftstore/state/command.go", "raftstore/state/codec.go", "raftstore/state/view.go",
	"supervisor/spec", ":(exclude)*_test.go",
}

// buildEarlier builds it from this repository's history: SUPD_UPGRADE_FROM names another
// commit. It skips the test, and says why, where there is no history.
func buildEarlier(t *testing.T) earlier {
	t.Helper()
	commits := []string{os.Getenv("SUPD_UPGRADE_FROM")}
	if commits[0] == "" {
		out, err := git("log", "--first-parent", "--format=%H", "--max-count=50", "HEAD")
		if err != nil {
			t.Skipf("NOT TESTED: the upgrade from an earlier build: no history to take one from: %v", err)
		}
		commits = strings.Fields(out)
	}
	source, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	broken := 0
	for _, c := range commits {
		if !differs(t, c, codeOnly) {
			continue
		}
		bin := openDir(t)
		err := buildOver(t, bin, source, textsOf(t, source, c), "-ldflags=-X main.version=earlier")
		if err == nil {
			return earlier{bin: bin, commit: c, sameLog: !differs(t, c, logOnly)}
		}
		// Not every commit of a history builds.
		t.Logf("%s does not build: %v", c, err)
		if broken++; broken == 3 {
			t.Fatal("three commits in a row don't build")
		}
	}
	t.Skip("NOT TESTED: the upgrade from an earlier build: the history has no commit with other code (a shallow clone?)")
	return earlier{}
}

// textsOf are the texts that a commit has for this source's files, where they are
// others; "" for those that it has not. So only what differs is compiled anew.
func textsOf(t *testing.T, source, commit string) map[string]string {
	t.Helper()
	ask := func(args ...string) string {
		t.Helper()
		out, err := git(args...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	texts := map[string]string{}
	for line := range strings.Lines(ask(append([]string{"diff", "--no-renames", "--name-status", commit, "--"}, codeOnly...)...)) {
		status, name, _ := strings.Cut(strings.TrimSpace(line), "\t")
		text := ""
		if status != "A" { // added since
			text = ask("show", commit+":"+name)
		}
		texts[filepath.Join(source, name)] = text
	}
	for name := range strings.Lines(ask(append([]string{"ls-files", "--others", "--exclude-standard", "--"}, codeOnly...)...)) {
		texts[filepath.Join(source, strings.TrimSpace(name))] = ""
	}
	return texts
}

// differs tells whether files of this source are not as a commit has them.
func differs(t *testing.T, commit string, paths []string) bool {
	t.Helper()
	_, err := git(append([]string{"diff", "--quiet", commit, "--"}, paths...)...)
	if exit := new(exec.ExitError); errors.As(err, &exit) && exit.ExitCode() == 1 {
		return true
	}
	if err != nil {
		t.Fatal(err)
	}
	return false
}

// git asks this repository, from the top of the source.
func git(args ...string) (string, error) {
	c := exec.Command("git", args...)
	c.Dir = filepath.Join("..", "..")
	var problem strings.Builder
	c.Stderr = &problem
	out, err := c.Output()
	if err != nil && problem.Len() > 0 {
		err = errors.Join(err, errors.New(strings.TrimSpace(problem.String())))
	}
	return string(out), err
}
