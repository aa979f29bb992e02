package state

import (
	"supd/supervisor/spec"
)

func (t *tx) reserve(c *Reserve) *spec.Error {
	s := t.Set(c.Namespace, c.Set)
	if s == nil || s.Deleting || s.Meta.Generation != c.IfGeneration {
		return stale("statefulset %s has changed since", c.Set)
	}
	for _, slot := range c.Slots {
		if !s.Wants(slot.Ordinal) || t.Member(c.Namespace, c.Set, slot.Ordinal) != nil {
			return stale("ordinal %d of statefulset %s is not free", slot.Ordinal, c.Set)
		}
		if err := t.reserveSlot(s, slot); err != nil {
			return err
		}
	}
	return nil
}

func (t *tx) reserveSlot(s *Set, slot Slot) *spec.Error {
	ns, set := s.Meta.Namespace, s.Meta.Name
	if err := t.checkSlot(s, slot); err != nil {
		return err
	}
	m := &Member{
		Namespace: ns, Set: set, Ordinal: slot.Ordinal, UID: slot.UID, Node: slot.Node, IP: slot.IP,
		Ports: slot.Ports, Revision: s.Wanted(slot.Ordinal), Wish: WishReserved, VolumesState: "new",
		CreatedAt: t.now, UnreadySince: t.now, Generation: t.Index,
	}
	for _, vs := range t.SlotVolumes(s, slot.Ordinal) {
		returned, err := t.bindVolume(s, vs, slot)
		if err != nil {
			return err
		}
		if returned {
			m.VolumesState = "returned"
		}
	}
	put(t, &t.ids, ordinalKey(ns, set, slot.Ordinal), &Identity{ns, set, slot.Ordinal, slot.Node, slot.IP, slot.Ports})
	t.saveMember(m)
	t.event(ns, "member/"+m.Name(), "Reserved", "a place on node %s, address %s", m.Node, m.IP)
	return nil
}

// checkSlot refuses a place that is taken or not to be had: an identity has one
// holder, an address and port one user, an ordinal one address for life.
func (t *tx) checkSlot(s *Set, slot Slot) *spec.Error {
	n := t.Node(slot.Node)
	if n == nil || n.State != spec.NodeReady || n.Cordoned {
		return stale("node %s takes no new members", slot.Node)
	}
	if slot.UID == "" || slot.IP == "" {
		return refuse("Invalid", "a reservation needs a uid and an address")
	}
	ns, set := s.Meta.Namespace, s.Meta.Name
	own := t.inPlan(slot.IP)
	if id := t.Identity(ns, set, slot.Ordinal); id != nil {
		if t.inPlan(id.IP) && id.IP != slot.IP {
			return stale("member %s has the address %s, not %s", spec.MemberName(set, slot.Ordinal), id.IP, slot.IP)
		}
		for name, port := range slot.Ports {
			if kept, ok := id.Ports[name]; ok && kept != port && !fixedPort(s, t, name) {
				return stale("member %s has port %d for %s, not %d", spec.MemberName(set, slot.Ordinal), kept, name, port)
			}
		}
	}
	if own {
		for id := range t.Identities() {
			if id.IP == slot.IP && (id.Namespace != ns || id.Set != set || id.Ordinal != slot.Ordinal) {
				return stale("address %s belongs to %s", slot.IP, spec.MemberName(id.Set, id.Ordinal))
			}
		}
	}
	return t.checkPorts(ns, set, slot)
}

// checkPorts refuses ports that another member has at the address.
func (t *tx) checkPorts(ns, set string, slot Slot) *spec.Error {
	if len(slot.Ports) == 0 {
		return nil
	}
	for other := range t.MemberAt(slot.IP) {
		if other.Namespace == ns && other.Set == set && other.Ordinal == slot.Ordinal {
			continue
		}
		for name, port := range slot.Ports {
			for _, taken := range other.Ports {
				if taken == port {
					return stale("port %d (%s) of %s is taken by %s", port, name, slot.IP, other.Name())
				}
			}
		}
	}
	return nil
}

// fixedPort tells whether the wanted template gives a port a number.
func fixedPort(s *Set, t *tx, name string) bool {
	r := t.Revision(s.Meta.Namespace, s.Meta.Name, s.Revision)
	if r == nil {
		return false
	}
	for _, p := range r.Template.Processes {
		for _, port := range p.Ports {
			if port.Name == name {
				return port.Port != 0
			}
		}
	}
	return true
}

