// Package state is what is true: the View, the commands that change it, Apply,
// the codec, events, snapshots and the hash. It is pure: the same log gives the
// same View and the same hash on every node. Nothing here reads a clock, a random
// source, the environment, or the order of a map.
package state

import (
	"time"

	iradix "github.com/hashicorp/go-immutable-radix/v2"

	"supd/supervisor/spec"
)

// View is all that is true after one log entry. It is immutable: readers keep it
// as long as they like and share it between goroutines; Apply makes a new one that
// shares what did not change. Whatever a method returns must not be modified.
type View struct {
	// Index of the last log entry applied.
	Index   uint64
	Cluster Cluster

	nodes     table[Node]
	sets      table[Set]
	members   table[Member]   // "ns/set/00007"
	volumes   table[Volume]   // "ns/data-web-0" or, abandoned, "ns/data-web-0.UID8"
	services  table[Service]  // "ns/web"
	programs  table[Program]  // "ns/mysql:5.7"
	revisions table[Revision] // "ns/set/hash"
	ids       table[Identity] // "ns/set/00007"
	events    table[Event]    // sequence, 16 hex digits
	accounts  table[Account]  // "ci"
	byNode    table[Member]   // "node/ns/set/00007"
	byIP      table[Member]   // "127.64.0.1/ns/set/00007"
	byToken   table[Account]  // a token's public part
}

type table[T any] = *iradix.Tree[*T]

// Cluster is what there is one of.
type Cluster struct {
	ID string `json:"id"`
	// Incarnation changes when a snapshot is restored or membership recovered by hand.
	Incarnation string `json:"incarnation"`
	// Recovered is the incarnation that the last recovery by hand began; "": there was
	// none. Nodes with another one keep a log of before.
	Recovered string `json:"recovered,omitempty"`
	// Plan is the address plan: "none", "loopback", or a CIDR; PlanCIDR the
	// network drawn for it.
	Plan     string `json:"plan"`
	PlanCIDR string `json:"planCIDR,omitempty"`
	Zone     string `json:"zone"`
	// Epoch is the last epoch given to any member; it only grows.
	Epoch uint64 `json:"epoch"`
	// Sequence numbers events and UIDs' short forms.
	Sequence uint64 `json:"sequence"`
	// Stopping is the mark that all members are to be stopped in order with the
	// whole cluster. It is no wish: the next start takes it off.
	Stopping bool `json:"stopping,omitempty"`
	// Frozen: nothing is started, stopped, placed or emptied until it is nil again.
	Frozen *Freeze `json:"frozen,omitempty"`
	// Commands counts the kinds of entries in use, in the order of Commands: a node
	// that knows fewer can't follow. 0: those of the first version.
	Commands int `json:"commands,omitempty"`
	// JoinTokens let nodes in; at most MaxJoinTokens. An expired one goes with the next change.
	JoinTokens []JoinToken `json:"joinTokens,omitempty"`
	CreatedAt  time.Time   `json:"createdAt"`
	// CA is the certificate of the cluster's CA, PEM; "" where a version without TLS has
	// formed the cluster and it was not noted yet. It never changes.
	CA string `json:"ca,omitempty"`
	// GossipKey numbers gossip's key, which derives from the cluster's seed; GossipKeyAt
	// is when it was last changed.
	GossipKey   uint64    `json:"gossipKey,omitempty"`
	GossipKeyAt time.Time `json:"gossipKeyAt,omitzero"`
	// Forgotten are the nodes that never come back, the oldest first: given up by an
	// operator, or gone by themselves. Their ids are never let in again. At most MaxForgotten.
	Forgotten []ForgottenNode `json:"forgotten,omitempty"`
	// Now is the greatest time any command carried; times in the View never run backwards.
	Now time.Time `json:"now"`
}

// Freeze is the brake that an operator has put on: who, why, and since when.
type Freeze struct {
	Who   string    `json:"who,omitempty"`
	Why   string    `json:"why,omitempty"`
	Since time.Time `json:"since"`
}

// ForgottenNode is a machine that was given up, or that left.
type ForgottenNode struct {
	ID   string    `json:"id"`
	Name string    `json:"name"`
	At   time.Time `json:"at"`
	// Left: it went by itself, with nothing on it.
	Left bool `json:"left,omitempty"`
}

// MaxForgotten bounds the nodes that are remembered as forgotten.
const MaxForgotten = 1000

