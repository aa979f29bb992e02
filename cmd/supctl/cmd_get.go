package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"supd/supervisor/client"
	"supd/supervisor/spec"
)

func (a *app) getCommand() *cobra.Command {
	var g getFlags
	cmd := &cobra.Command{
		Use:   "get KIND [NAME]",
		Short: "Show objects: tables for people, JSON and YAML for programs",
		Long: `get shows the objects of a kind, or one by name.

Exit status: 0 done; 2 wrong usage; 3 not found; 4 refused, also when access ends while it
watches; 5 no daemon.`,
		Example: `  supctl get members -o wide
  supctl get sts web -o jsonpath='{.status.readyReplicas}'
  supctl get m -w -l app=web`,
		Args:        cobra.MinimumNArgs(1),
		Annotations: map[string]string{outputs: getForms},
	}
	g.add(cmd)
	cmd.RunE = a.do(func(cmd *cobra.Command, args []string) error {
		kind, name, slash := strings.Cut(args[0], "/")
		names := args[1:]
		if slash {
			if len(names) > 0 || name == "" {
				return usagef("want KIND, KIND NAME or KIND/NAME")
			}
			names = []string{name}
		}
		k, err := parseKind(kind)
		if err != nil {
			return err
		}
		return a.get(cmd.Context(), k, names, g)
	})
	return cmd
}

// getFlags are what narrows a read.
type getFlags struct {
	watch, all bool
	selector   string
	about      string // of events: the object
}

func (g *getFlags) add(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&g.watch, "watch", "w", false, "go on and show what changes")
	cmd.Flags().BoolVarP(&g.all, "all-namespaces", "A", false, "of all namespaces")
	cmd.Flags().StringVarP(&g.selector, "selector", "l", "", "only with these labels: app=web,tier!=cache")
}

