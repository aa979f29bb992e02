package configs

import (
	"slices"
	"strings"

	"supd/supervisor/spec"
)

// container is a process.
func (w *workload) container(n *node) *node {
	f := w.in(n, "Container")
	out := n.derive(object)
	vars := w.exec(f, out)
	w.giveFiles(out)
	var ports []*node
	for _, p := range f.items("ports") {
		ports = append(ports, w.port(p))
	}
	if len(ports) > 0 {
		out.set("ports", n.get("ports").list(ports...))
	}
	for _, native := range []string{"startup", "readiness", "liveness"} {
		if p := f.take(native + "Probe"); p != nil {
			out.set(native, w.probe(p, vars))
		}
	}
	w.resources(f.take("resources"), out)
	w.lifecycle(f.take("lifecycle"), out)
	if w.grace != nil {
		stop := out.get("stop")
		if stop == nil {
			stop = w.grace.derive(object)
			out.set("stop", stop)
		}
		stop.set("timeout", w.grace)
	}
	f.end()
	return out
}

// initContainer is an init step.
func (w *workload) initContainer(n *node) *node {
	f := w.in(n, "InitContainer")
	out := n.derive(object)
	w.exec(f, out)
	w.in(f.take("resources"), "InitResources").end()
	f.end()
	return out
}

// exec reads what containers of both kinds have, and gives the names of variables that
// $(VAR) may use.
func (w *workload) exec(f *kubeFields, out *node) vars {
	name := f.take("name")
	if name == nil && f.n != nil {
		w.errorf(f.n, "name is needed")
	}
	out.set("name", name)
	image := f.take("image")
	if image == nil && f.n != nil {
		w.errorf(f.n, "image is needed")
	}
	out.set("image", image)
	env, all := w.env(f)
	if len(env) > 0 {
		at := f.n.get("env")
		if at == nil {
			at = f.n.get("envFrom")
		}
		out.set("env", at.list(env...))
	}
	out.set("command", w.expand(f.take("command"), all))
	out.set("args", w.expand(f.take("args"), all))
	if d := f.take("workingDir"); d != nil {
		out.set("workingDir", literal(d))
	}
	var mounts []*node
	for _, m := range f.items("volumeMounts") {
		if out := w.mount(m); !w.refused[out.get("volume").word()] {
			mounts = append(mounts, out)
		}
	}
	if len(mounts) > 0 {
		out.set("mounts", f.n.get("volumeMounts").list(mounts...))
	}
	w.security(f.take("securityContext"), out)
	return all
}

func (w *workload) mount(n *node) *node {
	f := w.in(n, "VolumeMount")
	out := n.derive(object)
	name := f.take("name")
	out.set("volume", name)
	out.set("mountPath", f.take("mountPath"))
	out.set("subPath", f.take("subPath"))
	out.set("readOnly", f.take("readOnly"))
	if p := f.take("mountPropagation"); p != nil && p.text != "None" {
		w.errorf(p, "mounts are private to the member; %s is not supported", p.text)
	}
	f.end()
	w.mountConfig(n, out)
	return out
}

func (w *workload) port(n *node) *node {
	f := w.in(n, "ContainerPort")
	out := n.derive(object)
	name, port := f.take("name"), f.take("containerPort")
	if port == nil && f.n != nil {
		w.errorf(n, "containerPort is needed")
	}
	if name == nil && port != nil {
		name = port.str("p" + port.text) // spec.AutoPortName, whatever the text is
	}
	out.set("name", name)
	out.set("port", port)
	out.set("protocol", f.take("protocol"))
	if h := f.take("hostPort"); h != nil && port != nil && h.text != port.text {
		w.errorf(h, "a process listens where it listens: hostPort must be the containerPort (%s), not %s", port.text, h.text)
	}
	f.end()
	return out
}

// security is a container's security context over the pod's.
func (w *workload) security(n, out *node) {
	f := w.in(n, "SecurityContext")
	user, group := account(f.take("runAsUser")), account(f.take("runAsGroup"))
	if user == nil {
		user = w.user
	}
	if group == nil {
		group = w.group
	}
	out.set("user", user)
	out.set("group", group)
	if len(w.groups) > 0 {
		out.set("supplementaryGroups", w.groups[0].list(w.groups...))
	}
	w.nonRoot(f.take("runAsNonRoot"), user)
	if v := f.take("allowPrivilegeEscalation"); v != nil && out.get("noNewPrivileges") == nil {
		if v.kind != boolean {
			w.errorf(v, "want true or false")
		} else {
			out.set("noNewPrivileges", v.bool(v.text != "true"))
		}
	}
	w.capabilities(f.take("capabilities"), user, out)
	if v := f.take("readOnlyRootFilesystem"); v != nil {
		switch {
		case v.kind != boolean:
			w.errorf(v, "want true or false")
		case v.text == "true":
			out.set("readOnlyPaths", v.list(v.str("/")))
		}
	}
	f.end()
}

