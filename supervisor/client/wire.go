package client

import (
	"encoding/json"
	"time"

	"supd/supervisor/spec"
)

// Headers of requests and answers.
const (
	// HeaderIndex is the Raft index of the View that an answer was read from, or of
	// the entry that a write became.
	HeaderIndex = "X-Supd-Index"
	// HeaderResult tells what a write did: Created, Configured or Unchanged.
	HeaderResult = "X-Supd-Result"
	// HeaderForwarded names the node that forwarded a request; such a request is
	// never forwarded again.
	HeaderForwarded = "X-Supd-Forwarded"
	// HeaderWho names the user a forwarding node saw, and the three that follow what he may: his role, the account
	// that he is, and the namespaces that he is limited to ("*": none). They are believed from nodes only.
	HeaderWho        = "X-Supd-Who"
	HeaderRole       = "X-Supd-Role"
	HeaderName       = "X-Supd-Name"
	HeaderNamespaces = "X-Supd-Namespaces"
	// HeaderError follows a stream, as a trailer, that ended for an error; it is as the body of an answer that is one.
	HeaderError = "X-Supd-Error"
	// HeaderWarning carries one warning about a definition; it may come repeatedly.
	HeaderWarning = "X-Supd-Warning"
)

// CertificateRequest asks for a new certificate of the node that sends it.
type CertificateRequest struct {
	Request string `json:"request"` // PEM
}

// Certificate answers it.
type Certificate struct {
	Certificate string `json:"certificate"` // PEM
}

// Results of a write.
const (
	Created    = "created"
	Configured = "configured"
	Unchanged  = "unchanged"
)

// Written is what a write did.
type Written struct {
	Result   string
	Index    uint64
	Warnings []string
}

// ScaleRequest is the body of PUT .../scale.
type ScaleRequest struct {
	Replicas *int `json:"replicas"`
	// CurrentReplicas: only if this many are wanted now.
	CurrentReplicas *int     `json:"currentReplicas,omitempty"`
	AcceptUnhealthy []string `json:"acceptUnhealthy,omitempty"`
}

// Scale answers GET .../scale.
type Scale struct {
	Replicas      int `json:"replicas"`
	ReadyReplicas int `json:"readyReplicas"`
	Wanted        int `json:"wanted"`
}

// RestartRequest is the body of POST .../restart of a set; no ordinals means all.
type RestartRequest struct {
	Ordinals []int `json:"ordinals,omitempty"`
}

// UndoRequest is the body of POST .../rollout/undo; 0 means the revision before.
type UndoRequest struct {
	ToRevision uint64 `json:"toRevision,omitempty"`
}

// Rollout answers GET .../rollout: how far a set's rollout is, and its revisions, the
// newest first.
type Rollout struct {
	Namespace       string            `json:"namespace"`
	Name            string            `json:"name"`
	ResourceVersion uint64            `json:"resourceVersion"`
	CurrentRevision string            `json:"currentRevision"`
	UpdateRevision  string            `json:"updateRevision"`
	Paused          bool              `json:"paused"`
	Pause           *spec.Asked       `json:"pause,omitempty"`
	Rollback        *spec.Rollback    `json:"rollback,omitempty"`
	Conditions      []spec.Condition  `json:"conditions"`
	WaitsFor        []spec.Wait       `json:"waitsFor"`
	Revisions       []RolloutRevision `json:"revisions"`
}

// RolloutRevision is one template of a set: At is when it was last asked for, by Who and
// why, which are empty where an older version did not note them.
type RolloutRevision struct {
	Revision uint64 `json:"revision"`
	Name     string `json:"name"`
	// Update: the one that members are to run; Current: the last that all of them ran.
	Update    bool      `json:"update"`
	Current   bool      `json:"current"`
	Members   []string  `json:"members"`
	CreatedAt time.Time `json:"createdAt"`
	At        time.Time `json:"at"`
	Who       string    `json:"who"`
	Why       string    `json:"why"`
}

// ReleaseRequest is the body of POST .../volumes/NAME/release. Now skips the time
// in the trash and needs Confirm to be the volume's name.
type ReleaseRequest struct {
	Now     bool   `json:"now,omitempty"`
	Confirm string `json:"confirm,omitempty"`
}

