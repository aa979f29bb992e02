package keeper

import (
	"errors"
	"fmt"
	"syscall"
)

// Errors of the keeper, the same on both ends of the socket. Test with errors.Is.
var (
	// ErrLocked: the lock file is held by a process; nothing was started.
	ErrLocked = errors.New("locked")
	// ErrBusy: something of the process still runs, in another epoch or unknown; nothing was started or given up.
	ErrBusy = errors.New("busy")
	// ErrGivenUp: the epoch was given up on this host, or a higher one was started here.
	ErrGivenUp = errors.New("epoch given up")
	// ErrNoLease: the node's lease doesn't hold, or lapsed since the start was decided; what is fenced isn't started.
	ErrNoLease = errors.New("no lease")
	// ErrNotFound: the keeper has no record of such a process.
	ErrNotFound = errors.New("not found")
	// ErrInvalid: the request can't be carried out as it is.
	ErrInvalid = errors.New("invalid")
	// ErrProtocol: client and keeper have no version of the protocol in common.
	ErrProtocol = errors.New("protocol mismatch")
	// ErrDown: no keeper answers on the socket, or it went away during the call.
	ErrDown = errors.New("keeper does not answer")
	// ErrNotUpgraded: the keeper could not be replaced by the new binary, and goes on as it was.
	ErrNotUpgraded = errors.New("not upgraded")
	// ErrInternal: the keeper failed, its message says at what.
	ErrInternal = errors.New("keeper failed")
)

// ErrExec says at which step a program could not be started, and why. Use errors.As with a *ErrExec; Err unwraps to a
// syscall.Errno where the kernel gave one.
type ErrExec struct {
	Step string // log, secret, cgroup, fork, mount, hostname, user, rlimit, chdir, exec, ...
	Err  error
}

func (e *ErrExec) Error() string { return "cannot start: " + e.Step + ": " + e.Err.Error() }

// Unwrap gives the cause.
func (e *ErrExec) Unwrap() error { return e.Err }

// codes maps errors to their names on the wire, one place for both directions.
var codes = []struct {
	code string
	err  error
}{
	{"locked", ErrLocked},
	{"busy", ErrBusy},
	{"given-up", ErrGivenUp},
	{"no-lease", ErrNoLease},
	{"not-found", ErrNotFound},
	{"invalid", ErrInvalid},
	{"protocol", ErrProtocol},
	{"not-upgraded", ErrNotUpgraded},
	{"internal", ErrInternal},
}

type wireError struct {
	Code    string        `json:"code"`
	Message string        `json:"message"`
	Step    string        `json:"step,omitempty"`
	Errno   syscall.Errno `json:"errno,omitempty"`
}

func toWire(err error) *wireError {
	if err == nil {
		return nil
	}
	var ex *ErrExec
	if errors.As(err, &ex) {
		w := &wireError{Code: "exec", Message: ex.Err.Error(), Step: ex.Step}
		errors.As(ex.Err, &w.Errno)
		return w
	}
	for _, c := range codes {
		if errors.Is(err, c.err) {
			return &wireError{Code: c.code, Message: err.Error()}
		}
	}
	return &wireError{Code: "internal", Message: err.Error()}
}

// remote is an error that came over the socket: the text of the far side, the identity of ours.
type remote struct {
	text string
	is   error
}

func (r *remote) Error() string { return r.text }
func (r *remote) Unwrap() error { return r.is }

func (w *wireError) err() error {
	if w == nil {
		return nil
	}
	if w.Code == "exec" {
		if w.Errno != 0 {
			return &ErrExec{Step: w.Step, Err: &remote{w.Message, w.Errno}}
		}
		return &ErrExec{Step: w.Step, Err: errors.New(w.Message)}
	}
	for _, c := range codes {
		if w.Code == c.code {
			return &remote{w.Message, c.err}
		}
	}
	return &remote{w.Message, ErrInternal}
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}
