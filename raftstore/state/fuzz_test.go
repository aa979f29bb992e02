package state_test

import (
	"bytes"
	"os"
	"testing"
	"time"

	"supd/raftstore/state"
)

// FuzzDecode feeds the log decoder, and Apply with what it lets through.
func FuzzDecode(f *testing.F) {
	for _, c := range story() {
		raw, err := state.Encode(state.Entry{At: at(1), Who: "x", Cmd: c})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	base := state.New()
	for i, c := range story()[:20] {
		base, _ = base.Apply(uint64(i+1), state.Entry{At: at(i), Cmd: c})
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		e, err := state.Decode(raw)
		if err != nil {
			return
		}
		next, _ := base.Apply(1000, e)
		again, _ := base.Apply(1000, e)
		if next.Hash() != again.Hash() {
			t.Fatal("the same entry gave two Views")
		}
	})
}

// FuzzSnapshot feeds the snapshot reader.
func FuzzSnapshot(f *testing.F) {
	b, err := os.ReadFile("testdata/story.snapshot")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, raw []byte) {
		v, err := state.ReadSnapshot(bytes.NewReader(raw))
		if err != nil {
			return
		}
		var out bytes.Buffer
		if err := v.WriteSnapshot(&out); err != nil {
			t.Fatal(err)
		}
		back, err := state.ReadSnapshot(&out)
		if err != nil || back.Hash() != v.Hash() {
			t.Fatalf("a snapshot that was read cannot be written and read again: %v", err)
		}
	})
}

// BenchmarkApplyReport is one member's transition in a View of 10 000 members.
func BenchmarkApplyReport(b *testing.B) {
	v := crowd(b, 100, 100)
	now := time.Unix(2e9, 0)
	seq := uint64(1)
	for b.Loop() {
		seq++
		m := v.Member("default", "s50", int(seq)%100)
		seen := m.Seen
		seen.Ready = !seen.Ready
		seen.Epoch = m.Epoch
		seen.Phase = "Running"
		v, _ = v.Apply(v.Index+1, state.Entry{At: now, Cmd: &state.Report{
			Node: "n1", Run: "r1", Seq: seq,
			Members: []state.MemberReport{{Namespace: "default", Set: "s50", Ordinal: m.Ordinal, Seen: seen}},
		}})
	}
}
