package state

import (
	"time"

	"supd/supervisor/spec"
)

// Command is one fact or wish: the content of a log entry. Every command carries
// what it was computed from; Apply refuses it when that no longer holds, and the
// sender looks again.
type Command interface{ kind() string }

// Kind names a command ("PutSet").
func Kind(c Command) string { return c.kind() }

// Entry is a command with its circumstances. At is the proposer's clock; the View
// takes the greatest seen.
type Entry struct {
	At  time.Time
	Who string // "unix:root", "plan", "agent:node-1"
	Why string // --reason
	Cmd Command
}

// Result is what Apply made of an entry. Err is nil or a *spec.Error: a refused
// entry leaves the View as it was, but for the index.
type Result struct {
	Index uint64
	// Changed is false when the entry asked for what already was.
	Changed bool
	// Created tells "created" from "configured".
	Created bool
	Err     *spec.Error
}

// InitCluster is the first command of a cluster; a second one is refused.
type InitCluster struct {
	ID          string `json:"id"`
	Incarnation string `json:"incarnation"`
	Plan        string `json:"plan"`
	PlanCIDR    string `json:"planCIDR,omitempty"`
	Zone        string `json:"zone"`
	// CA is the certificate of the cluster's CA, PEM. It is public.
	CA string `json:"ca,omitempty"`
}

// RegisterNode tells who a node is; sent by its agent at every start (a new Run)
// and when an address changes. It sets State to Ready only for a new node.
type RegisterNode struct {
	Node Node `json:"node"` // State, Generation, Since, Index are Apply's
}

// SetNode changes a node's state, as the leader judged it.
type SetNode struct {
	Name         string `json:"name"`
	State        string `json:"state"`
	Reason       string `json:"reason"`
	IfGeneration uint64 `json:"ifGeneration"`
}

// CordonNode keeps new members off a node, or lets them on again.
type CordonNode struct {
	Name   string `json:"name"`
	Cordon bool   `json:"cordon"`
}

// PutSet creates or changes a set. Spec has its defaults, Template its Programs
// merged in; the sender has validated both and tried the templates. A lower
// Replicas is refused while any member is unhealthy, but for those in AcceptUnhealthy.
type PutSet struct {
	Namespace   string               `json:"namespace"`
	Name        string               `json:"name"`
	UID         string               `json:"uid"` // used when new
	Labels      map[string]string    `json:"labels,omitempty"`
	Annotations map[string]string    `json:"annotations,omitempty"`
	Spec        spec.StatefulSetSpec `json:"spec"`
	Template    spec.Template        `json:"template"`
	// IfVersion: the resourceVersion the client saw; 0: not asked.
	IfVersion       uint64   `json:"ifVersion,omitempty"`
	AcceptUnhealthy []string `json:"acceptUnhealthy,omitempty"`
	// Silent names members whose node did not answer the leader within the last
	// second; a lower Replicas is refused (NodeSilent).
	Silent []string `json:"silent,omitempty"`
	// Rules are those that the entry is applied by (RulesNow): an older log, or an older
	// node's, keeps its own.
	Rules int `json:"rules,omitempty"`
}

// ScaleSet changes only the number of replicas, under the same rules.
type ScaleSet struct {
	Namespace       string   `json:"namespace"`
	Name            string   `json:"name"`
	Replicas        int      `json:"replicas"`
	IfReplicas      *int     `json:"ifReplicas,omitempty"`
	IfVersion       uint64   `json:"ifVersion,omitempty"`
	AcceptUnhealthy []string `json:"acceptUnhealthy,omitempty"`
	Silent          []string `json:"silent,omitempty"`
}

// DeleteSet marks a set for deletion: its members are stopped from the highest
// down, then DropSet removes the record. Volumes are retained.
type DeleteSet struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	IfVersion uint64 `json:"ifVersion,omitempty"`
}

// DropSet removes a deleted set's record when its last member is gone. Planned.
type DropSet struct {
	Namespace    string `json:"namespace"`
	Name         string `json:"name"`
	IfGeneration uint64 `json:"ifGeneration"`
}

