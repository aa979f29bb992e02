package configs

import (
	"supd/supervisor/spec"
)

// workload is a StatefulSet's pod on its way into a native body.
type workload struct {
	*kube
	body                *node
	labels, annotations map[string]string
	namespace           string
	volumes, scratch    []*node
	// configs are volumes of files; uses are the ConfigMaps of them and of variables.
	configs []*configVolume
	uses    []*configMap
	// refused are volumes that were refused already: their mounts are passed over.
	refused map[string]bool
	// What the pod's security context says for containers that say nothing.
	user, group *node
	groups      []*node
	grace       *node
}

// claims are volumeClaimTemplates: one directory per member each.
func (w *workload) claims(items []*node) {
	for _, n := range items {
		f := w.in(n, "PersistentVolumeClaim")
		m := w.in(f.take("metadata"), "ClaimMeta")
		vol := n.derive(object)
		name := m.take("name")
		vol.set("name", name)
		m.end()
		s := w.in(f.take("spec"), "PersistentVolumeClaimSpec")
		f.end()
		if name == nil {
			w.errorf(n, "metadata.name is needed")
			continue
		}
		r := w.in(s.take("resources"), "VolumeResourceRequirements")
		vol.set("size", w.storage(r.take("requests")))
		r.end()
		w.accessModes(s)
		if mode := s.take("volumeMode"); mode != nil && mode.text != "Filesystem" {
			w.errorf(mode, "volumes are directories; %s is not supported", mode.text)
		}
		s.end()
		w.volumes = append(w.volumes, vol)
	}
}

// storage is the one resource that a claim may ask for.
func (w *workload) storage(n *node) *node {
	for _, e := range keysOf(n) {
		if e.key != "storage" {
			w.errorf(e.at, "unknown resource %q%s", e.key, spec.DidYouMean(e.key, []string{"storage"}))
		}
	}
	if n == nil || n.kind != object {
		if n != nil {
			w.errorf(n, "want an object, not %s", n.kind)
		}
		return nil
	}
	return n.get("storage")
}

func (w *workload) accessModes(s *kubeFields) {
	for _, m := range s.items("accessModes") {
		switch m.text {
		case "ReadWriteOnce", "ReadWriteOncePod":
		case "ReadWriteMany", "ReadOnlyMany":
			w.errorf(m, "a directory belongs to one member on one host; %s is not supported", m.text)
		default:
			w.errorf(m, "%q is no access mode%s", m.text, spec.DidYouMean(m.text, []string{"ReadWriteOnce", "ReadWriteOncePod"}))
		}
	}
}

// pod reads the pod's spec.
func (w *workload) pod(n *node) {
	f := w.in(n, "PodSpec")
	w.grace = w.seconds(f.take("terminationGracePeriodSeconds"))
	w.podVolumes(f)
	w.podSecurity(f.take("securityContext"), mainUser(n))
	w.placement(f)
	w.fixed(f)
	inits, containers := f.items("initContainers"), f.items("containers")
	f.end()
	if len(containers) == 0 {
		w.errorf(n, "containers are needed")
	}
	var init, processes []*node
	for _, c := range inits {
		init = append(init, w.initContainer(c))
	}
	for _, c := range containers {
		processes = append(processes, w.container(c))
	}
	if len(processes) > 0 {
		w.giveRest(processes[0])
	}
	setList(w.body, "volumes", w.volumes)
	setList(w.body, "scratch", w.scratch)
	setList(w.body, "init", init)
	setList(w.body, "processes", processes)
}

// setList adds a list at the place of its first item.
func setList(n *node, name string, items []*node) {
	if len(items) > 0 {
		n.set(name, items[0].list(items...))
	}
}

// fixed are fields that may say only what holds here in any case.
func (w *workload) fixed(f *kubeFields) {
	for _, p := range []struct{ name, want string }{{"restartPolicy", "Always"}, {"dnsPolicy", "ClusterFirst"}} {
		if v := f.take(p.name); v != nil && v.text != p.want {
			w.errorf(v, "%s is %s here, not %s", p.name, p.want, v.text)
		}
	}
	if v := f.take("hostNetwork"); v != nil && v.text == "true" {
		net := v.derive(object)
		net.set("mode", v.str(spec.NetworkNode))
		w.body.set("network", net)
	}
	os := w.in(f.take("os"), "PodOS")
	if name := os.take("name"); name != nil && name.text != "linux" {
		w.errorf(name, "only linux is there, not %s", name.text)
	}
	os.end()
	if v := f.take("hostUsers"); v != nil && v.text != "true" {
		w.errorf(v, "user namespaces are %s: members have the users of the host", notYet)
	}
}

