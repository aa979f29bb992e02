package volumes

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// Where tells where c's volume is when it is in place. It touches no disk.
func (p *Pool) Where(c Claim) (dir Dir, err error) {
	defer doing("find volume "+c.Name, &err)
	v, err := p.place(c)
	if err != nil {
		return Dir{}, err
	}
	return v.where(), nil
}

func (v place) where() Dir { return Dir{Container: v.path, Data: filepath.Join(v.path, dataName)} }

// Lock is the path of a process's lock file.
func (d Dir) Lock(process string) string { return filepath.Join(d.Container, lockStart+process) }

// Ensure finds c's volume, or makes it when c.Made is false. What it has made is
// on disk for good when it returns, and all there: a half-made container is
// called otherwise until it is whole.
func (p *Pool) Ensure(ctx context.Context, c Claim) (dir Dir, err error) {
	defer doing("make volume "+c.Name, &err)
	v, err := p.place(c)
	if err != nil {
		return Dir{}, err
	}
	defer p.lock(v.key())()
	if err := ctx.Err(); err != nil {
		return Dir{}, err
	}
	cont, err := p.inPlace(v)
	switch {
	case err == nil:
		defer cont.close()
		if err := p.notAbandoned(cont); err != nil {
			return Dir{}, err
		}
		return v.where(), p.whole(cont, v)
	case !isMissing(err):
		return Dir{}, err
	case c.Made:
		return Dir{}, p.missing(v)
	}
	if err := p.notInTrash(v); err != nil {
		return Dir{}, err
	}
	if err := p.create(v); err != nil {
		return Dir{}, err
	}
	p.log.Info("volume made", "namespace", c.Namespace, "volume", c.Name, "path", v.path)
	return v.where(), nil
}

// whole checks a container that was found. One that the log does not know yet was
// renamed into place just before a crash, perhaps without the last sync.
func (p *Pool) whole(cont *folder, v place) error {
	data, err := p.disk.open(cont, dataName)
	if isMissing(err) {
		return refuse(ErrMissing, cont.path, cont.at(dataName)+" is gone; nothing is made in its place")
	}
	if err != nil {
		return err
	}
	data.close()
	if v.claim.Made {
		return nil
	}
	return p.settle(v)
}

// settle has on disk for good that a container is in place.
func (p *Pool) settle(v place) error {
	if err := p.anchor(); err != nil {
		return err
	}
	base, ns, err := p.namespace(v)
	if err != nil {
		return err
	}
	defer base.close()
	defer ns.close()
	return p.disk.sync(ns)
}

// missing says where a volume that was made is not, and if it is in the trash.
func (p *Pool) missing(v place) error {
	if err := p.notInTrash(v); err != nil {
		return err
	}
	return refuse(ErrMissing, v.path, v.path+" is not there, though it was made; is a disk not mounted? "+
		"Nothing is made in its place")
}

