// Command teller is a member that speaks sd_notify: it says each line that it finds in DIR/tell, its first argument being
// DIR, and removes the file. Meanwhile it pings three times per watchdog period, until it finds the line "silent".
package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(dir string) error {
	usec, err := strconv.Atoi(os.Getenv("WATCHDOG_USEC"))
	if err != nil {
		return err
	}
	ping := time.NewTicker(time.Duration(usec) * time.Microsecond / 3)
	look := time.NewTicker(20 * time.Millisecond)
	silent := false
	for {
		select {
		case <-ping.C:
			if !silent {
				_ = tell("WATCHDOG=1") // nobody may be there to hear it
			}
		case <-look.C:
		}
		file := filepath.Join(dir, "tell")
		b, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		said := true
		for line := range strings.Lines(string(b)) {
			if line == "silent\n" {
				silent = true
			} else if tell(strings.TrimSpace(line)) != nil {
				said = false // a killed keeper's successor has no socket yet: all is said again
			}
		}
		if !said {
			continue
		}
		if err := os.Remove(file); err != nil {
			return err
		}
	}
}

func tell(line string) error {
	c, err := net.Dial("unixgram", os.Getenv("NOTIFY_SOCKET"))
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Write([]byte(line))
	return err
}
