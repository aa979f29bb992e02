package volumes

import (
	"fmt"
	"slices"
)

// Take writes epoch and node into the claim file, durably, before it returns. An
// equal epoch of the same node is accepted, a lower one is ErrOldEpoch.
func (p *Pool) Take(c Claim, epoch uint64, node string) (err error) {
	defer doing("claim volume "+c.Name, &err)
	return p.update(c, func(h *held) (changed bool, err error) {
		switch {
		case epoch < h.Epoch:
			return false, refuse(ErrOldEpoch, "", fmt.Sprintf("held by epoch %d of node %s, this is epoch %d",
				h.Epoch, h.Node, epoch))
		case epoch == h.Epoch && h.Node == node:
			return false, nil
		case epoch == h.Epoch && h.Node != "":
			return false, refuse(ErrOldEpoch, "", fmt.Sprintf("held by this very epoch, %d, on node %s", epoch, h.Node))
		}
		h.Epoch, h.Node = epoch, node
		return true, nil
	})
}

// Once lists the once steps that have succeeded for this volume, in the order
// they were done.
func (p *Pool) Once(c Claim) (steps []string, err error) {
	defer doing("read the claim of volume "+c.Name, &err)
	err = p.update(c, func(h *held) (bool, error) {
		steps = h.Once
		return false, nil
	})
	return steps, err
}

// OnceDone notes, durably, that a once step has succeeded.
func (p *Pool) OnceDone(c Claim, step string) (err error) {
	defer doing("note step "+step+" in the claim of volume "+c.Name, &err)
	if step == "" {
		return refuse(ErrInvalid, "", "the step has no name")
	}
	return p.update(c, func(h *held) (bool, error) {
		if slices.Contains(h.Once, step) {
			return false, nil
		}
		h.Once = append(h.Once, step)
		return true, nil
	})
}

// update reads the claim file of a volume in place and writes it back if f says so.
func (p *Pool) update(c Claim, f func(*held) (changed bool, err error)) error {
	v, err := p.place(c)
	if err != nil {
		return err
	}
	defer p.lock(v.key())()
	cont, err := p.inPlace(v)
	if isMissing(err) {
		return p.missing(v)
	}
	if err != nil {
		return err
	}
	defer cont.close()
	if err := p.notAbandoned(cont); err != nil {
		return err
	}
	h, err := p.disk.readClaim(cont, c.UID)
	if err != nil {
		return err
	}
	changed, err := f(&h)
	if err != nil || !changed {
		return err
	}
	return p.disk.writeRecord(cont, claimName, h)
}