// bindVolume makes an ordinal's volume, or gives it back the one it had.
func (t *tx) bindVolume(s *Set, vs spec.VolumeSpec, slot Slot) (returned bool, err *spec.Error) {
	ns, set := s.Meta.Namespace, s.Meta.Name
	name := spec.VolumeName(vs.Name, set, slot.Ordinal)
	old := t.Volume(ns, name)
	if old == nil {
		uid := slot.VolumeUIDs[vs.Name]
		if uid == "" {
			return false, stale("volume %s is gone; it needs a new uid", name)
		}
		t.saveVolume(&Volume{
			Namespace: ns, Set: set, Template: vs.Name, Ordinal: slot.Ordinal, UID: uid, Node: slot.Node,
			Size: vs.Size, Mode: vs.Mode, Owner: vs.Owner, Phase: spec.VolumePending, CreatedAt: t.now, Generation: t.Index,
		})
		return false, nil
	}
	if old.Set != set || old.Ordinal != slot.Ordinal || old.Template != vs.Name {
		return false, refuse("NameTaken", "the name %s belongs to a volume of %s", name, old.Member())
	}
	if !VolumeMayMove(old.Phase, spec.VolumeBound) || old.Phase == spec.VolumePending {
		return false, refuse("VolumeBusy", "volume %s is %s", name, old.Phase)
	}
	if old.Node != slot.Node {
		return false, stale("volume %s is on node %s, not %s", name, old.Node, slot.Node)
	}
	v := *old
	v.Phase, v.Returned, v.Size = spec.VolumeBound, true, vs.Size
	if !v.Made {
		v.Phase = spec.VolumePending
	}
	v.Generation = t.Index
	t.saveVolume(&v)
	t.event(ns, "volume/"+name, "Bound", "%s has its directory back", v.Member())
	return v.Made, nil
}

func (t *tx) place(c *Place) *spec.Error {
	old := t.Member(c.Namespace, c.Set, c.Slot.Ordinal)
	s := t.Set(c.Namespace, c.Set)
	if s == nil || old == nil || old.Generation != c.IfGeneration || (old.Wish != WishReserved || old.Epoch != 0) && !t.MayLeave(s, old) {
		return stale("the reservation of %s has changed since", spec.MemberName(c.Set, c.Slot.Ordinal))
	}
	if err := t.checkSlot(s, c.Slot); err != nil {
		return err
	}
	for _, vs := range s.Spec.Volumes {
		if t.Volume(c.Namespace, spec.VolumeName(vs.Name, c.Set, c.Slot.Ordinal)) != nil {
			continue
		}
		if _, err := t.bindVolume(s, vs, c.Slot); err != nil { // it was abandoned
			return err
		}
	}
	if c.Slot.Node != old.Node {
		t.leave(s, old)
	}
	for _, v := range t.MemberVolumes(c.Namespace, c.Set, c.Slot.Ordinal) {
		if v.Node == c.Slot.Node {
			continue
		}
		if v.Phase != spec.VolumePending || v.Made || v.Returned {
			return refuse("VolumeMade", "volume %s is on node %s and is not moved", v.Name(), v.Node)
		}
		// The old node may have made the directory and not told yet: another uid
		// keeps the two apart.
		moved := *v
		moved.Node, moved.UID, moved.Generation = c.Slot.Node, c.Slot.VolumeUIDs[v.Template], t.Index
		if moved.UID == "" || moved.UID == v.UID {
			return refuse("Invalid", "volume %s needs a new uid on another node", v.Name())
		}
		t.saveVolume(&moved)
	}
	m := *old
	m.Node, m.IP, m.Ports, m.Generation = c.Slot.Node, c.Slot.IP, c.Slot.Ports, t.Index
	put(t, &t.ids, ordinalKey(c.Namespace, c.Set, m.Ordinal), &Identity{c.Namespace, c.Set, m.Ordinal, m.Node, m.IP, m.Ports})
	t.saveMember(&m)
	t.event(c.Namespace, "member/"+m.Name(), "Placed", "its place is now on node %s", m.Node)
	return nil
}
