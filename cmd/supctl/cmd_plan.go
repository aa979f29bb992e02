package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"supd/configs"
	"supd/supervisor/client"
	"supd/supervisor/spec"
)

func (a *app) planCommand() *cobra.Command {
	var files []string
	cmd := &cobra.Command{
		Use:   "plan -f FILE",
		Short: "Show every step that applying would cause, in order",
		Long: `plan shows every step that applying definitions would cause if nothing failed: in
order, with what would be restarted and why. Nothing is changed. What would be
refused is refused here too.

Exit status: 0 done; 2 wrong definition; 4 it would be refused; 5 no leader.`,
		Example:     "  supctl plan -f web.hcl",
		Args:        cobra.NoArgs,
		Annotations: map[string]string{outputs: "json yaml jsonpath"},
	}
	filesFlag(cmd, &files)
	cmd.RunE = a.do(func(cmd *cobra.Command, _ []string) error {
		return a.previewAll(cmd.Context(), files, func(p previewed) error { return a.tellPlan(p) })
	})
	return cmd
}

// previewed is one object as applying it would make it.
type previewed struct {
	word    string
	meta    spec.Meta
	result  string
	preview *client.Preview // sets only
	object  any
}

func (a *app) previewAll(ctx context.Context, files []string, tell func(previewed) error) error {
	defs, err := a.load(files)
	if err != nil {
		return err
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	defer c.Close()
	var programs []*spec.Program
	for i := range defs {
		p, err := a.preview(ctx, c, &defs[i], programs)
		if err != nil {
			return a.place(&defs[i], err)
		}
		if prog, ok := defs[i].Object.(*spec.Program); ok {
			programs = append(programs, prog)
		}
		if err := tell(p); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) preview(ctx context.Context, c *client.Client, d *configs.Definition, programs []*spec.Program) (previewed, error) {
	m, word := metaPtr(d.Object)
	if set, ok := d.Object.(*spec.StatefulSet); ok {
		set.Status = nil
		p, err := c.Preview(ctx, client.PreviewRequest{StatefulSet: set, Programs: inNamespace(programs, m.Namespace)}, client.WriteOptions{})
		if err != nil {
			return previewed{}, err
		}
		a.warn(d, p.Warnings)
		return previewed{word: word, meta: *m, result: p.Result, preview: p, object: p.Object}, nil
	}
	one, err := a.applyOne(ctx, c, d, true, nil)
	a.warn(d, one.result.Warnings)
	return previewed{word: word, meta: *m, result: one.result.Result, object: one.object}, err
}

func (a *app) tellPlan(p previewed) error {
	if a.isData() {
		if p.preview == nil {
			return nil
		}
		return a.writeValue(p.preview)
	}
	a.printf("%s/%s would be %s\n", p.word, p.meta.Name, p.result)
	if p.preview == nil {
		return nil
	}
	for i, s := range p.preview.Steps {
		a.printf("%4d  %s\n", i+1, s)
	}
	if len(p.preview.Steps) == 0 {
		a.printf("      nothing would be done\n")
	}
	if p.preview.Truncated {
		a.printf("      ... and so on: the plan is longer than what is worked out\n")
	}
	if len(p.preview.Restarts) > 0 {
		a.printf("restarted: %s\n", strings.Join(p.preview.Restarts, ", "))
	}
	if len(p.preview.Removes) > 0 {
		a.printf("removed:   %s\n", strings.Join(p.preview.Removes, ", "))
	}
	for _, note := range p.preview.Notes {
		a.printf("%s\n", note)
	}
	for _, w := range p.preview.Waits {
		a.printf("then %s %s\n", w.Subject, w.Message)
	}
	return nil
}
