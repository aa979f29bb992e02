package powertest

import (
	"maps"
	"slices"
	"syscall"
)

const (
	rootID    = 1
	blockSize = 4096
	sector    = 512
)

// attrs are what a file has beside its contents and names.
type attrs struct {
	mode     uint32 // with the type
	uid, gid uint32
	rdev     uint32
	mtime    int64 // nanoseconds
}

func (a attrs) isDir() bool { return a.mode&syscall.S_IFMT == syscall.S_IFDIR }

// node is a file; the contents of a symbolic link are its target.
type node struct {
	attrs

	data  []byte
	names map[string]uint64 // of a directory
	xattr map[string]string
}

func (n *node) clone() *node {
	c := *n
	c.data = slices.Clone(n.data)
	c.names = maps.Clone(n.names)
	c.xattr = maps.Clone(n.xattr)
	return &c
}

// image is a whole file system.
type image map[uint64]*node

func newImage() image {
	return image{rootID: {attrs: attrs{mode: syscall.S_IFDIR | 0o755}, names: map[string]uint64{}}}
}

func (im image) clone() image {
	c := make(image, len(im))
	for id, n := range im {
		c[id] = n.clone()
	}
	return c
}

type opKind uint8

const (
	opMake       opKind = iota // id, named in dir, with attrs; data is a link's target
	opLink                     // another name of id
	opRemove                   // of a name
	opRename                   // dir/name becomes dir2/name2
	opExchange                 // dir/name and dir2/name2 change places
	opWrite                    // data at off
	opSize                     // the size becomes off
	opZero                     // off for size bytes, within the length
	opAttrs                    // attrs
	opXattr                    // name is data, or is gone if data is nil
	opSyncFile                 // fsync of id; size is 1: without attributes
	opSyncFolder               // fsync of directory id
	opSyncAll                  // syncfs
	opSay                      // name was said
)

// op is one operation as the kernel asked for it.
type op struct {
	kind      opKind
	id        uint64
	dir, dir2 uint64
	name      string
	name2     string
	off, size int64
	data      []byte
	attrs     attrs
}

func (o op) onNames() bool { return o.kind <= opExchange }
func (o op) onData() bool  { return o.kind >= opWrite && o.kind <= opZero }
func (o op) onAttrs() bool { return o.kind == opAttrs || o.kind == opXattr }

// apply does one operation, wholly.
func (im image) apply(o op) {
	switch o.kind {
	case opMake:
		n := &node{attrs: o.attrs, data: slices.Clone(o.data)}
		if n.isDir() {
			n.names = map[string]uint64{}
		}
		im[o.id] = n
		im.name(o)
	case opLink, opRemove, opRename, opExchange:
		im.name(o)
	case opWrite, opSize, opZero:
		im[o.id].data = changed(im[o.id].data, o, nil)
	case opAttrs, opXattr:
		im[o.id].describe(o)
	case opSyncFile, opSyncFolder, opSyncAll, opSay:
	}
}

// name does what an operation does to names.
func (im image) name(o op) {
	d := im[o.dir].names
	switch o.kind {
	case opMake, opLink:
		d[o.name] = o.id
	case opRemove:
		delete(d, o.name)
	case opRename:
		if id, ok := d[o.name]; ok {
			delete(d, o.name)
			im[o.dir2].names[o.name2] = id
		}
	case opExchange:
		d2 := im[o.dir2].names
		d[o.name], d2[o.name2] = d2[o.name2], d[o.name]
	default: // not about names
	}
}

func (n *node) describe(o op) {
	if o.kind == opAttrs {
		n.attrs = o.attrs
		return
	}
	if n.xattr == nil {
		n.xattr = map[string]string{}
	}
	if n.xattr[o.name] = string(o.data); o.data == nil {
		delete(n.xattr, o.name)
	}
}

// changed does an operation on data, in those sectors that took it (nil: in all). The length is what it becomes.
func changed(data []byte, o op, took func(at int64) bool) []byte {
	from, to, size := o.off, o.off+int64(len(o.data)), int64(len(data))
	src := o.data
	switch o.kind {
	case opWrite:
		size = max(size, to)
	case opSize:
		from, to, size, src = o.off, int64(len(data)), o.off, nil
	case opZero:
		to, src = min(o.off+o.size, size), nil
	default: // not about data
	}
	for int64(len(data)) < size {
		data = append(data, make([]byte, size-int64(len(data)))...)
	}
	for at := from; at < to; {
		end := min(to, at-at%sector+sector)
		if took == nil || took(at) {
			if src == nil {
				clear(data[at:end])
			} else {
				copy(data[at:end], src[at-from:end-from])
			}
		}
		at = end
	}
	if took != nil {
		return data // its length is drawn by itself
	}
	return data[:size]
}
