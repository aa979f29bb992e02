package plan

import (
	"net/netip"
	"sort"
	"strconv"
	"strings"

	"supd/raftstore/state"
	"supd/supervisor/spec"
)

// Ports chosen for "port: 0" come from here: below Linux' ephemeral range, which
// starts at 32768 (ip(7), ip_local_port_range).
const (
	firstPort = 20000
	lastPort  = 32000
)

// firstHost leaves the lowest addresses of the plan's network to the daemons.
const firstHost = 16

// reserve gives every wanted ordinal without a record its place, all in one entry.
func (p *planner) reserve(w *world) {
	if len(w.wanted) == w.s.Replicas() {
		return
	}
	var slots []state.Slot
	for o := w.s.Start(); o < w.s.Start()+w.s.Replicas(); o++ {
		if w.member(o) != nil || p.v.Member(w.s.Meta.Namespace, w.s.Meta.Name, o) != nil { // that has left, and goes first
			continue
		}
		if slot, ok := p.slot(w, o, slots, ""); ok {
			slots = append(slots, slot)
		}
	}
	if len(slots) > 0 {
		w.placing = p.v.Cluster.Frozen == nil
		p.propose(&state.Reserve{
			Namespace: w.s.Meta.Namespace, Set: w.s.Meta.Name, IfGeneration: w.s.Meta.Generation, Slots: slots,
		})
	}
}

// replace places reservations anew whose node does not answer or takes no members any
// more, as long as the ordinal was never started and nothing of it exists; and those with
// a volume that was abandoned, which gets a new one.
func (p *planner) replace(w *world) {
	for _, m := range w.wanted {
		if m.Wish != state.WishReserved || m.Epoch != 0 {
			continue
		}
		if p.v.Lacks(w.s, m) != "" {
			if slot, ok := p.slot(w, m.Ordinal, nil, ""); ok {
				p.propose(&state.Place{Namespace: m.Namespace, Set: m.Set, IfGeneration: m.Generation, Slot: slot})
			}
			continue
		}
		if n := p.v.Node(m.Node); n != nil && n.State == spec.NodeReady && !n.Cordoned {
			continue
		}
		if tied, _ := p.tied(w, m.Ordinal); tied != "" {
			continue
		}
		if slot, ok := p.slot(w, m.Ordinal, nil, m.Node); ok && slot.Node != m.Node {
			p.propose(&state.Place{Namespace: m.Namespace, Set: m.Set, IfGeneration: m.Generation, Slot: slot})
		}
	}
}

// tied returns the node that an ordinal's directories are on and the volume that says
// so, or "". One on a node that takes no members now comes first. Of a member that ran and
// is to be taken over a directory counts that may have been made and not told.
func (p *planner) tied(w *world, ordinal int) (node, volume string) {
	for _, vs := range p.v.SlotVolumes(w.s, ordinal) {
		v := p.v.Volume(w.s.Meta.Namespace, spec.VolumeName(vs.Name, w.s.Meta.Name, ordinal))
		if v == nil || v.Phase == spec.VolumePending && !v.Made && !v.Returned && (!w.moving[ordinal] || v.Follows()) {
			continue
		}
		if n := p.v.Node(v.Node); node == "" || n == nil || n.State != spec.NodeReady {
			node, volume = v.Node, v.Name()
		}
	}
	return node, volume
}

