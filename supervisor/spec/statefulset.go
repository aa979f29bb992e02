package spec

// StatefulSet is the wish: N ordered members of one template. It is also the
// API object; Status is filled by the server and ignored on the way in.
type StatefulSet struct {
	APIVersion string             `json:"apiVersion"`
	Kind       string             `json:"kind"`
	Metadata   Meta               `json:"metadata"`
	Spec       StatefulSetSpec    `json:"spec"`
	Status     *StatefulSetStatus `json:"status,omitempty"`
}

// Pod management policies.
const (
	OrderedReady   = "OrderedReady"
	OrderedStarted = "OrderedStarted"
	Parallel       = "Parallel"
)

// Update strategies.
const (
	RollingUpdate = "RollingUpdate"
	OnDelete      = "OnDelete"
	Recreate      = "Recreate"
)

// Retention policies of volumes.
const (
	Retain = "Retain"
	Delete = "Delete"
)

// Policies for members on a lost node.
const (
	Keep  = "Keep"
	Fence = "Fence"
)

// Network modes and name resolution inside a member.
const (
	NetworkMember  = "Member"
	NetworkNode    = "Node"
	ResolvePrivate = "Private"
	ResolveHost    = "Host"
)

// StatefulSetSpec is the definition of a set. Default fills what is left out;
// Validate says what is wrong. Every string below Init and Processes that says
// so is a template in HCL's template language.
type StatefulSetSpec struct {
	Replicas             *int            `json:"replicas,omitempty"`
	ServiceName          string          `json:"serviceName,omitempty"`
	Ordinals             *Ordinals       `json:"ordinals,omitempty"`
	PodManagementPolicy  string          `json:"podManagementPolicy,omitempty"`
	UpdateStrategy       UpdateStrategy  `json:"updateStrategy,omitzero"`
	MinReady             Duration        `json:"minReady,omitempty"`
	ProgressDeadline     *Duration       `json:"progressDeadline,omitempty"`
	AutoRollback         bool            `json:"autoRollback,omitempty"`
	RevisionHistoryLimit *int            `json:"revisionHistoryLimit,omitempty"`
	VolumeRetention      VolumeRetention `json:"volumeRetention,omitzero"`
	OnNodeLoss           string          `json:"onNodeLoss,omitempty"`
	Network              Network         `json:"network,omitzero"`
	Placement            Placement       `json:"placement,omitzero"`
	Volumes              []VolumeSpec    `json:"volumes,omitempty"`
	// Scratch directories are emptied at every start (Kubernetes' emptyDir).
	Scratch   []ScratchDir `json:"scratch,omitempty"`
	Init      []InitStep   `json:"init,omitempty"`
	Processes []Process    `json:"processes"`
}

// Ordinals says where counting begins.
type Ordinals struct {
	Start int `json:"start"`
}

// UpdateStrategy says how a changed template reaches the members.
type UpdateStrategy struct {
	Type          string                `json:"type,omitempty"`
	RollingUpdate *RollingUpdateOptions `json:"rollingUpdate,omitempty"`
}

// RollingUpdateOptions bound a rolling update.
type RollingUpdateOptions struct {
	Partition      int         `json:"partition,omitempty"`
	MaxUnavailable IntOrString `json:"maxUnavailable,omitempty"`
	// RoleLast is the role whose member is updated after all others ("leader").
	RoleLast string `json:"roleLast,omitempty"`
}

// VolumeRetention says what becomes of directories, Retain or Delete.
type VolumeRetention struct {
	WhenScaled  string `json:"whenScaled,omitempty"`
	WhenDeleted string `json:"whenDeleted,omitempty"`
}

// Network is how members get addresses and find names.
type Network struct {
	Mode    string `json:"mode,omitempty"`
	Resolve string `json:"resolve,omitempty"`
}