// ConfirmRequest is the body of POST .../nodes/NAME/forget and .../volumes/NAME/abandon:
// Confirm has to be the name.
type ConfirmRequest struct {
	Confirm string `json:"confirm"`
}

// StoppingRequest is the body of POST /v1/internal/stopping.
type StoppingRequest struct {
	Stopping bool `json:"stopping"`
}

// Usage answers GET /v1/internal/usage.
type Usage struct {
	UsedBytes int64 `json:"usedBytes"`
}

// Probes answers GET /v1/internal/probes.
type Probes struct {
	Probes []spec.ProbeStatus `json:"probes"`
}

// MayStopRequest is the body of POST /v1/internal/may-stop: the member as it runs with
// Epoch is asked whether it may be stopped.
type MayStopRequest struct {
	Namespace string `json:"namespace"`
	Member    string `json:"member"`
	Epoch     uint64 `json:"epoch"`
}

// MayStop is a member's word that it may be stopped, given just now.
type MayStop struct {
	MayStop bool `json:"mayStop"`
	// Took is how long its probe took.
	Took spec.Duration `json:"took"`
}

// KeeperUpgrade answers POST .../nodes/NAME/upgrade-keeper: From is the version before. They are the same if the binary on
// disk was the keeper's own.
type KeeperUpgrade struct {
	Node    string `json:"node"`
	From    string `json:"from"`
	Version string `json:"version"`
	PID     int    `json:"pid"`
}

// Leases answers GET /v1/internal/leases: until when each node's lease lasts.
type Leases struct {
	Until map[string]time.Time `json:"until"`
}

// Step is one thing that applying a definition would cause.
type Step struct {
	// Verb is reserve, start, stop, keep, remove, release, or create and change
	// for records.
	Verb    string `json:"verb"`
	Subject string `json:"subject"` // "web-3"
	Node    string `json:"node,omitempty"`
	Why     string `json:"why,omitempty"`
}

func (s Step) String() string {
	out := s.Verb + " " + s.Subject
	if s.Node != "" {
		out += " on " + s.Node
	}
	if s.Why != "" {
		out += " (" + s.Why + ")"
	}
	return out
}

// PreviewRequest is the body of POST .../statefulsets/NAME/plan. Programs are taken
// as if they had been applied before.
type PreviewRequest struct {
	StatefulSet *spec.StatefulSet `json:"statefulSet"`
	Programs    []*spec.Program   `json:"programs,omitempty"`
}

// Preview is every step that applying a definition would cause if nothing failed.
type Preview struct {
	Result string `json:"result"` // created, configured, unchanged
	// Object is the set as it would be stored.
	Object   *spec.StatefulSet `json:"object"`
	Steps    []Step            `json:"steps"`
	Restarts []string          `json:"restarts"` // members that run now and would be started anew
	Removes  []string          `json:"removes"`  // members that would be gone at the end
	// Notes say in sentences how it would go: how many at a time, or that nobody is restarted.
	Notes []string `json:"notes"`
	// Waits are what the set would still wait for at the end.
	Waits    []spec.Wait `json:"waits"`
	Warnings []string    `json:"warnings"`
	// Truncated: the steps were cut off at a bound.
	Truncated bool `json:"truncated"`
}

// Explanation says why an object is as it is.
type Explanation struct {
	Object string `json:"object"` // "statefulset/web"
	Wanted string `json:"wanted"`
	Actual string `json:"actual"`
	// Rule is the rule that holds the object where it is, or says that nothing does.
	Rule    string     `json:"rule"`
	Since   *time.Time `json:"since"`
	Next    string     `json:"next"`
	Command string     `json:"command"` // the exact command that would help, or ""
	// Details name other members or volumes concerned, one a line.
	Details []string `json:"details"`
}

// Types of watch events.
const (
	WatchAdded    = "ADDED"
	WatchModified = "MODIFIED"
	WatchDeleted  = "DELETED"
	// WatchReset: forget what came before; all objects follow as ADDED.
	WatchReset = "RESET"
	// WatchBookmark carries only the index up to which all has been told.
	WatchBookmark = "BOOKMARK"
)