// slot finds a place for an ordinal; without, it says what it waits for.
func (p *planner) slot(w *world, ordinal int, sofar []state.Slot, not string) (state.Slot, bool) {
	name := spec.MemberName(w.s.Meta.Name, ordinal)
	uids := map[string]string{}
	for _, vs := range p.v.SlotVolumes(w.s, ordinal) {
		vn := spec.VolumeName(vs.Name, w.s.Meta.Name, ordinal)
		v := p.v.Volume(w.s.Meta.Namespace, vn)
		switch {
		case v == nil || v.Phase == spec.VolumePending && !v.Made && !v.Returned:
			uids[vs.Name] = p.uid()
		case v.Set != w.s.Meta.Name || v.Ordinal != ordinal || v.Template != vs.Name:
			p.wait(w.s, name, "NameTaken", "the name %s belongs to a volume of %s", vn, v.Member())
			return state.Slot{}, false
		case v.Phase == spec.VolumeReleasing:
			p.wait(w.s, name, "VolumeReleasing", "waits until its released directory %s is gone (or is brought back: supctl volume undo-release %s)", vn, vn)
			return state.Slot{}, false
		}
	}
	n, reason, message := p.node(w, ordinal, sofar, not)
	if n == nil {
		p.wait(w.s, name, reason, "%s", message)
		return state.Slot{}, false
	}
	ip, ports, ok := p.address(w, ordinal, n)
	if !ok {
		p.wait(w.s, name, "NoAddress", "the address plan %s has no free address", p.v.Cluster.PlanCIDR)
		return state.Slot{}, false
	}
	slot := state.Slot{Ordinal: ordinal, UID: p.uid(), Node: n.Name, IP: ip, Ports: ports, VolumeUIDs: uids}
	p.take(slot)
	return slot, true
}

func (p *planner) uid() string {
	if p.f.UID == nil {
		panic("plan: Facts.UID is needed to reserve members")
	}
	return p.f.UID()
}

// remember notes the addresses that have a holder.
func (p *planner) remember() {
	p.ips, p.ports, p.count = map[string]bool{}, map[string]bool{}, map[string]int{}
	for id := range p.v.Identities() {
		p.ips[id.IP] = true
	}
}

func (p *planner) take(s state.Slot) {
	if p.ips == nil {
		p.remember()
	}
	p.ips[s.IP] = true
	p.count[s.Node]++
	for _, port := range s.Ports {
		p.ports[s.IP+":"+strconv.Itoa(port)] = true
	}
}

// node chooses where an ordinal lives: where its directories are, else spread.
func (p *planner) node(w *world, ordinal int, sofar []state.Slot, not string) (n *state.Node, reason, message string) {
	if tied, volume := p.tied(w, ordinal); tied != "" {
		n := p.v.Node(tied)
		switch {
		case n == nil:
			return nil, "VolumeNodeLost", "its directory " + volume + " is on node " + tied + ", which is forgotten: it never comes back by itself; supctl volume abandon " + volume + " gives it up and makes an empty one elsewhere"
		case n.State != spec.NodeReady:
			return nil, "VolumeNodeLost", "its directory " + volume + " is on node " + tied + ", which does not answer: bring the node back, or give the directory up by its name: supctl volume abandon " + volume
		case n.Cordoned:
			return nil, "VolumeNodeLost", "its directories are on node " + tied + ", which is cordoned: supctl node uncordon " + tied
		case p.conflict(w, ordinal, n) != "":
			return nil, "PortTaken", p.conflict(w, ordinal, n)
		}
		return n, "", ""
	}
	var fit []*state.Node
	var whyNot []string
	for n := range p.v.Nodes() {
		if n.Name == not {
			continue
		}
		if why := p.unfit(w, ordinal, n, sofar); why != "" {
			whyNot = append(whyNot, n.Name+": "+why)
			continue
		}
		fit = append(fit, n)
	}
	if len(fit) == 0 {
		if len(whyNot) == 0 {
			return nil, "NoNode", "no node has joined"
		}
		return nil, "NoNode", "no node can take it (" + strings.Join(whyNot, "; ") + ")"
	}
	sort.SliceStable(fit, func(i, j int) bool { return p.less(w, fit[i], fit[j], sofar) })
	return fit[0], "", ""
}

