package state

import (
	"maps"
	"slices"
	"strings"
	"time"

	"supd/supervisor/spec"
)

func (t *tx) drainNode(c *DrainNode) *spec.Error {
	old := t.Node(c.Name)
	if old == nil {
		return notFound("node", "-", c.Name)
	}
	if old.Draining {
		return nil
	}
	n := *old
	n.Cordoned, n.Draining, n.DrainSince = true, true, t.now
	n.DrainWho, n.DrainWhy = t.e.Who, t.e.Why
	n.Generation++
	t.saveNode(&n)
	t.event("", "node/"+c.Name, "Draining", "the members of node %s are stopped, within the budgets of their sets, and none is started there", c.Name)
	return nil
}

// DrainLeft returns the members of a node that are not known to be down: while there
// are any, a node that is being drained is not drained.
func (v *View) DrainLeft(node string) (out []*Member) {
	for m := range v.NodeMembers(node) {
		if !m.Down() {
			out = append(out, m)
		}
	}
	return out
}

// Drained tells whether a node is being drained and each of its members was reported
// gone by its keeper.
func (v *View) Drained(n *Node) bool { return n.Draining && len(v.DrainLeft(n.Name)) == 0 }

// Tied returns the node that an ordinal's directories are on, or "" while there are none.
func (v *View) Tied(s *Set, ordinal int) string {
	for _, vs := range s.Spec.Volumes {
		vol := v.Volume(s.Meta.Namespace, spec.VolumeName(vs.Name, s.Meta.Name, ordinal))
		if vol != nil && (vol.Phase != spec.VolumePending || vol.Made || vol.Returned) {
			return vol.Node
		}
	}
	return ""
}

// MayLeave tells whether a member may be placed elsewhere though it was started: its
// keeper has reported it gone from a node that is being drained, and its set has no
// directories. (One that was made there may not have been reported yet.)
func (v *View) MayLeave(s *Set, m *Member) bool {
	n := v.Node(m.Node)
	return n != nil && n.Draining && m.Wish == WishStop && m.Down() && !v.HasVolumes(s, m.Ordinal)
}

// checkDrain refuses a stop for a drain that nobody wants any more, or without a budget.
func (t *tx) checkDrain(m *Member, budget int) *spec.Error {
	n := t.Node(m.Node)
	switch {
	case n == nil || !n.Draining:
		return stale("node %s is not being drained any more", m.Node)
	case budget == 0:
		return refuse("Invalid", "a stop for a drain needs a budget")
	}
	return nil
}

// maxLabels bounds what LabelNode gives to a node and takes off it.
const maxLabels = 64

func (t *tx) labelNode(c *LabelNode) *spec.Error {
	old := t.Node(c.Name)
	if old == nil {
		return notFound("node", "-", c.Name)
	}
	n := *old
	if len(n.Given) == 0 && len(n.Masked) == 0 {
		n.Own = n.Labels
	}
	n.Given = maps.Clone(n.Given)
	if n.Given == nil {
		n.Given = map[string]string{}
	}
	maps.Copy(n.Given, c.Set)
	masked := slices.Clone(n.Masked)
	for _, k := range c.Remove {
		delete(n.Given, k)
		masked = append(masked, k)
	}
	maps.DeleteFunc(n.Given, func(k, v string) bool {
		own, ok := n.Own[k]
		return ok && own == v
	})
	slices.Sort(masked)
	n.Masked = slices.DeleteFunc(slices.Compact(masked), func(k string) bool {
		_, set := c.Set[k]
		_, own := n.Own[k]
		return set || !own && !slices.Contains(old.Masked, k)
	})
	if len(n.Given)+len(n.Masked) > maxLabels {
		return refuse("TooMany", "node %s would have %d labels set or taken off by command, %d are allowed", c.Name, len(n.Given)+len(n.Masked), maxLabels)
	}
	n.Labels = n.Own
	n.combineLabels()
	if maps.Equal(n.Labels, old.Labels) && maps.Equal(n.Given, old.Given) && slices.Equal(n.Masked, old.Masked) {
		return nil
	}
	n.Generation++
	t.saveNode(&n)
	t.event("", "node/"+c.Name, "Labelled", "%s", labelWord(c))
	return nil
}

// combineLabels makes Labels from Own, Given and Masked. Nothing given or masked
// leaves Labels the node's own.
func (n *Node) combineLabels() {
	if len(n.Given) == 0 && len(n.Masked) == 0 {
		n.Own, n.Given, n.Masked = nil, nil, nil
		return
	}
	labels := maps.Clone(n.Own)
	if labels == nil {
		labels = map[string]string{}
	}
	for _, k := range n.Masked {
		delete(labels, k)
	}
	maps.Copy(labels, n.Given)
	n.Labels = labels
}

func labelWord(c *LabelNode) string {
	var words []string
	for _, k := range slices.Sorted(maps.Keys(c.Set)) {
		words = append(words, k+"="+c.Set[k])
	}
	for _, k := range slices.Sorted(slices.Values(c.Remove)) {
		words = append(words, k+"-")
	}
	return "labels changed: " + strings.Join(words, " ")
}

func (t *tx) setFrozen(c *SetFrozen) *spec.Error {
	if (t.Cluster.Frozen != nil) == c.Frozen {
		return nil
	}
	t.Cluster.Frozen = nil
	if c.Frozen {
		t.Cluster.Frozen = &Freeze{Who: t.e.Who, Why: t.e.Why, Since: t.now}
		t.warn("", "cluster/"+t.Cluster.ID, "Frozen", "nothing is started, stopped or placed until it is unfrozen; members run on")
		return nil
	}
	t.event("", "cluster/"+t.Cluster.ID, "Unfrozen", "all that waited goes on")
	return nil
}

// checkFrozen refuses what would change members or directories at once while the
// brake is on.
func (t *tx) checkFrozen() *spec.Error {
	f := t.Cluster.Frozen
	if f == nil || !actsAtOnce(t.e.Cmd) {
		return nil
	}
	return refuse("Frozen", "the cluster is frozen %s; supctl cluster unfreeze lets it go on", f.Sentence())
}

// Sentence says since when and by whom the brake is on, and why.
func (f *Freeze) Sentence() string {
	out := "since " + f.Since.UTC().Format(time.RFC3339)
	if f.Who != "" {
		out += " by " + f.Who
	}
	if f.Why != "" {
		out += " (" + f.Why + ")"
	}
	return out
}

// actsAtOnce: planned commands, and the wishes that nobody plans.
func actsAtOnce(c Command) bool {
	switch c := c.(type) {
	case *StopMember:
		return c.Why != WhyShutdown
	case *UndoRollout:
		return c.Auto
	case *Reserve, *Place, *TakeOver, *StartMember, *KeepMember, *DropMember, *DropSet, *MarkFormed, *SetCurrent, *EmptyVolume, *AskHook, *StartHeld, *LetGo,
		*DeleteMember, *ReleaseVolume:
		return true
	}
	return false
}
