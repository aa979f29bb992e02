package spec

import (
	"errors"
	"fmt"
)

// Code classes every error that reaches a user. HTTP status and exit status
// follow from it (server and cmd map them, in one place each).
type Code string

// The codes.
const (
	CodeInvalid  Code = "Invalid"  // wrong usage or definition: HTTP 400, exit 2
	CodeNotFound Code = "NotFound" // 404, exit 3
	CodeRefused  Code = "Refused"  // a rule forbids it: 409, exit 4
	CodeConflict Code = "Conflict" // stale version or name taken: 409, exit 4
	CodeNoLeader Code = "NoLeader" // no quorum, or no daemon: 503, exit 5
	CodeTimeout  Code = "Timeout"  // 504, exit 6
	CodeInternal Code = "Internal" // 500, exit 1
)

// Error is an error with a code. Message says what could not be done, why, and
// what to do. Details name members, fields and the like, one a line.
type Error struct {
	Code    Code     `json:"code"`
	Message string   `json:"message"`
	Details []string `json:"details,omitempty"`
	// Reason is the rule that refused, one CamelCase word.
	Reason string `json:"reason,omitempty"`
}

func (e *Error) Error() string { return e.Message }

// Errorf makes an Error.
func Errorf(c Code, format string, args ...any) *Error {
	return &Error{Code: c, Message: fmt.Sprintf(format, args...)}
}

// CodeOf finds the code in err's chain; unknown means CodeInternal.
func CodeOf(err error) Code {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return CodeInternal
}

// Problem is one thing wrong with a definition. Path is the native JSON path,
// such as "spec.processes[0].command"; front ends add file, line and column.
type Problem struct {
	Path    string `json:"path"`
	Message string `json:"message"`
	// Warning: told, not refused.
	Warning bool `json:"warning,omitempty"`
}

func (p Problem) String() string { return p.Path + ": " + p.Message }
