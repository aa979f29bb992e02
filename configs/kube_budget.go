package configs

import (
	"fmt"
	"slices"

	"supd/supervisor/spec"
)

const kindBudget = "PodDisruptionBudget"

// budget is a PodDisruptionBudget. Nothing is made of it: a set keeps one budget of its
// own for all voluntary downtime, which must be at least as strict.
type budget struct {
	diag      func(format string, args ...any) Diagnostic
	namespace string
	labels    func(map[string]string) bool
	// least, most: minAvailable, maxUnavailable; one of them is given.
	least, most spec.IntOrString
}

func (k *kube) budget(n *node) {
	f := k.in(n, kindBudget)
	f.take("apiVersion")
	f.take("kind")
	meta := k.meta(n, f.take("metadata"))
	s := k.in(f.take("spec"), "PodDisruptionBudgetSpec")
	f.end()
	least, most, selector := s.take("minAvailable"), s.take("maxUnavailable"), s.take("selector")
	s.end()
	if (least == nil) == (most == nil) {
		k.errorf(n, "one of spec.minAvailable and spec.maxUnavailable is needed")
		return
	}
	at := least
	if at == nil {
		at = most
	}
	if _, err := spec.IntOrString(at.text).Of(1); err != nil {
		k.errorf(at, "%v", err)
		return
	}
	k.budgets = append(k.budgets, budget{
		diag:      func(format string, args ...any) Diagnostic { return k.at(at, fmt.Sprintf(format, args...)) },
		namespace: meta.get("namespace").word(),
		labels:    func(have map[string]string) bool { return selects(selector, have) },
		least:     spec.IntOrString(least.word()),
		most:      spec.IntOrString(most.word()),
	})
}

// selects tells whether a selector of labels selects; an empty one selects all.
func selects(n *node, have map[string]string) bool {
	if n.missing() {
		return false
	}
	for _, e := range keysOf(n.get("matchLabels")) {
		if v, ok := have[e.key]; !ok || v != e.val.text {
			return false
		}
	}
	x := n.get("matchExpressions")
	return x.missing() || !slices.ContainsFunc(x.items, func(m *node) bool {
		match, ok := expressionMatches(m, have)
		return !ok || !match
	})
}

// checkBudgets holds every budget against the sets it selects.
func checkBudgets(defs []Definition, budgets []budget) []Diagnostic {
	var out []Diagnostic
	for _, b := range budgets {
		found := false
		for _, d := range defs {
			set, ok := d.Object.(*spec.StatefulSet)
			if !ok || d.podLabels == nil || namespaceOf(set.Metadata.Namespace) != namespaceOf(b.namespace) || !b.labels(d.podLabels) {
				continue
			}
			found = true
			out = append(out, b.check(set))
		}
		if !found {
			out = append(out, b.diag("selects the members of no StatefulSet of these files: apply both together, so that the set's own budget can be held against it"))
		}
	}
	return out
}

func namespaceOf(ns string) string {
	if ns == "" {
		return spec.DefaultNS
	}
	return ns
}

// check: the set's own budget, which rollouts, restarts and drains keep, must be at least
// as strict.
func (b budget) check(set *spec.StatefulSet) Diagnostic {
	c := *set
	c.Spec = set.Spec.Clone()
	spec.Default(&c)
	replicas := *c.Spec.Replicas
	own := 1
	if o := c.Spec.UpdateStrategy.RollingUpdate; o != nil && o.MaxUnavailable != "" {
		if n, err := o.MaxUnavailable.Of(replicas); err == nil {
			own = n
		}
	}
	allowed := b.allowed(replicas)
	if own <= allowed || replicas == 0 {
		d := b.diag("nothing is made of it: %s keeps at most %d member(s) down in any case, by updateStrategy.rollingUpdate.maxUnavailable", c.Metadata.Name, own)
		d.Warning = true
		return d
	}
	if allowed < 1 {
		return b.diag("allows no voluntary downtime, and no member of %s could ever be updated or drained: allow 1", c.Metadata.Name)
	}
	return b.diag("allows %d member(s) of %s to be down, but the set's own budget is %d: lower its updateStrategy.rollingUpdate.maxUnavailable", allowed, c.Metadata.Name, own)
}

// allowed is how many of a set may be down, percentages rounded up as Kubernetes does.
func (b budget) allowed(replicas int) int {
	if b.most != "" {
		n, err := b.most.Of(replicas)
		if err != nil || b.most == "0%" {
			return 0
		}
		return n
	}
	n, err := b.least.Of(replicas)
	if err != nil {
		return 0
	}
	if b.least == "0%" {
		n = 0
	}
	return replicas - n
}
