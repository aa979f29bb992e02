package spec

import "time"

// Phases of a member.
const (
	MemberPending  = "Pending"  // reserved, not started yet
	MemberStarting = "Starting" // init steps run, or startup has not passed
	MemberRunning  = "Running"
	MemberStopping = "Stopping"
	MemberStopped  = "Stopped"
	MemberFailed   = "Failed" // cannot run; reason says why, retried
	MemberLost     = "Lost"   // its node is lost
)

// Phases of a volume.
const (
	VolumePending   = "Pending"
	VolumeBound     = "Bound"
	VolumeRetained  = "Retained"
	VolumeReleasing = "Releasing"
	VolumeAbandoned = "Abandoned"
)

// States of a node, in the log.
const (
	NodeReady   = "Ready"
	NodeSuspect = "Suspect"
	NodeLost    = "Lost"
)

// Conditions of a set.
const (
	ConditionAvailable        = "Available"
	ConditionProgressing      = "Progressing"
	ConditionScaleDownBlocked = "ScaleDownBlocked"
	ConditionStalled          = "Stalled"
)

// Condition is one statement about a set: Status is "True" or "False".
type Condition struct {
	Type    string     `json:"type"`
	Status  string     `json:"status"`
	Reason  string     `json:"reason"`
	Message string     `json:"message"`
	Since   *time.Time `json:"since"`
}

// StatefulSetStatus is computed when read.
type StatefulSetStatus struct {
	ObservedGeneration uint64 `json:"observedGeneration"`
	Replicas           int    `json:"replicas"`
	ReadyReplicas      int    `json:"readyReplicas"`
	AvailableReplicas  int    `json:"availableReplicas"`
	UpdatedReplicas    int    `json:"updatedReplicas"`
	CurrentRevision    string `json:"currentRevision"`
	UpdateRevision     string `json:"updateRevision"`
	Deleting           bool   `json:"deleting"`
	Formed             bool   `json:"formed"`
	// Paused: members are not restarted for a rollout until it is resumed; Pause says by whom.
	Paused bool   `json:"paused"`
	Pause  *Asked `json:"pause,omitempty"`
	// Rollback tells that updateRevision is an older one, which the set went back to.
	Rollback   *Rollback   `json:"rollback,omitempty"`
	Conditions []Condition `json:"conditions"`
	// WaitsFor says what the next step waits for, first the most important.
	WaitsFor []Wait `json:"waitsFor"`
}

