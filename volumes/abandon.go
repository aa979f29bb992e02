package volumes

import (
	"errors"
	"time"
)

// abandonName is the file in a container that says that it was given up.
const abandonName = "abandoned"

// abandonment is what the file of that name says.
type abandonment struct {
	Version int       `json:"version"`
	UID     string    `json:"uid"`
	Why     string    `json:"why"`
	At      time.Time `json:"at"` // when it was written, by this host's clock
}

// Abandon marks a container, in place or in the trash, as given up: it is kept, no member
// ever gets it again, and it goes only by a release. Done already, or never made: nil.
func (p *Pool) Abandon(c Claim, why string) (err error) {
	defer doing("mark volume "+c.Name+" as abandoned", &err)
	v, err := p.place(c)
	if err != nil {
		return err
	}
	defer p.lock(v.key())()
	cont, err := p.inPlace(v)
	if isMissing(err) {
		if !c.Made {
			return nil
		}
		return p.trashed(v) // it says where it is, or that it is missing
	}
	if err != nil {
		return err
	}
	defer cont.close()
	return p.writeAbandoned(cont, c.UID, why)
}

func (p *Pool) writeAbandoned(cont *folder, uid, why string) error {
	var old abandonment
	if err := p.disk.readRecord(cont, abandonName, &old); err == nil {
		return p.disk.sync(cont)
	}
	return p.disk.writeRecord(cont, abandonName, abandonment{Version: recordVersion, UID: uid, Why: why, At: time.Now().UTC()})
}

// AbandonAll marks every container of ours that is in place.
func (p *Pool) AbandonAll(why string) error {
	found, err := p.List()
	if err != nil {
		return err
	}
	var errs []error
	for _, f := range found {
		if f.Foreign || f.Place != PlaceLive {
			continue
		}
		m := f.Marker
		errs = append(errs, p.Abandon(Claim{
			ClusterID: m.ClusterID, Namespace: m.Namespace, Set: m.Set, Template: m.Template,
			Ordinal: m.Ordinal, Name: m.Name, UID: m.UID, Made: true,
		}, why))
	}
	return errors.Join(errs...)
}

// notAbandoned refuses a container that was given up.
func (p *Pool) notAbandoned(cont *folder) error {
	var a abandonment
	err := p.disk.readRecord(cont, abandonName, &a)
	switch {
	case isMissing(err):
		return nil
	case err == nil:
		return refuse(ErrAbandoned, cont.path, cont.path+" was given up ("+a.Why+"): it is kept, and no member gets it again")
	case reasonIs(err, ErrDamaged):
		return refuse(ErrAbandoned, cont.path, cont.path+" was given up: "+err.Error())
	}
	return err
}
