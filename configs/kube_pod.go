package configs

import (
	"slices"

	"supd/supervisor/spec"
)

// workload is a StatefulSet's pod on its way into a native body.
type workload struct {
	*kube
	body                *node
	labels, annotations map[string]string
	volumes, scratch    []*node
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
		f := w.in(n)
		f.silent("apiVersion", "kind", "status")
		m := w.in(f.take("metadata"))
		vol := n.derive(object)
		name := m.take("name")
		vol.set("name", name)
		m.ignore("labels", "annotations")
		m.silent("creationTimestamp", "namespace")
		m.end()
		s := w.in(f.take("spec"))
		f.end()
		if name == nil {
			w.errorf(n, "metadata.name is needed")
			continue
		}
		r := w.in(s.take("resources"))
		vol.set("size", w.in(r.take("requests")).only("storage"))
		r.refuse("limits on a directory are "+notYet, "limits")
		r.end()
		w.accessModes(s)
		s.ignore("storageClassName", "volumeAttributesClassName")
		if mode := s.take("volumeMode"); mode != nil && mode.text != "Filesystem" {
			w.errorf(mode, "volumes are directories; %s is not supported", mode.text)
		}
		s.refuse("choosing an existing volume is "+notYet, "selector", "volumeName")
		s.refuse("filling a volume from another is "+notYet, "dataSource", "dataSourceRef")
		s.end()
		w.volumes = append(w.volumes, vol)
	}
}

