package agent

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"supd/supervisor/keeper"
	"supd/volumes"
)

// Reasons of phase Failed, beside those of volumes.
const (
	NeedsRoot       = "NeedsRoot"
	NeedsCgroup     = "NeedsCgroup"
	TemplateFailed  = "TemplateFailed"
	UserUnknown     = "UserUnknown"
	PortInUse       = "PortInUse"
	InitFailed      = "InitFailed"
	HookFailed      = "HookFailed"
	OnJoinFailed    = "OnJoinFailed"
	PositionFailed  = "PositionFailed"
	ExecFailed      = "ExecFailed"
	FileFailed      = "FileFailed"
	SecretMissing   = "SecretMissing"
	VolumeElsewhere = "VolumeElsewhere"
	StillLocked     = "StillLocked"
	StillRunning    = "StillRunning"
	KeeperDown      = "KeeperDown"
	KeeperRefused   = "KeeperRefused"
	RevisionUnknown = "RevisionUnknown"
	ProbeInvalid    = "ProbeInvalid"
	ExitedForGood   = "ExitedForGood"
	DiskTrouble     = "DiskError"
	CannotStart     = "CannotStart"
	NoLease         = "NoLease"

	LivenessFailed   = "LivenessFailed"
	StartupFailed    = "StartupFailed"
	PostStartPending = "PostStartPending"
	PostStartFailed  = "PostStartFailed"
)

// Failure is why a member cannot be started, or not be stopped, at present.
type Failure struct {
	// Reason is one CamelCase word, Message one line that names what.
	Reason, Message string
}

func (f *Failure) Error() string { return f.Message }

func failf(reason, format string, args ...any) *Failure {
	return &Failure{Reason: reason, Message: oneLine(fmt.Sprintf(format, args...))}
}

// failureOf finds the reason in an error.
func failureOf(err error) *Failure {
	if f, ok := errors.AsType[*Failure](err); ok {
		return f
	}
	if v, ok := errors.AsType[*volumes.Error](err); ok {
		return failf(v.Reason(), "%v", err)
	}
	if ex, ok := errors.AsType[*keeper.ErrExec](err); ok {
		return execFailure(ex)
	}
	for _, c := range []struct {
		err    error
		reason string
	}{
		{keeper.ErrLocked, StillLocked},
		{keeper.ErrBusy, StillRunning},
		{keeper.ErrDown, KeeperDown},
		{keeper.ErrNoLease, NoLease},
		{keeper.ErrInvalid, KeeperRefused},
		{keeper.ErrProtocol, KeeperRefused},
		{syscall.ENOSPC, string(volumes.ErrFull)},
		{syscall.EDQUOT, string(volumes.ErrFull)},
		{syscall.EROFS, string(volumes.ErrReadOnly)},
		{syscall.EACCES, string(volumes.ErrPermission)},
		{syscall.EPERM, string(volumes.ErrPermission)},
		{syscall.ELOOP, string(volumes.ErrSymlink)},
	} {
		if errors.Is(err, c.err) {
			return failf(c.reason, "%v", err)
		}
	}
	return failf(CannotStart, "%v", err)
}

func execFailure(ex *keeper.ErrExec) *Failure {
	reason := ExecFailed
	switch ex.Step {
	case "secret":
		reason = SecretMissing
	case "limits":
		reason = NeedsCgroup
		if errors.Is(ex.Err, syscall.EPERM) || errors.Is(ex.Err, syscall.EACCES) {
			reason = NeedsRoot
		}
	case "user", "mount", "hostname", "rlimit", "namespace", "capabilities":
		if errors.Is(ex.Err, syscall.EPERM) {
			reason = NeedsRoot
		}
	case "oom score", "nice": // what the kernel says there when only root may raise it
		if errors.Is(ex.Err, syscall.EACCES) || errors.Is(ex.Err, syscall.EPERM) {
			reason = NeedsRoot
		}
	}
	return failf(reason, "%v", ex)
}

func oneLine(s string) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "?")), " ")
	if len(s) > 500 {
		s = strings.ToValidUTF8(s[:500], "") + "..."
	}
	return s
}
