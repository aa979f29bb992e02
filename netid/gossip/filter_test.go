package gossip

import "testing"

// FuzzFilter: whatever comes in is told to be well formed or not.
func FuzzFilter(f *testing.F) {
	for _, b := range [][]byte{{0}, {6, 0x80}, {7, 1, 0, 1, 0}, {12, 0, 0, 0, 0, 0}, {4, 0x81, 0xa4, 'N', 'o', 'd', 'e', 0xa1, 'x'}} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if packetOK(b, 0) && len(b) == 0 {
			t.Error("took nothing")
		}
		_ = checked(b)
	})
}
