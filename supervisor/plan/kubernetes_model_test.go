package plan_test

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"supd/supervisor/spec"
)

// kube is what Kubernetes' documentation says of a StatefulSet's pods while nothing fails:
// which start and which stop, given which are down, starting or available. It is written from
// "StatefulSets" (Deployment and Scaling Guarantees, Pod Management Policies, Update
// Strategies, Partitions, Maximum unavailable Pods, Start ordinal, Minimum ready seconds) and
// KEP-961, and knows nothing of supd.
//
// supd differs on purpose in three places, marked below:
//
//	scale-down    is one at a time, from the highest down, the next when the last is gone and
//	              the rest is well, under Parallel too: taking data away is never in a hurry.
//	repair        waits for nobody. Kubernetes' OrderedReady holds who ran before back behind
//	              lower ones that are down, so one sick member blocks the return of another.
//	one budget    of maxUnavailable bounds rollouts and scaling together and is filled at any
//	              time, whatever the policy, as Kubernetes does under Parallel. Its OrderedReady
//	              waits for a batch as a whole, and for the end of all scaling. With a
//	              maxUnavailable of 1 there is no difference.
type kube struct {
	want    wish
	current string // the template that all ran last
	pods    map[int]*pod
}

// wish is a definition, and the model's only input beside events.
type wish struct {
	start, replicas int
	policy          string
	strategy        string
	partition       int
	max             string // maxUnavailable, a number or a percentage
	minReady        bool
	template        string
}

func (w wish) String() string {
	s := fmt.Sprintf("%s: %d from %d, %s, %s", w.template, w.replicas, w.start, w.policy, w.strategy)
	if w.strategy == spec.RollingUpdate {
		s += fmt.Sprintf(", partition %d, maxUnavailable %s", w.partition, w.max)
	}
	if w.minReady {
		s += ", minReady"
	}
	return s
}

// wants tells whether an ordinal is one of the set's.
func (w wish) wants(o int) bool { return o >= w.start && o < w.start+w.replicas }

// unavailable: "calculated from the percentage value by rounding it up", never 0.
func (w wish) unavailable() int {
	if percent, ok := strings.CutSuffix(w.max, "%"); ok {
		return max(1, int(math.Ceil(atof(percent)/100*float64(w.replicas))))
	}
	return int(atof(w.max))
}

func atof(text string) float64 {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		panic(err)
	}
	return f
}

type pod struct {
	template string
	phase    phase
}

type phase int

const (
	down phase = iota // it ran, and is to run again
	starting
	ready // but not for minReady
	available
	stopping
)

func newKube(w wish) *kube { return &kube{want: w, current: w.template, pods: map[int]*pod{}} }

// delete is "kubectl delete pod".
func (k *kube) delete(o int) { k.pods[o].phase = stopping }

// happens takes what comes next for a pod: it is ready, or gone.
func (k *kube) happens(o int) {
	switch p := k.pods[o]; {
	case p.phase == starting && k.want.minReady:
		p.phase = ready
	case p.phase == starting:
		p.phase = available
	case k.want.wants(o):
		p.phase = down
	default:
		delete(k.pods, o)
	}
}

// passes is the time of minReady.
func (k *kube) passes() {
	for _, p := range k.pods {
		if p.phase == ready {
			p.phase = available
		}
	}
}

// pending are the pods of which something is to come.
func (k *kube) pending() (out []int) {
	for o, p := range k.pods {
		if p.phase == starting || p.phase == stopping {
			out = append(out, o)
		}
	}
	slices.Sort(out)
	return out
}

// act says who is started and stopped now.
func (k *kube) act() (did []string) {
	did = append(did, k.create()...)
	did = append(did, k.remove()...)
	return append(did, k.update()...)
}

// create: "Pods are created sequentially, in order from {0..N-1}", the next when all its
// predecessors are available; under Parallel all at once.
func (k *kube) create() (did []string) {
	for o := k.want.start; k.want.wants(o); o++ {
		p := k.pods[o]
		if p != nil && p.phase != down {
			continue
		}
		ranBefore := p != nil
		if k.want.policy != spec.Parallel && !ranBefore /* repair */ && !k.allAvailable(o) {
			continue
		}
		k.pods[o] = &pod{template: k.next(o), phase: starting}
		did = append(did, fmt.Sprintf("start %d of %s", o, k.next(o)))
	}
	return did
}

// next: pods below the partition are "recreated at the previous version".
func (k *kube) next(o int) string {
	if k.want.strategy == spec.RollingUpdate && o < k.want.partition {
		return k.current
	}
	return k.want.template
}

// allAvailable tells whether those that the set wants below an ordinal are available.
func (k *kube) allAvailable(below int) bool {
	for o := k.want.start; k.want.wants(o) && o < below; o++ {
		if p := k.pods[o]; p == nil || p.phase != available {
			return false
		}
	}
	return true
}

// remove: "terminated in reverse order, from {N-1..0}", each when "all of its successors are
// completely shutdown" and its predecessors available.
func (k *kube) remove() (did []string) {
	highest := -1
	for o, p := range k.pods {
		if k.want.wants(o) {
			continue
		}
		if p.phase != available { // scale-down
			return nil
		}
		highest = max(highest, o)
	}
	if highest < 0 || !k.allAvailable(k.want.start+k.want.replicas) { // scale-down
		return nil
	}
	k.pods[highest].phase = stopping
	return []string{fmt.Sprintf("stop %d", highest)}
}

// update: "from the largest ordinal to the smallest", down to the partition, while fewer than
// maxUnavailable are unavailable.
func (k *kube) update() (did []string) {
	if k.want.strategy != spec.RollingUpdate {
		return nil
	}
	unavailable := 0
	for o, p := range k.pods {
		if k.want.wants(o) && p.phase != available || p.phase == stopping { // one budget
			unavailable++
		}
	}
	for o := k.want.start + k.want.replicas - 1; o >= max(k.want.start, k.want.partition) && unavailable < k.want.unavailable(); o-- {
		if p := k.pods[o]; p != nil && p.phase == available && p.template != k.want.template {
			p.phase = stopping
			unavailable++
			did = append(did, fmt.Sprintf("stop %d", o))
		}
	}
	return did
}

// settled notes at rest whether the set has come to be of one version.
func (k *kube) settled() {
	for o := k.want.start; k.want.wants(o); o++ {
		if k.pods[o].template != k.want.template {
			return
		}
	}
	if k.want.replicas > 0 {
		k.current = k.want.template
	}
}
