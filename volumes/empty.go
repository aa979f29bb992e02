package volumes

import (
	"context"
	"errors"
	"io"
	"slices"

	"golang.org/x/sys/unix"
)

// Empty removes the container from the trash, for good: it is renamed out of
// Restore's reach, then its data goes, then the rest, its marker last, so what a
// crash leaves can still be told to be ours. Done already, or never made: nil.
// When ctx ends it stops and may be called again.
func (p *Pool) Empty(ctx context.Context, c Claim) (err error) {
	defer doing("empty volume "+c.Name+" from the trash", &err)
	v, err := p.place(c)
	if err != nil {
		return err
	}
	defer p.lock(v.key())()
	if cont, err := p.inPlace(v); err == nil {
		cont.close()
		return refuse(ErrInUse, v.path, v.path+" is in place, not in the trash")
	} else if !isMissing(err) {
		return err
	}
	b, err := p.trash(v, false)
	if isMissing(err) {
		if !c.Made {
			return nil
		}
		return refuse(ErrMissing, v.path, "there is no trash in "+p.o.Dir+"; is a disk not mounted?")
	}
	if err != nil {
		return err
	}
	defer b.close()
	if b.gone == nil {
		if b.gone, err = p.disk.openOrMake(b.trash, goneName, 0o700); err != nil {
			return err
		}
	}
	if err := p.removeGone(ctx, b.gone, v); err != nil {
		return err
	}
	if err := p.takeAway(b, v); err != nil {
		return err
	}
	return p.removeGone(ctx, b.gone, v)
}

// takeAway renames the container out of the trash, if it is there.
func (p *Pool) takeAway(b *bin, v place) error {
	cont, err := p.container(b.ns, v.dir, v)
	if isMissing(err) {
		return nil
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
	if err := p.disk.rename(b.ns, v.dir, b.gone, v.gone()); err != nil {
		return err
	}
	return errors.Join(p.disk.sync(b.gone), p.disk.sync(b.ns))
}

// removeGone removes a container that was taken out of the trash, if there is one.
func (p *Pool) removeGone(ctx context.Context, gone *folder, v place) error {
	cont, err := p.disk.open(gone, v.gone())
	if isMissing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer cont.close()
	names, err := cont.names()
	if err != nil {
		return err
	}
	// The marker goes last: without one there is nothing left but the directory.
	if len(names) > 0 {
		if err := p.checkContainer(cont, v); err != nil {
			return err
		}
		if err := p.clear(ctx, cont); err != nil {
			return err
		}
		if err := p.disk.sync(cont); err != nil {
			return err
		}
		if err := p.disk.unlink(cont, markName); err != nil {
			return err
		}
	}
	if err := p.disk.rmdir(gone, v.gone()); err != nil {
		return err
	}
	if err := p.disk.sync(gone); err != nil {
		return err
	}
	p.log.Info("volume emptied", "namespace", v.claim.Namespace, "volume", v.claim.Name)
	return nil
}

// clear removes all of an open container but its marker.
func (p *Pool) clear(ctx context.Context, cont *folder) error {
	mount, err := mountOf(cont)
	if err != nil {
		return err
	}
	r := remover{ctx: ctx, disk: p.disk, top: cont, mount: mount, root: p.euid == 0}
	for {
		names, err := cont.names()
		if err != nil {
			return err
		}
		names = slices.DeleteFunc(names, func(n string) bool { return n == markName })
		if len(names) == 0 {
			return nil
		}
		for _, n := range names {
			if err := r.remove(cont, n, 0); err != nil {
				return err
			}
		}
	}
}

// remover removes trees. It crosses no mount point and follows no link.
type remover struct {
	ctx   context.Context // of the one Empty that made it
	disk  disk
	top   *folder
	mount mountID
	root  bool
	moved int
}

// maxDepth bounds the descriptors a remover holds; what is deeper is moved up
// first, for a tree may be as deep as its maker liked.
const maxDepth = 100

func (r *remover) remove(in *folder, name string, depth int) error {
	if err := r.ctx.Err(); err != nil {
		return err
	}
	err := r.disk.unlink(in, name)
	if !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.EPERM) {
		return ignoreMissing(err)
	}
	derr := r.disk.rmdir(in, name)
	switch {
	case errors.Is(derr, unix.ENOTDIR):
		return err // not a directory, and it may not be removed
	case !errors.Is(derr, unix.ENOTEMPTY) && !errors.Is(derr, unix.EEXIST):
		return ignoreMissing(derr)
	}
	sub, err := r.enter(in, name)
	if err != nil {
		return err
	}
	defer sub.close()
	if depth >= maxDepth {
		return r.moveUp(in, name)
	}
	for {
		names, err := sub.names()
		if err != nil {
			return err
		}
		if len(names) == 0 {
			return r.disk.rmdir(in, name)
		}
		for _, n := range names {
			if err := r.remove(sub, n, depth+1); err != nil {
				return err
			}
		}
	}
}

