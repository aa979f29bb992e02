package supervisor

import (
	"net"
	"os"
)

// Notify tells systemd something (READY=1, STOPPING=1), if it started this process
// and wants to know: sd_notify(3).
func Notify(message string) error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return err
	}
	_, err = c.Write([]byte(message))
	if cerr := c.Close(); err == nil {
		err = cerr
	}
	return err
}
