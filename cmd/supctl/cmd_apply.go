package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"supd/configs"
	"supd/supervisor/client"
	"supd/supervisor/spec"
)

// waitFlags are --wait and --timeout of changing commands.
type waitFlags struct {
	wait    bool
	timeout time.Duration
}

// defaultTimeout bounds following a change.
const defaultTimeout = 10 * time.Minute

func (w *waitFlags) add(cmd *cobra.Command, what string) {
	cmd.Flags().BoolVar(&w.wait, "wait", false, "follow until "+what)
	cmd.Flags().DurationVar(&w.timeout, "timeout", defaultTimeout, "give up following after so long (with --wait)")
}

func (w *waitFlags) check(cmd *cobra.Command) error {
	if cmd.Flags().Changed("timeout") && !w.wait {
		return usagef("--timeout goes with --wait")
	}
	if w.timeout <= 0 {
		return usagef("--timeout must be more than 0")
	}
	return nil
}

func (a *app) applyCommand() *cobra.Command {
	var files []string
	var dryRun bool
	var w waitFlags
	cmd := &cobra.Command{
		Use:   "apply -f FILE",
		Short: "Create or change what definitions say",
		Long: `apply creates or changes statefulsets, services and Programs from definitions in
HCL, native YAML or Kubernetes YAML. Programs and services go first, then sets.
A lower number of replicas is refused while any member is unhealthy. With --wait it fails
when a set stalls (no progress for its progressDeadline) or has gone back by itself; a stall
of before counts once it has outlasted the change by that time.

Exit status: 0 done; 1 with --wait: stalled, or gone back; 2 wrong definition; 4 refused;
5 no leader; 6 --timeout ran out.`,
		Example: `  supctl apply -f web.hcl
  supctl apply -f manifests/ --wait --timeout 5m
  cat web.yaml | supctl apply -f - --dry-run`,
		Args:        cobra.NoArgs,
		Annotations: map[string]string{outputs: objectForms, writes: "yes", versioned: "yes"},
	}
	filesFlag(cmd, &files)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would be done and change nothing")
	w.add(cmd, "every applied set is ready")
	cmd.RunE = a.do(func(cmd *cobra.Command, _ []string) error {
		if err := w.check(cmd); err != nil {
			return err
		}
		if dryRun && w.wait {
			return usagef("--dry-run changes nothing, there is nothing to --wait for")
		}
		return a.apply(cmd.Context(), files, dryRun, w)
	})
	return cmd
}

// applied is one object as it was taken.
type applied struct {
	word   string
	meta   spec.Meta
	result client.Written
	set    *spec.StatefulSet
	object any
}

func (a *app) apply(ctx context.Context, files []string, dryRun bool, w waitFlags) error {
	defs, err := a.load(files)
	if err != nil {
		return err
	}
	if a.ifVersion != 0 && len(defs) > 1 {
		return usagef("--if-version goes with one object; %d are defined", len(defs))
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	defer c.Close()
	var done []applied
	var programs []*spec.Program
	for i := range defs {
		if p, ok := defs[i].Object.(*spec.Program); ok {
			programs = append(programs, p)
		}
		one, err := a.applyOne(ctx, c, &defs[i], dryRun, programs)
		if err != nil {
			return a.place(&defs[i], err)
		}
		a.warn(&defs[i], one.result.Warnings)
		done = append(done, one)
		if err := a.tellApplied(one, dryRun); err != nil {
			return err
		}
	}
	if a.output != "" && a.output != "name" {
		if err := a.writeApplied(done); err != nil {
			return err
		}
	}
	if !w.wait {
		return nil
	}
	return a.followApplied(ctx, c, done, w.timeout)
}

func (a *app) tellApplied(one applied, dryRun bool) error {
	switch {
	case a.output == "name":
		a.printf("%s/%s\n", one.word, one.meta.Name)
	case a.output == "":
		suffix := ""
		if dryRun {
			suffix = " (dry run)"
		}
		a.printf("%s/%s %s%s\n", one.word, one.meta.Name, one.result.Result, suffix)
	}
	return nil
}

func (a *app) writeApplied(done []applied) error {
	if len(done) == 1 {
		return a.writeValue(done[0].object)
	}
	l := spec.List[any]{APIVersion: spec.APIVersion, Kind: "List", Items: []any{}}
	for _, one := range done {
		l.Items = append(l.Items, one.object)
	}
	return a.writeValue(l)
}

func (a *app) applyOne(ctx context.Context, c *client.Client, d *configs.Definition, dryRun bool, programs []*spec.Program) (applied, error) {
	m, word := metaPtr(d.Object)
	out := applied{word: word, meta: *m}
	o := a.writeOptions()
	o.DryRun = dryRun
	var err error
	switch obj := d.Object.(type) {
	case *spec.Program:
		out.object, out.result, err = c.PutProgram(ctx, obj, o)
	case *spec.Service:
		out.object, out.result, err = c.PutService(ctx, obj, o)
	case *spec.StatefulSet:
		obj.Status = nil
		if dryRun { // with the Programs of the same files, which are not stored
			var p *client.Preview
			p, err = c.Preview(ctx, client.PreviewRequest{StatefulSet: obj, Programs: inNamespace(programs, m.Namespace)}, o)
			if err == nil {
				out.set, out.result = p.Object, client.Written{Result: p.Result, Warnings: p.Warnings}
			}
		} else {
			out.set, out.result, err = c.PutStatefulSet(ctx, obj, o)
		}
		out.object = out.set
	}
	return out, err
}

func inNamespace(programs []*spec.Program, ns string) []*spec.Program {
	var out []*spec.Program
	for _, p := range programs {
		if p.Metadata.Namespace == ns {
			out = append(out, p)
		}
	}
	return out
}

func (a *app) followApplied(ctx context.Context, c *client.Client, done []applied, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for _, one := range done {
		if one.set == nil {
			continue
		}
		if err := a.followSet(ctx, c, one.set, one.result, timeout); err != nil {
			return err
		}
	}
	return nil
}