// MarkFormed notes that a set has been available as a whole. Planned.
type MarkFormed struct {
	Namespace    string `json:"namespace"`
	Name         string `json:"name"`
	IfGeneration uint64 `json:"ifGeneration"`
}

// SetCurrent notes that all members run a revision, and forgets the oldest ones
// that nobody runs. Planned.
type SetCurrent struct {
	Namespace    string `json:"namespace"`
	Name         string `json:"name"`
	Revision     string `json:"revision"`
	IfGeneration uint64 `json:"ifGeneration"`
}

// Restart asks that the named ordinals (all when empty) be started anew: in order,
// one at a time, under the same gates as a rollout.
type Restart struct {
	Namespace string `json:"namespace"`
	Set       string `json:"set"`
	Ordinals  []int  `json:"ordinals,omitempty"`
}

// DeleteMember stops one member gracefully and at once; its replacement is it.
type DeleteMember struct {
	Namespace string `json:"namespace"`
	Set       string `json:"set"`
	Ordinal   int    `json:"ordinal"`
}

// Reserve makes the records of new ordinals in one entry. Planned.
type Reserve struct {
	Namespace    string `json:"namespace"`
	Set          string `json:"set"`
	IfGeneration uint64 `json:"ifGeneration"` // the set's
	Slots        []Slot `json:"slots"`
}

// Slot is one reservation: where an ordinal lives and what it is reached by.
type Slot struct {
	Ordinal int            `json:"ordinal"`
	UID     string         `json:"uid"`
	Node    string         `json:"node"`
	IP      string         `json:"ip"`
	Ports   map[string]int `json:"ports,omitempty"`
	// VolumeUIDs by volume name, for those that do not exist yet.
	VolumeUIDs map[string]string `json:"volumeUIDs,omitempty"`
}

// Place puts a reservation that never was started elsewhere, or a member without
// directories that is stopped, away from a node that is being drained. Planned.
type Place struct {
	Namespace    string `json:"namespace"`
	Set          string `json:"set"`
	IfGeneration uint64 `json:"ifGeneration"` // the member's
	Slot         Slot   `json:"slot"`
}

// StartMember gives a member a new epoch and a revision, and lets its node start
// it. Refused unless the member is known not to run. Planned.
type StartMember struct {
	Namespace    string `json:"namespace"`
	Set          string `json:"set"`
	Ordinal      int    `json:"ordinal"`
	Revision     string `json:"revision"`
	Bootstrap    bool   `json:"bootstrap,omitempty"`
	IfEpoch      uint64 `json:"ifEpoch"`
	IfGeneration uint64 `json:"ifGeneration"` // the member's
	// Fence: the set asks for it, and the node's agent promises (Node.Fences) to start this
	// epoch by the lease or not at all.
	Fence bool `json:"fence,omitempty"`
	// Ports are the member's from now on, where its revision has others than it had; none: as
	// they are.
	Ports map[string]int `json:"ports,omitempty"`
}

// StopMember asks a member's node to stop it. Gone says that its record goes
// afterwards; that is refused unless the whole set is healthy (or accepted as lost,
// or being deleted). Planned.
type StopMember struct {
	Namespace    string `json:"namespace"`
	Set          string `json:"set"`
	Ordinal      int    `json:"ordinal"`
	Gone         bool   `json:"gone,omitempty"`
	Why          string `json:"why"`
	IfEpoch      uint64 `json:"ifEpoch"`
	IfGeneration uint64 `json:"ifGeneration"`
	// Budget bounds voluntary downtime: refused when the member is ready and this
	// many others, or more, of the ordinals ever started are not healthy. 0: not asked
	// (a member that serves nobody may be stopped at any time).
	Budget int `json:"budget,omitempty"`
	// Silent as in PutSet, for Gone.
	Silent []string `json:"silent,omitempty"`
	// Unplaced: of those accepted as lost, wanted ordinals that have no place count too, for Gone.
	Unplaced bool `json:"unplaced,omitempty"`
	// IfSet is the set's generation that budget and reason come from; 0: not asked.
	IfSet uint64 `json:"ifSet,omitempty"`
	// IfMayStop: refused while the member is ready and its last word in the log is not that
	// it may be stopped. The leader has had it asked just before, too.
	IfMayStop bool `json:"ifMayStop,omitempty"`
}