// Wait is something the planner would do but for a reason.
type Wait struct {
	// Subject is the member ("web-1") or set ("web") that waits.
	Subject string `json:"subject"`
	// Reason is one word (CamelCase), Message a sentence that names who is
	// waited for.
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// Member is the API object of one member.
type Member struct {
	APIVersion string       `json:"apiVersion"`
	Kind       string       `json:"kind"`
	Metadata   Meta         `json:"metadata"`
	Spec       MemberSpec   `json:"spec"`
	Status     MemberStatus `json:"status"`
}

// MemberSpec is a member's identity and assignment.
type MemberSpec struct {
	Set      string         `json:"set"`
	Ordinal  int            `json:"ordinal"`
	Node     string         `json:"node"`
	Epoch    uint64         `json:"epoch"`
	Revision string         `json:"revision"`
	IP       string         `json:"ip"`
	FQDN     string         `json:"fqdn"`
	Ports    map[string]int `json:"ports"`
	Volumes  []string       `json:"volumes"`
}

// MemberStatus is what was last reported, and what follows from it.
type MemberStatus struct {
	Phase     string     `json:"phase"`
	Healthy   bool       `json:"healthy"`
	Ready     bool       `json:"ready"`
	Available bool       `json:"available"`
	Reason    string     `json:"reason"`
	Message   string     `json:"message"`
	Restarts  int        `json:"restarts"`
	StartedAt *time.Time `json:"startedAt"`
	// Role is what the member's role probe has found, "" while that is not known.
	Role string `json:"role"`
	// MayStop is null where no process has such a probe.
	MayStop   *Consent        `json:"mayStop"`
	Processes []ProcessStatus `json:"processes"`
	// Hooks tells of those that have run in this epoch.
	Hooks []HookStatus `json:"hooks,omitempty"`
	// Probes are null with a reason when its node did not answer or was not asked.
	Probes       []ProbeStatus `json:"probes"`
	ProbesReason string        `json:"probesReason,omitempty"`
}

// Answers of a mayStop probe.
const (
	Yes     = "yes"
	No      = "no"
	Unknown = "unknown" // counts as no
)

// Consent is what a member has said last on whether it may be stopped.
type Consent struct {
	Answer string     `json:"answer"`
	Since  *time.Time `json:"since"`
	// Message says why not, as it was when the answer changed.
	Message string `json:"message,omitempty"`
}

// ProbeStatus is a probe with its newest result, as its node knows it.
type ProbeStatus struct {
	Process string `json:"process"`
	Probe   string `json:"probe"` // startup, readiness, liveness, role, mayStop
	// Passing is the judgement; Result, the newest: pass, fail, void (the process could not
	// be asked, which counts for nothing), or "" before the first, at At. InARow counts how
	// often that came in a row.
	Passing bool       `json:"passing"`
	Result  string     `json:"result"`
	InARow  int        `json:"inARow"`
	At      *time.Time `json:"at"`
	Took    Duration   `json:"took"`
	Message string     `json:"message"`
	// Output is the beginning of what was answered; never of a process that has secrets.
	Output string `json:"output"`
}

// States of a process.
const (
	ProcessWaiting = "Waiting" // not started yet
	ProcessRunning = "Running"
	ProcessBackoff = "Backoff" // died, restarted after a while
	ProcessExited  = "Exited"  // ended for good or stopped
	ProcessUnknown = "Unknown" // runs, but its exit code cannot be learnt
)

// ProcessStatus is one process as last reported. PID is the host's.
type ProcessStatus struct {
	Name      string     `json:"name"`
	PID       int        `json:"pid"`
	State     string     `json:"state"`
	Restarts  int        `json:"restarts"`
	Started   bool       `json:"started"` // startup probe passed, or none
	Ready     bool       `json:"ready"`
	StartedAt *time.Time `json:"startedAt,omitempty"`
	LastExit  *Exit      `json:"lastExit,omitempty"`
	// Message is the last probe failure or start error.
	Message string `json:"message,omitempty"`
}

// OOMKilled is the reason of an end for want of memory: the kernel killed it at its limit, or because the host had no
// more. A member is unwell for that reason while it waits to be started again.
const OOMKilled = "OOMKilled"

// Exit tells how a process ended. Code is -1 when a signal ended it or it is
// not known.
type Exit struct {
	Code   int    `json:"code"`
	Signal string `json:"signal"`
	Reason string `json:"reason,omitempty"`
	// Message is why supd ended it, to start it again: the probe or hook that failed.
	Message string    `json:"message,omitempty"`
	At      time.Time `json:"at"`
}

// Volume is the API object of one directory.
type Volume struct {
	APIVersion string           `json:"apiVersion"`
	Kind       string           `json:"kind"`
	Metadata   Meta             `json:"metadata"`
	Spec       VolumeObjectSpec `json:"spec"`
	Status     VolumeStatus     `json:"status"`
}

// VolumeObjectSpec says whose directory it is and where.
type VolumeObjectSpec struct {
	Set      string   `json:"set"`
	Template string   `json:"template"`
	Ordinal  int      `json:"ordinal"`
	Node     string   `json:"node"`
	Size     Quantity `json:"size"`
}

// VolumeStatus tells where the directory is and who uses it. UsedBytes is null
// with UsedBytesReason when its node did not answer.
type VolumeStatus struct {
	Phase           string     `json:"phase"`
	Path            string     `json:"path"`
	UsedBytes       *int64     `json:"usedBytes"`
	UsedBytesReason string     `json:"usedBytesReason,omitempty"`
	Member          string     `json:"member"`
	SizeEnforced    bool       `json:"sizeEnforced"`
	Reason          string     `json:"reason"`
	Message         string     `json:"message"`
	ReleaseAt       *time.Time `json:"releaseAt,omitempty"`
}

// Node is the API object of one host.
type Node struct {
	APIVersion string     `json:"apiVersion"`
	Kind       string     `json:"kind"`
	Metadata   Meta       `json:"metadata"`
	Spec       NodeSpec   `json:"spec"`
	Status     NodeStatus `json:"status"`
}

// NodeSpec is what a node is known by.
type NodeSpec struct {
	Address  string            `json:"address"`
	Labels   map[string]string `json:"labels"`
	Cordoned bool              `json:"cordoned"`
	// Draining: its members are stopped, and none is started, until it is uncordoned.
	Draining bool `json:"draining"`
}

// NodeStatus tells how a node is. LeaseUntil is null with a reason when the
// leader did not answer, Keeper when the node did not; or when they were not asked.
type NodeStatus struct {
	State            string     `json:"state"`
	Alive            bool       `json:"alive"`
	Leader           bool       `json:"leader"`
	Voter            bool       `json:"voter"`
	LeaseUntil       *time.Time `json:"leaseUntil"`
	LeaseUntilReason string     `json:"leaseUntilReason,omitempty"`
	Members          int        `json:"members"`
	Version          string     `json:"version"`
	Since            *time.Time `json:"since"`

	// Drained: it is being drained, and its keeper has reported each member gone.
	// Drain says who asked for it; DrainWaits, what it waits for.
	Drained    bool   `json:"drained"`
	Drain      *Asked `json:"drain,omitempty"`
	DrainWaits []Wait `json:"drainWaits,omitempty"`

	// Trouble is what keeps the node's daemon from its part in the cluster's state, ""
	// when nothing does; null with a reason when it did not answer or was not asked.
	Trouble       *string `json:"trouble"`
	TroubleReason string  `json:"troubleReason,omitempty"`
	// CanVote: it could vote when it was asked, if it is a voter; null as Trouble is.
	CanVote *bool `json:"canVote"`

	Keeper       *KeeperStatus `json:"keeper"`
	KeeperReason string        `json:"keeperReason,omitempty"`
}

// KeeperStatus tells of the process that holds a node's members.
type KeeperStatus struct {
	Version  string `json:"version"`
	Protocol int    `json:"protocol"`
	PID      int    `json:"pid"`
	// Cgroup is the directory of the members' cgroups; "": there are none, members are held by process groups.
	Cgroup string `json:"cgroup,omitempty"`
	// Controllers are those of memory, cpu, pids and io by which members can be limited.
	Controllers []string       `json:"controllers"`
	Upgrade     KeeperUpgrades `json:"upgrade"`
}

// KeeperUpgrades tells what a keeper was, and what it could become.
type KeeperUpgrades struct {
	// Binary is the file that an upgrade takes, and OnDisk the version of that; null with a reason if it can't be told.
	Binary       string  `json:"binary,omitempty"`
	OnDisk       *string `json:"onDisk"`
	OnDiskReason string  `json:"onDiskReason,omitempty"`
	// Possible: another version than the keeper's is on disk.
	Possible bool       `json:"possible"`
	Done     int        `json:"done"`           // in place, since the process was started
	From     string     `json:"from,omitempty"` // the version before the present
	At       *time.Time `json:"at"`             // of the latest
	Refused  string     `json:"refused,omitempty"`
}

// Revision is the API object of a template of the past or present.
type Revision struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Metadata   Meta     `json:"metadata"`
	Set        string   `json:"set"`
	Revision   uint64   `json:"revision"`
	Template   Template `json:"template"`
}

