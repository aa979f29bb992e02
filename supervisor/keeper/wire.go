package keeper

import (
	"os"
	"strings"
	"time"
)

// Protocol is the version of the socket's language. A keeper serves clients of its own and of later versions; a client
// talks to keepers from MinProtocol on, and asks none for what it doesn't know: see needs.
const (
	Protocol    = 2
	MinProtocol = 1
)

// LockFD is the number under which every process of a member inherits the lock's descriptor.
const LockFD = 731

// Mount is a bind mount in a member's private view. Source must exist; a missing Target is made, a directory or an
// empty file like the source.
type Mount struct {
	Source   string `json:"source"`
	Target   string `json:"target"`
	ReadOnly bool   `json:"readOnly,omitempty"`
	// Beneath is a directory above Source that its user may write in: links on the way from there to Source are followed
	// no further than that. "" = Source is a path that only root can change.
	Beneath string `json:"beneath,omitempty"`
}

// SecretEnv is an environment variable whose value the keeper reads from File at each exec. The value is kept nowhere;
// one newline at the file's end is cut off.
type SecretEnv struct {
	Name string `json:"name"`
	File string `json:"file"`
}

// Exec says what a process is given: program, environment, user and view. Start and Run share it.
type Exec struct {
	Argv []string `json:"argv"`
	Env  []string `json:"env,omitempty"` // the whole environment, K=V; nothing of the keeper's own is added
	Dir  string   `json:"dir,omitempty"` // "" = /

	SetUser bool     `json:"setUser,omitempty"` // UID, GID and Groups count only if set
	UID     uint32   `json:"uid,omitempty"`
	GID     uint32   `json:"gid,omitempty"`
	Groups  []uint32 `json:"groups,omitempty"`
	Umask   int      `json:"umask"` // -1: the keeper's own

	Hostname   string            `json:"hostname,omitempty"` // "" = no UTS namespace
	Mounts     []Mount           `json:"mounts,omitempty"`   // empty = no mount namespace
	NoNewPrivs bool              `json:"noNewPrivs,omitempty"`
	Rlimits    map[string]uint64 `json:"rlimits,omitempty"` // "nofile", "core", ...: soft and hard limit
	Nice       *int              `json:"nice,omitempty"`
	OOMScore   *int              `json:"oomScore,omitempty"`
	Secrets    []SecretEnv       `json:"secrets,omitempty"`

	// ReadOnlyPaths and all below them are read-only in the private view, but for mounts there: "/" is all but /dev, /proc
	// and the mounts.
	ReadOnlyPaths []string `json:"readOnlyPaths,omitempty"`

	// Capabilities, without CAP_, count only if SetCapabilities. They bound what the program may ever have; root has them
	// by that, another user is given them (ambient).
	SetCapabilities bool     `json:"setCapabilities,omitempty"`
	Capabilities    []string `json:"capabilities,omitempty"`
}

// Settings are what Update may change while a process runs.
type Settings struct {
	StopSignal   string        `json:"stopSignal,omitempty"`  // default SIGTERM
	StopTimeout  time.Duration `json:"stopTimeout,omitempty"` // 0 = kill at once
	BackoffFirst time.Duration `json:"backoffFirst,omitempty"`
	BackoffMax   time.Duration `json:"backoffMax,omitempty"`
	NeverOn      []int         `json:"neverOn,omitempty"` // exit codes after which the process is Failed and not restarted
	LogMax       int64         `json:"logMax,omitempty"`  // bytes kept of a start's log, and of all earlier ones; 0 = DefaultLogMax
	// Fence: the process lives by the node's lease (see Renew). It is started only while that holds, stopped when a third
	// of it is left unrenewed, and killed KillBefore its end.
	Fence bool `json:"fence,omitempty"`
	// PreStop is run before the stop signal by Client.Halt, and by nothing else. nil = none.
	PreStop *PreStop `json:"preStop,omitempty"`
}

func (s *Settings) logMax() int64 {
	if s.LogMax == 0 {
		return DefaultLogMax
	}
	return s.LogMax
}

// Start describes one process of a member. The keeper writes all of it to a record (0600) and restarts the process from
// there.
type Start struct {
	Member  string `json:"member"`  // "default/web-0"
	Process string `json:"process"` // "main"
	Epoch   uint64 `json:"epoch"`
	Exec
	Limits *Limits `json:"limits,omitempty"` // nil = none
	Lock   string  `json:"lock,omitempty"`   // lock file, made if missing; "" = one in the keeper's own directory
	LogDir string  `json:"logDir,omitempty"` // "" = output is thrown away
	Output string  `json:"output,omitempty"` // OutputFile or OutputPipe; "" = OutputFile
	// Notify: the program gets NOTIFY_SOCKET, and what it says there is shown in Status.Notify. Watchdog: it also gets
	// WATCHDOG_USEC, and periods without WATCHDOG=1 are counted. Its Runs get neither.
	Notify   bool          `json:"notify,omitempty"`
	Watchdog time.Duration `json:"watchdog,omitempty"`
	// Decided is when the start was decided, on CLOCK_BOOTTIME; with Fence it is refused (ErrNoLease) if the lease has
	// lapsed since, however good it is by now. 0 = now.
	Decided time.Duration `json:"decided,omitempty"`
	Settings
}