// WhyShutdown is the StopMember.Why of a stop with the whole cluster; every other
// stop is refused unless the member is due for a new start.
const WhyShutdown = "Shutdown"

// WhyDrain is the StopMember.Why of a stop for a node that is being drained; it must
// carry a Budget.
const WhyDrain = "Drain"

// OnlyUnready is a StopMember.Budget for a member that serves nobody.
const OnlyUnready = -1

// KeepMember takes a removal back that has not been carried out: the set was
// scaled up again. Planned.
type KeepMember struct {
	Namespace    string `json:"namespace"`
	Set          string `json:"set"`
	Ordinal      int    `json:"ordinal"`
	IfEpoch      uint64 `json:"ifEpoch"`
	IfGeneration uint64 `json:"ifGeneration"`
}

// DropMember removes the record of a member that is gone; its volumes are
// retained (or released, if the definition asks for it). Planned.
type DropMember struct {
	Namespace    string `json:"namespace"`
	Set          string `json:"set"`
	Ordinal      int    `json:"ordinal"`
	IfEpoch      uint64 `json:"ifEpoch"`
	IfGeneration uint64 `json:"ifGeneration"`
	// ReleaseAt is used where the definition asks for deletion of its volumes: they are
	// emptied after it. The planner means at once, as Kubernetes does: whoever scales up
	// again is not to wait for the trash.
	ReleaseAt time.Time `json:"releaseAt"`
}

// Report is what changed on a node since its last report. Seq numbers reports
// within a Run; a lower or equal one, or another Run, is refused.
type Report struct {
	Node    string         `json:"node"`
	Run     string         `json:"run"`
	Seq     uint64         `json:"seq"`
	Members []MemberReport `json:"members,omitempty"`
	Volumes []VolumeReport `json:"volumes,omitempty"`
	// Found are directories that the log does not know, taken up by Rules (FoundRulesNow).
	Found []FoundVolume `json:"found,omitempty"`
	Rules int           `json:"rules,omitempty"`
}

// MemberReport is one member's observation; one for another epoch than the
// member's is passed over.
type MemberReport struct {
	Namespace string      `json:"namespace"`
	Set       string      `json:"set"`
	Ordinal   int         `json:"ordinal"`
	Seen      Observation `json:"seen"`
}

// VolumeReport is what a node did with a directory.
type VolumeReport struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	UID       string `json:"uid"`
	// Event is Made, Trashed, Restored, Emptied, Marked or Trouble.
	Event   string `json:"event"`
	Path    string `json:"path,omitempty"`
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
}

// Events of a VolumeReport.
const (
	VolumeMade     = "Made"
	VolumeTrashed  = "Trashed"
	VolumeRestored = "Restored"
	VolumeEmptied  = "Emptied"
	VolumeTrouble  = "Trouble"
	VolumeMarked   = "Marked" // an abandoned one says so on disk
)

// ReleaseVolume gives a retained directory up: to the trash until At, then gone.
type ReleaseVolume struct {
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	At        time.Time `json:"at"` // when it may be emptied; now or before: at once
	IfVersion uint64    `json:"ifVersion,omitempty"`
}

// EmptyVolume lets a volume's node empty it from the trash; from here on there is
// no way back. Planned, when ReleaseAt has passed.
type EmptyVolume struct {
	Namespace    string `json:"namespace"`
	Name         string `json:"name"`
	UID          string `json:"uid"`
	IfGeneration uint64 `json:"ifGeneration"`
}

// UndoRelease takes a release back while the directory is still in the trash.
type UndoRelease struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

// PutService creates or changes a service.
type PutService struct {
	Namespace string            `json:"namespace"`
	Name      string            `json:"name"`
	UID       string            `json:"uid"`
	Labels    map[string]string `json:"labels,omitempty"`
	Spec      spec.ServiceSpec  `json:"spec"`
	IfVersion uint64            `json:"ifVersion,omitempty"`
}

// DeleteService removes a service that governs no set.
type DeleteService struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	IfVersion uint64 `json:"ifVersion,omitempty"`
}

