package keeper

import (
	"fmt"
	"slices"
)

// upgradable is the lowest protocol whose keepers can be asked to become another binary.
const upgradable = 2

// needs is the lowest protocol whose keepers carry a request out as it is meant; an older one would leave parts of it out
// without a word. What a version brings anew is listed here.
//
// Not here: LogMax and PreStop. A keeper of version 1 lets logs grow, and one of before PreStop halts without hooks, as they
// do for their own clients; of the latter Table.Hooks tells.
func (q *request) needs() int {
	if q.Op == "upgrade" {
		return upgradable
	}
	for _, e := range q.execs() {
		if e.SetCapabilities || len(e.ReadOnlyPaths) > 0 ||
			slices.ContainsFunc(e.Mounts, func(m Mount) bool { return m.Beneath != "" }) {
			return 2
		}
	}
	if q.Op == "exec" || q.Op == "renew" || q.fences() || q.Start != nil && (q.Start.Limits != nil || q.Start.Notify || q.Start.Watchdog > 0) {
		return 2
	}
	if q.Start != nil && q.Start.Output == OutputPipe { // it would give the process a file
		return 2
	}
	return MinProtocol
}

// fences tells whether a request is about what lives by the node's lease.
func (q *request) fences() bool {
	return q.Start != nil && q.Start.Fence || q.Run != nil && q.Run.Fence || q.Settings != nil && q.Settings.Fence
}

// execs are the programs that a request is about.
func (q *request) execs() []*Exec {
	var all []*Exec
	if q.Start != nil {
		all = append(all, &q.Start.Exec)
	}
	if q.Run != nil {
		all = append(all, &q.Run.Exec)
	}
	return all
}

// suits tells whether a keeper of that protocol can be asked.
func (q *request) suits(protocol int) error {
	if n := q.needs(); n > protocol {
		how := "install the new supd-keeper, then supctl node upgrade-keeper NODE"
		if protocol < upgradable {
			how = "install the new supd-keeper, then end the keeper's process with SIGTERM (version 1 knows no upgrade in place): members run on, and the next keeper takes them over"
		}
		return fmt.Errorf("%w: the keeper speaks version %d, this call needs %d: %s", ErrProtocol, protocol, n, how)
	}
	return nil
}
