package volumes

import (
	"encoding/json"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// recordVersion is written into markers and claims; others are not understood.
const recordVersion = 1

// maxRecord bounds what is read of a marker or claim.
const maxRecord = 1 << 20

// held is the claim file: who may write, and what has been done once.
type held struct {
	Version int      `json:"version"`
	UID     string   `json:"uid"`
	Epoch   uint64   `json:"epoch"`
	Node    string   `json:"node,omitempty"`
	Once    []string `json:"once,omitempty"`
}

func (d disk) readRecord(in *folder, name string, into any) error {
	f, err := d.openFile(in, name, unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxRecord))
	if err != nil {
		return failed("read", in.at(name), err)
	}
	if err := json.Unmarshal(b, into); err != nil {
		return refuse(ErrDamaged, in.at(name), fmt.Sprintf("%s cannot be read: %v", in.at(name), err))
	}
	return nil
}

func (d disk) writeRecord(in *folder, name string, r any) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		panic("volumes: a record is always marshalled: " + err.Error())
	}
	return d.write(in, name, append(b, '\n'))
}

// differs says in what a marker is not the one wanted, or "".
func (m Marker) differs(want Marker) string {
	for _, f := range []struct{ what, got, want string }{
		{"version", fmt.Sprint(m.Version), fmt.Sprint(want.Version)},
		{"cluster", m.ClusterID, want.ClusterID},
		{"uid", m.UID, want.UID},
		{"namespace", m.Namespace, want.Namespace},
		{"name", m.Name, want.Name},
		{"set", m.Set, want.Set},
		{"template", m.Template, want.Template},
		{"ordinal", fmt.Sprint(m.Ordinal), fmt.Sprint(want.Ordinal)},
	} {
		if f.got != f.want {
			return fmt.Sprintf("its marker says %s %q, not %q", f.what, f.got, f.want)
		}
	}
	return ""
}

// checkMarker makes sure that an open container is the very volume.
func (d disk) checkMarker(cont *folder, want Marker) error {
	var m Marker
	err := d.readRecord(cont, markName, &m)
	switch {
	case isMissing(err):
		return refuse(ErrForeign, cont.path, cont.path+" has no marker; it is left alone")
	case reasonIs(err, ErrDamaged):
		return refuse(ErrForeign, cont.path, err.Error()+"; it is left alone")
	case err != nil:
		return err
	}
	if why := m.differs(want); why != "" {
		return refuse(ErrForeign, cont.path, cont.path+" is another's: "+why)
	}
	return nil
}

func (d disk) readClaim(cont *folder, uid string) (held, error) {
	var h held
	err := d.readRecord(cont, claimName, &h)
	switch {
	case isMissing(err):
		return h, refuse(ErrDamaged, cont.path, cont.at(claimName)+" is missing: nobody can tell which epoch may write")
	case err != nil:
		return h, err
	case h.Version != recordVersion || h.UID != uid:
		return h, refuse(ErrDamaged, cont.path, cont.at(claimName)+" is not this volume's")
	}
	return h, nil
}