// runtimeCapabilities are what container runtimes leave to a container of root.
var runtimeCapabilities = strings.Fields(`AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_BIND_SERVICE NET_RAW
	SETFCAP SETGID SETPCAP SETUID SYS_CHROOT`)

// capabilities: root begins with what container runtimes leave it, others with none;
// what is dropped goes, what is added is given. A Program may say who the user is where
// the manifest doesn't: then only what means the same for all is taken.
func (w *workload) capabilities(n, user, out *node) {
	f := w.in(n, "Capabilities")
	add, dropped := w.capabilityNames(f.items("add")), w.capabilityNames(f.items("drop"))
	f.end()
	if len(add)+len(dropped) == 0 {
		return
	}
	root := user != nil && user.text == "0"
	var names []*node
	have := map[string]bool{}
	give := func(name string, at *node) {
		if !have[name] {
			have[name] = true
			names = append(names, at.str(name))
		}
	}
	all := slices.ContainsFunc(dropped, func(d *node) bool { return d.text == "ALL" })
	gone := func(name string) bool {
		return slices.ContainsFunc(dropped, func(d *node) bool { return d.text == name })
	}
	if user == nil && !all {
		w.errorf(n, "what root begins with is not what others do: give a runAsUser, or drop ALL and add what is needed")
		return
	}
	if root && !all {
		for _, name := range runtimeCapabilities {
			if !gone(name) {
				give(name, n)
			}
		}
	}
	for _, a := range add {
		if a.text == "ALL" {
			w.errorf(a, "all capabilities are what root has: name those that are needed")
			return
		}
		if !gone(a.text) {
			give(a.text, a)
		}
	}
	if len(names) == 0 {
		if user != nil && !root {
			return // has none in any case
		}
		names = append(names, n.str(spec.NoCapabilities))
	}
	out.set("capabilities", n.list(names...))
}

// capabilityNames are plain names. A misspelt one that is dropped would be kept.
func (w *workload) capabilityNames(items []*node) []*node {
	var out []*node
	for _, it := range items {
		name, ok := spec.CapabilityName(it.text)
		if it.kind != str || !ok && name != "ALL" {
			w.errorf(it, "%q is no capability%s", it.text, spec.DidYouMean(name, append(spec.CapabilityNames(), "ALL")))
			continue
		}
		out = append(out, it.str(name))
	}
	return out
}

// resources: requests only place pods, limits hold.
func (w *workload) resources(n, out *node) {
	f := w.in(n, "ResourceRequirements")
	if l := f.take("limits"); l != nil {
		limits := l.derive(object)
		for _, e := range l.keys {
			switch {
			case e.key == "cpu" || e.key == "memory":
				limits.set(e.key, e.val)
			case !isFalse(e.val):
				w.errorf(e.val, "limiting %s is %s", e.key, notYet)
			}
		}
		if l.kind != object {
			w.errorf(l, "want an object, not %s", l.kind)
		}
		if len(limits.keys) > 0 {
			out.set("limits", limits)
		}
	}
	f.end()
}

// lifecycle translates hooks. Their commands are taken as they stand: Kubernetes expands no variables in them.
func (w *workload) lifecycle(n, out *node) {
	f := w.in(n, "Lifecycle")
	hooks := out.derive(object)
	if n != nil {
		hooks.line, hooks.col, hooks.path = n.line, n.col, n.path
	}
	for _, name := range []string{"postStart", "preStop"} {
		h := f.take(name)
		if h == nil {
			continue
		}
		a := w.in(h, "LifecycleHandler")
		hook := h.derive(object)
		if e := a.take("exec"); e != nil {
			x := w.in(e, "ExecAction")
			hook.set("command", w.literals(x.take("command")))
			x.end()
		}
		if e := a.take("sleep"); e != nil {
			x := w.in(e, "SleepAction")
			if n := x.take("seconds"); n != nil {
				if n.kind == number {
					n = n.str(n.text)
				}
				argv := e.derive(list)
				argv.items = []*node{e.str("/bin/sleep"), n}
				hook.set("command", argv)
			}
			x.end()
		}
		if e := a.take("httpGet"); e != nil {
			hook.set("http", w.httpGet(e))
		}
		refused := h.get("tcpSocket") != nil
		a.end()
		if !refused {
			hooks.set(name, hook)
		}
	}
	if s := f.take("stopSignal"); s != nil {
		stop := s.derive(object)
		stop.set("signal", s)
		out.set("stop", stop)
	}
	f.end()
	if len(hooks.keys) > 0 {
		out.set("hooks", hooks)
	}
}

