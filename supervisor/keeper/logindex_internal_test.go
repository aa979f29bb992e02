package keeper

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func TestNextLook(t *testing.T) {
	const most = 8 << 20 // an eighth is 1 MiB
	for _, c := range []struct {
		was   time.Duration
		grown int64
		want  time.Duration
	}{
		{20 * time.Millisecond, 0, 40 * time.Millisecond},
		{time.Second, 0, 2 * time.Second},
		{time.Minute, 0, 2 * time.Second},
		{0, 0, 20 * time.Millisecond},
		{time.Second, 100, 2 * time.Second},
		{time.Second, 1 << 20, time.Second},
		{time.Second, 10 << 20, 100 * time.Millisecond},
		{time.Second, 1 << 40, 20 * time.Millisecond},
	} {
		if got := nextLook(c.was, c.grown, most); got != c.want {
			t.Errorf("after %s and %d bytes: got %s, want %s", c.was, c.grown, got, c.want)
		}
	}
}

func TestPunchTo(t *testing.T) {
	for _, c := range []struct{ head, size, want int64 }{
		{0, 0, 0}, {0, 80000, 0}, {0, 80001, 8192}, {8192, 88192, 8192}, {0, 1 << 40, 1<<40 - 73728},
	} {
		if got := punchTo(c.head, c.size, 80000, 4096); got != c.want {
			t.Errorf("from %d of %d: got %d, want %d", c.head, c.size, got, c.want)
		}
	}
}

func TestSince(t *testing.T) {
	marks := []mark{{100, 10}, {200, 20}, {150, 30}, {160, 40}} // the clock was set back after the second
	for at, want := range map[int64]int64{0: 0, 100: 0, 101: 10, 200: 10, 201: 40, 155: 10} {
		if got := since(marks, at); got != want {
			t.Errorf("since %d: got %d, want %d", at, got, want)
		}
	}
	if got := since(nil, 5); got != 0 {
		t.Errorf("without entries: %d", got)
	}
}

// TestIndexIsWhole: an index that another keeper left torn goes on, one that is full is thinned, one of another file is not
// believed.
func TestIndexIsWhole(t *testing.T) {
	log := filepath.Join(t.TempDir(), "main.log")
	x := newIndex(log, 7)
	var want []mark
	for i := range int64(10) {
		m := mark{i * 100, i*10 + 10}
		want = append(want, m)
		if err := x.add(m, 0); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(indexPath(log), os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte("torn")); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		x = newIndex(log, 7) // the next keeper
	}
	if got, err := readIndex(log, 7, 1000); err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	if got, err := readIndex(log, 7, 55); err != nil || !slices.Equal(got, want[:5]) {
		t.Errorf("of a shorter log: got %v, %v, want %v", got, err, want[:5])
	}
	if got, err := readIndex(log, 8, 1000); err != nil || got != nil {
		t.Errorf("of another file: got %v, %v", got, err)
	}
	for i := range int64(3 * indexEntries) {
		if err := x.add(mark{1000 + i, 1000 + i}, 0); err != nil {
			t.Fatal(err)
		}
	}
	st, err := os.Stat(indexPath(log))
	if err != nil || st.Size() > indexMost {
		t.Fatalf("the index has %v bytes, %v", st, err)
	}
	marks, err := readIndex(log, 7, 1<<40)
	if err != nil || len(marks) < indexEntries/4 || marks[len(marks)-1].offset != 999+3*indexEntries {
		t.Errorf("%d entries are left, %v, the last is %v", len(marks), err, marks[len(marks)-1])
	}
}

func FuzzIndex(f *testing.F) {
	f.Add(encodeIndex(7, []mark{{1, 10}, {2, 20}}), uint64(7), int64(15))
	f.Add([]byte("supdidx1torn"), uint64(0), int64(0))
	f.Add(encodeIndex(7, []mark{{1, 10}, {2, 5}, {3, -5}, {4, 5}}), uint64(7), int64(1<<62))
	f.Fuzz(func(t *testing.T, b []byte, ino uint64, size int64) {
		marks := decodeIndex(b, ino, size)
		last := int64(0)
		for _, m := range marks {
			if m.offset <= last || m.offset > size {
				t.Fatalf("%v of a log of %d bytes", marks, size)
			}
			last = m.offset
		}
		if again := decodeIndex(encodeIndex(ino, marks), ino, size); !slices.Equal(again, marks) {
			t.Errorf("%v became %v", marks, again)
		}
		if !bytes.HasPrefix(b, []byte(indexMagic)) && marks != nil {
			t.Errorf("%q was believed", b)
		}
	})
}