func (p *planner) unfit(w *world, ordinal int, n *state.Node, sofar []state.Slot) string {
	pl := w.s.Spec.Placement
	switch {
	case n.State != spec.NodeReady:
		return "it is " + n.State
	case n.Cordoned:
		return "it is cordoned"
	case p.f.Silent != nil && p.f.Silent(n.Name):
		return "it has not answered within the last second"
	}
	keys := make([]string, 0, len(pl.NodeSelector))
	for k := range pl.NodeSelector {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for _, k := range keys {
		if n.Labels[k] != pl.NodeSelector[k] {
			return "it lacks the label " + k + "=" + pl.NodeSelector[k]
		}
	}
	if pl.MaxPerNode > 0 && p.ofSet(w, n, sofar, nodeOf) >= pl.MaxPerNode {
		return "it has " + strconv.Itoa(pl.MaxPerNode) + " members of this set (maxPerNode)"
	}
	return p.conflict(w, ordinal, n)
}

// less orders nodes: fewest of this set in the spread domain, then on the node, then
// fewest members of all, then by name.
func (p *planner) less(w *world, a, b *state.Node, sofar []state.Slot) bool {
	if label := w.s.Spec.Placement.Spread; label != "" && label != "node" {
		domain := func(n *state.Node) string { return n.Labels[label] }
		if x, y := p.ofSet(w, a, sofar, domain), p.ofSet(w, b, sofar, domain); x != y {
			return x < y
		}
	}
	if x, y := p.ofSet(w, a, sofar, nodeOf), p.ofSet(w, b, sofar, nodeOf); x != y {
		return x < y
	}
	if x, y := p.load(a), p.load(b); x != y {
		return x < y
	}
	return a.Name < b.Name
}

func nodeOf(n *state.Node) string { return n.Name }

// ofSet counts members of the set in the same domain as n.
func (p *planner) ofSet(w *world, n *state.Node, sofar []state.Slot, domain func(*state.Node) string) int {
	count := 0
	in := func(name string) {
		if other := p.v.Node(name); other != nil && domain(other) == domain(n) {
			count++
		}
	}
	for _, m := range w.members {
		in(m.Node)
	}
	for _, s := range sofar {
		in(s.Node)
	}
	return count
}

func (p *planner) load(n *state.Node) int {
	load := p.count[n.Name]
	for range p.v.NodeMembers(n.Name) {
		load++
	}
	return load
}

// address is the member's own address, or its node's, and its ports.
func (p *planner) address(w *world, ordinal int, n *state.Node) (string, map[string]int, bool) {
	id := p.v.Identity(w.s.Meta.Namespace, w.s.Meta.Name, ordinal)
	ip := n.HostIP
	if w.s.Spec.Network.Mode == spec.NetworkMember {
		var ok bool
		if ip, ok = p.ownIP(id); !ok {
			return "", nil, false
		}
	}
	ports := map[string]int{}
	for _, port := range p.wantedPorts(w.s) {
		switch {
		case port.Port != 0:
			ports[port.Name] = port.Port
		case id != nil && id.Ports[port.Name] != 0:
			ports[port.Name] = id.Ports[port.Name]
		default:
			ports[port.Name] = p.freePort(ip, ports)
		}
	}
	return ip, ports, true
}

// nextPorts are the ports of a member's next start, nil if they are those that it has; or
// which of them is another member's. Chosen ones are kept.
func (p *planner) nextPorts(w *world, m *state.Member) (ports map[string]int, taken string) {
	wanted := p.revisionPorts(w.s, w.s.NextRevision(m))
	same := len(wanted) == len(m.Ports)
	for _, port := range wanted {
		same = same && m.Ports[port.Name] != 0 && (port.Port == 0 || port.Port == m.Ports[port.Name])
	}
	if same || len(wanted) == 0 {
		return nil, ""
	}
	if p.ips == nil {
		p.remember()
	}
	ports = map[string]int{}
	for _, port := range wanted {
		switch {
		case port.Port != 0:
			ports[port.Name] = port.Port
		case m.Ports[port.Name] != 0:
			ports[port.Name] = m.Ports[port.Name]
		}
	}
	for _, port := range wanted {
		if ports[port.Name] == 0 {
			ports[port.Name] = p.freePort(m.IP, ports)
		}
		at := m.IP + ":" + strconv.Itoa(ports[port.Name])
		for other := range p.v.MemberAt(m.IP) {
			for _, number := range other.Ports {
				if number == ports[port.Name] && (other.Set != m.Set || other.Ordinal != m.Ordinal || other.Namespace != m.Namespace) {
					return nil, "its revision's port " + port.Name + ", " + at + ", is taken by " + other.Name()
				}
			}
		}
		p.ports[at] = true
	}
	return ports, ""
}

// portTaken tells, and says, that a restart would end in waiting for a port.
func (p *planner) portTaken(w *world, m *state.Member) bool {
	_, taken := p.nextPorts(w, m)
	if taken != "" {
		p.wait(w.s, m.Name(), "PortTaken", "is not restarted: %s", taken)
	}
	return taken != ""
}

func (p *planner) wantedPorts(s *state.Set) []spec.Port { return p.revisionPorts(s, s.Revision) }

func (p *planner) revisionPorts(s *state.Set, revision string) (ports []spec.Port) {
	r := p.v.Revision(s.Meta.Namespace, s.Meta.Name, revision)
	if r == nil {
		return nil
	}
	for _, proc := range r.Template.Processes {
		ports = append(ports, proc.Ports...)
	}
	return ports
}

// ownIP is the address the ordinal had, or the lowest free one of the plan.
func (p *planner) ownIP(id *state.Identity) (string, bool) {
	cidr, err := netip.ParsePrefix(p.v.Cluster.PlanCIDR)
	if err != nil {
		return "", false
	}
	if id != nil {
		if ip, err := netip.ParseAddr(id.IP); err == nil && cidr.Contains(ip) {
			return id.IP, true
		}
	}
	if p.ips == nil {
		p.remember()
	}
	ip := cidr.Masked().Addr()
	for range firstHost {
		ip = ip.Next()
	}
	for ; cidr.Contains(ip.Next()); ip = ip.Next() { // the last is the broadcast address
		if s := ip.String(); !p.ips[s] {
			return s, true
		}
	}
	return "", false
}

func (p *planner) freePort(ip string, own map[string]int) int {
	used := map[int]bool{}
	for _, port := range own {
		used[port] = true
	}
	for m := range p.v.MemberAt(ip) {
		for _, port := range m.Ports {
			used[port] = true
		}
	}
	for port := firstPort; port < lastPort; port++ {
		if !used[port] && !p.ports[ip+":"+strconv.Itoa(port)] {
			return port
		}
	}
	return lastPort
}

// conflict tells which fixed (or kept) port of an ordinal is taken on a node's address.
func (p *planner) conflict(w *world, ordinal int, n *state.Node) string {
	if w.s.Spec.Network.Mode == spec.NetworkMember {
		return ""
	}
	id := p.v.Identity(w.s.Meta.Namespace, w.s.Meta.Name, ordinal)
	for _, port := range p.wantedPorts(w.s) {
		number := port.Port
		if number == 0 && id != nil {
			number = id.Ports[port.Name]
		}
		if number == 0 {
			continue
		}
		if p.ports[n.HostIP+":"+strconv.Itoa(number)] {
			return "port " + strconv.Itoa(number) + " of " + n.HostIP + " is taken"
		}
		for m := range p.v.MemberAt(n.HostIP) {
			if m.Namespace == w.s.Meta.Namespace && m.Set == w.s.Meta.Name && m.Ordinal == ordinal {
				continue
			}
			for _, taken := range m.Ports {
				if taken == number {
					return "port " + strconv.Itoa(number) + " of " + n.HostIP + " is taken by " + m.Name()
				}
			}
		}
	}
	return ""
}