func (a *app) get(ctx context.Context, k kindOf, names []string, g getFlags) error {
	if len(names) > 0 && (g.all || g.selector != "") {
		return usagef("a name goes neither with -A nor with -l")
	}
	if g.watch && len(names) > 1 {
		return usagef("-w follows one object or all of a kind")
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	defer c.Close()
	o := readOptions(a, g.all, g.selector)
	o.For = g.about
	o.Usage = k.resource == client.Volumes && a.output != "" && a.output != "name"
	if g.watch {
		return a.watch(ctx, c, k, names, o)
	}
	switch len(names) {
	case 0:
		doc, _, err := c.ListRaw(ctx, k.resource, o)
		if err != nil {
			return err
		}
		return a.writeList(k, doc, g.all)
	case 1:
		doc, _, err := c.GetRaw(ctx, k.resource, a.namespace, names[0], o)
		if err != nil {
			return err
		}
		return a.writeObjects(k, doc, []json.RawMessage{doc}, false)
	}
	return a.getSeveral(ctx, c, k, names, o)
}

func (a *app) writeList(k kindOf, doc []byte, all bool) error {
	items, err := itemsOf(doc)
	if err != nil {
		return err
	}
	if len(items) == 0 && !a.isData() {
		where := "namespace " + a.namespace
		if all || !k.resource.Namespaced() {
			where = "the cluster"
		}
		a.notef("There are no %ss in %s.", k.word, where)
		return nil
	}
	if k.resource == client.Events && !a.isData() {
		slices.SortStableFunc(items, byEventTime)
	}
	return a.writeObjects(k, doc, items, all)
}

func byEventTime(x, y json.RawMessage) int {
	var a, b struct {
		At time.Time `json:"at"`
	}
	// What cannot be read is told when the row is made.
	if json.Unmarshal(x, &a) != nil || json.Unmarshal(y, &b) != nil {
		return 0
	}
	return a.At.Compare(b.At)
}

func (a *app) getSeveral(ctx context.Context, c *client.Client, k kindOf, names []string, o client.ReadOptions) error {
	l := spec.List[json.RawMessage]{APIVersion: spec.APIVersion, Kind: "List", Items: []json.RawMessage{}}
	for _, n := range names {
		doc, _, err := c.GetRaw(ctx, k.resource, a.namespace, n, o)
		if err != nil {
			return err
		}
		l.Items = append(l.Items, doc)
	}
	doc, err := json.Marshal(l)
	if err != nil {
		return spec.Errorf(spec.CodeInternal, "cannot encode the output: %v", err)
	}
	return a.writeObjects(k, doc, l.Items, false)
}

// watch shows objects and then every change, until Ctrl-C. A stream that ends is
// opened again after the last index heard of.
func (a *app) watch(ctx context.Context, c *client.Client, k kindOf, names []string, o client.ReadOptions) error {
	name := ""
	if len(names) == 1 {
		name = names[0]
		o.Namespace = a.namespace
		if _, _, err := c.GetRaw(ctx, k.resource, o.Namespace, name, client.ReadOptions{}); err != nil {
			return err
		}
	}
	v := &watchView{a: a, k: k, all: o.Namespace == "", table: &liveTable{w: a.stdout}}
	var after uint64
	heard := false
	for ctx.Err() == nil {
		index, err := v.stream(ctx, c, name, after, o)
		if index > 0 {
			after, heard = index, true
		}
		if ctx.Err() != nil {
			break
		}
		if err != nil && !isGone(err) && spec.CodeOf(err) != spec.CodeConflict || err != nil && !heard {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(retryPause):
		}
	}
	return nil
}

// watchView writes a stream for people or programs.
type watchView struct {
	a     *app
	k     kindOf
	all   bool
	table *liveTable
	shape shape
	begun bool
	first []json.RawMessage // before the first bookmark
}

func (v *watchView) stream(ctx context.Context, c *client.Client, name string, after uint64, o client.ReadOptions) (uint64, error) {
	w, err := c.Watch(ctx, v.k.resource, name, after, o)
	if err != nil {
		return 0, err
	}
	defer w.Close()
	var index uint64
	for {
		ev, err := w.Next()
		if err != nil {
			return index, err
		}
		index = ev.Index
		if err := v.show(ev); err != nil {
			return index, err
		}
	}
}

func (v *watchView) show(ev client.WatchEvent) error {
	switch {
	case ev.Type == client.WatchReset:
		return nil // all objects follow; showing them again is what starting over means
	case ev.Type == client.WatchBookmark:
		if v.begun {
			return nil
		}
		v.begun = true
		return v.showFirst()
	case !v.begun:
		v.first = append(v.first, ev.Object)
		return nil
	}
	return v.showOne(ev.Object, ev.Type == client.WatchDeleted)
}

// showFirst writes what is there at the beginning, as wide as its widest.
func (v *watchView) showFirst() error {
	if v.a.isData() {
		for _, o := range v.first {
			if err := v.showOne(o, false); err != nil {
				return err
			}
		}
		return nil
	}
	g, err := v.a.grid(v.k, v.first, v.all)
	if err != nil {
		return err
	}
	v.shape = g.shape
	for _, row := range append([][]string{g.head}, g.rows...) {
		for i, cell := range row {
			if i == len(v.table.widths) {
				v.table.widths = append(v.table.widths, 0)
			}
			v.table.widths[i] = max(v.table.widths[i], len([]rune(cell)))
		}
	}
	for _, row := range append([][]string{g.head}, g.rows...) {
		if err := v.table.write(row); err != nil {
			return err
		}
	}
	return nil
}

func (v *watchView) showOne(raw json.RawMessage, deleted bool) error {
	a := v.a
	m, err := metaOf(raw)
	if err != nil {
		return err
	}
	switch {
	case a.output == "name":
		_, err := fmt.Fprintf(a.stdout, "%s/%s\n", v.k.word, m.Name)
		return err
	case a.output == "json":
		_, err := fmt.Fprintf(a.stdout, "%s\n", raw)
		return err
	case a.output == "yaml":
		a.printf("---\n")
		return a.writeDoc(raw)
	case a.isData():
		return a.writeDoc(raw)
	case deleted:
		_, err := fmt.Fprintf(a.stdout, "%s/%s deleted\n", v.k.word, m.Name)
		return err
	}
	row, err := a.row(v.k, raw, v.shape)
	if err != nil {
		return err
	}
	return v.table.write(row)
}
