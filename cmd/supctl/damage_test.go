package main_test

import (
	"math/rand/v2"
	"os"

	"github.com/rogpeppe/go-internal/testscript"
)

// spoil FILE: flips a bit in every page of it.
func cmdSpoil(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: spoil FILE")
	}
	b, err := os.ReadFile(args[0])
	ts.Check(err)
	seed := rand.Uint64()
	ts.Logf("spoil: seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	const page = 4096
	for at := 0; at < len(b); at += page {
		b[at+r.IntN(min(page, len(b)-at))] ^= 1 << r.IntN(8)
	}
	ts.Check(os.WriteFile(args[0], b, 0o600))
}