func (p *Pool) notInTrash(v place) error {
	t, err := p.trash(v, false)
	if isMissing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer t.close()
	for _, at := range []struct {
		in   *folder
		name string
	}{{t.ns, v.dir}, {t.gone, v.gone()}} {
		if at.in == nil {
			continue
		}
		var st unix.Stat_t
		if unix.Fstatat(at.in.fd(), at.name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil {
			return refuse(ErrMissing, at.in.at(at.name), v.path+" is not there; it is in the trash, "+at.in.at(at.name))
		}
	}
	return nil
}

// namespace opens, or makes, the directory that containers of a namespace are in.
func (p *Pool) namespace(v place) (base, ns *folder, err error) {
	if base, err = p.base(); isMissing(err) {
		if err := p.makeBase(); err != nil {
			return nil, nil, err
		}
		base, err = p.base()
	}
	if err != nil {
		return nil, nil, err
	}
	ns, err = p.disk.openOrMake(base, v.claim.Namespace, 0o711)
	if err == nil {
		if err = p.checkOwner(ns); err != nil {
			ns.close()
		}
	}
	if err != nil {
		base.close()
		return nil, nil, err
	}
	return base, ns, nil
}

func (p *Pool) makeBase() error {
	parent := filepath.Dir(p.o.Dir)
	err := p.disk.do("make directory", parent, func() error { return os.MkdirAll(parent, 0o711) })
	if err != nil {
		return err
	}
	// The way to the pool is the operator's and may lead through links.
	real, err := filepath.EvalSymlinks(parent)
	if err != nil {
		return failed("open", parent, err)
	}
	in, err := p.disk.openBase(real)
	if err != nil {
		return err
	}
	defer in.close()
	b, err := p.disk.openOrMake(in, filepath.Base(p.o.Dir), 0o711)
	if err != nil {
		return err
	}
	b.close()
	p.mu.Lock()
	p.anchored = false
	p.mu.Unlock()
	return nil
}

// anchor has the way to the pool on disk for good, once: nobody knows who made the directories on it, and whether he
// was killed before he had synced them.
func (p *Pool) anchor() error {
	p.mu.Lock()
	done := p.anchored
	p.mu.Unlock()
	if done {
		return nil
	}
	at, err := filepath.EvalSymlinks(p.o.Dir)
	if err != nil {
		return failed("open", p.o.Dir, err)
	}
	for at != "/" {
		at = filepath.Dir(at)
		dir, err := p.disk.openBase(at)
		if errors.Is(err, unix.EACCES) {
			continue // it is not ours to make names in
		}
		if err != nil {
			return err
		}
		err = p.disk.sync(dir)
		dir.close()
		if err != nil {
			return err
		}
	}
	p.mu.Lock()
	p.anchored = true
	p.mu.Unlock()
	return nil
}

// create makes the container under another name and renames it when it is whole.
func (p *Pool) create(v place) (err error) {
	base, ns, err := p.namespace(v)
	if err != nil {
		return err
	}
	defer base.close()
	defer ns.close()
	if err := p.anchor(); err != nil {
		return err
	}
	if err := p.discardHalf(ns, v.temp()); err != nil {
		return err
	}
	if err := p.fill(ns, v); err != nil {
		return errors.Join(err, p.discardHalf(ns, v.temp()))
	}
	if err := p.disk.rename(ns, v.temp(), ns, v.dir); err != nil {
		return errors.Join(err, p.discardHalf(ns, v.temp()))
	}
	return p.disk.sync(ns)
}

func (p *Pool) fill(ns *folder, v place) error {
	if err := p.disk.mkdir(ns, v.temp(), 0o700); err != nil {
		return err
	}
	cont, err := p.disk.open(ns, v.temp())
	if err != nil {
		return err
	}
	defer cont.close()
	if err := p.makeData(cont, v.claim); err != nil {
		return err
	}
	if err := p.disk.writeRecord(cont, claimName, held{Version: recordVersion, UID: v.claim.UID}); err != nil {
		return err
	}
	if err := p.disk.writeRecord(cont, markName, v.marker); err != nil {
		return err
	}
	if err := p.disk.chmod(cont, 0o711); err != nil {
		return err
	}
	return p.disk.sync(cont)
}

func (p *Pool) makeData(cont *folder, c Claim) error {
	if err := p.disk.mkdir(cont, dataName, 0o700); err != nil {
		return err
	}
	data, err := p.disk.open(cont, dataName)
	if err != nil {
		return err
	}
	defer data.close()
	if c.HasOwner && (c.OwnerUID != p.euid || c.OwnerGID != os.Getegid()) {
		if err := p.disk.chown(data, c.OwnerUID, c.OwnerGID); err != nil {
			return err
		}
	}
	if err := p.disk.chmod(data, dataMode(c.Mode)); err != nil {
		return err
	}
	return p.disk.sync(data)
}

// dataMode is m as the kernel spells it.
func dataMode(m os.FileMode) uint32 {
	if m == 0 {
		return 0o700
	}
	mode := uint32(m.Perm())
	for _, b := range []struct {
		has  os.FileMode
		mode uint32
	}{{os.ModeSetuid, unix.S_ISUID}, {os.ModeSetgid, unix.S_ISGID}, {os.ModeSticky, unix.S_ISVTX}} {
		if m&b.has != 0 {
			mode |= b.mode
		}
	}
	return mode
}

// discardHalf takes away a container that never was whole. Its data directory
// never was anybody's: it is removed only if it is empty.
func (p *Pool) discardHalf(ns *folder, name string) error {
	cont, err := p.disk.open(ns, name)
	if isMissing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer cont.close()
	for _, f := range []string{markName, claimName, "." + markName + ".tmp", "." + claimName + ".tmp"} {
		if err := p.disk.unlink(cont, f); err != nil && !isMissing(err) {
			return err
		}
	}
	if err := p.disk.rmdir(cont, dataName); err != nil && !isMissing(err) {
		return err
	}
	return p.disk.rmdir(ns, name)
}

func itoa(n int) string     { return strconv.Itoa(n) }
func quote(s string) string { return strconv.Quote(s) }
