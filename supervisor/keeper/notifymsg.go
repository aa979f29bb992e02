package keeper

import (
	"bytes"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	maxNotice      = 4096 // bytes of a message; a longer one is passed over
	maxText        = 256  // bytes of STATUS kept
	maxExtend      = time.Hour
	maxMissed      = 100              // counted no further
	extendTimes    = 10               // a stop takes so many times its timeout at most
	maxStopCounted = 1000 * time.Hour // a longer one is not multiplied
)

// NotifyStatus is what a process started with Notify has told by sd_notify since it was last exec'ed.
type NotifyStatus struct {
	Ready     bool   `json:"ready,omitempty"`     // READY=1
	Reloading bool   `json:"reloading,omitempty"` // RELOADING=1, until the next READY=1
	Stopping  bool   `json:"stopping,omitempty"`  // STOPPING=1
	Text      string `json:"text,omitempty"`      // STATUS: one line. A change of nothing else is shown with the next one only
	Errno     int    `json:"errno,omitempty"`
	Extending bool   `json:"extending,omitempty"` // what EXTEND_TIMEOUT_USEC asked for before READY=1 is not over

	// The watchdog's: judged here, so that a ping in time is no news. Watched: READY=1 or WATCHDOG=1 came, from when on
	// pings are expected. Missed counts whole periods since the last one, up to 100. Trigger: WATCHDOG=trigger.
	Watched bool `json:"watched,omitempty"`
	Missed  int  `json:"missed,omitempty"`
	Trigger bool `json:"trigger,omitempty"`
}

// notice is one message of a program's.
type notice struct {
	ready, reloading, stopping bool
	ping, trigger              bool
	text                       *string
	errno                      int
	extend                     time.Duration
}

// parseNotice reads a message: lines of NAME=VALUE. Names that mean nothing here are passed over, MAINPID and FDSTORE among
// them: the first process stays the main one, and no descriptor is kept. So is a message that is no text.
func parseNotice(b []byte) notice {
	var n notice
	if b = bytes.TrimRight(b, "\x00"); bytes.IndexByte(b, 0) >= 0 {
		return n
	}
	for line := range strings.SplitSeq(string(b), "\n") {
		name, value, _ := strings.Cut(line, "=")
		switch name {
		case "READY":
			n.ready = n.ready || value == "1"
		case "RELOADING":
			n.reloading = n.reloading || value == "1"
		case "STOPPING":
			n.stopping = n.stopping || value == "1"
		case "WATCHDOG":
			n.ping = n.ping || value == "1"
			n.trigger = n.trigger || value == "trigger"
		case "STATUS":
			text := cleanText(value)
			n.text = &text
		case "ERRNO":
			if v, err := strconv.ParseUint(value, 10, 12); err == nil {
				n.errno = int(v)
			}
		case "EXTEND_TIMEOUT_USEC":
			if v, err := strconv.ParseUint(value, 10, 64); err == nil {
				n.extend = min(time.Duration(min(v, uint64(maxExtend/time.Microsecond)))*time.Microsecond, maxExtend)
			}
		}
	}
	return n
}

// cleanText makes one printable line of what a program says, for it goes to people's terminals.
func cleanText(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	s = strings.TrimSpace(s)
	for len(s) > maxText {
		cut := maxText
		for !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = strings.TrimSpace(s[:cut])
	}
	return s
}

// hear is what is known after a message. That more time was asked for is the caller's to time.
func (s NotifyStatus) hear(n notice) NotifyStatus {
	if n.text != nil {
		s.Text = *n.text
	}
	if n.errno != 0 {
		s.Errno = n.errno
	}
	s.Stopping = s.Stopping || n.stopping
	s.Reloading = s.Reloading || n.reloading
	if n.ready {
		s.Ready, s.Reloading, s.Extending = true, false, false
	}
	if n.ready || n.ping {
		s.Watched = true
	}
	if n.ping {
		s.Missed = 0
	}
	s.Trigger = s.Trigger || n.trigger
	return s
}

// missed is how many whole periods are over since the last ping, and when to look again; 0: not before the next ping.
func missed(since, period time.Duration) (n int, again time.Duration) {
	n = int(min(since/period, maxMissed))
	if n < maxMissed {
		again = time.Duration(n+1)*period - since
	}
	return n, again
}
