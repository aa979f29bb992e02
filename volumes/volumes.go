// Package volumes keeps the members' data directories on this host: it makes,
// finds, claims, trashes, restores and empties them. Each volume is a container
//
//	DIR/NAMESPACE/NAME.UID8/          the daemon's user's, 0711
//	    marker                        whose it is: cluster, volume, template, ordinal
//	    claim                         who may write: epoch, node, once steps done
//	    lock.PROCESS                  flock'ed by the keeper and by every process of the member
//	    data/                         the member's; nothing here looks into it
//
// and a released one is DIR/.trash/NAMESPACE/NAME.UID8 until it is emptied.
// A container whose marker is not the claim's own is never adopted and never
// deleted. A symbolic link in the way is an error, never followed.
//
// The package has no goroutines. A Pool may be used by several at once.
package volumes

import (
	"log/slog"
	"os"
)

// Options of a Pool.
type Options struct {
	// Dir is where the containers are; an absolute path. It is made when the
	// first volume is.
	Dir string
	// ClusterID says which cluster's markers are ours. Asked at every use, since
	// a daemon learns it after it has started. Not used for a Claim that names one.
	ClusterID func() string
	// AllowNetworkFS accepts a pool on NFS, SMB and the like, whose flock may not
	// be held on every host.
	AllowNetworkFS bool
	Logger         *slog.Logger
	// Fault is asked before every change on disk and may answer with the error it
	// is to fail with. For tests; nil otherwise.
	Fault Fault
}

// Fault answers nil, or the error that an operation fails with: op is what is
// done to what ("rename container", "write marker"), path where.
type Fault func(op, path string) error

// Claim says which volume is meant, and what a new one is to be like.
type Claim struct {
	ClusterID string // "": Options.ClusterID
	Namespace string
	Set       string
	Template  string
	Ordinal   int
	Name      string // "data-web-0"
	UID       string // the volume's
	// Made: the log knows that the directory exists. Then it is never made anew:
	// a missing one is ErrMissing.
	Made bool
	// Mode of a new data directory; 0 means 0700. OwnerUID and OwnerGID count
	// when HasOwner; else the daemon's user owns it. Never changed afterwards.
	Mode     os.FileMode
	HasOwner bool
	OwnerUID int
	OwnerGID int
}

// Dir is where a volume is.
type Dir struct {
	Container string
	Data      string
}
