package volumes

import "context"

// Pool is the volumes below one directory.
type Pool struct{}

// Open makes a Pool. It touches no disk, so a full or read-only one does not keep
// the daemon from starting: the methods say what is wrong.
func Open(o Options) (*Pool, error) { panic("being written") }

// Where tells where c's volume is when it is in place. It touches no disk.
func (p *Pool) Where(c Claim) (Dir, error) { panic("being written") }

// Ensure finds c's volume, or makes it when c.Made is false.
func (p *Pool) Ensure(ctx context.Context, c Claim) (Dir, error) { panic("being written") }

// Take writes epoch and node into the claim file, durably, before it returns. An
// equal epoch of the same node is accepted, a lower one is ErrOldEpoch.
func (p *Pool) Take(c Claim, epoch uint64, node string) error { panic("being written") }

// Once lists the once steps that have succeeded for this volume.
func (p *Pool) Once(c Claim) ([]string, error) { panic("being written") }

// OnceDone notes, durably, that a once step has succeeded.
func (p *Pool) OnceDone(c Claim, step string) error { panic("being written") }

// Trash moves the container into the trash. Refused (ErrInUse) while a process
// holds one of its locks. Done already: nil.
func (p *Pool) Trash(c Claim) error { panic("being written") }

// Restore brings the container back from the trash. Done already: nil.
func (p *Pool) Restore(c Claim) error { panic("being written") }

// Empty removes the container from the trash, for good. Done already: nil. When
// ctx ends it stops and may be called again.
func (p *Pool) Empty(ctx context.Context, c Claim) error { panic("being written") }

// Usage is how many bytes of disk the volume's data takes up.
func (p *Pool) Usage(ctx context.Context, c Claim) (int64, error) { panic("being written") }

// Found is one container on disk.
type Found struct {
	Path      string
	Namespace string
	Name      string // "data-web-0"
	UID8      string
	// Place is PlaceLive, PlaceTrash or PlaceGone.
	Place string
	// Foreign: not of this cluster, or with no marker that can be read; Why says it.
	Foreign bool
	Why     string
	Marker  Marker
}

// Places of a container.
const (
	PlaceLive  = "live"
	PlaceTrash = "trash"
	PlaceGone  = "gone" // being removed
)

// Marker is what the file of that name says.
type Marker struct {
	Version   int    `json:"version"`
	ClusterID string `json:"cluster"`
	UID       string `json:"uid"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Set       string `json:"set"`
	Template  string `json:"template"`
	Ordinal   int    `json:"ordinal"`
}

// List finds all containers, in place and in the trash, ours and foreign ones.
func (p *Pool) List() ([]Found, error) { panic("being written") }

// Lock is the path of a process's lock file.
func (d Dir) Lock(process string) string { return d.Container + "/lock." + process }
