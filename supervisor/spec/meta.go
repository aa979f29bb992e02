// Package spec holds the nouns of supd and their rules: types, defaults,
// validation, names, the revision hash and error codes. It is pure: no clock,
// no randomness, no input or output, no library.
package spec

import (
	"encoding/json"
	"fmt"
	"time"
)

// Meta is the metadata of every object. JSON keys are Kubernetes'.
type Meta struct {
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	UID       string `json:"uid,omitempty"`
	// Generation grows with every change of the wish (spec), never with status.
	Generation uint64 `json:"generation,omitempty"`
	// ResourceVersion is the Raft index of the last change of the object.
	ResourceVersion uint64            `json:"resourceVersion,omitempty"`
	CreatedAt       *time.Time        `json:"creationTimestamp,omitempty"`
	Labels          map[string]string `json:"labels,omitempty"`
	Annotations     map[string]string `json:"annotations,omitempty"`
}

// Key is "namespace/name", the object's place in tables and messages.
func (m Meta) Key() string { return m.Namespace + "/" + m.Name }

// API versions of definitions.
const (
	APIVersion  = "supd/v1"
	KubeAppsV1  = "apps/v1"
	KubeCoreV1  = "v1"
	DefaultNS   = "default"
	ClusterZone = "cluster.local"
)

// MaxEntry bounds an encoded entry of the log, and so what one definition may hold: PutSet
// has it twice, as it was written and with its Programs.
const MaxEntry = 1 << 20

// SelectSet is the key by which a Service's selector names a set: the service's name leads to
// that set's ready members, beside the set's governing service. Members have no names below it.
const SelectSet = "supd/set"

// Kinds of objects, as they stand in "kind:".
const (
	KindStatefulSet = "StatefulSet"
	KindMember      = "Member"
	KindVolume      = "Volume"
	KindService     = "Service"
	KindProgram     = "Program"
	KindRevision    = "Revision"
	KindNode        = "Node"
	KindEvent       = "Event"
)

// Duration is a time.Duration written with a unit ("500ms", "1m30s"). A bare
// number is refused: a lost unit once turned 10 minutes into 10 seconds for
// users of a peer.
type Duration time.Duration

// D returns d as a time.Duration.
func (d Duration) D() time.Duration { return time.Duration(d) }

func (d Duration) String() string { return time.Duration(d).String() }

// MarshalJSON writes the duration as a string with units.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }

// UnmarshalJSON takes a string with a unit; "0" is allowed without one.
func (d *Duration) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		if string(b) == "0" {
			*d = 0
			return nil
		}
		return fmt.Errorf("a duration needs a unit, such as %q", "10s")
	}
	v, err := ParseDuration(s)
	if err != nil {
		return err
	}
	*d = v
	return nil
}

// ParseDuration parses "500ms", "10s", "1h", and "0".
func ParseDuration(s string) (Duration, error) {
	v, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("%q is not a duration; write a number with a unit, such as %q", s, "10s")
	}
	return Duration(v), nil
}
