package main

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/term"
)

// progress shows how far something is, on standard error: one line that is written
// over on a terminal, plain lines elsewhere. A nil one is silent.
type progress struct {
	w        io.Writer
	terminal bool
	open     bool
	last     string
}

func (a *app) progress() *progress {
	p := &progress{w: a.stderr}
	if f, ok := a.stderr.(*os.File); ok {
		p.terminal = term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb"
	}
	return p
}

func (p *progress) say(line string) {
	if p == nil || line == p.last {
		return
	}
	p.last = line
	line = oneLine(line)
	if !p.terminal {
		fmt.Fprintln(p.w, line)
		return
	}
	if f, ok := p.w.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 4 {
			line = cut(line, width-1)
		}
	}
	fmt.Fprintf(p.w, "\r\x1b[K%s", line)
	p.open = true
}

// end leaves the last line standing.
func (p *progress) end() {
	if p != nil && p.open {
		fmt.Fprintln(p.w)
		p.open = false
	}
}
