package powertest

import (
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// said is the file whose writes are what the program under test says; it is on no disk.
const said = ".said"

// remember is how long the kernel may rely on what it was told: nobody else changes anything.
const remember = time.Minute

// recorder is the file system: it serves from an image and notes each operation.
type recorder struct {
	fuse.RawFileSystem

	mu     sync.Mutex // guards what follows
	im     image
	links  map[uint64]uint32
	ops    []op
	last   uint64 // id given
	saidID uint64
	killAt int         // how many operations there are to be when victim is killed
	victim *os.Process // nil: nobody
}

func newRecorder(start image) *recorder {
	r := &recorder{RawFileSystem: fuse.NewDefaultRawFileSystem(), im: start.clone(), links: map[uint64]uint32{}}
	for id, n := range r.im {
		r.last = max(r.last, id)
		for _, child := range n.names {
			r.links[child]++
		}
	}
	return r
}

func (r *recorder) do(o op) {
	r.ops = append(r.ops, o)
	r.im.apply(o)
	if r.victim != nil && len(r.ops) == r.killAt {
		_ = r.victim.Kill() // it has ended, if this fails
	}
}

func (r *recorder) killAfter(ops int, p *os.Process) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.killAt, r.victim = len(r.ops)+ops, p
}

// killed tells whether the last victim was.
func (r *recorder) killed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.ops) >= r.killAt
}

func (r *recorder) String() string { return "powertest" }

func (r *recorder) fill(id uint64, a *fuse.Attr) {
	n := r.im[id]
	sec, nsec := uint64(n.mtime/1e9), uint32(n.mtime%1e9)
	*a = fuse.Attr{
		Ino: id, Size: uint64(len(n.data)), Blocks: uint64(len(n.data)+511) / 512, Mode: n.mode, Nlink: max(1, r.links[id]),
		Owner: fuse.Owner{Uid: n.uid, Gid: n.gid}, Rdev: n.rdev, Blksize: blockSize,
		Mtime: sec, Mtimensec: nsec, Ctime: sec, Ctimensec: nsec, Atime: sec, Atimensec: nsec,
	}
}

func (r *recorder) entry(id uint64, out *fuse.EntryOut) fuse.Status {
	out.NodeId, out.Generation = id, 1
	out.SetEntryTimeout(remember)
	out.SetAttrTimeout(remember)
	r.fill(id, &out.Attr)
	return fuse.OK
}

func (r *recorder) Lookup(_ <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	id, ok := r.im[h.NodeId].names[name]
	if !ok {
		return fuse.ENOENT
	}
	return r.entry(id, out)
}

func (r *recorder) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	out.SetTimeout(remember)
	r.fill(in.NodeId, &out.Attr)
	return fuse.OK
}

func (r *recorder) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.im[in.NodeId].attrs
	if size, ok := in.GetSize(); ok && size != uint64(len(r.im[in.NodeId].data)) {
		r.do(op{kind: opSize, id: in.NodeId, off: int64(size)})
	}
	if mode, ok := in.GetMode(); ok {
		a.mode = a.mode&syscall.S_IFMT | mode&0o7777
	}
	if uid, ok := in.GetUID(); ok {
		a.uid = uid
	}
	if gid, ok := in.GetGID(); ok {
		a.gid = gid
	}
	if at, ok := in.GetMTime(); ok {
		a.mtime = at.UnixNano()
	}
	if a != r.im[in.NodeId].attrs {
		r.do(op{kind: opAttrs, id: in.NodeId, attrs: a})
	}
	out.SetTimeout(remember)
	r.fill(in.NodeId, &out.Attr)
	return fuse.OK
}

