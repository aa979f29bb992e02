// Ready is the smallest member there is: it says that it is ready, and ends when it is told to.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM)
	if err := ready(os.Getenv("NOTIFY_SOCKET")); err != nil {
		os.Stderr.WriteString("cannot say that it is ready: " + err.Error() + "\n")
		os.Exit(1)
	}
	<-end
}

func ready(socket string) error {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	return syscall.Sendto(fd, []byte("READY=1"), 0, &syscall.SockaddrUnix{Name: socket})
}
