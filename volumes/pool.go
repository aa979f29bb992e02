package volumes

import (
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// Pool is the volumes below one directory. Operations on different volumes run
// side by side, those on one wait for each other. One process uses a pool.
type Pool struct {
	o    Options
	log  *slog.Logger
	disk disk
	euid int

	mu       sync.Mutex // guards what follows
	busy     map[string]*turn
	anchored bool // the way to the pool is on disk
}

// turn is the lock of one volume and how many hold or await it.
type turn struct {
	mu    sync.Mutex
	users int
}

// Open makes a Pool. It touches no disk, so a full or read-only one does not keep
// the daemon from starting: the methods say what is wrong.
func Open(o Options) (*Pool, error) {
	if !filepath.IsAbs(o.Dir) || filepath.Clean(o.Dir) == "/" {
		return nil, &Error{
			Op: "open the volumes", Path: o.Dir, reason: ErrInvalid,
			Detail: "their directory must be an absolute path, not " + quote(o.Dir),
		}
	}
	o.Dir = filepath.Clean(o.Dir)
	log := o.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Pool{o: o, log: log, disk: disk{o.Fault}, euid: os.Geteuid(), busy: map[string]*turn{}}, nil
}

// lock waits for the volume's turn and returns what ends it.
func (p *Pool) lock(key string) (unlock func()) {
	p.mu.Lock()
	t := p.busy[key]
	if t == nil {
		t = &turn{}
		p.busy[key] = t
	}
	t.users++
	p.mu.Unlock()
	t.mu.Lock()
	return func() {
		t.mu.Unlock()
		p.mu.Lock()
		defer p.mu.Unlock()
		if t.users--; t.users == 0 {
			delete(p.busy, key)
		}
	}
}

// base opens the pool's directory.
func (p *Pool) base() (*folder, error) {
	b, err := p.disk.openBase(p.o.Dir)
	if err != nil {
		return nil, err
	}
	if err := p.checkBase(b); err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

func (p *Pool) checkBase(b *folder) error {
	if err := p.checkOwner(b); err != nil {
		return err
	}
	if p.o.AllowNetworkFS {
		return nil
	}
	var st unix.Statfs_t
	if err := again(func() error { return unix.Fstatfs(b.fd(), &st) }); err != nil {
		return failed("look at", b.path, err)
	}
	if name, ok := networkFS(int64(st.Type)); ok {
		return refuse(ErrNetworkFS, b.path, b.path+" is on "+name+
			", where a lock may not keep a second host out; allow it in the configuration if it does")
	}
	return nil
}

// networkFS names the file systems whose flock another host may not see (see
// statfs(2) for the numbers).
func networkFS(magic int64) (string, bool) {
	name, ok := map[uint32]string{
		0x6969: "NFS", 0x517b: "SMB", 0xff534d42: "CIFS", 0xfe534d42: "SMB2", 0x5346414f: "AFS",
		0x6b414653: "AFS", 0x73757245: "Coda", 0x564c: "NCP", 0x01021997: "9P",
	}[uint32(magic)]
	return name, ok
}

// checkOwner refuses directories that somebody else could change under us.
func (p *Pool) checkOwner(f *folder) error {
	st, err := f.stat()
	if err != nil {
		return err
	}
	if int(st.Uid) != p.euid && st.Uid != 0 {
		return refuse(ErrInTheWay, f.path, f.path+" belongs to uid "+itoa(int(st.Uid))+
			"; the daemon runs as uid "+itoa(p.euid))
	}
	return nil
}

// container opens a container and makes sure that it is the very volume's.
func (p *Pool) container(in *folder, name string, v place) (*folder, error) {
	cont, err := p.disk.open(in, name)
	if err != nil {
		return nil, err
	}
	if err := p.checkContainer(cont, v); err != nil {
		cont.close()
		return nil, err
	}
	return cont, nil
}

func (p *Pool) checkContainer(cont *folder, v place) error {
	st, err := cont.stat()
	if err != nil {
		return err
	}
	if int(st.Uid) != p.euid {
		return refuse(ErrInTheWay, cont.path, cont.path+" belongs to uid "+itoa(int(st.Uid))+
			"; the daemon runs as uid "+itoa(p.euid))
	}
	return p.disk.checkMarker(cont, v.marker)
}

// inPlace opens the container where the members use it.
func (p *Pool) inPlace(v place) (*folder, error) {
	base, err := p.base()
	if err != nil {
		return nil, err
	}
	defer base.close()
	ns, err := p.disk.open(base, v.claim.Namespace)
	if err != nil {
		return nil, err
	}
	defer ns.close()
	if err := p.checkOwner(ns); err != nil {
		return nil, err
	}
	return p.container(ns, v.dir, v)
}
