package volumes

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"
)

// Reason is why an operation was refused or failed, in one CamelCase word as
// users see it in a status. It is an error, so callers compare with errors.Is.
type Reason string

// The reasons.
const (
	// ErrForeign: the container's marker is another's, or there is none.
	ErrForeign Reason = "ForeignMarker"
	// ErrSymlink: a symbolic link is where a directory or file of ours should be.
	ErrSymlink Reason = "SymlinkInTheWay"
	// ErrInTheWay: something that is no directory, or another user's, is there.
	ErrInTheWay Reason = "NotOurDirectory"
	// ErrFull: no space, no inodes or no quota left.
	ErrFull Reason = "DiskFull"
	// ErrReadOnly: the file system is mounted read-only.
	ErrReadOnly Reason = "ReadOnlyDisk"
	// ErrOldEpoch: the claim is held by a higher epoch, or by another node.
	ErrOldEpoch Reason = "OldEpoch"
	// ErrMissing: a volume that was made is not there.
	ErrMissing Reason = "VolumeMissing"
	// ErrDamaged: a file of ours cannot be read as what it should be.
	ErrDamaged Reason = "VolumeDamaged"
	// ErrPermission: the daemon's user may not do this.
	ErrPermission Reason = "PermissionDenied"
	// ErrInUse: a process holds one of the volume's locks, or something is mounted
	// in what is to be removed.
	ErrInUse Reason = "VolumeInUse"
	// ErrNetworkFS: the pool is on a network file system and that is not allowed.
	ErrNetworkFS Reason = "NetworkFileSystem"
	// ErrInvalid: the claim names no volume that could be ours.
	ErrInvalid Reason = "InvalidClaim"
	// ErrAbandoned: the container was given up by its typed name, or with its node.
	ErrAbandoned Reason = "VolumeAbandoned"
	// ErrDisk: the disk or the kernel answered with another error.
	ErrDisk Reason = "DiskError"
)

func (r Reason) Error() string { return string(r) }

// Error is what every method of a Pool fails with.
type Error struct {
	// Op is what could not be done: "make volume data-web-0".
	Op string
	// Path it failed at; may be empty.
	Path   string
	Detail string
	Err    error // the cause, or nil

	reason Reason
}

// Reason is the error's class, one CamelCase word.
func (e *Error) Reason() string { return string(e.reason) }

func (e *Error) Error() string {
	if e.Op == "" {
		return e.Detail
	}
	return "cannot " + e.Op + ": " + e.Detail
}

// Unwrap lets callers find the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is makes errors.Is(err, ErrFull) true for errors of that reason.
func (e *Error) Is(target error) bool {
	r, ok := target.(Reason)
	return ok && r == e.reason
}

// ReasonOf is the Reason of err as a word, or "DiskError" for an error that is
// not this package's.
func ReasonOf(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Reason()
	}
	return string(ErrDisk)
}

// refuse is an Error of reason without its Op, which the Pool's method adds.
func refuse(r Reason, path, detail string) *Error {
	return &Error{reason: r, Path: path, Detail: detail}
}

// failed is what a system call's error means: doing op at path.
func failed(op, path string, err error) *Error {
	return &Error{reason: reasonFor(err), Path: path, Detail: op + " " + path + ": " + err.Error(), Err: err}
}

func reasonFor(err error) Reason {
	for _, c := range []struct {
		errno  unix.Errno
		reason Reason
	}{
		{unix.ENOSPC, ErrFull},
		{unix.EDQUOT, ErrFull},
		{unix.EROFS, ErrReadOnly},
		{unix.EACCES, ErrPermission},
		{unix.EPERM, ErrPermission},
		{unix.ELOOP, ErrSymlink},
		{unix.ENOTDIR, ErrInTheWay},
		{unix.EBUSY, ErrInUse},
	} {
		if errors.Is(err, c.errno) {
			return c.reason
		}
	}
	return ErrDisk
}

func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// doing names the operation in err, once.
func doing(op string, err *error) {
	if e, ok := errors.AsType[*Error](*err); ok && e.Op == "" {
		e.Op = op
	}
}

func reasonIs(err error, r Reason) bool { return errors.Is(err, r) }