func (w *workload) placement(f *kubeFields) {
	place := w.body.derive(object)
	if s := f.take("nodeSelector"); s != nil {
		place.set("nodeSelector", s)
		place.line, place.col, place.path = s.line, s.col, s.path
	}
	for _, t := range f.items("topologySpreadConstraints") {
		c := w.in(t, "TopologySpreadConstraint")
		key := c.take("topologyKey")
		when := c.take("whenUnsatisfiable")
		c.end()
		if when != nil && when.text == "DoNotSchedule" {
			w.errorf(when, "spreading is a preference here; DoNotSchedule is "+notYet)
		}
		if key == nil {
			w.errorf(t, "topologyKey is needed")
			continue
		}
		spread := key.str(spreadKey(key.text))
		if old := place.get("spread"); old != nil && old.text != spread.text {
			w.errorf(t, "only one topologyKey is supported by this version")
		}
		place.set("spread", spread)
	}
	w.affinity(f.take("affinity"), place)
	if len(place.keys) > 0 {
		w.body.set("placement", place)
	}
}

// spreadKey is our label for one of Kubernetes' well-known ones.
func spreadKey(k string) string {
	switch k {
	case "kubernetes.io/hostname":
		return spec.DefaultSpread
	case "topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone":
		return "zone"
	}
	return k
}

// affinity takes the one rule that nearly every manifest has: no two members of the set on
// one host.
func (w *workload) affinity(n, place *node) {
	f := w.in(n, "Affinity")
	anti := w.in(f.take("podAntiAffinity"), "PodAntiAffinity")
	w.in(f.take("nodeAffinity"), "NodeAffinity").end()
	w.in(f.take("podAffinity"), "PodAffinity").end()
	f.end()
	for _, t := range anti.items("requiredDuringSchedulingIgnoredDuringExecution") {
		r := w.in(t, "PodAffinityTerm")
		key := r.take("topologyKey")
		sel := r.take("labelSelector")
		r.end()
		if key == nil || key.text != "kubernetes.io/hostname" || !selects(sel, w.labels) {
			w.errorf(t, "anti-affinity is taken only between members of this set, by kubernetes.io/hostname")
			continue
		}
		place.set("maxPerNode", key.num(1))
	}
	anti.end()
}

// podSecurity is who containers run as when they don't say.
func (w *workload) podSecurity(n, mainUser *node) {
	f := w.in(n, "PodSecurityContext")
	w.user, w.group = account(f.take("runAsUser")), account(f.take("runAsGroup"))
	for _, g := range f.items("supplementalGroups") {
		w.groups = append(w.groups, account(g))
	}
	if g := f.take("fsGroup"); g != nil {
		user := w.user
		if user == nil {
			user = mainUser
		}
		w.fsGroup(g, user)
	}
	w.nonRoot(f.take("runAsNonRoot"), w.user)
	f.end()
}

// mainUser is who the pod's first container says it runs as.
func mainUser(pod *node) *node {
	if l := pod.get("containers"); l != nil && len(l.items) > 0 {
		if c := l.items[0].get("securityContext"); c != nil {
			return account(c.get("runAsUser"))
		}
	}
	return nil
}

// fsGroup: the group owns the volumes and every container is in it.
func (w *workload) fsGroup(g, user *node) {
	if user.missing() {
		w.errorf(g, "fsGroup without runAsUser is "+notYet)
		return
	}
	w.groups = append(w.groups, account(g))
	for _, v := range w.volumes {
		v.set("mode", g.str("2770"))
		v.set("owner", g.str(user.text+":"+g.text))
	}
}

// account is a user or group by number.
func account(n *node) *node {
	if n == nil {
		return nil
	}
	if n.kind == number {
		return n.str(n.text)
	}
	return n
}

func (w *workload) nonRoot(n, user *node) {
	if n == nil || n.text != "true" {
		return
	}
	if user == nil || user.text == "0" {
		w.errorf(n, "runAsNonRoot needs a runAsUser other than 0: images say nothing here")
	}
}