// probe translates a probe; exec may use variables of the environment.
func (w *workload) probe(n *node, vars vars) *node {
	f := w.in(n, "Probe")
	out := n.derive(object)
	for _, native := range []string{"initialDelay", "period", "timeout"} {
		if v := f.take(native + "Seconds"); v != nil && v.text != "0" { // 0 means the default there
			out.set(native, w.seconds(v))
		}
	}
	for _, name := range []string{"successThreshold", "failureThreshold"} {
		if v := f.take(name); v != nil && v.text != "0" {
			out.set(name, v)
		}
	}
	if e := f.take("exec"); e != nil {
		x := w.in(e, "ExecAction")
		out.set("exec", w.expand(x.take("command"), vars))
		x.end()
	}
	if h := f.take("httpGet"); h != nil {
		out.set("http", w.httpGet(h))
	}
	if t := f.take("tcpSocket"); t != nil {
		x := w.in(t, "TCPSocketAction")
		d := t.derive(object)
		d.set("port", x.take("port"))
		if h := x.take("host"); h != nil {
			d.set("host", literal(h))
		}
		x.end()
		out.set("tcp", d)
	}
	if g := f.take("grpc"); g != nil {
		x := w.in(g, "GRPCAction")
		call := g.derive(object)
		call.set("port", x.take("port"))
		if s := x.take("service"); s != nil {
			call.set("service", literal(s))
		}
		x.end()
		out.set("grpc", call)
	}
	if v := f.take("terminationGracePeriodSeconds"); v != nil {
		out.set("stopTimeout", w.seconds(v))
	}
	f.end()
	return out
}

func (w *workload) httpGet(n *node) *node {
	f := w.in(n, "HTTPGetAction")
	out := n.derive(object)
	out.set("port", f.take("port"))
	for _, name := range []string{"path", "host"} {
		if v := f.take(name); v != nil {
			out.set(name, literal(v))
		}
	}
	if s := f.take("scheme"); s != nil {
		out.set("scheme", s.str(strings.ToLower(s.text)))
	}
	if all := f.items("httpHeaders"); len(all) > 0 {
		headers := n.get("httpHeaders").derive(object)
		for _, h := range all {
			x := w.in(h, "HTTPHeader")
			name, value := x.take("name"), x.take("value")
			x.end()
			if name == nil || value == nil {
				w.errorf(h, "name and value are needed")
			} else if headers.get(name.text) != nil {
				w.errorf(h, "header %s is given twice, which is "+notYet, name.text)
			} else {
				headers.keys = append(headers.keys, entry{name.text, name, literal(value)})
			}
		}
		out.set("headers", headers)
	}
	f.end()
	return out
}

// expand translates a list of strings with $(VAR).
func (w *workload) expand(n *node, known vars) *node {
	return w.each(n, func(s string) string {
		text, secret := expandVars(s, known)
		if secret != "" {
			w.errorf(n, "$(%s) is a secret: secrets go to the program's environment only, so that no list of processes shows them", secret)
		}
		return text
	})
}

// literals translates a list of strings in which nothing is replaced.
func (w *workload) literals(n *node) *node {
	return w.each(n, spec.EscapeTemplate)
}

func (w *workload) each(n *node, f func(string) string) *node {
	if n == nil || n.kind != list {
		return n // the decoder says what is wrong
	}
	out := n.derive(list)
	for _, it := range n.items {
		if it.kind == str {
			it = it.str(f(it.text))
		}
		out.items = append(out.items, it)
	}
	return out
}

// literal is a string in which nothing is replaced.
func literal(n *node) *node {
	if n.kind != str {
		return n
	}
	return n.str(spec.EscapeTemplate(n.text))
}

// expandVars turns Kubernetes' $(VAR) of known variables into our templates: $$ is a
// literal $, anything else stays as it is, and ${ and %{ become literals.
// secret is a variable whose value nobody but the program may see.
func expandVars(s string, known vars) (text, secret string) {
	var b, lit strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '$' || i+1 == len(s) {
			lit.WriteByte(s[i])
			continue
		}
		if s[i+1] == '$' {
			lit.WriteByte('$')
			i++
			continue
		}
		if end := strings.IndexByte(s[i:], ')'); s[i+1] == '(' && end > 0 && known[s[i+2:i+end]].kind != unknownVar {
			name := s[i+2 : i+end]
			if known[name].kind == literalVar {
				lit.WriteString(known[name].text)
				i += end
				continue
			}
			if known[name].kind == secretVar {
				secret = name
			}
			plain := strings.TrimRight(lit.String(), "$")
			dollars := lit.String()[len(plain):]
			lit.Reset()
			b.WriteString(spec.EscapeTemplate(plain))
			if dollars != "" { // right before a sequence they would escape it
				b.WriteString(`${"` + dollars + `"}`)
			}
			b.WriteString(varRef(name))
			i += end
			continue
		}
		lit.WriteByte('$')
	}
	b.WriteString(spec.EscapeTemplate(lit.String()))
	return b.String(), secret
}