// Run is a short command beside a member: a probe or an init step. It runs in the member's aux cgroup. A probe has no
// Epoch and doesn't inherit the lock. A Run with an Epoch is part of a start: like one it is refused when the epoch was
// given up, takes the lock that the process will take (ErrLocked), and is never there twice, whatever became of keepers.
type Run struct {
	Member  string `json:"member"`
	Process string `json:"process"`
	Epoch   uint64 `json:"epoch,omitempty"`
	Exec
	Lock      string        `json:"lock,omitempty"`      // as in Start; counts with an Epoch only
	Timeout   time.Duration `json:"timeout,omitempty"`   // 0 = DefaultRunTimeout
	MaxOutput int           `json:"maxOutput,omitempty"` // bytes of stdout and stderr kept, from the start; 0 = DefaultMaxOutput
	Fence     bool          `json:"fence,omitempty"`     // as in Settings; with an Epoch it is killed as soon as the lease lapses
	Decided   time.Duration `json:"decided,omitempty"`   // as in Start
}

// Defaults of Run.
const (
	DefaultRunTimeout = time.Minute
	DefaultMaxOutput  = 64 << 10
)

// RunResult is how a Run ended. Code is -1 if a signal ended it.
type RunResult struct {
	Code      int    `json:"code"`
	Signal    string `json:"signal,omitempty"`
	Output    []byte `json:"output,omitempty"`
	Truncated bool   `json:"truncated,omitempty"`
	TimedOut  bool   `json:"timedOut,omitempty"`
}

// Session is a command that somebody runs by hand beside a live process of a member: as its user, in its view, host name
// and cgroup. It doesn't inherit the lock, runs in the member's aux cgroup and ends with the process.
type Session struct {
	Member  string   `json:"member"`
	Process string   `json:"process"`
	Argv    []string `json:"argv"`
	Env     []string `json:"env,omitempty"`  // K=V, set beside or in place of the process's own
	Self    bool     `json:"self,omitempty"` // Argv are arguments for the keeper's own binary
}

// SessionResult is how a Session ended. Code is -1 if a signal ended it; Message says why it was made to end.
type SessionResult struct {
	Code    int    `json:"code"`
	Signal  string `json:"signal,omitempty"`
	Message string `json:"message,omitempty"`
}

// State is where a process is in its life.
type State string

// The states. Starting, Running, Backoff and Stopping are "not gone": an epoch can't be given up in them.
const (
	Starting State = "Starting" // a start is under way
	Running  State = "Running"
	Backoff  State = "Backoff"  // died; is started again at NextStart, or when what is left of it has gone
	Stopping State = "Stopping" // told to stop, or what is left of it is being killed
	Stopped  State = "Stopped"  // nothing of it is left
	Failed   State = "Failed"   // ended with a code of NeverOn, or its record can't be read; nothing of it is left
)

// Exit is how a process ended. Unknown: it was not the keeper's child and the kernel didn't tell. OOMKilled: the kernel
// killed it because its limit or the host had no memory left; told where cgroups count memory. Why: the reason of the Restart
// that ended it.
type Exit struct {
	Code      int       `json:"code"` // -1 if a signal ended it, or unknown
	Signal    string    `json:"signal,omitempty"`
	Unknown   bool      `json:"unknown,omitempty"`
	OOMKilled bool      `json:"oomKilled,omitempty"`
	Why       string    `json:"why,omitempty"`
	At        time.Time `json:"at,omitzero"`
}