// Node is one host.
type Node struct {
	Name string `json:"name"`
	// ID is stable for the data directory's life; a second directory that comes
	// with a taken name is refused.
	ID      string `json:"id"`
	API     string `json:"api"`    // host:port of the node API
	Raft    string `json:"raft"`   // host:port
	Gossip  string `json:"gossip"` // host:port
	DNS     string `json:"dns"`    // host:port
	HostIP  string `json:"hostIP"` // address of Node-mode members
	Machine string `json:"machine"`
	Root    bool   `json:"root"` // members may use what needs root
	Version string `json:"version"`
	// Level is how much of the log its supd understands.
	Level    Level             `json:"level,omitzero"`
	Labels   map[string]string `json:"labels,omitempty"`
	Cordoned bool              `json:"cordoned,omitempty"`
	State    string            `json:"state"`
	// Own are the labels that the node brought at its last registration, Given those
	// that LabelNode set, Masked the keys that it took off. Labels is what they make
	// together; Own is kept only while there are others.
	Own    map[string]string `json:"own,omitempty"`
	Given  map[string]string `json:"given,omitempty"`
	Masked []string          `json:"masked,omitempty"`
	// Draining: its members are stopped within the budgets of their sets, and none is
	// started, until it is uncordoned. A node that is draining is cordoned.
	Draining   bool      `json:"draining,omitempty"`
	DrainSince time.Time `json:"drainSince,omitzero"`
	DrainWho   string    `json:"drainWho,omitempty"`
	DrainWhy   string    `json:"drainWhy,omitempty"`
	// Generation grows with every change of State, address or cordon; planned
	// SetNode commands carry it.
	Generation uint64    `json:"generation"`
	Since      time.Time `json:"since"`
	// Run names one run of the agent; reports are numbered within it.
	Run     string    `json:"run"`
	Seq     uint64    `json:"seq"`
	Created time.Time `json:"created"`
	Index   uint64    `json:"index"`
	// Fences: its agent starts a member whose Fence is set by the lease or not at all, and
	// never takes that back while the epoch lives. An older one does not promise it.
	Fences bool `json:"fences,omitempty"`
	// Boot is the host's boot id.
	Boot string `json:"boot,omitempty"`
}

// Set is a wish and its bookkeeping.
type Set struct {
	Meta spec.Meta            `json:"meta"`
	Spec spec.StatefulSetSpec `json:"spec"` // with defaults
	// Revision is the hash that members should run. Previous is the last one that
	// all members ran.
	Revision string `json:"revision"`
	Current  string `json:"current"`
	Deleting bool   `json:"deleting,omitempty"`
	// Formed: has been available as a whole once.
	Formed bool `json:"formed,omitempty"`
	// AcceptLost names members accepted as lost by the scale-down under way.
	AcceptLost []string `json:"acceptLost,omitempty"`
	// Gone are members that were removed and whose afterLeave hook has not succeeded yet, the
	// first to go first.
	Gone []Leaver `json:"gone,omitempty"`
	// HookFormed: the onFormed hook has succeeded.
	HookFormed bool `json:"hookFormed,omitempty"`
	// ScaledAt is when Spec.Replicas last changed, UpdatedAt when Revision did.
	ScaledAt  time.Time `json:"scaledAt"`
	UpdatedAt time.Time `json:"updatedAt"`
	// Paused: no member is restarted for a rollout or a restart; ResumedAt is when that was
	// last taken back.
	Paused    *Freeze   `json:"paused,omitempty"`
	ResumedAt time.Time `json:"resumedAt,omitzero"`
	// Rollback: Revision is an older one that the set went back to.
	Rollback *Rollback `json:"rollback,omitempty"`
	// Beginning is nil while volumes and service are those the set was made with.
	Beginning *Beginning `json:"beginning,omitempty"`
}

// Replicas wanted; 0 when the set is being deleted.
func (s *Set) Replicas() int {
	if s.Deleting || s.Spec.Replicas == nil {
		return 0
	}
	return *s.Spec.Replicas
}

// Start is the first ordinal.
func (s *Set) Start() int {
	if s.Spec.Ordinals == nil {
		return 0
	}
	return s.Spec.Ordinals.Start
}

// Wants tells whether ordinal is one the set asks for.
func (s *Set) Wants(ordinal int) bool {
	return ordinal >= s.Start() && ordinal < s.Start()+s.Replicas()
}

// Wish is what the log wants of a member now.
type Wish string

