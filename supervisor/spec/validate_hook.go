package spec

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// hooks checks a process's hooks.
func (v *validator) hooks(at string, p *Process) {
	known := HookNames()
	for _, name := range slices.Sorted(maps.Keys(p.Hooks)) {
		h, at := p.Hooks[name], at+"."+name
		if !slices.Contains(known, name) {
			v.bad(at, "%q is no hook of this version: %s are%s", name, strings.Join(known, ", "), DidYouMean(name, known))
			continue
		}
		needed := "a command"
		if asksHTTP(name) {
			needed = "a command or http"
		}
		if name == HookPeersChanged {
			needed = "a command, http or a signal"
		}
		switch {
		case h.Signal != "" && name != HookPeersChanged:
			v.bad(at+".signal", "only %s can be a signal", HookPeersChanged)
		case h.Signal != "" && (len(h.Command) > 0 || h.HTTP != nil):
			v.bad(at+".signal", "command, http and signal exclude each other")
		case h.Signal != "":
			v.signal(at+".signal", h.Signal)
		case h.HTTP != nil && len(h.Command) > 0:
			v.bad(at+".http", "command and http exclude each other")
		case h.HTTP != nil && !asksHTTP(name):
			v.bad(at+".http", "%s runs before the process does: it must be a command", name)
		case h.HTTP != nil:
			v.http(at+".http", h.HTTP)
		case len(h.Command) == 0:
			v.bad(at+".command", "%s is needed", needed)
		case strings.TrimSpace(h.Command[0]) == "":
			v.bad(at+".command[0]", "the program's name is empty")
		}
		for i, a := range h.Command {
			v.noNUL(fmt.Sprintf("%s.command[%d]", at, i), a)
		}
		v.positive(at+".timeout", h.Timeout)
		if h.Retries < 0 {
			v.bad(at+".retries", "must not be negative")
		}
		if stop := p.Stop.Timeout; name == HookPreStop && h.Timeout != nil && stop != nil && *h.Timeout > *stop {
			v.warn(at+".timeout", "preStop runs within stop.timeout: it is ended after %s, and the process has no time left then", *stop)
		}
	}
}

// sideHooks refuses what belongs to the main process.
func (v *validator) sideHooks(at string, hooks Hooks, main string) {
	for _, name := range HookNames() {
		if _, ok := hooks[name]; ok && ofMember(name) {
			v.bad(at+"."+name, "it is the member's, not one process's: it belongs to the main process, %s", main)
		}
	}
}