func (r *recorder) create(h *fuse.InHeader, name string, mode, rdev uint32, target []byte, out *fuse.EntryOut) fuse.Status {
	if _, ok := r.im[h.NodeId].names[name]; ok {
		return fuse.Status(syscall.EEXIST)
	}
	r.last++
	o := op{
		kind: opMake, id: r.last, dir: h.NodeId, name: name, data: target,
		attrs: attrs{mode: mode, uid: h.Uid, gid: h.Gid, rdev: rdev, mtime: time.Now().UnixNano()},
	}
	if h.NodeId == rootID && name == said {
		r.saidID = o.id
		r.im.apply(o)
	} else {
		r.do(o)
	}
	r.links[o.id] = 1
	return r.entry(o.id, out)
}

func (r *recorder) Mknod(_ <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.create(&in.InHeader, name, in.Mode, in.Rdev, nil, out)
}

func (r *recorder) Mkdir(_ <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.create(&in.InHeader, name, in.Mode&0o7777|syscall.S_IFDIR, 0, nil, out)
}

func (r *recorder) Symlink(_ <-chan struct{}, h *fuse.InHeader, target, name string, out *fuse.EntryOut) fuse.Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.create(h, name, 0o777|syscall.S_IFLNK, 0, []byte(target), out)
}

func (r *recorder) Create(_ <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.create(&in.InHeader, name, in.Mode&0o7777|syscall.S_IFREG, 0, nil, &out.EntryOut)
}

func (r *recorder) Readlink(_ <-chan struct{}, h *fuse.InHeader) ([]byte, fuse.Status) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.im[h.NodeId].data), fuse.OK
}

func (r *recorder) Link(_ <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.im[in.NodeId].names[name]; ok {
		return fuse.Status(syscall.EEXIST)
	}
	r.do(op{kind: opLink, id: in.Oldnodeid, dir: in.NodeId, name: name})
	r.links[in.Oldnodeid]++
	return r.entry(in.Oldnodeid, out)
}

// remove takes a name away; want is what may be there.
func (r *recorder) remove(dir uint64, name string, folder bool) fuse.Status {
	id, ok := r.im[dir].names[name]
	switch {
	case !ok:
		return fuse.ENOENT
	case !folder && r.im[id].isDir():
		return fuse.Status(syscall.EISDIR)
	case folder && !r.im[id].isDir():
		return fuse.ENOTDIR
	case folder && len(r.im[id].names) > 0:
		return fuse.Status(syscall.ENOTEMPTY)
	}
	r.links[id]--
	r.do(op{kind: opRemove, id: id, dir: dir, name: name})
	return fuse.OK
}

func (r *recorder) Unlink(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.remove(h.NodeId, name, false)
}

func (r *recorder) Rmdir(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.remove(h.NodeId, name, true)
}

func (r *recorder) Rename(_ <-chan struct{}, in *fuse.RenameIn, name, as string) fuse.Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	const noReplace, exchange = 1, 2
	o := op{kind: opRename, dir: in.NodeId, name: name, dir2: in.Newdir, name2: as}
	var ok bool
	if o.id, ok = r.im[o.dir].names[name]; !ok {
		return fuse.ENOENT
	}
	over, there := r.im[o.dir2].names[as]
	switch {
	case in.Flags&^(noReplace|exchange) != 0:
		return fuse.EINVAL
	case in.Flags&exchange != 0 && !there:
		return fuse.ENOENT
	case in.Flags&exchange != 0:
		o.kind = opExchange
	case there && in.Flags&noReplace != 0:
		return fuse.Status(syscall.EEXIST)
	case there && over == o.id:
		return fuse.OK
	case there && r.im[over].isDir() && len(r.im[over].names) > 0:
		return fuse.Status(syscall.ENOTEMPTY)
	case there:
		r.links[over]--
	}
	r.do(o)
	return fuse.OK
}

func (r *recorder) Open(_ <-chan struct{}, in *fuse.OpenIn, _ *fuse.OpenOut) fuse.Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	if in.Flags&syscall.O_TRUNC != 0 && len(r.im[in.NodeId].data) > 0 {
		r.do(op{kind: opSize, id: in.NodeId})
	}
	return fuse.OK
}

