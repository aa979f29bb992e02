package volumes

import (
	"cmp"
	"context"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

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
	// Epoch and Node are the claim's.
	Epoch uint64
	Node  string
	// Abandoned: it says that it was given up.
	Abandoned bool
}

// Data is the path of the member's part of it.
func (f Found) Data() string { return filepath.Join(f.Path, dataName) }

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

// List finds all that is where containers are, in place and in the trash, ours
// and foreign, by path. It changes nothing.
func (p *Pool) List() (found []Found, err error) {
	defer doing("list the volumes", &err)
	base, err := p.base()
	if isMissing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer base.close()
	if err := p.listPlace(base, PlaceLive, &found); err != nil {
		return nil, err
	}
	trash, err := p.disk.open(base, trashName)
	if err == nil {
		defer trash.close()
		err = p.listPlace(trash, PlaceTrash, &found)
	}
	if err == nil {
		err = p.listNamespace(trash, goneName, PlaceGone, &found)
	}
	slices.SortFunc(found, func(a, b Found) int { return cmp.Compare(a.Path, b.Path) })
	return found, ignoreMissing(err)
}

func (p *Pool) listPlace(in *folder, place string, found *[]Found) error {
	names, err := in.all()
	if err != nil {
		return err
	}
	for _, ns := range names {
		if strings.HasPrefix(ns, ".") {
			continue
		}
		if err := p.listNamespace(in, ns, place, found); err != nil {
			return err
		}
	}
	return nil
}

func (p *Pool) listNamespace(in *folder, ns, place string, found *[]Found) error {
	dir, err := p.disk.open(in, ns)
	switch {
	case isMissing(err):
		return nil
	case reasonIs(err, ErrSymlink) || reasonIs(err, ErrInTheWay):
		*found = append(*found, Found{Path: in.at(ns), Namespace: ns, Place: place, Foreign: true, Why: err.Error()})
		return nil
	case err != nil:
		return err
	}
	defer dir.close()
	names, err := dir.all()
	if err != nil {
		return err
	}
	for _, n := range names {
		if strings.HasPrefix(n, ".") {
			continue // half-made; the next Ensure takes it away
		}
		f := Found{Path: dir.at(n), Namespace: ns, Place: place}
		if place == PlaceGone {
			f.Namespace, _, _ = strings.Cut(n, ".")
		}
		p.identify(dir, n, &f)
		*found = append(*found, f)
	}
	return nil
}

// identify fills in what a container says of itself.
func (p *Pool) identify(dir *folder, name string, f *Found) {
	foreign := func(why string) { f.Foreign, f.Why = true, why }
	var ok bool
	f.Name, f.UID8, ok = splitDir(strings.TrimPrefix(name, gonePrefix(f)))
	if !ok {
		foreign("its name is not NAME.UID8")
		return
	}
	cont, err := p.disk.open(dir, name)
	if err != nil {
		foreign(err.Error())
		return
	}
	defer cont.close()
	if err := p.disk.readRecord(cont, markName, &f.Marker); err != nil {
		foreign(err.Error())
		return
	}
	want := f.Marker
	want.Version, want.Namespace, want.Name = recordVersion, f.Namespace, f.Name
	if p.o.ClusterID != nil {
		// Not known yet: nobody can tell whose it is, so it is not called foreign.
		want.ClusterID = cmp.Or(p.o.ClusterID(), want.ClusterID)
	}
	if why := f.Marker.differs(want); why != "" {
		foreign(why)
		return
	}
	if uid8(f.Marker.UID) != f.UID8 {
		foreign("its marker says uid " + quote(f.Marker.UID))
		return
	}
	f.Abandoned = reasonIs(p.notAbandoned(cont), ErrAbandoned)
	if h, err := p.disk.readClaim(cont, f.Marker.UID); err == nil {
		f.Epoch, f.Node = h.Epoch, h.Node
	} else if f.Place != PlaceGone {
		f.Why = err.Error()
	}
}

func gonePrefix(f *Found) string {
	if f.Place == PlaceGone {
		return f.Namespace + "."
	}
	return ""
}

// all reads every name of a directory, sorted.
func (d *folder) all() ([]string, error) {
	if _, err := d.f.Seek(0, io.SeekStart); err != nil {
		return nil, failed("read", d.path, err)
	}
	names, err := d.f.Readdirnames(-1)
	if err != nil {
		return nil, failed("read", d.path, err)
	}
	slices.Sort(names)
	return names, nil
}

// Usage is how many bytes of disk the volume's data takes up, in place or in the
// trash. It follows no link and crosses no mount point.
func (p *Pool) Usage(ctx context.Context, c Claim) (bytes int64, err error) {
	defer doing("measure volume "+c.Name, &err)
	v, err := p.place(c)
	if err != nil {
		return 0, err
	}
	cont, err := p.inPlace(v)
	if isMissing(err) {
		b, terr := p.trash(v, false)
		if isMissing(terr) {
			return 0, p.missing(v)
		}
		if terr != nil {
			return 0, terr
		}
		defer b.close()
		cont, err = p.container(b.ns, v.dir, v)
	}
	if isMissing(err) {
		return 0, refuse(ErrMissing, v.path, v.path+" is not there")
	}
	if err != nil {
		return 0, err
	}
	defer cont.close()
	data, err := p.disk.open(cont, dataName)
	if err != nil {
		return 0, err
	}
	defer data.close()
	m := meter{disk: p.disk, seen: map[uint64]bool{}}
	if m.mount, err = mountOf(data); err != nil {
		return 0, err
	}
	err = m.add(ctx, data, 0)
	return m.bytes, err
}

// meter adds up a tree.
type meter struct {
	disk  disk
	mount mountID
	seen  map[uint64]bool // inodes with several names
	bytes int64
}

// maxMeasured bounds the descriptors a meter holds.
const maxMeasured = 500

func (m *meter) add(ctx context.Context, dir *folder, depth int) error {
	if depth > maxMeasured {
		return refuse(ErrDisk, dir.path, "it has more than "+itoa(maxMeasured)+" directories within each other")
	}
	names, err := dir.all()
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		var st unix.Stat_t
		err := again(func() error { return unix.Fstatat(dir.fd(), n, &st, unix.AT_SYMLINK_NOFOLLOW) })
		if errors.Is(err, unix.ENOENT) {
			continue // removed meanwhile
		}
		if err != nil {
			return failed("look at", dir.at(n), err)
		}
		isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR
		if !isDir && st.Nlink > 1 {
			if m.seen[st.Ino] {
				continue
			}
			m.seen[st.Ino] = true
		}
		m.bytes += st.Blocks * 512
		if isDir {
			if err := m.enter(ctx, dir, n, depth); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *meter) enter(ctx context.Context, in *folder, name string, depth int) error {
	sub, err := m.disk.open(in, name)
	if isMissing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer sub.close()
	mount, err := mountOf(sub)
	if err != nil || mount != m.mount {
		return err
	}
	return m.add(ctx, sub, depth+1)
}
