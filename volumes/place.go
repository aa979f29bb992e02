package volumes

import (
	"path/filepath"
	"strings"

	"supd/supervisor/spec"
)

// Directories of the pool that hold no volumes in place. Namespaces are DNS
// labels, so none begins with a dot.
const (
	trashName = ".trash"
	goneName  = ".gone" // in the trash: being removed
	dataName  = "data"
	markName  = "marker"
	claimName = "claim"
	lockStart = "lock."
)

// place is where one volume is, and what its marker must say.
type place struct {
	claim  Claim
	marker Marker
	dir    string // NAME.UID8
	path   string // of the container, when in place
}

func (p *Pool) place(c Claim) (place, error) {
	if err := checkClaim(c); err != nil {
		return place{}, err
	}
	cluster := c.ClusterID
	if cluster == "" && p.o.ClusterID != nil {
		cluster = p.o.ClusterID()
	}
	if cluster == "" {
		return place{}, refuse(ErrInvalid, "", "the cluster's id is not known yet")
	}
	dir := c.Name + "." + uid8(c.UID)
	return place{
		claim: c,
		marker: Marker{
			Version: recordVersion, ClusterID: cluster, UID: c.UID, Namespace: c.Namespace,
			Name: c.Name, Set: c.Set, Template: c.Template, Ordinal: c.Ordinal,
		},
		dir:  dir,
		path: filepath.Join(p.o.Dir, c.Namespace, dir),
	}, nil
}

// temp is what a container is called while it is made.
func (v place) temp() string { return "." + v.dir + ".new" }

// gone is what a container is called while it is removed.
func (v place) gone() string { return v.claim.Namespace + "." + v.dir }

// key is the volume's key in the table of locks.
func (v place) key() string { return v.claim.Namespace + "/" + v.dir }

// checkClaim makes sure that the names cannot lead anywhere but to a place below
// the pool; they come out of the log, but a mistake here would cost data.
func checkClaim(c Claim) error {
	for _, f := range []struct{ what, value string }{
		{"namespace", c.Namespace}, {"name", c.Name}, {"set", c.Set}, {"template", c.Template},
	} {
		if err := spec.CheckLabel(f.value); err != nil {
			return refuse(ErrInvalid, "", "its "+f.what+" is not usable: "+err.Error())
		}
	}
	if c.Name != spec.VolumeName(c.Template, c.Set, c.Ordinal) {
		return refuse(ErrInvalid, "", "its name is not that of its template, set and ordinal")
	}
	if !usableUID(c.UID) {
		return refuse(ErrInvalid, "", "its uid is not usable: "+c.UID)
	}
	return nil
}

func usableUID(uid string) bool {
	if uid == "" || len(uid) > 64 || uid[0] == '-' {
		return false
	}
	return strings.Trim(uid, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") == ""
}

func uid8(uid string) string { return uid[:min(8, len(uid))] }

// splitDir splits "data-web-0.1a2b3c4d".
func splitDir(dir string) (name, uid string, ok bool) {
	name, uid, ok = strings.Cut(dir, ".")
	return name, uid, ok && spec.CheckLabel(name) == nil && usableUID(uid) && len(uid) <= 8
}