// WatchEvent is one line of a watch stream.
type WatchEvent struct {
	Type   string          `json:"type"`
	Index  uint64          `json:"index"`
	Object json.RawMessage `json:"object,omitempty"`
}

// AccountRequest is the body of PUT /v1/accounts/NAME. It is never repeated by itself: the answer holds what is shown
// once.
type AccountRequest struct {
	Role       spec.Role `json:"role"`
	Namespaces []string  `json:"namespaces,omitempty"` // none: all
	// ExpiresIn is from when the leader has it; 0: never (certificates: ten years).
	ExpiresIn spec.Duration `json:"expiresIn,omitempty"`
	// Request is a certificate request in PEM, of a key that its holder keeps; "": a token is made.
	Request string `json:"request,omitempty"`
}

// Credentials answer PUT /v1/accounts/NAME. Nobody can show the token again.
type Credentials struct {
	Account     spec.Account `json:"account"`
	Token       string       `json:"token,omitempty"`
	Certificate string       `json:"certificate,omitempty"` // PEM
	CA          string       `json:"ca"`                    // the cluster's CA's certificate, PEM
}

// Whoami answers GET /v1/whoami: who the daemon takes the caller for, and what he may. No namespaces: all.
type Whoami struct {
	Who        string     `json:"who"`
	Role       spec.Role  `json:"role"`
	Namespaces []string   `json:"namespaces"`
	Account    string     `json:"account"`
	Expires    *time.Time `json:"expires"`
	Node       string     `json:"node"` // that answers
}

// Version answers GET /v1/version.
type Version struct {
	Version string `json:"version"`
	Node    string `json:"node"`
}

// errorBody is the body of every answer that is an error.
type errorBody struct {
	Error struct {
		Code    spec.Code `json:"code"`
		Message string    `json:"message"`
		Details []string  `json:"details"`
		Reason  string    `json:"reason,omitempty"`
	} `json:"error"`
}

// MarshalError writes the body of an error answer.
func MarshalError(e *spec.Error) []byte {
	var b errorBody
	b.Error.Code, b.Error.Message, b.Error.Reason = e.Code, e.Message, e.Reason
	b.Error.Details = e.Details
	if b.Error.Details == nil {
		b.Error.Details = []string{}
	}
	out, err := json.Marshal(b)
	if err != nil {
		panic("client: an error body is always marshalled: " + err.Error())
	}
	return append(out, '\n')
}

// Reasons of errors with CodeNoLeader.
const (
	// ReasonNoDaemon: nothing listens at the address.
	ReasonNoDaemon = "NoDaemon"
	// ReasonNoLeader: the cluster has no leader now; nothing was changed.
	ReasonNoLeader = "NoLeader"
	// ReasonUnknown: the connection or the leadership ended before the outcome was
	// known; the write may or may not have been done.
	ReasonUnknown = "OutcomeUnknown"
)

// Labels are labels to set and keys to take off.
type Labels struct {
	Set    map[string]string `json:"set,omitempty"`
	Remove []string          `json:"remove,omitempty"`
}

// TransferRequest names who is to lead; "": any other voter.
type TransferRequest struct {
	Node string `json:"node,omitempty"`
}

// Transferred says who led and who leads.
type Transferred struct {
	From   string `json:"from"`
	Leader string `json:"leader"`
}

// Trouble is what keeps a node from its part in the cluster's state; "": nothing.
type Trouble struct {
	Trouble string `json:"trouble"`
	// Votes: what troubles it does not keep it from voting. Nil: an older version does not say.
	Votes *bool `json:"votes,omitempty"`
}

// Reasons of errors with CodeRefused that are about who asks.
const (
	// ReasonTooMany: too much was asked; try again later.
	ReasonTooMany = "TooManyRequests"
	// ReasonUntrusted: one side does not trust the other.
	ReasonUntrusted = "Untrusted"
	// ReasonAccessEnded: the account was revoked, or expired, while what it had asked for went on.
	ReasonAccessEnded = "AccessEnded"
)