// The wishes.
const (
	WishReserved Wish = "Reserved" // has its place, was not started yet
	WishRun      Wish = "Run"
	WishStop     Wish = "Stop" // to be stopped, and started again when Plan says so
	WishGone     Wish = "Gone" // to be stopped, then its record removed
)

// Member is one ordered process group with an identity.
type Member struct {
	Namespace string         `json:"namespace"`
	Set       string         `json:"set"`
	Ordinal   int            `json:"ordinal"`
	UID       string         `json:"uid"`
	Node      string         `json:"node"`
	IP        string         `json:"ip"`
	Ports     map[string]int `json:"ports,omitempty"`
	// Revision given with the last start (or, before any, at the reservation).
	Revision string `json:"revision"`
	// Epoch of the last start; 0: never started.
	Epoch uint64 `json:"epoch"`
	Wish  Wish   `json:"wish"`
	// Why the member is being stopped: Rollout, Restart, Deleted, ScaleDown, SetDeleted, Shutdown, Drain.
	Why string `json:"why,omitempty"`
	// RestartUpTo: a start with an epoch up to this one is to be replaced.
	RestartUpTo uint64 `json:"restartUpTo,omitempty"`
	// Bootstrap: this start is the one that forms the set.
	Bootstrap bool `json:"bootstrap,omitempty"`
	// Joining: the set was formed when this member was first started.
	Joining bool `json:"joining,omitempty"`
	// VolumesState is "new" or "returned" for the template variable member.volumes.
	VolumesState string `json:"volumesState,omitempty"`
	// Fence: the present epoch was given to be started by its node's lease or not at all.
	Fence bool `json:"fence,omitempty"`
	// Fresh: it got new volumes after it had run; its next start joins the set again.
	Fresh bool `json:"fresh,omitempty"`
	// Held: in this epoch its node is to tell its position, and to start nothing yet.
	Held bool `json:"held,omitempty"`
	// Asked is the latest hook that the log asked its node to run.
	Asked *Asked `json:"asked,omitempty"`
	// WasAvailable: has been healthy in its present epoch's revision.
	WasAvailable bool        `json:"wasAvailable,omitempty"`
	Seen         Observation `json:"seen"`
	// ReadySince is when the member was last seen to turn ready; UnreadySince to
	// turn not ready (or to be asked to stop).
	ReadySince   time.Time `json:"readySince,omitzero"`
	UnreadySince time.Time `json:"unreadySince,omitzero"`
	CreatedAt    time.Time `json:"createdAt"`
	// Index of the last change, Generation of the last change of the assignment.
	Index      uint64 `json:"index"`
	Generation uint64 `json:"generation"`
}

// Name is "web-0".
func (m *Member) Name() string { return spec.MemberName(m.Set, m.Ordinal) }

// Observation is what the member's node last reported for one epoch.
type Observation struct {
	Epoch   uint64 `json:"epoch"`
	Phase   string `json:"phase,omitempty"` // Pending, Starting, Running, Stopping, Stopped, Failed
	Started bool   `json:"started,omitempty"`
	Ready   bool   `json:"ready,omitempty"`
	Steady  bool   `json:"steady,omitempty"`
	// DiedYoung: its programs have kept dying since its first minute in this epoch, whatever
	// readiness said in between. False again as soon as it is steady.
	DiedYoung bool      `json:"diedYoung,omitempty"`
	Restarts  int       `json:"restarts,omitempty"`
	StartedAt time.Time `json:"startedAt,omitzero"`
	StartedOK time.Time `json:"startedOK,omitzero"` // when Started turned true
	Reason    string    `json:"reason,omitempty"`
	Message   string    `json:"message,omitempty"`
	// Fenced: all that runs of the epoch, or will, ends with the node's lease, by the
	// keeper's own account. Once reported it stays so for the epoch.
	Fenced bool `json:"fenced,omitempty"`
	// Role is what the member is among its peers, as its role probe has found, "" while
	// that is not known. MayStop is what its mayStop probe says; nil: it has none.
	Role      string               `json:"role,omitempty"`
	MayStop   *spec.Consent        `json:"mayStop,omitempty"`
	Processes []spec.ProcessStatus `json:"processes,omitempty"`
	// Position is what the position hook of a held member has printed.
	Position *int64 `json:"position,omitempty"`
	// Hooks are those that have run in this epoch, each as it went last.
	Hooks []spec.HookStatus `json:"hooks,omitempty"`
}

