package spec

import (
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"
)

// maxProgramName bounds a Program's name: it is a key in the log and a part of URLs.
const maxProgramName = 255

var programName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?([:/@][A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9])?)*$`)

// CheckProgramName tells what keeps s from being a Program's name, which may be an
// image reference such as "mysql:5.7" or "registry.example:5000/db/mysql@sha256:12ab".
func CheckProgramName(s string) error {
	switch {
	case s == "":
		return fmt.Errorf("a name is needed")
	case len(s) > maxProgramName:
		return fmt.Errorf("the name has %d characters, %d are allowed", len(s), maxProgramName)
	case !programName.MatchString(s):
		return fmt.Errorf("%q is no name of an image or Program, such as %q", s, "mysql:5.7")
	}
	return nil
}

func (v *validator) noNUL(at, s string) {
	if strings.ContainsRune(s, 0) {
		v.bad(at, "a NUL character cannot be given to a program")
	}
}

// octal checks a file mode or umask.
func (v *validator) octal(at, s string, most uint64) {
	n, err := ParseMode(s)
	if err != nil {
		v.err(at, err)
	} else if uint64(n) > most {
		v.bad(at, "%q is more than %#o", s, most)
	}
}

// ParseMode parses an octal mode or umask as definitions have it: "0700", "750".
func ParseMode(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 8, 32)
	if err != nil || s == "" || len(s) > 5 {
		return 0, fmt.Errorf("%q is not octal; write for example %q", s, "0700")
	}
	return uint32(n), nil
}

var account = regexp.MustCompile(`^([a-z_][a-z0-9_.-]*\$?|[0-9]{1,10})$`)

// checkAccount checks the name or number of a user or group.
func checkAccount(s string) error {
	if len(s) > 32 || !account.MatchString(s) {
		return fmt.Errorf("%q is neither the name nor the number of a user or group", s)
	}
	if n, err := strconv.ParseUint(s, 10, 64); err == nil && n > 1<<32-2 {
		return fmt.Errorf("%s is too large for a user or group", s)
	}
	return nil
}

func checkAbsolute(p string) error {
	switch {
	case p == "":
		return fmt.Errorf("a path is needed")
	case !path.IsAbs(p):
		return fmt.Errorf("%q is not an absolute path", p)
	case strings.ContainsRune(p, 0), strings.Contains(p+"/", "/../"):
		return fmt.Errorf("%q holds a NUL or a '..'", p)
	}
	return nil
}

// taken are places that no directory of a member may cover.
var taken = map[string]bool{
	"/": true, "/proc": true, "/sys": true, "/dev": true, "/etc": true, "/bin": true, "/sbin": true,
	"/lib": true, "/lib64": true, "/usr": true, "/usr/bin": true, "/usr/lib": true, "/usr/sbin": true,
	"/etc/hosts": true, "/etc/resolv.conf": true,
}

// checkTarget checks a place in the member's view where a directory is mounted.
func checkTarget(p string) error {
	if err := checkAbsolute(p); err != nil {
		return err
	}
	clean := path.Clean(p)
	if taken[clean] || strings.HasPrefix(clean, "/proc/") || strings.HasPrefix(clean, "/sys/") {
		return fmt.Errorf("nothing can be mounted over %s", clean)
	}
	return nil
}

func checkSubPath(p string) error {
	if path.IsAbs(p) || strings.ContainsRune(p, 0) || strings.Contains("/"+p+"/", "/../") {
		return fmt.Errorf("%q must be a relative path without '..'", p)
	}
	return nil
}

// DidYouMean ends a message about a misspelt name: `; did you mean "replicas"?`, or
// nothing when no candidate is near.
func DidYouMean(got string, candidates []string) string {
	if c := Nearest(got, candidates); c != "" {
		return fmt.Sprintf("; did you mean %q?", c)
	}
	return ""
}

// Nearest is the candidate that got was most likely meant to be, or "".
func Nearest(got string, candidates []string) string {
	best, bestDist := "", 1+max(1, len(got)/3)
	for _, c := range candidates {
		if strings.EqualFold(c, got) {
			return c
		}
		if d := distance(strings.ToLower(got), strings.ToLower(c)); d < bestDist {
			best, bestDist = c, d
		}
	}
	return best
}

// distance counts insertions, deletions, substitutions and swaps of neighbours.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	prev2, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], prev2[j-2]+1)
			}
		}
		prev2, prev, cur = prev, cur, prev2
	}
	return prev[len(b)]
}
