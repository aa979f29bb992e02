package keeper

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestOwnLogIsBounded(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keeper.log")
	const line, most = 10, 200
	l, err := openOwnLog(path, most)
	if err != nil {
		t.Fatal(err)
	}
	write := func(from, to int) {
		t.Helper()
		for i := from; i < to; i++ {
			if _, err := fmt.Fprintf(l, "line %04d\n", i); err != nil {
				t.Fatal(err)
			}
		}
	}
	write(0, 50)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if l, err = openOwnLog(path, most); err != nil { // the next keeper goes on where this one ended
		t.Fatal(err)
	}
	write(50, 70)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	var all string
	for _, p := range []string{path + ".1", path} {
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		if len(b) > most {
			t.Errorf("%s has %d bytes, the most is %d", p, len(b), most)
		}
		all += string(b)
	}
	lines := strings.Split(strings.TrimSpace(all), "\n")
	for i, got := range lines {
		if want := fmt.Sprintf("line %04d", 70-len(lines)+i); got != want {
			t.Fatalf("line %d from the end is %q, want %q", len(lines)-i, got, want)
		}
	}
	if len(lines) <= most/line {
		t.Errorf("only %d lines are kept", len(lines))
	}
}
