package supervisor

import (
	"errors"
	"syscall"
	"time"
)

// A killed supd lets go of its ports a moment after the kill: the one started next
// waits so long for them before it says that they are taken.
const (
	portWait  = 3 * time.Second
	portAgain = 20 * time.Millisecond
)

// patiently listens, again and again while the address is in use.
func patiently[T any](listen func() (T, error)) (T, error) {
	for end := time.Now().Add(portWait); ; time.Sleep(portAgain) {
		v, err := listen()
		if err == nil || !errors.Is(err, syscall.EADDRINUSE) || time.Now().After(end) {
			return v, err
		}
	}
}
