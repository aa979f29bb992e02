package spec

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"slices"
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
	// Shape is left out while it is what the set was made with.
	Shape *Shape `json:"shape,omitempty"`
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
	if t.Shape != nil {
		shape := Shape{Service: t.Shape.Service, Volumes: []VolumeSpec{}}
		for _, name := range t.Shape.volumeNames() {
			shape.Volumes = append(shape.Volumes, VolumeSpec{Name: name})
		}
		c.Shape = &shape
	}
	b, err := json.Marshal(c)
	if err != nil {
		panic("spec: a template is always marshalled: " + err.Error())
	}
	sum := sha256.Sum256(b)
	return strings.ToLower(base32.HexEncoding.EncodeToString(sum[:])[:10])
}

// Shape is what members follow with a restart besides the template proper.
type Shape struct {
	Service string       `json:"service"`
	Volumes []VolumeSpec `json:"volumes"`
}

// Same tells whether members of the two differ in nothing that needs a restart: the
// service and the names of volumes.
func (s Shape) Same(other Shape) bool {
	return s.Service == other.Service && slices.Equal(s.volumeNames(), other.volumeNames())
}

func (s Shape) volumeNames() []string {
	names := make([]string, len(s.Volumes))
	for i, v := range s.Volumes {
		names[i] = v.Name
	}
	slices.Sort(names)
	return names
}
