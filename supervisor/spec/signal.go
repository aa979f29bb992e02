package spec

import "strings"

// signals that may be sent to ask a process to end or to look again.
var signals = map[string]bool{
	"SIGHUP": true, "SIGINT": true, "SIGQUIT": true, "SIGABRT": true, "SIGUSR1": true,
	"SIGUSR2": true, "SIGALRM": true, "SIGTERM": true, "SIGKILL": true, "SIGCONT": true,
	"SIGWINCH": true, "SIGPWR": true, "SIGIO": true, "SIGURG": true,
}

// SignalName is the full name ("SIGTERM") of a signal written as "SIGTERM",
// "TERM" or "term"; false when there is none of that name.
func SignalName(s string) (string, bool) {
	name := strings.ToUpper(s)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	return name, signals[name]
}