// Status is what the keeper knows of one process.
type Status struct {
	Member    string        `json:"member"`
	Process   string        `json:"process"`
	Epoch     uint64        `json:"epoch"`
	PID       int           `json:"pid,omitempty"`
	State     State         `json:"state"`
	Restarts  int           `json:"restarts,omitempty"` // in place, since Start
	OOMKills  int           `json:"oomKills,omitempty"` // how many of its lives since Start ended so
	StartedAt time.Time     `json:"startedAt,omitzero"` // of the process that runs, or ran last
	LastExit  Exit          `json:"lastExit,omitzero"`  // At is zero if none has ended since Start
	NextStart time.Time     `json:"nextStart,omitzero"` // in Backoff
	KillAt    time.Time     `json:"killAt,omitzero"`    // in Stopping: what is left then is killed
	Backoff   time.Duration `json:"backoff,omitempty"`  // the pause before the latest restart; 0 = at once
	Message   string        `json:"message,omitempty"`  // why it isn't running, or what is wrong beside
	Adopted   bool          `json:"adopted,omitempty"`  // not the keeper's child: taken over from an earlier keeper
	Notify    NotifyStatus  `json:"notify,omitzero"`
	Fence     bool          `json:"fence,omitempty"`   // it lives by the node's lease
	Fenced    bool          `json:"fenced,omitempty"`  // the lease's end is what stops it, or has stopped it
	PreStop   bool          `json:"preStop,omitempty"` // the keeper knows its preStop hook
}

// Gone tells whether nothing of the process is left.
func (s Status) Gone() bool { return s.State == Stopped || s.State == Failed }

// Table is all of a keeper's processes, sorted by member and process.
type Table struct {
	Version   uint64   `json:"version"`         // grows with every change; also larger than any of an earlier keeper's
	Hooks     bool     `json:"hooks,omitempty"` // the keeper takes Settings.PreStop; one of before leaves it out
	Processes []Status `json:"processes"`
}

// Find returns the status of one process.
func (t Table) Find(member, process string) (Status, bool) {
	for _, s := range t.Processes {
		if s.Member == member && s.Process == process {
			return s, true
		}
	}
	return Status{}, false
}

// Info says who a keeper is.
type Info struct {
	Version     string   `json:"version"`
	Protocol    int      `json:"protocol"`
	PID         int      `json:"pid"`
	Boot        string   `json:"boot"`                  // the host's boot id
	Cgroup      string   `json:"cgroup,omitempty"`      // directory of the members' cgroups; "" = process groups only
	Controllers []string `json:"controllers,omitempty"` // of memory, cpu, pids and io those that Limits may ask for
	Lease       *Lease   `json:"lease,omitempty"`       // nil if none was heard of in this boot
	Binary      string   `json:"binary,omitempty"`      // its file, where it looks for a newer one

	Upgrades Upgrades `json:"upgrades,omitzero"`
}

// Upgrades tells how often a keeper was replaced in its process, since that was started.
type Upgrades struct {
	Done    int       `json:"done,omitempty"`
	From    string    `json:"from,omitempty"` // the version before this one
	At      time.Time `json:"at,omitzero"`
	Refused string    `json:"refused,omitempty"` // why the latest was not done; "" = it was
}

// request and response are one JSON line each; a connection carries one call at a time.
type request struct {
	Op       string        `json:"op"`
	Protocol int           `json:"protocol,omitempty"`
	Start    *Start        `json:"start,omitempty"`
	Run      *Run          `json:"run,omitempty"`
	Session  *Session      `json:"session,omitempty"`
	Settings *Settings     `json:"settings,omitempty"`
	Lease    *Lease        `json:"lease,omitempty"`
	Member   string        `json:"member,omitempty"`
	Process  string        `json:"process,omitempty"`
	Epoch    uint64        `json:"epoch,omitempty"`
	Locks    []string      `json:"locks,omitempty"`
	After    uint64        `json:"after,omitempty"`
	Timeout  time.Duration `json:"timeout,omitempty"`
	Reason   string        `json:"reason,omitempty"`
	Signal   string        `json:"signal,omitempty"`
	Binary   string        `json:"binary,omitempty"`
	Hook     bool          `json:"hook,omitempty"` // of a stop: with the preStop hook
}

// String says what is asked for, for people.
func (q *request) String() string {
	member, process := q.Member, q.Process
	switch {
	case q.Start != nil:
		member, process = q.Start.Member, q.Start.Process
	case q.Run != nil:
		member, process = q.Run.Member, q.Run.Process
	}
	return strings.TrimSpace(q.Op + " " + member + " " + process)
}

type response struct {
	Error   *wireError     `json:"error,omitempty"`
	Info    *Info          `json:"info,omitempty"`
	Table   *Table         `json:"table,omitempty"`
	Result  *RunResult     `json:"result,omitempty"`
	Started bool           `json:"started,omitempty"` // a Session has; its end is told in a second answer
	Session *SessionResult `json:"session,omitempty"`
}

// maxLine bounds a request; an environment of that size couldn't be exec'ed anyway.
const maxLine = 8 << 20

// selfExe is the running binary, also when its file was replaced.
const selfExe = "/proc/self/exe"

const (
	modePrivate os.FileMode = 0o600
	modeLog     os.FileMode = 0o640
)