// PutProgram creates or changes a Program. Sets that use it take it up when they
// are applied again.
type PutProgram struct {
	Namespace string            `json:"namespace"`
	Name      string            `json:"name"`
	UID       string            `json:"uid"`
	Labels    map[string]string `json:"labels,omitempty"`
	Spec      spec.ProgramSpec  `json:"spec"`
	IfVersion uint64            `json:"ifVersion,omitempty"`
}

// DeleteProgram removes a Program.
type DeleteProgram struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	IfVersion uint64 `json:"ifVersion,omitempty"`
}

// SetStopping sets or takes off the mark that the whole cluster is being stopped.
type SetStopping struct {
	Stopping bool `json:"stopping"`
}

// DrainNode has a node's members stopped, each within the budget of its set, and keeps
// it cordoned; CordonNode with Cordon false takes both back.
type DrainNode struct {
	Name string `json:"name"`
}

// LabelNode sets labels of a node and takes others off. They win over the labels that
// the node brings, for good; a label set to what the node brings is the node's own again.
type LabelNode struct {
	Name   string            `json:"name"`
	Set    map[string]string `json:"set,omitempty"`
	Remove []string          `json:"remove,omitempty"`
}

// SetFrozen puts the brake on or takes it off. While it is on, every planned command is
// refused, but for the stops of a shutdown, and so is what would act at once (DeleteMember,
// ReleaseVolume); other wishes are taken and wait.
type SetFrozen struct {
	Frozen bool `json:"frozen"`
}

// AddJoinToken lets nodes in that show the token's secret, of which the log has only
// the hash.
type AddJoinToken struct {
	ID      string    `json:"id"`
	Hash    string    `json:"hash"`
	Uses    int       `json:"uses"`
	Expires time.Time `json:"expires"`
}

// RevokeJoinToken takes a token back. Nodes that it has let in stay.
type RevokeJoinToken struct {
	ID string `json:"id"`
}

// AdmitNode lets a node in that has shown a token's secret: it may have a certificate
// for its key. Refused when the token is unknown, wrong, used up or expired, or the
// name or id another's; the same node with the same key may ask again.
type AdmitNode struct {
	Token string `json:"token"` // its id
	Hash  string `json:"hash"`  // of the secret shown
	ID    string `json:"id"`    // the node's, NAME.8HEX
	Key   string `json:"key"`   // hexadecimal SHA-256 of its public key
}

// RemoveNode takes a node out that leaves for good. Refused while it has members or
// directories. Its id is never let in again.
type RemoveNode struct {
	Name string `json:"name"`
	ID   string `json:"id"`
}

// TakeOver gives a member that nobody runs, and nobody will, a place on another node:
// its epoch is over (reported, vouched for, or fenced on a node that is Lost), and none
// of its directories is elsewhere. Volumes that it has no more are made anew. A
// StartMember follows. Planned.
type TakeOver struct {
	Namespace    string `json:"namespace"`
	Set          string `json:"set"`
	IfEpoch      uint64 `json:"ifEpoch"`
	IfGeneration uint64 `json:"ifGeneration"` // the member's
	// IfNode is the generation of the node it leaves; 0: that is forgotten.
	IfNode uint64 `json:"ifNode,omitempty"`
	Slot   Slot   `json:"slot"`
}

// ForgetNode removes a node for good: the operator vouches, by its typed name, that the
// machine is dead or never comes back connected. Refused unless it is Lost, or cordoned
// and empty. Members there count as gone; directories there stay its own until each is
// abandoned. Its id is never let in again.
type ForgetNode struct {
	Name         string `json:"name"`
	ID           string `json:"id"`
	IfGeneration uint64 `json:"ifGeneration,omitempty"` // 0: not asked
}

// AbandonVolume gives up, by its typed name, a directory on a node that is Lost or
// forgotten: its name is free for a new one elsewhere, and whoever wrote it is vouched
// for not to run. The directory is never used again and never deleted but by a release.
type AbandonVolume struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	IfVersion uint64 `json:"ifVersion,omitempty"`
	// Missing: its node answers, and its last word of the directory is VolumeMissing. Nobody
	// is vouched for then: its member is asked to stop, and gets a new directory when its node
	// has said that it has.
	Missing bool `json:"missing,omitempty"`
}

