package probe

import (
	"regexp"
	"strings"

	"supd/supervisor/spec"
)

// MaxBody bounds what is read of an answer or output.
const MaxBody = 64 << 10

// maxOutput bounds what is kept of it for people.
const maxOutput = 512

// reading is what is read in an answer that is good by its status.
type reading struct {
	kind   Kind
	expect *regexp.Regexp
	secret bool
}

// result judges an answer; what names it in a message: "the probe's output".
func (r reading) result(what string, answer []byte) Result {
	res := Result{OK: true, Output: r.shown(answer)}
	found := answer
	if r.expect != nil {
		m := r.expect.FindSubmatch(answer)
		switch {
		case m == nil:
			return r.failed(what+" is not what is expected", answer)
		case len(m) > 1: // the first group is what is meant
			found = m[1]
		default:
			found = m[0]
		}
	}
	if r.kind != Role {
		return res
	}
	res.Role = strings.ToLower(strings.TrimSpace(string(found)))
	if err := spec.CheckLabel(res.Role); err != nil {
		return r.failed(what+" is no role, which is one word of letters, digits and '-'", answer)
	}
	return res
}

// failed is a Result that says why, and what was answered.
func (r reading) failed(why string, answer []byte) Result {
	res := Result{Message: why, Output: r.shown(answer)}
	switch b := brief(answer); {
	case b == "":
	case r.secret:
		res.Message += ": its output is not shown, for the process has secrets"
	default:
		res.Message += ": " + b
	}
	return res
}

// shown is what people may see of an answer.
func (r reading) shown(answer []byte) string {
	if r.secret {
		return ""
	}
	return bounded(strings.TrimSpace(strings.ToValidUTF8(string(answer), "?")), maxOutput)
}

// brief is the first line of some output, bounded, for a message.
func brief(b []byte) string {
	s := strings.TrimSpace(strings.ToValidUTF8(string(b), "?"))
	if i := strings.IndexByte(s, '\n'); i >= 0 {
		s = strings.TrimSpace(s[:i])
	}
	return bounded(s, 200)
}

func bounded(s string, most int) string {
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	return s
}