// only is the one field an object may have.
func (f *kubeFields) only(name string) *node {
	v := f.take(name)
	f.end()
	return v
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
	f := w.in(n)
	w.grace = w.seconds(f.take("terminationGracePeriodSeconds"))
	w.podVolumes(f)
	w.podSecurity(f.take("securityContext"))
	w.placement(f)
	w.podIgnored(f)
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

func (w *workload) podIgnored(f *kubeFields) {
	f.ignore("serviceAccountName", "serviceAccount", "automountServiceAccountToken", "imagePullSecrets",
		"schedulerName", "priority", "priorityClassName", "preemptionPolicy", "enableServiceLinks", "tolerations",
		"runtimeClassName", "overhead", "readinessGates", "schedulingGates")
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
	if v := f.take("os"); v != nil {
		if name := w.in(v).take("name"); name != nil && name.text != "linux" {
			w.errorf(name, "only linux is there, not %s", name.text)
		}
	}
	f.refuse("sharing the host's namespaces is "+notYet, "hostIPC", "hostUsers")
	f.refuse("members see the host's processes in any case; sharing among containers is "+notYet, "shareProcessNamespace")
	f.silent("hostPID")
	f.refuse("settings of names and resolvers are "+notYet, "dnsConfig", "hostAliases", "hostname", "subdomain", "setHostnameAsFQDN")
	f.refuse("a member runs where the cluster places it; naming a node is "+notYet, "nodeName")
	f.refuse("a member runs until it is stopped; activeDeadlineSeconds is "+notYet, "activeDeadlineSeconds")
	f.refuse("ephemeral containers are "+notYet, "ephemeralContainers")
	f.refuse("resources of a whole pod are "+notYet, "resources", "resourceClaims")
}

// podVolumes are the pod's own volumes; emptyDir is a scratch directory.
func (w *workload) podVolumes(f *kubeFields) {
	for _, n := range f.items("volumes") {
		v := w.in(n)
		name := v.take("name")
		if name == nil {
			w.errorf(n, "name is needed")
			continue
		}
		known := false
		for _, kind := range []string{
			"emptyDir", "hostPath", "configMap", "secret", "projected", "downwardAPI",
			"persistentVolumeClaim", "ephemeral", "nfs", "csi", "iscsi", "fc", "image", "cephfs", "rbd", "glusterfs", "local",
		} {
			src := v.take(kind)
			if src == nil && !(v.n.get(kind) != nil && kind == "emptyDir") {
				continue
			}
			known = true
			if kind != "emptyDir" {
				w.errorf(v.n.get(kind), "volumes of kind %s are %s", kind, notYet)
				w.refused[name.text] = true
				continue
			}
			d := n.derive(object)
			d.set("name", name)
			w.scratch = append(w.scratch, d)
			e := w.in(src)
			e.ignore("sizeLimit")
			if m := e.take("medium"); m != nil && m.text != "" {
				w.warnf(m, "the directory is kept on disk, not in memory")
			}
			e.end()
		}
		v.end()
		if !known {
			w.errorf(n, "volume %q has no source that is known", name.text)
			w.refused[name.text] = true
		}
	}
}

func (w *workload) placement(f *kubeFields) {
	place := w.body.derive(object)
	if s := f.take("nodeSelector"); s != nil {
		place.set("nodeSelector", s)
		place.line, place.col, place.path = s.line, s.col, s.path
	}
	for _, t := range f.items("topologySpreadConstraints") {
		c := w.in(t)
		key := c.take("topologyKey")
		when := c.take("whenUnsatisfiable")
		c.silent("labelSelector", "matchLabelKeys")
		c.ignore("maxSkew", "minDomains", "nodeAffinityPolicy", "nodeTaintsPolicy")
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
	f := w.in(n)
	f.refuse("node affinity is "+notYet+"; use nodeSelector", "nodeAffinity")
	f.refuse("affinity between sets is "+notYet, "podAffinity")
	anti := w.in(f.take("podAntiAffinity"))
	f.end()
	anti.ignore("preferredDuringSchedulingIgnoredDuringExecution")
	for _, t := range anti.items("requiredDuringSchedulingIgnoredDuringExecution") {
		r := w.in(t)
		key := r.take("topologyKey")
		sel := r.take("labelSelector")
		r.refuse("other namespaces are "+notYet, "namespaces", "namespaceSelector")
		r.silent("matchLabelKeys", "mismatchLabelKeys")
		r.end()
		if key == nil || key.text != "kubernetes.io/hostname" || !w.ownLabels(sel) {
			w.errorf(t, "anti-affinity is taken only between members of this set, by kubernetes.io/hostname")
			continue
		}
		place.set("maxPerNode", key.num(1))
	}
	anti.end()
}

// ownLabels tells whether a selector selects the set's own members.
func (w *workload) ownLabels(sel *node) bool {
	if sel == nil || sel.kind != object {
		return false
	}
	for _, e := range keysOf(sel.get("matchLabels")) {
		if w.labels[e.key] != e.val.text {
			return false
		}
	}
	if x := sel.get("matchExpressions"); x != nil {
		for _, m := range x.items {
			key, op, vals := m.get("key"), m.get("operator"), m.get("values")
			if key == nil || op == nil || op.text != "In" || vals == nil ||
				!slices.ContainsFunc(vals.items, func(v *node) bool { return v.text == w.labels[key.text] }) {
				return false
			}
		}
	}
	return true
}

// podSecurity is who containers run as when they don't say.
func (w *workload) podSecurity(n *node) {
	f := w.in(n)
	w.user, w.group = account(f.take("runAsUser")), account(f.take("runAsGroup"))
	for _, g := range f.items("supplementalGroups") {
		w.groups = append(w.groups, account(g))
	}
	if g := f.take("fsGroup"); g != nil {
		w.fsGroup(g)
	}
	w.nonRoot(f.take("runAsNonRoot"), w.user)
	f.ignore("fsGroupChangePolicy", "seccompProfile", "seLinuxOptions", "appArmorProfile", "supplementalGroupsPolicy", "seLinuxChangePolicy")
	f.refuse("kernel settings are "+notYet, "sysctls")
	f.refuse("Windows is not supported", "windowsOptions")
	f.end()
}

// fsGroup: the group owns the volumes and every container is in it.
func (w *workload) fsGroup(g *node) {
	if w.user == nil {
		w.errorf(g, "fsGroup without runAsUser is "+notYet)
		return
	}
	w.groups = append(w.groups, account(g))
	for _, v := range w.volumes {
		v.set("mode", g.str("2770"))
		v.set("owner", g.str(w.user.text+":"+g.text))
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