// NoteTransfer notes that somebody wants another leader, just before leadership is handed over: who leads is Raft's own
// affair, and what is asked of it would stand nowhere. It changes nothing.
type NoteTransfer struct {
	From string `json:"from"`
	To   string `json:"to,omitempty"` // "": any other voter
}

// Commands is one zero value of every command, in a fixed order.
func Commands() []Command {
	return []Command{
		&InitCluster{},
		&RegisterNode{},
		&SetNode{},
		&CordonNode{},
		&PutSet{},
		&ScaleSet{},
		&DeleteSet{},
		&DropSet{},
		&MarkFormed{},
		&SetCurrent{},
		&Restart{},
		&DeleteMember{},
		&Reserve{},
		&Place{},
		&StartMember{},
		&StopMember{},
		&KeepMember{},
		&DropMember{},
		&Report{},
		&ReleaseVolume{},
		&EmptyVolume{},
		&UndoRelease{},
		&PutService{},
		&DeleteService{},
		&PutProgram{},
		&DeleteProgram{},
		&SetStopping{},
		&DrainNode{},
		&LabelNode{},
		&SetFrozen{},
		&AddJoinToken{},
		&RevokeJoinToken{},
		&AdmitNode{},
		&RemoveNode{},
		&PutAccount{},
		&RevokeAccount{},
		&RestoreCluster{},
		&NoteCA{},
		&RotateGossipKey{},
		&TakeOver{},
		&ForgetNode{},
		&AbandonVolume{},
		&NoteTransfer{},
		&PauseRollout{},
		&UndoRollout{},
		&AskHook{},
		&StartHeld{},
		&LetGo{},
	}
}

func (*InitCluster) kind() string   { return "InitCluster" }
func (*RegisterNode) kind() string  { return "RegisterNode" }
func (*SetNode) kind() string       { return "SetNode" }
func (*CordonNode) kind() string    { return "CordonNode" }
func (*PutSet) kind() string        { return "PutSet" }
func (*ScaleSet) kind() string      { return "ScaleSet" }
func (*DeleteSet) kind() string     { return "DeleteSet" }
func (*DropSet) kind() string       { return "DropSet" }
func (*MarkFormed) kind() string    { return "MarkFormed" }
func (*SetCurrent) kind() string    { return "SetCurrent" }
func (*Restart) kind() string       { return "Restart" }
func (*DeleteMember) kind() string  { return "DeleteMember" }
func (*Reserve) kind() string       { return "Reserve" }
func (*Place) kind() string         { return "Place" }
func (*StartMember) kind() string   { return "StartMember" }
func (*StopMember) kind() string    { return "StopMember" }
func (*KeepMember) kind() string    { return "KeepMember" }
func (*DropMember) kind() string    { return "DropMember" }
func (*Report) kind() string        { return "Report" }
func (*ReleaseVolume) kind() string { return "ReleaseVolume" }
func (*EmptyVolume) kind() string   { return "EmptyVolume" }
func (*UndoRelease) kind() string   { return "UndoRelease" }
func (*PutService) kind() string    { return "PutService" }
func (*DeleteService) kind() string { return "DeleteService" }
func (*PutProgram) kind() string    { return "PutProgram" }
func (*DeleteProgram) kind() string { return "DeleteProgram" }
func (*SetStopping) kind() string   { return "SetStopping" }
func (*DrainNode) kind() string     { return "DrainNode" }
func (*LabelNode) kind() string     { return "LabelNode" }
func (*SetFrozen) kind() string     { return "SetFrozen" }

func (*AddJoinToken) kind() string    { return "AddJoinToken" }
func (*RevokeJoinToken) kind() string { return "RevokeJoinToken" }
func (*AdmitNode) kind() string       { return "AdmitNode" }
func (*RemoveNode) kind() string      { return "RemoveNode" }
func (*TakeOver) kind() string        { return "TakeOver" }
func (*ForgetNode) kind() string      { return "ForgetNode" }
func (*AbandonVolume) kind() string   { return "AbandonVolume" }
func (*NoteTransfer) kind() string    { return "NoteTransfer" }
