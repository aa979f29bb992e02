package main

import (
	"github.com/spf13/cobra"

	"supd/configs"
	"supd/supervisor/spec"
	"supd/supervisor/template"
)

func (a *app) validateCommand() *cobra.Command {
	var files []string
	cmd := &cobra.Command{
		Use:   "validate -f FILE",
		Short: "Check definitions without a cluster",
		Long: `validate checks definitions without a cluster: fields, names, and templates tried for
every ordinal. All errors are shown at once, each with file, line, column and field.
A Program that the same files don't define is not missed, for the cluster may have it.

Exit status: 0 valid, perhaps with warnings; 2 not valid.`,
		Example: "  supctl validate -f web.hcl",
		Args:    cobra.NoArgs,
	}
	filesFlag(cmd, &files)
	cmd.RunE = a.do(func(_ *cobra.Command, _ []string) error {
		defs, err := a.load(files)
		if err != nil {
			return err
		}
		if err := a.tell(templateDiagnostics(defs, true)); err != nil {
			return err
		}
		for _, d := range defs {
			m, word := metaPtr(d.Object)
			a.printf("%s/%s is valid\n", word, m.Name)
		}
		return nil
	})
	return cmd
}

// templateDiagnostics tries the templates of all sets, with the Programs at hand. When
// the definitions are known to be wrong otherwise (not valid), it says nothing of what
// may only follow from that.
func templateDiagnostics(defs []configs.Definition, valid bool) []configs.Diagnostic {
	programs := map[string]*spec.ProgramSpec{}
	for _, d := range defs {
		if p, ok := d.Object.(*spec.Program); ok {
			programs[p.Metadata.Namespace+"/"+p.Metadata.Name] = &p.Spec
		}
	}
	var diags []configs.Diagnostic
	for i := range defs {
		var of []configs.Diagnostic
		for _, p := range checkTemplates(defs[i].Object, programs, valid) {
			of = append(of, defs[i].Diagnose(p))
		}
		configs.SortDiagnostics(of)
		diags = append(diags, of...)
	}
	return diags
}

// manyReplicas is more than any sane set has; a wrong number is not tried.
const manyReplicas = 10000

// checkTemplates resolves a set with the Programs at hand and tries its templates.
func checkTemplates(o configs.Object, programs map[string]*spec.ProgramSpec, valid bool) []spec.Problem {
	in, ok := o.(*spec.StatefulSet)
	if !ok {
		return nil
	}
	set := *in
	spec.Default(&set)
	if n := set.Spec.Replicas; n == nil || *n < 0 || *n > manyReplicas {
		few := 1
		set.Spec.Replicas = &few
	}
	ns := set.Metadata.Namespace
	for _, p := range set.Spec.Processes {
		if p.Image != "" && programs[ns+"/"+p.Image] == nil {
			return nil // what it runs is known to the cluster only
		}
	}
	for _, s := range set.Spec.Init {
		if s.Image != "" && programs[ns+"/"+s.Image] == nil {
			return nil
		}
	}
	tpl, problems := spec.Resolve(set.Spec, func(name string) *spec.ProgramSpec { return programs[ns+"/"+name] })
	if !valid {
		problems = nil
	}
	if len(spec.Errors(problems)) > 0 {
		return problems
	}
	return append(problems, template.CheckSet(ns, set.Metadata.Name, set.Spec, tpl, spec.ClusterZone)...)
}