func (r *recorder) Read(_ <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	r.mu.Lock()
	defer r.mu.Unlock()
	data := r.im[in.NodeId].data
	if in.Offset >= uint64(len(data)) {
		return fuse.ReadResultData(nil), fuse.OK
	}
	return fuse.ReadResultData(buf[:copy(buf, data[in.Offset:])]), fuse.OK
}

func (r *recorder) Write(_ <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if in.NodeId == r.saidID {
		r.do(op{kind: opSay, name: strings.TrimSpace(string(data))})
	} else {
		r.do(op{kind: opWrite, id: in.NodeId, off: int64(in.Offset), data: slices.Clone(data)})
		r.im[in.NodeId].mtime = time.Now().UnixNano()
	}
	return uint32(len(data)), fuse.OK
}

func (r *recorder) Fallocate(_ <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	const keepSize, punch, zero = 1, 2, 16
	end := int64(in.Offset + in.Length)
	switch in.Mode {
	case 0:
		if end > int64(len(r.im[in.NodeId].data)) {
			r.do(op{kind: opSize, id: in.NodeId, off: end})
		}
	case keepSize:
	case keepSize | punch, keepSize | zero:
		r.do(op{kind: opZero, id: in.NodeId, off: int64(in.Offset), size: int64(in.Length)})
	default:
		return fuse.Status(syscall.EOPNOTSUPP)
	}
	return fuse.OK
}

func (r *recorder) sync(kind opKind, in *fuse.FsyncIn) fuse.Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	const dataOnly = 1
	r.do(op{kind: kind, id: in.NodeId, size: int64(in.FsyncFlags & dataOnly)})
	return fuse.OK
}

func (r *recorder) Fsync(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	return r.sync(opSyncFile, in)
}

func (r *recorder) FsyncDir(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	return r.sync(opSyncFolder, in)
}

func (r *recorder) Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status { return fuse.OK }
func (r *recorder) Release(<-chan struct{}, *fuse.ReleaseIn)         {}
func (r *recorder) ReleaseDir(*fuse.ReleaseIn)                       {}
func (r *recorder) OpenDir(<-chan struct{}, *fuse.OpenIn, *fuse.OpenOut) fuse.Status {
	return fuse.OK
}

// ReadDir lists names by their file's number, so that a place in the list stays one while others come and go.
func (r *recorder) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	type entry struct {
		id   uint64
		name string
	}
	var list []entry
	for name, id := range r.im[in.NodeId].names {
		if id != r.saidID && id >= in.Offset {
			list = append(list, entry{id, name})
		}
	}
	slices.SortFunc(list, func(a, b entry) int { return int(int64(a.id) - int64(b.id)) })
	for _, e := range list {
		if !out.AddDirEntry(fuse.DirEntry{Mode: r.im[e.id].mode, Name: e.name, Ino: e.id, Off: e.id + 1}) {
			break
		}
	}
	return fuse.OK
}

func (r *recorder) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	const many = 1 << 24
	*out = fuse.StatfsOut{Blocks: many, Bfree: many, Bavail: many, Files: many, Ffree: many, Bsize: blockSize, Frsize: blockSize, NameLen: 255}
	return fuse.OK
}

func (r *recorder) GetXAttr(_ <-chan struct{}, h *fuse.InHeader, name string, dest []byte) (uint32, fuse.Status) {
	r.mu.Lock()
	defer r.mu.Unlock()
	v, ok := r.im[h.NodeId].xattr[name]
	switch {
	case !ok:
		return 0, fuse.ENOATTR
	case len(v) > len(dest) && len(dest) > 0:
		return 0, fuse.ERANGE
	}
	copy(dest, v)
	return uint32(min(len(v), math.MaxUint16)), fuse.OK
}

func (r *recorder) SetXAttr(_ <-chan struct{}, in *fuse.SetXAttrIn, name string, data []byte) fuse.Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.do(op{kind: opXattr, id: in.NodeId, name: name, data: append([]byte{}, data...)})
	return fuse.OK
}