// moveUp puts a directory beside data, under a name that no interrupted Empty
// has left there; clear comes to it later.
func (r *remover) moveUp(in *folder, name string) error {
	for {
		r.moved++
		err := r.disk.rename(in, name, r.top, ".deep-"+itoa(r.moved))
		if !reasonIs(err, ErrInTheWay) {
			return err
		}
	}
}

// enter opens a directory that is to be removed, giving its owner, which we are
// when we are not root, the rights that its maker took.
func (r *remover) enter(in *folder, name string) (*folder, error) {
	sub, err := r.disk.open(in, name)
	if errors.Is(err, unix.EACCES) && !r.root {
		if err := r.unlock(in, name); err != nil {
			return nil, err
		}
		sub, err = r.disk.open(in, name)
	}
	if err != nil {
		return nil, err
	}
	if err := r.check(sub); err != nil {
		sub.close()
		return nil, err
	}
	return sub, nil
}

func (r *remover) check(sub *folder) error {
	m, err := mountOf(sub)
	if err != nil {
		return err
	}
	if m != r.mount {
		return refuse(ErrInUse, sub.path, "something is mounted at "+sub.path)
	}
	st, err := sub.stat()
	if err != nil || r.root || st.Mode&0o700 == 0o700 {
		return err
	}
	return r.disk.chmod(sub, st.Mode&0o777|0o700)
}

// unlock makes a directory readable by its name, without following a link.
func (r *remover) unlock(in *folder, name string) error {
	return r.disk.do("set the mode of", in.at(name), func() error {
		fd, err := unix.Openat(in.fd(), name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Chmod("/proc/self/fd/"+itoa(fd), 0o700)
	})
}

func ignoreMissing(err error) error {
	if isMissing(err) {
		return nil
	}
	return err
}

// mountID tells one mount from another, bind mounts of one file system too.
type mountID struct{ dev, mount uint64 }

func mountOf(f *folder) (mountID, error) {
	var st unix.Statx_t
	err := again(func() error {
		return unix.Statx(f.fd(), "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, unix.STATX_MNT_ID, &st)
	})
	if err != nil {
		return mountID{}, failed("look at", f.path, err)
	}
	id := mountID{dev: uint64(st.Dev_major)<<32 | uint64(st.Dev_minor)}
	if st.Mask&unix.STATX_MNT_ID != 0 {
		id.mount = st.Mnt_id
	}
	return id, nil
}

// maxNames bounds how many names of a directory are held at a time.
const maxNames = 4096

// names reads names of a directory, from its beginning, at most maxNames.
func (d *folder) names() ([]string, error) {
	if _, err := d.f.Seek(0, io.SeekStart); err != nil {
		return nil, failed("read", d.path, err)
	}
	names, err := d.f.Readdirnames(maxNames)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, failed("read", d.path, err)
	}
	return names, nil
}
