package supervisor

import (
	"context"
	"errors"
	"net"
	"os"
	"strconv"
	"time"

	"supd/supervisor/client"
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
	return errors.Join(err, c.Close())
}

// watchdogTime is how long systemd waits for a sign of life of this process; 0: it
// does not wait.
func watchdogTime() time.Duration {
	usec, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64)
	if err != nil || usec <= 0 {
		return 0
	}
	if pid := os.Getenv("WATCHDOG_PID"); pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0
	}
	return time.Duration(usec) * time.Microsecond
}

// watchdog tells systemd, four times in the time it waits, that this daemon lives: each
// time its API has just answered from the state. It ends with ctx.
func (d *Daemon) watchdog(ctx context.Context) error {
	every := watchdogTime() / 4
	if every == 0 {
		return nil
	}
	c, err := client.New("unix://"+d.o.Config.Socket, client.Options{})
	if err != nil {
		return err
	}
	defer c.Close()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		err := d.sign(ctx, c, 2*every)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			d.log.Error("no sign of life for systemd", "err", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

func (d *Daemon) sign(ctx context.Context, c *client.Client, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	if _, _, err := c.ListRaw(ctx, client.Programs, client.ReadOptions{}); err != nil {
		return err
	}
	return Notify("WATCHDOG=1")
}
