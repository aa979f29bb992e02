package client_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"supd/supervisor/client"
)

func FuzzFrame(f *testing.F) {
	f.Add([]byte{1, 0, 0, 0, 2, 'h', 'i', 2, 0, 0, 0, 0, 3, 0, 0, 0, 4, 0, 24, 0, 80})
	f.Add([]byte{6, 0, 1, 0, 0})
	f.Add([]byte{7, 0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		var again bytes.Buffer
		for {
			fr, err := client.ReadFrame(r)
			if err != nil {
				if errors.Is(err, io.EOF) && again.Len() != len(b) {
					t.Errorf("it ended at %d of %d bytes", again.Len(), len(b))
				}
				break
			}
			if len(fr.Data) > client.MaxFrame {
				t.Errorf("a frame of %d bytes", len(fr.Data))
			}
			if _, _, ok := fr.Size(); ok != (fr.Kind == client.FrameResize && len(fr.Data) == 4) {
				t.Errorf("size of %+v: %v", fr, ok)
			}
			if err := client.WriteFrame(&again, fr); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.HasPrefix(b, again.Bytes()) {
			t.Errorf("%q came back as %q", b, &again)
		}
	})
}