// Volume is a data directory and its claim.
type Volume struct {
	Namespace string        `json:"namespace"`
	Set       string        `json:"set"`
	Template  string        `json:"template"`
	Ordinal   int           `json:"ordinal"`
	UID       string        `json:"uid"`
	Node      string        `json:"node"`
	Size      spec.Quantity `json:"size,omitempty"`
	Mode      string        `json:"mode,omitempty"`
	Owner     string        `json:"owner,omitempty"`
	Phase     string        `json:"phase"`
	// Made: the directory exists on its node. Path is the host path of its data.
	Made bool   `json:"made,omitempty"`
	Path string `json:"path,omitempty"`
	// ReleaseAt is when a Releasing volume may be emptied from the trash; Trashed,
	// that its node has moved it there; Undo, that it is to be brought back.
	ReleaseAt time.Time `json:"releaseAt,omitzero"`
	Trashed   bool      `json:"trashed,omitempty"`
	Undo      bool      `json:"undo,omitempty"`
	// Emptying: the node may delete it; only then.
	Emptying bool `json:"emptying,omitempty"`
	// Returned: bound again after it was retained.
	Returned bool `json:"returned,omitempty"`
	// Added to a member that had run: what is done once for the member's volumes was done
	// before this one came.
	Added bool `json:"added,omitempty"`
	// Used: a start was given since it was added, so its node may have made it, and not told.
	Used bool `json:"used,omitempty"`
	// AbandonedAt is when it was given up by its typed name; from then on it is called
	// NAME.UID8. Marked: its node has written that into the container.
	AbandonedAt time.Time `json:"abandonedAt,omitzero"`
	Marked      bool      `json:"marked,omitempty"`

	Reason     string    `json:"reason,omitempty"`
	Message    string    `json:"message,omitempty"`
	CreatedAt  time.Time `json:"createdAt"`
	Generation uint64    `json:"generation"`
	Index      uint64    `json:"index"`
}

// Name is "data-web-0", or "data-web-0.1a2b3c4d" once it is abandoned.
func (v *Volume) Name() string {
	if v.AbandonedAt.IsZero() {
		return v.ClaimName()
	}
	return v.ClaimName() + "." + v.UID[:min(8, len(v.UID))]
}

// ClaimName is "data-web-0": the name that it has, or had, and that its marker says.
func (v *Volume) ClaimName() string { return spec.VolumeName(v.Template, v.Set, v.Ordinal) }

// Member is "web-0".
func (v *Volume) Member() string { return spec.MemberName(v.Set, v.Ordinal) }

// Identity is what an ordinal keeps while nobody runs it: address and ports. It
// lives as long as its set or one of the ordinal's volumes.
type Identity struct {
	Namespace string         `json:"namespace"`
	Set       string         `json:"set"`
	Ordinal   int            `json:"ordinal"`
	Node      string         `json:"node"`
	IP        string         `json:"ip"`
	Ports     map[string]int `json:"ports,omitempty"`
}

// Service is a governing service; Auto when a set made it.
type Service struct {
	Meta spec.Meta        `json:"meta"`
	Spec spec.ServiceSpec `json:"spec"`
	Auto bool             `json:"auto,omitempty"`
}

// Program is a stored Program.
type Program struct {
	Meta spec.Meta        `json:"meta"`
	Spec spec.ProgramSpec `json:"spec"`
}

// Revision is a template of a set; Number counts them.
type Revision struct {
	Namespace string        `json:"namespace"`
	Set       string        `json:"set"`
	Hash      string        `json:"hash"`
	Number    uint64        `json:"number"`
	Template  spec.Template `json:"template"`
	CreatedAt time.Time     `json:"createdAt"`
	// At is when it was last asked for, by Who and why; Source, what the template was made
	// from if not from itself. A revision that older rules made has none of them.
	At     time.Time `json:"at,omitzero"`
	Who    string    `json:"who,omitempty"`
	Why    string    `json:"why,omitempty"`
	Source *Source   `json:"source,omitempty"`
}

// Event is Apply's account of a change. The View keeps the newest MaxEvents.
type Event struct {
	Seq       uint64    `json:"seq"`
	Index     uint64    `json:"index"`
	At        time.Time `json:"at"`
	Namespace string    `json:"namespace,omitempty"`
	Object    string    `json:"object"` // "member/web-0"
	Warning   bool      `json:"warning,omitempty"`
	Reason    string    `json:"reason"`
	Message   string    `json:"message"`
	Who       string    `json:"who,omitempty"`
}

// MaxEvents bounds the events a View keeps.
const MaxEvents = 2000
