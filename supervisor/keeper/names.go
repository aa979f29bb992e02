package keeper

import (
	"fmt"
	"strconv"
	"strings"
)

// maxName keeps a file name made of two names below the 255 bytes a file system takes.
const maxName = 120

// fileName turns a name into one that is safe as a file's or a cgroup's, and different for different names: / becomes _,
// all but letters, digits, - and . (not in front) becomes %XX.
func fileName(name string) string {
	var b strings.Builder
	for i := range len(name) {
		switch c := name[i]; {
		case c == '/':
			b.WriteByte('_')
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '.' && i > 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// nameOf undoes fileName.
func nameOf(file string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(file); i++ {
		switch c := file[i]; c {
		case '_':
			b.WriteByte('/')
		case '%':
			if i+2 >= len(file) {
				return "", fmt.Errorf("%q is not a name of the keeper's", file)
			}
			v, err := strconv.ParseUint(file[i+1:i+3], 16, 8)
			if err != nil {
				return "", fmt.Errorf("%q is not a name of the keeper's", file)
			}
			b.WriteByte(byte(v))
			i += 2
		default:
			b.WriteByte(c)
		}
	}
	if fileName(b.String()) != file {
		return "", fmt.Errorf("%q is not a name of the keeper's", file)
	}
	return b.String(), nil
}

// key names a process of a member.
type key struct{ member, process string }

func (k key) String() string { return k.member + " " + k.process }

// file is the key as one file name; @ is in neither part.
func (k key) file() string { return fileName(k.member) + "@" + fileName(k.process) }

func keyOf(file string) (key, error) {
	m, p, ok := strings.Cut(file, "@")
	if !ok {
		return key{}, fmt.Errorf("%q is not a name of the keeper's", file)
	}
	member, err := nameOf(m)
	if err != nil {
		return key{}, err
	}
	process, err := nameOf(p)
	if err != nil {
		return key{}, err
	}
	return key{member, process}, nil
}

func (k key) check() error {
	if k.member == "" || k.process == "" {
		return invalid("member and process must be named")
	}
	if len(fileName(k.member)) > maxName || len(fileName(k.process)) > maxName {
		return invalid("the name of %s is too long", k)
	}
	return nil
}
