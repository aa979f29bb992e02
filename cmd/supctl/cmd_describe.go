package main

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/spf13/cobra"

	"supd/supervisor/client"
	"supd/supervisor/spec"
)

func (a *app) describeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "describe KIND NAME",
		Short: "Show all there is about one object",
		Long: `describe shows an object with its conditions, what it waits for and why, its members
and volumes, and its events.

Exit status: 0 done; 2 wrong usage; 3 not found; 5 no daemon.`,
		Example: "  supctl describe sts web",
		Args:    cobra.RangeArgs(1, 2),
	}
	cmd.RunE = a.do(func(cmd *cobra.Command, args []string) error {
		k, name, err := parseTarget(args)
		if err != nil {
			return err
		}
		return a.describe(cmd.Context(), k, name)
	})
	return cmd
}

func (a *app) describe(ctx context.Context, k kindOf, name string) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	defer c.Close()
	d := &describer{a: a, c: c}
	switch k.resource {
	case client.StatefulSets:
		return d.set(ctx, name)
	case client.Members:
		return d.member(ctx, name)
	case client.Volumes:
		return d.volume(ctx, name)
	case client.Nodes:
		return d.node(ctx, name)
	case client.Services, client.Programs, client.Revisions, client.Events:
	}
	raw, _, err := c.GetRaw(ctx, k.resource, a.namespace, name, client.ReadOptions{})
	if err != nil {
		return err
	}
	text, err := toYAML(raw)
	if err != nil {
		return err
	}
	a.printf("%s", text)
	return d.events(ctx, k.word+"/"+name)
}

// describer writes the sections of a description.
type describer struct {
	a *app
	c *client.Client
}

func (d *describer) field(name, format string, args ...any) {
	d.a.printf("%-16s"+format+"\n", append([]any{name + ":"}, args...)...)
}

func (d *describer) meta(m spec.Meta) {
	d.field("Name", "%s", m.Name)
	if m.Namespace != "" {
		d.field("Namespace", "%s", m.Namespace)
	}
	d.field("Labels", "%s", dash(labelsWord(m.Labels)))
	if len(m.Annotations) > 0 {
		d.field("Annotations", "%s", labelsWord(m.Annotations))
	}
	d.field("Created", "%s", timeWord(m.CreatedAt))
	d.field("Version", "%d, generation %d", m.ResourceVersion, m.Generation)
}

// section writes a table below a title, or "none".
func (d *describer) section(title string, g grid) {
	d.a.printf("\n%s:\n", title)
	if len(g.rows) == 0 {
		d.a.printf("  none\n")
		return
	}
	for _, line := range strings.Split(strings.TrimSuffix(g.String(), "\n"), "\n") {
		d.a.printf("  %s\n", line)
	}
}

// objects is a section with a kind's table.
func (d *describer) objects(title string, r client.Resource, items []json.RawMessage) error {
	k, err := parseKind(string(r))
	if err != nil {
		return err
	}
	g, err := d.a.grid(k, items, false)
	if err != nil {
		return err
	}
	d.section(title, g)
	return nil
}

// list reads the objects that keep returns true for.
func list[T any](ctx context.Context, d *describer, r client.Resource, o client.ReadOptions, keep func(*T) bool) ([]json.RawMessage, error) {
	doc, _, err := d.c.ListRaw(ctx, r, o)
	if err != nil {
		return nil, err
	}
	items, err := itemsOf(doc)
	if err != nil {
		return nil, err
	}
	var out []json.RawMessage
	for _, it := range items {
		var v T
		if err := json.Unmarshal(it, &v); err != nil {
			return nil, spec.Errorf(spec.CodeInternal, "cannot read an object of the answer: %v", err)
		}
		if keep(&v) {
			out = append(out, it)
		}
	}
	return out, nil
}

// events writes the newest events about any of the objects.
func (d *describer) events(ctx context.Context, objects ...string) error {
	const most = 20
	about := map[string]bool{}
	for _, o := range objects {
		about[o] = true
	}
	items, err := list(ctx, d, client.Events, client.ReadOptions{Namespace: d.a.namespace}, func(e *spec.Event) bool { return about[e.Object] })
	if err != nil {
		return err
	}
	if len(items) > most {
		items = items[len(items)-most:]
	}
	return d.objects("Events", client.Events, items)
}

func (d *describer) explanation(ctx context.Context, r client.Resource, name string) error {
	x, err := d.c.Explain(ctx, r, d.a.namespace, name)
	if err != nil {
		return err
	}
	d.a.printf("\nWhy:\n")
	d.a.printf("  rule:     %s\n  next:     %s\n  command:  %s\n", oneLine(x.Rule), oneLine(x.Next), dash(x.Command))
	return nil
}

func (d *describer) set(ctx context.Context, name string) error {
	s, _, err := client.Get[spec.StatefulSet](ctx, d.c, client.StatefulSets, d.a.namespace, name, client.ReadOptions{})
	if err != nil {
		return err
	}
	d.meta(s.Metadata)
	st := s.Status
	if st == nil {
		st = &spec.StatefulSetStatus{}
	}
	d.field("Replicas", "%d wanted, %d started, %d ready, %d available, %d updated", wantedOf(s), st.Replicas, st.ReadyReplicas, st.AvailableReplicas, st.UpdatedReplicas)
	d.field("Service", "%s", s.Spec.ServiceName)
	d.field("Policy", "%s, update %s", s.Spec.PodManagementPolicy, s.Spec.UpdateStrategy.Type)
	d.field("Revision", "current %s, update %s", dash(st.CurrentRevision), st.UpdateRevision)
	d.field("Volumes kept", "when scaled: %s, when deleted: %s", s.Spec.VolumeRetention.WhenScaled, s.Spec.VolumeRetention.WhenDeleted)
	d.field("On node loss", "%s", s.Spec.OnNodeLoss)
	conditions := grid{head: []string{"TYPE", "STATUS", "REASON", "SINCE", "MESSAGE"}}
	for _, c := range st.Conditions {
		conditions.rows = append(conditions.rows, []string{c.Type, c.Status, c.Reason, age(c.Since, d.a.now()), oneLine(c.Message)})
	}
	d.section("Conditions", conditions)
	waits := grid{head: []string{"WHO", "REASON", "WHY"}}
	for _, w := range st.WaitsFor {
		waits.rows = append(waits.rows, []string{w.Subject, w.Reason, oneLine(w.Message)})
	}
	d.section("Waits", waits)
	return d.setObjects(ctx, name)
}

func (d *describer) setObjects(ctx context.Context, name string) error {
	if err := d.explanation(ctx, client.StatefulSets, name); err != nil {
		return err
	}
	about := []string{"statefulset/" + name}
	here := client.ReadOptions{Namespace: d.a.namespace}
	members, err := list(ctx, d, client.Members, here, func(m *spec.Member) bool {
		if m.Spec.Set == name {
			about = append(about, "member/"+m.Metadata.Name)
		}
		return m.Spec.Set == name
	})
	if err != nil {
		return err
	}
	volumes, err := list(ctx, d, client.Volumes, here, func(v *spec.Volume) bool {
		if v.Spec.Set == name {
			about = append(about, "volume/"+v.Metadata.Name)
		}
		return v.Spec.Set == name
	})
	if err != nil {
		return err
	}
	if err := d.objects("Members", client.Members, members); err != nil {
		return err
	}
	if err := d.objects("Volumes", client.Volumes, volumes); err != nil {
		return err
	}
	return d.events(ctx, about...)
}
