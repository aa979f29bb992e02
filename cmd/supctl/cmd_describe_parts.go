package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"supd/supervisor/client"
	"supd/supervisor/spec"
)

func (d *describer) member(ctx context.Context, name string) error {
	m, _, err := client.Get[spec.Member](ctx, d.c, client.Members, d.a.namespace, name, client.ReadOptions{})
	if err != nil {
		return err
	}
	d.meta(m.Metadata)
	d.field("Statefulset", "%s, ordinal %d", m.Spec.Set, m.Spec.Ordinal)
	d.field("Node", "%s", m.Spec.Node)
	d.field("Address", "%s", m.Spec.IP)
	d.field("FQDN", "%s", m.Spec.FQDN)
	var ports []string
	for _, p := range slices.Sorted(maps.Keys(m.Spec.Ports)) {
		ports = append(ports, fmt.Sprintf("%s=%d", p, m.Spec.Ports[p]))
	}
	d.field("Ports", "%s", dash(strings.Join(ports, ",")))
	d.field("Epoch", "%d", m.Spec.Epoch)
	d.field("Revision", "%s", dash(m.Spec.Revision))
	d.field("Phase", "%s", m.Status.Phase)
	d.field("Healthy", "%t", m.Status.Healthy)
	d.field("Ready", "%t", m.Status.Ready)
	d.field("Available", "%t", m.Status.Available)
	d.field("Reason", "%s", dash(strings.TrimPrefix(m.Status.Reason+", "+m.Status.Message, ", ")))
	if m.Status.Role != "" {
		d.field("Role", "%s", m.Status.Role)
	}
	if c := m.Status.MayStop; c != nil {
		d.field("May be stopped", "%s, since %s%s", c.Answer, timeWord(c.Since), because(c.Message))
	}
	d.field("Restarts", "%d", m.Status.Restarts)
	d.field("Started", "%s", timeWord(m.Status.StartedAt))
	processes := grid{head: []string{"NAME", "PID", "STATE", "READY", "RESTARTS", "LAST EXIT", "MESSAGE"}}
	for _, p := range m.Status.Processes {
		processes.rows = append(processes.rows, []string{
			p.Name, strconv.Itoa(p.PID), p.State, strconv.FormatBool(p.Ready), strconv.Itoa(p.Restarts), exitWord(p.LastExit), dash(p.Message),
		})
	}
	d.section("Processes", processes)
	if len(m.Status.Hooks) > 0 {
		hooks := grid{head: []string{"HOOK", "PROCESS", "STATE", "ATTEMPTS", "AGE", "MESSAGE"}}
		for _, h := range m.Status.Hooks {
			hooks.rows = append(hooks.rows, []string{h.Name, h.Process, h.State, strconv.Itoa(h.Attempts), age(&h.At, d.a.now()), dash(oneLine(h.Message))})
		}
		d.section("Hooks", hooks)
	}
	d.probes(m.Status)
	if err := d.explanation(ctx, client.Members, name); err != nil {
		return err
	}
	volumes, err := list(ctx, d, client.Volumes, client.ReadOptions{Namespace: d.a.namespace}, func(v *spec.Volume) bool {
		return slices.Contains(m.Spec.Volumes, v.Metadata.Name)
	})
	if err != nil {
		return err
	}
	if err := d.objects("Volumes", client.Volumes, volumes); err != nil {
		return err
	}
	return d.events(ctx, "member/"+name)
}

// probes are a member's probes with their newest results, as its node knows them.
func (d *describer) probes(st spec.MemberStatus) {
	if st.Probes == nil {
		d.a.printf("\nProbes:\n  unknown: %s\n", oneLine(st.ProbesReason))
		return
	}
	g := grid{head: []string{"PROCESS", "PROBE", "PASSING", "LAST", "IN A ROW", "AGE", "TOOK", "OUTPUT"}}
	for _, p := range st.Probes {
		g.rows = append(g.rows, []string{
			p.Process, p.Probe, strconv.FormatBool(p.Passing), dash(p.Result), strconv.Itoa(p.InARow), age(p.At, d.a.now()), p.Took.String(),
			dash(cut(oneLine(orWord(p.Message, p.Output)), 200)),
		})
	}
	d.section("Probes", g)
}

