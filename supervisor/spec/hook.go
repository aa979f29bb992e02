package spec

import "time"

// Hooks by their name, one of HookNames.
type Hooks map[string]Hook

// Hook is a step run at a moment of a member's life: as its process's user, in its view and
// environment (SUP_ATTEMPT counts the tries), beside it. Command is a template.
//
// A hook may run again although it has succeeded, for whoever ran it may have died before it
// told, and must bear that.
type Hook struct {
	Command []string `json:"command,omitempty"`
	// HTTP is asked by supd instead of a command: as by a probe, and with the same that passes.
	HTTP *HTTPGet `json:"http,omitempty"`
	// Signal is sent to the main process of onPeersChanged's process, instead of a command.
	Signal string `json:"signal,omitempty"`
	// Timeout is the deadline of one attempt, Retries bounds the attempts after the first.
	Timeout *Duration `json:"timeout,omitempty"`
	Retries int       `json:"retries,omitempty"`
}

// The hooks.
const (
	// HookPostStart runs after each exec of its process, restarts in place included, and
	// before that counts as started. When it fails the process is restarted.
	HookPostStart = "postStart"
	// HookPreStop runs before the stop signal, within the stop timeout. Its failure is told.
	HookPreStop = "preStop"

	// HookPeersChanged runs when the list of the set's members, an address or a port is another
	// than when its process was started, after the files were rendered anew; again after a
	// restart in place, for that has the command line of before.
	HookPeersChanged = "onPeersChanged"

	// The others are the member's, and belong to its main process.

	// HookOnJoin runs before the first start of a member, with new or returned volumes, in a
	// set that is formed, unless none of it runs and this is the one to go first. It is tried
	// until it succeeds.
	HookOnJoin = "onJoin"
	// HookPosition prints a whole number, the higher the newer the member's data is. It runs,
	// like an init step, when all of a formed set is down; the highest has member.bootstrap.
	HookPosition = "position"
	// HookOnFormed runs once, on the lowest member, when all of a new set have started. The set
	// is formed when it has succeeded.
	HookOnFormed = "onFormed"
	// HookOnLeave runs on a member that a scale-down is about to remove, while it still runs.
	// Its failure holds the removal. The last member has nobody to leave.
	HookOnLeave = "onLeave"
	// HookAfterLeave runs on the lowest healthy member when another was removed and is gone,
	// and may name that as leaver. The next removal waits for it.
	HookAfterLeave = "afterLeave"
)

// HookNames are the hooks of this version, in the order of a member's life.
func HookNames() []string {
	return []string{HookPosition, HookOnJoin, HookPostStart, HookOnFormed, HookPeersChanged, HookPreStop, HookOnLeave, HookAfterLeave}
}

// ofMember tells whether a hook is the member's, not one process's.
func ofMember(hook string) bool {
	return hook != HookPostStart && hook != HookPreStop && hook != HookPeersChanged
}

// asksHTTP tells whether a hook may be a request: whom would it ask before the process runs?
func asksHTTP(hook string) bool { return hook != HookPosition && hook != HookOnJoin }

// Hooked tells whether the main process has a hook.
func (t Template) Hooked(hook string) bool {
	if len(t.Processes) == 0 {
		return false
	}
	_, ok := t.Processes[0].Hooks[hook]
	return ok
}

// States of a hook.
const (
	HookSucceeded = "Succeeded"
	HookFailed    = "Failed"
)

// HookStatus tells how a hook went the last time.
type HookStatus struct {
	Name    string `json:"name"`
	Process string `json:"process"`
	State   string `json:"state"`
	// Run names what asked for it in the log; 0: nothing did.
	Run uint64 `json:"run,omitempty"`
	// Attempts it took, those of earlier failures in a row included.
	Attempts int       `json:"attempts"`
	Message  string    `json:"message,omitempty"` // why it failed
	At       time.Time `json:"at"`
}

// HookLog is how the log of a process's hook is called among the member's processes.
func (t Template) HookLog(process, hook string) string {
	if len(t.Processes) > 0 && t.Processes[0].Name == process {
		return "hook-" + hook
	}
	return "hook-" + hook + "-" + process
}

// LogNames are all that a member has logs of: its processes, init steps and hooks.
func (t Template) LogNames() []string {
	var names []string
	for _, p := range t.Processes {
		names = append(names, p.Name)
	}
	for _, s := range t.Init {
		names = append(names, InitProcess(s.Name))
	}
	for _, p := range t.Processes {
		for _, hook := range HookNames() {
			if _, ok := p.Hooks[hook]; ok {
				names = append(names, t.HookLog(p.Name, hook))
			}
		}
	}
	return names
}

func defaultHooks(p *Process) {
	for name, h := range p.Hooks {
		if name != HookPreStop { // that has the stop timeout
			setNil(&h.Timeout, DefaultHookTimeout)
		}
		if h.HTTP != nil {
			defaultHTTP(h.HTTP)
		}
		if sig, ok := SignalName(h.Signal); ok {
			h.Signal = sig
		}
		p.Hooks[name] = h
	}
}
