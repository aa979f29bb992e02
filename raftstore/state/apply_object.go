package state

import (
	"strings"

	"supd/supervisor/spec"
)

func (t *tx) putService(c *PutService) *spec.Error {
	old := t.Service(c.Namespace, c.Name)
	now := t.now
	s := &Service{Meta: spec.Meta{Namespace: c.Namespace, Name: c.Name, UID: c.UID, Generation: 1, CreatedAt: &now, Labels: c.Labels}, Spec: c.Spec}
	if old != nil {
		if err := checkVersion("service", c.Name, c.IfVersion, old.Meta.ResourceVersion); err != nil {
			return err
		}
		if !old.Auto && same(old.Spec, c.Spec) && same(old.Meta.Labels, c.Labels) {
			return nil
		}
		s.Meta.UID, s.Meta.CreatedAt, s.Meta.Generation = old.Meta.UID, old.Meta.CreatedAt, old.Meta.Generation+1
	} else if err := checkVersion("service", c.Name, c.IfVersion, 0); err != nil {
		return err
	}
	t.created = old == nil
	s.Meta.ResourceVersion = t.Index
	put(t, &t.services, key(c.Namespace, c.Name), s)
	t.event(c.Namespace, "service/"+c.Name, createdWord(t.created), "the service was %s", strings.ToLower(createdWord(t.created)))
	return nil
}

func createdWord(created bool) string {
	if created {
		return "Created"
	}
	return "Configured"
}

func (t *tx) deleteService(c *DeleteService) *spec.Error {
	old := t.Service(c.Namespace, c.Name)
	if old == nil {
		return notFound("service", c.Namespace, c.Name)
	}
	if err := checkVersion("service", c.Name, c.IfVersion, old.Meta.ResourceVersion); err != nil {
		return err
	}
	if sets := t.Governs(c.Namespace, c.Name); len(sets) > 0 {
		return refuse("InUse", "cannot delete service %s: it governs statefulset %s, whose members' names depend on it; delete the set first", c.Name, sets[0].Meta.Name)
	}
	del(t, &t.services, key(c.Namespace, c.Name))
	t.event(c.Namespace, "service/"+c.Name, "Deleted", "the service is gone")
	return nil
}

func (t *tx) putProgram(c *PutProgram) *spec.Error {
	old := t.Program(c.Namespace, c.Name)
	now := t.now
	p := &Program{Meta: spec.Meta{Namespace: c.Namespace, Name: c.Name, UID: c.UID, Generation: 1, CreatedAt: &now, Labels: c.Labels}, Spec: c.Spec}
	if old != nil {
		if err := checkVersion("program", c.Name, c.IfVersion, old.Meta.ResourceVersion); err != nil {
			return err
		}
		if same(old.Spec, c.Spec) && same(old.Meta.Labels, c.Labels) {
			return nil
		}
		p.Meta.UID, p.Meta.CreatedAt, p.Meta.Generation = old.Meta.UID, old.Meta.CreatedAt, old.Meta.Generation+1
	} else if err := checkVersion("program", c.Name, c.IfVersion, 0); err != nil {
		return err
	}
	t.created = old == nil
	p.Meta.ResourceVersion = t.Index
	put(t, &t.programs, key(c.Namespace, c.Name), p)
	t.event(c.Namespace, "program/"+c.Name, createdWord(t.created), "sets that use it take it up when they are applied again")
	return nil
}

func (t *tx) deleteProgram(c *DeleteProgram) *spec.Error {
	old := t.Program(c.Namespace, c.Name)
	if old == nil {
		return notFound("program", c.Namespace, c.Name)
	}
	if err := checkVersion("program", c.Name, c.IfVersion, old.Meta.ResourceVersion); err != nil {
		return err
	}
	del(t, &t.programs, key(c.Namespace, c.Name))
	t.event(c.Namespace, "program/"+c.Name, "Deleted", "sets that use it keep what they took from it")
	return nil
}
