package volumes

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

// bin is the open trash, as far as it is there.
type bin struct {
	base  *folder
	trash *folder
	ns    *folder // of the volume's namespace
	gone  *folder // nil: nothing is being removed
}

func (b *bin) close() {
	for _, f := range []*folder{b.base, b.trash, b.ns, b.gone} {
		if f != nil {
			f.close()
		}
	}
}

// trash opens the trash for a volume, making its directories if asked to.
func (p *Pool) trash(v place, create bool) (b *bin, err error) {
	b = &bin{}
	defer func() {
		if err != nil {
			b.close()
			b = nil
		}
	}()
	open := p.disk.open
	if create {
		open = func(in *folder, name string) (*folder, error) { return p.disk.openOrMake(in, name, 0o700) }
	}
	if b.base, err = p.base(); err != nil {
		return b, err
	}
	if b.trash, err = open(b.base, trashName); err != nil {
		return b, err
	}
	if b.ns, err = open(b.trash, v.claim.Namespace); err != nil {
		return b, err
	}
	if b.gone, err = open(b.trash, goneName); err != nil && !isMissing(err) {
		return b, err
	}
	return b, nil
}

// Trash moves the container into the trash. Refused (ErrInUse) while a process
// holds one of its locks. Done already, or never made: nil.
func (p *Pool) Trash(c Claim) (err error) {
	defer doing("move volume "+c.Name+" to the trash", &err)
	v, err := p.place(c)
	if err != nil {
		return err
	}
	defer p.lock(v.key())()
	cont, err := p.inPlace(v)
	if isMissing(err) {
		return p.trashed(v)
	}
	if err != nil {
		return err
	}
	defer cont.close()
	free, err := p.takeLocks(cont)
	if err != nil {
		return err
	}
	defer free()
	b, err := p.trash(v, true)
	if err != nil {
		return err
	}
	defer b.close()
	ns, err := p.disk.open(b.base, c.Namespace)
	if err != nil {
		return err
	}
	defer ns.close()
	return p.move(ns, b.ns, v)
}

// move renames a container within the pool, durably.
func (p *Pool) move(from, to *folder, v place) error {
	if err := p.disk.rename(from, v.dir, to, v.dir); err != nil {
		return err
	}
	if err := errors.Join(p.disk.sync(to), p.disk.sync(from)); err != nil {
		return err
	}
	p.log.Info("volume moved", "namespace", v.claim.Namespace, "volume", v.claim.Name, "path", to.at(v.dir))
	return nil
}

// trashed is Trash's answer when nothing is in place.
func (p *Pool) trashed(v place) error {
	b, err := p.trash(v, false)
	if err == nil {
		defer b.close()
		var cont *folder
		if cont, err = p.container(b.ns, v.dir, v); err == nil {
			cont.close()
			return p.settleTrash(b, v)
		}
	}
	switch {
	case !isMissing(err):
		return err
	case !v.claim.Made:
		return nil
	}
	return refuse(ErrMissing, v.path, v.path+" is not there, nor is it in the trash; is a disk not mounted?")
}

// settleTrash has on disk for good that a container is in the trash: who moved it there may have been killed before that.
func (p *Pool) settleTrash(b *bin, v place) error {
	err := errors.Join(p.disk.sync(b.ns), p.disk.sync(b.trash), p.disk.sync(b.base))
	ns, oerr := p.disk.open(b.base, v.claim.Namespace)
	if oerr != nil {
		return errors.Join(err, ignoreMissing(oerr))
	}
	defer ns.close()
	return errors.Join(err, p.disk.sync(ns))
}

// Restore brings the container back from the trash. Done already, or never made: nil.
func (p *Pool) Restore(c Claim) (err error) {
	defer doing("bring volume "+c.Name+" back from the trash", &err)
	v, err := p.place(c)
	if err != nil {
		return err
	}
	defer p.lock(v.key())()
	if cont, err := p.inPlace(v); err == nil {
		defer cont.close()
		return errors.Join(p.whole(cont, v), p.settleRestore(v))
	} else if !isMissing(err) {
		return err
	}
	b, err := p.trash(v, false)
	if isMissing(err) {
		return v.notInTrash()
	}
	if err != nil {
		return err
	}
	defer b.close()
	cont, err := p.container(b.ns, v.dir, v)
	if isMissing(err) {
		return v.notInTrash()
	}
	if err != nil {
		return err
	}
	cont.close()
	base, ns, err := p.namespace(v)
	if err != nil {
		return err
	}
	defer base.close()
	defer ns.close()
	return p.move(b.ns, ns, v)
}

// settleRestore has on disk for good that a container is back.
func (p *Pool) settleRestore(v place) error {
	if err := p.settle(v); err != nil {
		return err
	}
	b, err := p.trash(v, false)
	if err != nil {
		return ignoreMissing(err)
	}
	defer b.close()
	return p.disk.sync(b.ns)
}

// notInTrash is Restore's answer when nothing is anywhere: with what was never made that is as it was.
func (v place) notInTrash() error {
	if !v.claim.Made {
		return nil
	}
	return refuse(ErrMissing, v.path, "it is not in the trash any more")
}

// takeLocks takes every lock of a container, so that none of its processes runs
// now or starts before free is called.
func (p *Pool) takeLocks(cont *folder) (free func(), err error) {
	var held []func()
	free = func() {
		for _, f := range held {
			f()
		}
	}
	names, err := cont.names()
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		process, ok := strings.CutPrefix(name, lockStart)
		if !ok {
			continue
		}
		f, err := p.disk.openFile(cont, name, unix.O_RDONLY)
		if err != nil {
			free()
			return nil, err
		}
		held = append(held, func() { _ = f.Close() })
		err = again(func() error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) })
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = refuse(ErrInUse, cont.at(name), "process "+process+" of its member still holds "+cont.at(name))
		} else if err != nil {
			err = failed("lock", cont.at(name), err)
		}
		if err != nil {
			free()
			return nil, err
		}
	}
	return free, nil
}