// Placement narrows the nodes a member may be reserved on.
type Placement struct {
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`
	Spread       string            `json:"spread,omitempty"`
	MaxPerNode   int               `json:"maxPerNode,omitempty"`
}

// VolumeSpec asks for one directory per member.
type VolumeSpec struct {
	Name string   `json:"name"`
	Size Quantity `json:"size,omitempty"`
	// MountPath is where every process sees the directory (needs root).
	MountPath string `json:"mountPath,omitempty"`
	// Mode of a new directory, octal, such as "0700".
	Mode string `json:"mode,omitempty"`
	// Owner of a new directory, "user" or "user:group".
	Owner string `json:"owner,omitempty"`
}

// ScratchDir is a directory that lives as long as one start of the member.
type ScratchDir struct {
	Name      string `json:"name"`
	MountPath string `json:"mountPath,omitempty"`
}

// Mount shows (part of) a volume or scratch directory to one process.
type Mount struct {
	Volume    string `json:"volume"`
	MountPath string `json:"mountPath"`
	SubPath   string `json:"subPath,omitempty"`
	ReadOnly  bool   `json:"readOnly,omitempty"`
}

// EnvVar is one variable; Value is a template, FromFile a file of the node
// (root's, read at every exec, never logged).
type EnvVar struct {
	Name     string `json:"name"`
	Value    string `json:"value,omitempty"`
	FromFile string `json:"fromFile,omitempty"`
}

// Exec is what init steps and processes have in common: how a program is run.
// Command, Args, Env values, WorkingDir and Files are templates.
type Exec struct {
	Image               string   `json:"image,omitempty"`
	Command             []string `json:"command,omitempty"`
	Args                []string `json:"args,omitempty"`
	Env                 Env      `json:"env,omitempty"`
	User                string   `json:"user,omitempty"`
	Group               string   `json:"group,omitempty"`
	SupplementaryGroups []string `json:"supplementaryGroups,omitempty"`
	WorkingDir          string   `json:"workingDir,omitempty"`
	Umask               string   `json:"umask,omitempty"`
	Mounts              []Mount  `json:"mounts,omitempty"`
}

// InitStep runs before the processes, in order; each must exit 0.
type InitStep struct {
	Name string `json:"name"`
	Exec
	// Once: until it has succeeded for these volumes.
	Once bool `json:"once,omitempty"`
	// Timeout bounds one attempt, Retries the attempts after the first; after
	// them the whole start is tried again with back-off.
	Timeout *Duration `json:"timeout,omitempty"`
	Retries int       `json:"retries,omitempty"`
	Privileges
}

// Privileges are what a process or init step may do, whoever its user is.
type Privileges struct {
	// Capabilities bound what the program and all that it starts may ever have
	// (needs root): root keeps no others, another user is given them. NONE alone
	// takes all from root. Left out, root has all and other users have none.
	Capabilities []string `json:"capabilities,omitempty"`
	NoNewPrivs   *bool    `json:"noNewPrivileges,omitempty"`
	// ReadOnly are paths that the program cannot write below (needs root), but for
	// volumes, scratch directories and the private /tmp; / spares /dev and /proc.
	ReadOnly []string `json:"readOnlyPaths,omitempty"`
	// PrivateTmp gives the member's programs that ask for it a /tmp and /var/tmp of
	// their own, empty at each start of the member (needs root).
	PrivateTmp bool `json:"privateTmp,omitempty"`
}

// Process is one program of a member; the first is the main one.
type Process struct {
	Name string `json:"name"`
	Exec
	Output    string `json:"output,omitempty"`
	Ports     []Port `json:"ports,omitempty"`
	Files     []File `json:"files,omitempty"`
	Startup   *Probe `json:"startup,omitempty"`
	Readiness *Probe `json:"readiness,omitempty"`
	Liveness  *Probe `json:"liveness,omitempty"`
	// Role asks what the process is among its peers (leader, follower, ...): the output,
	// or what Expect finds in it, is a DNS label. At most one process has it.
	Role *Probe `json:"role,omitempty"`
	// MayStop is asked before the member is stopped for a rollout, restart, scale-down or
	// drain while it is well: passing means yes, all else no. At most one process has it.
	MayStop *Probe  `json:"mayStop,omitempty"`
	Hooks   Hooks   `json:"hooks,omitempty"`
	Stop    Stop    `json:"stop,omitzero"`
	Restart Restart `json:"restart,omitzero"`
	Limits  *Limits `json:"limits,omitempty"`
	Privileges
}

// Outputs of a process.
const (
	OutputFile = "file"
	OutputPipe = "pipe"
)

// Port of a process. Port 0: one is chosen and kept.
type Port struct {
	Name     string `json:"name"`
	Port     int    `json:"port"`
	Protocol string `json:"protocol,omitempty"`
}

// File is rendered for one member and private to it. Path and Content are
// templates.
type File struct {
	Path     string `json:"path"`
	Mode     string `json:"mode,omitempty"`
	Content  string `json:"content,omitempty"`
	FromFile string `json:"fromFile,omitempty"`
}

// Probe asks a process how it is. Exactly one of Exec, HTTP, TCP, GRPC, Notify.
//
// Notify: the process tells it itself, by sd_notify, and its word counts at once.
// Startup passes with READY=1; what EXTEND_TIMEOUT_USEC asks for does not count.
// Readiness passes from READY=1 to STOPPING=1, but for the time from RELOADING=1 to
// the next READY=1. Liveness fails with WATCHDOG=trigger, or when FailureThreshold
// Periods (which the process finds in WATCHDOG_USEC) go by without WATCHDOG=1.
type Probe struct {
	Exec             []string  `json:"exec,omitempty"`
	HTTP             *HTTPGet  `json:"http,omitempty"`
	TCP              *TCPDial  `json:"tcp,omitempty"`
	GRPC             *GRPCCall `json:"grpc,omitempty"`
	Notify           bool      `json:"notify,omitempty"`
	Expect           string    `json:"expect,omitempty"`
	InitialDelay     Duration  `json:"initialDelay,omitempty"`
	Period           *Duration `json:"period,omitempty"`
	Timeout          *Duration `json:"timeout,omitempty"`
	SuccessThreshold int       `json:"successThreshold,omitempty"`
	FailureThreshold int       `json:"failureThreshold,omitempty"`
	// StopTimeout is that of a restart which this startup or liveness probe asks for; left
	// out, the process's own.
	StopTimeout *Duration `json:"stopTimeout,omitempty"`
}

// HTTPGet passes on a status of 200 to 399. Path, Host and headers are templates;
// Host defaults to the member's address.
type HTTPGet struct {
	Path    string            `json:"path,omitempty"`
	Port    IntOrString       `json:"port"`
	Host    string            `json:"host,omitempty"`
	Scheme  string            `json:"scheme,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`
}