// Event is something that happened, as Apply told it.
type Event struct {
	APIVersion string    `json:"apiVersion"`
	Kind       string    `json:"kind"`
	Metadata   Meta      `json:"metadata"`
	At         time.Time `json:"at"`
	Object     string    `json:"object"` // "member/web-0"
	Type       string    `json:"type"`   // Normal or Warning
	Reason     string    `json:"reason"`
	Message    string    `json:"message"`
	Who        string    `json:"who,omitempty"`
}

// ClusterStatus answers `cluster status`.
type ClusterStatus struct {
	ClusterID string   `json:"clusterID"`
	Leader    string   `json:"leader"`
	Term      uint64   `json:"term"`
	Index     uint64   `json:"index"`
	Voters    []string `json:"voters"`
	Nodes     []Node   `json:"nodes"`
	// CanLose is how many more voters may fail before everything freezes.
	CanLose int `json:"canLose"`
	// VotersGone are the voters that cannot vote now: lost, suspect, not answering, with a log
	// that cannot be written, or given up by the cluster. What else troubles a node keeps it
	// from nothing that counts here.
	VotersGone []string `json:"votersGone"`
	// Frozen: by command (Freeze says by whom), or because no leader is known.
	Frozen      bool   `json:"frozen"`
	Freeze      *Asked `json:"freeze,omitempty"`
	DNS         string `json:"dns"`
	AddressPlan string `json:"addressPlan"`
	Hash        string `json:"hash"`
}

// Rollback says from which revision a set went back; Auto: since that stalled.
type Rollback struct {
	From string `json:"from"`
	Auto bool   `json:"auto"`
	Asked
}

// Asked says who asked for something, when, and why.
type Asked struct {
	Who   string     `json:"who,omitempty"`
	Why   string     `json:"why,omitempty"`
	Since *time.Time `json:"since"`
}

// List is `{"items":[...]}`.
type List[T any] struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Items      []T    `json:"items"`
}