func exitWord(e *spec.Exit) string {
	switch {
	case e == nil:
		return "-"
	case e.Reason != "":
		return e.Reason
	case e.Signal != "":
		return e.Signal
	case e.Code < 0:
		return "unknown"
	}
	return "status " + strconv.Itoa(e.Code)
}

func (d *describer) volume(ctx context.Context, name string) error {
	v, _, err := client.Get[spec.Volume](ctx, d.c, client.Volumes, d.a.namespace, name, client.ReadOptions{})
	if err != nil {
		return err
	}
	d.meta(v.Metadata)
	d.field("Statefulset", "%s, ordinal %d, template %s", v.Spec.Set, v.Spec.Ordinal, v.Spec.Template)
	d.field("UID", "%s", v.Metadata.UID)
	d.field("Node", "%s", v.Spec.Node)
	size := dash(string(v.Spec.Size))
	if v.Spec.Size != "" && !v.Status.SizeEnforced {
		size += " (advisory: nothing enforces it here)"
	}
	d.field("Size", "%s", size)
	used := "unknown: " + v.Status.UsedBytesReason
	if v.Status.UsedBytes != nil {
		used = bytesWord(*v.Status.UsedBytes)
	}
	d.field("Used", "%s", used)
	d.field("Phase", "%s", v.Status.Phase)
	d.field("Path", "%s", dash(v.Status.Path))
	d.field("Member", "%s", dash(v.Status.Member))
	d.field("Reason", "%s", dash(strings.TrimPrefix(v.Status.Reason+", "+v.Status.Message, ", ")))
	if v.Status.ReleaseAt != nil {
		d.field("Deleted after", "%s", timeWord(v.Status.ReleaseAt))
	}
	if err := d.explanation(ctx, client.Volumes, name); err != nil {
		return err
	}
	return d.events(ctx, "volume/"+name)
}

func drainWord(n *spec.Node) string {
	out := "under way"
	if n.Status.Drained {
		out = "done, no member runs there"
	}
	out += "; asked for at " + timeWord(n.Status.Drain.Since)
	if n.Status.Drain.Who != "" {
		out += " by " + n.Status.Drain.Who
	}
	if n.Status.Drain.Why != "" {
		out += " (" + n.Status.Drain.Why + ")"
	}
	return out
}

func (d *describer) node(ctx context.Context, name string) error {
	n, _, err := client.Get[spec.Node](ctx, d.c, client.Nodes, "", name, client.ReadOptions{})
	if err != nil {
		return err
	}
	d.meta(n.Metadata)
	d.field("ID", "%s", n.Metadata.UID)
	d.field("Address", "%s", n.Spec.Address)
	d.field("Cordoned", "%t", n.Spec.Cordoned)
	if n.Status.Drain != nil {
		d.field("Drain", "%s", drainWord(n))
	}
	d.field("State", "%s since %s", n.Status.State, timeWord(n.Status.Since))
	switch t := n.Status.Trouble; {
	case t == nil:
		d.field("Trouble", "unknown: %s", n.Status.TroubleReason)
	case *t != "":
		d.field("Trouble", "%s", oneLine(*t))
	}
	d.field("Leader", "%t", n.Status.Leader)
	d.field("Voter", "%t", n.Status.Voter)
	lease := "none: " + n.Status.LeaseUntilReason
	if n.Status.LeaseUntil != nil {
		lease = timeWord(n.Status.LeaseUntil)
	}
	d.field("Lease until", "%s", lease)
	d.field("Runs supd", "%s", dash(n.Status.Version))
	d.keeper(name, n.Status)
	if err := d.explanation(ctx, client.Nodes, name); err != nil {
		return err
	}
	members, err := list(ctx, d, client.Members, client.ReadOptions{}, func(m *spec.Member) bool { return m.Spec.Node == name })
	if err != nil {
		return err
	}
	if err := d.objects("Members", client.Members, members); err != nil {
		return err
	}
	return d.events(ctx, "node/"+name)
}
