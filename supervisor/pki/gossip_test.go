package pki

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestGossipKeysAreKept(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "pki")
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	seed, err := NewSeed()
	if err != nil {
		t.Fatal(err)
	}
	if !s.GossipKeys().IsZero() {
		t.Error("keys from nowhere")
	}
	if s.SaveGossipKeys(GossipKeys{}) == nil {
		t.Error("kept none")
	}
	want := seed.GossipKeys(7, time.Unix(1000, 5))
	if err := s.SaveGossipKeys(want); err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(filepath.Join(dir, fileGossip))
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st, err)
	}
	again, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got := again.GossipKeys(); got.Text() != want.Text() || got.Generation != 7 || !bytes.Equal(got.keys[1], seed.GossipKey(6)) {
		t.Error("other keys came back")
	}
	j, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{fmt.Sprint(want), fmt.Sprintf("%+v", want), fmt.Sprintf("%#v", want), want.LogValue().String(), string(j)} {
		if !strings.Contains(shown, "(secret)") {
			t.Errorf("shown as %s", shown)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, fileGossip), []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	if again, err = Open(dir); err != nil || !again.GossipKeys().IsZero() {
		t.Errorf("a damaged file is in the way: %v", err)
	}
}

func TestParseGossipKeys(t *testing.T) {
	t.Parallel()
	key := strings.Repeat("ab", 32)
	for text, ok := range map[string]bool{
		`{"generation":0,"keys":["` + key + `"]}`:                true,
		`{"generation":1,"keys":["` + key + `","` + key + `"]}`:  true,
		`{"generation":0,"keys":[]}`:                             false,
		`{"generation":1,"keys":["` + key + `"]}`:                false,
		`{"generation":0,"keys":["` + key + `","` + key + `"]}`:  false,
		`{"generation":0,"keys":["` + key[2:] + `"]}`:            false,
		`{"generation":-1,"keys":["` + key + `","` + key + `"]}`: false,
		`{"generation":0,"keys":["` + strings.ToUpper(key) + `"`: false,
		"": false,
	} {
		_, err := ParseGossipKeys(text)
		if (err == nil) != ok {
			t.Errorf("%s: %v", text, err)
		}
		if err != nil && strings.Contains(err.Error(), "abab") {
			t.Errorf("the error shows a key: %v", err)
		}
	}
}

func TestRing(t *testing.T) {
	t.Parallel()
	seed, err := NewSeed()
	if err != nil {
		t.Fatal(err)
	}
	at := time.Unix(100000, 0)
	for name, x := range map[string]struct {
		gen       uint64
		seen, now time.Duration // after the change
		first     uint64
		keys      int
		wait      time.Duration
	}{
		"first":                     {0, 0, 0, 0, 1, 0},
		"just changed":              {3, 0, 0, 2, 2, time.Minute},
		"half a minute on":          {3, 0, 30 * time.Second, 2, 2, 30 * time.Second},
		"a minute on":               {3, 0, time.Minute, 3, 2, 0},
		"seen late":                 {3, time.Hour, time.Hour, 3, 2, 0},
		"its clock is an hour back": {3, -time.Hour, -time.Hour + 20*time.Second, 2, 2, 40 * time.Second},
		"and a minute has passed":   {3, -time.Hour, -time.Hour + time.Minute, 3, 2, 0},
	} {
		k := seed.GossipKeys(x.gen, at)
		ring, wait := k.Ring(at.Add(x.seen), at.Add(x.now), time.Minute)
		if len(ring) != x.keys || !bytes.Equal(ring[0], seed.GossipKey(x.first)) || wait != x.wait {
			t.Errorf("%s: %d keys, wait %s", name, len(ring), wait)
		}
	}
}
