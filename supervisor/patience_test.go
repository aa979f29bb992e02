package supervisor

import (
	"errors"
	"net"
	"syscall"
	"testing"
)

func TestPatiently(t *testing.T) {
	t.Parallel()
	before, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tries := 0
	l, err := patiently(func() (net.Listener, error) {
		if tries++; tries == 3 {
			if err := before.Close(); err != nil {
				t.Error(err)
			}
		}
		return net.Listen("tcp", before.Addr().String())
	})
	if err != nil || tries < 3 {
		t.Fatalf("after %d tries: %v", tries, err)
	}
	defer l.Close()
	tries = 0
	other := errors.New("another reason")
	if _, err := patiently(func() (int, error) { tries++; return 0, other }); !errors.Is(err, other) || tries != 1 {
		t.Errorf("%d tries, %v; want one", tries, err)
	}
	if !errors.Is(&net.OpError{Err: syscall.EADDRINUSE}, syscall.EADDRINUSE) {
		t.Error("an address in use is not recognized")
	}
}
