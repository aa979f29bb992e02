package gossip

import (
	"bytes"
	"io"
	"testing"
)

// FuzzFilter: whatever comes in is told to be well formed or not, and what gets
// through is what came in.
func FuzzFilter(f *testing.F) {
	for _, b := range [][]byte{{0}, {6, 0x80}, {7, 1, 0, 1, 0}, {12, 0, 0, 0, 0, 0}, {4, 0x81, 0xa4, 'N', 'o', 'd', 'e', 0xa1, 'x'}} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if packetOK(b, 0) && len(b) == 0 {
			t.Error("took nothing")
		}
		in, err := checked(bytes.NewReader(b))
		if err != nil {
			return
		}
		got, err := io.ReadAll(in)
		if err != nil || !bytes.HasPrefix(b, got) {
			t.Errorf("got %x of %x, %v", got, b, err)
		}
	})
}
