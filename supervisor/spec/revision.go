package spec

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"strings"
)

// Template is what one start of a member is made from, with Programs already
// merged in. It is kept in the log with its revision, so what runs never depends
// on a Program that changed later.
type Template struct {
	Init      []InitStep   `json:"init,omitempty"`
	Processes []Process    `json:"processes"`
	Scratch   []ScratchDir `json:"scratch,omitempty"`
	// VolumeMounts are mount paths by volume name.
	VolumeMounts map[string]string `json:"volumeMounts,omitempty"`
	Resolve      string            `json:"resolve,omitempty"`
}

// Hash names the template: ten characters that change when members must be
// restarted to follow it. Probes, stop and restart settings and post-start hooks
// are followed without a restart and do not count.
func (t Template) Hash() string {
	c := t
	c.Processes = make([]Process, len(t.Processes))
	for i, p := range t.Processes {
		for _, k := range p.Probes() {
			*k.At = nil
		}
		p.Hooks, p.Stop, p.Restart = nil, Stop{}, Restart{}
		c.Processes[i] = p
	}
	b, err := json.Marshal(c)
	if err != nil {
		panic("spec: a template is always marshalled: " + err.Error())
	}
	sum := sha256.Sum256(b)
	return strings.ToLower(base32.HexEncoding.EncodeToString(sum[:])[:10])
}