// TCPDial passes when the port accepts a connection.
type TCPDial struct {
	Port IntOrString `json:"port"`
	Host string      `json:"host,omitempty"`
}

// GRPCCall asks the standard health service, without TLS. Service is a template.
type GRPCCall struct {
	Port    IntOrString `json:"port"`
	Service string      `json:"service,omitempty"`
}

// Stop says how a process is asked to end, and when it is killed.
type Stop struct {
	Signal  string    `json:"signal,omitempty"`
	Timeout *Duration `json:"timeout,omitempty"`
}

// Restart bounds the back-off of a process that keeps dying. The first restarts
// are at once. An exit code in NeverOn ends the process for good (phase Failed).
type Restart struct {
	Backoff Backoff `json:"backoff,omitzero"`
	NeverOn []int   `json:"neverOn,omitempty"`
}

// Backoff grows from First to Max, doubling, with jitter.
type Backoff struct {
	First *Duration `json:"first,omitempty"`
	Max   *Duration `json:"max,omitempty"`
}

// Limits of a process. CPU ("500m", "1.5"), Memory, Pids and IOWeight bound the process, all it forks and its probes
// together; the node needs cgroup v2 with their controllers. The others are each process's own.
type Limits struct {
	CPU      string   `json:"cpu,omitempty"`
	Memory   Quantity `json:"memory,omitempty"`
	Pids     int64    `json:"pids,omitempty"`
	IOWeight int      `json:"ioWeight,omitempty"`
	Nofile   uint64   `json:"nofile,omitempty"`
	Core     *uint64  `json:"core,omitempty"`
	Nice     *int     `json:"nice,omitempty"`
	OOMScore *int     `json:"oomScore,omitempty"`
	// Rlimits are the kernel's other limits of a process (memlock, nproc, fsize,
	// stack, ...), soft and hard: a number, a size, or "unlimited".
	Rlimits map[string]IntOrString `json:"rlimits,omitempty"`
}

// Service is the governing headless service of a set, or another name of a set's members
// (SelectSet).
type Service struct {
	APIVersion string      `json:"apiVersion"`
	Kind       string      `json:"kind"`
	Metadata   Meta        `json:"metadata"`
	Spec       ServiceSpec `json:"spec"`
}

// ServiceSpec lists ports for SRV records. Ports left out come from the set. The only key of
// Selector that says anything is SelectSet.
type ServiceSpec struct {
	PublishNotReadyAddresses bool              `json:"publishNotReadyAddresses,omitempty"`
	Ports                    []Port            `json:"ports,omitempty"`
	Selector                 map[string]string `json:"selector,omitempty"`
}

// Program is what a manifest's image means on these hosts: whatever of a process
// it fills in. A container's own command and args win over it.
type Program struct {
	APIVersion string      `json:"apiVersion"`
	Kind       string      `json:"kind"`
	Metadata   Meta        `json:"metadata"`
	Spec       ProgramSpec `json:"spec"`
}

// ProgramSpec fills the gaps of a process (and the set's init steps before its own).
type ProgramSpec struct {
	Command             []string   `json:"command,omitempty"`
	Args                []string   `json:"args,omitempty"`
	Env                 Env        `json:"env,omitempty"`
	User                string     `json:"user,omitempty"`
	Group               string     `json:"group,omitempty"`
	SupplementaryGroups []string   `json:"supplementaryGroups,omitempty"`
	WorkingDir          string     `json:"workingDir,omitempty"`
	Umask               string     `json:"umask,omitempty"`
	Output              string     `json:"output,omitempty"`
	Init                []InitStep `json:"init,omitempty"`
	Files               []File     `json:"files,omitempty"`
	Ports               []Port     `json:"ports,omitempty"`
	// Scratch directories the program wants beside its volumes (sockets, temporary files).
	Scratch   []ScratchDir `json:"scratch,omitempty"`
	Startup   *Probe       `json:"startup,omitempty"`
	Readiness *Probe       `json:"readiness,omitempty"`
	Liveness  *Probe       `json:"liveness,omitempty"`
	Role      *Probe       `json:"role,omitempty"`
	MayStop   *Probe       `json:"mayStop,omitempty"`
	Stop      Stop         `json:"stop,omitzero"`
}
