package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/spf13/cobra"

	"supd/configs"
	"supd/supervisor/spec"
)

// filesFlag is -f, which may be given more than once.
func filesFlag(cmd *cobra.Command, files *[]string) {
	cmd.Flags().StringArrayVarP(files, "filename", "f", nil, "a definition: file, directory, or - for standard input")
}

// load reads definitions, tells all that is wrong with them, and returns them in
// the order in which they are to be applied: Programs and services before sets.
func (a *app) load(files []string) ([]configs.Definition, error) {
	if len(files) == 0 {
		return nil, usagef("a definition is needed: -f FILE")
	}
	sources, err := configs.Load(files, a.stdin)
	if err != nil {
		return nil, usagef("%v", err)
	}
	defs, diags := configs.Parse(sources)
	for i := range defs {
		if p := a.setNamespace(&defs[i]); p != nil {
			diags = append(diags, *p)
		}
	}
	if configs.HasErrors(diags) { // then it ends here, with all that is wrong
		diags = inOrder(append(diags, templateDiagnostics(defs, false)...), sources)
	}
	if err := a.tell(diags); err != nil {
		return nil, err
	}
	if len(defs) == 0 {
		return nil, usagef("no object is defined in %s", strings.Join(files, ", "))
	}
	sort.SliceStable(defs, func(i, j int) bool { return applyRank(defs[i].Object) < applyRank(defs[j].Object) })
	return defs, nil
}

// inOrder sorts diagnostics by file, as the files were read, and place.
func inOrder(diags []configs.Diagnostic, sources []configs.Source) []configs.Diagnostic {
	rank := map[string]int{}
	for i, s := range sources {
		if _, ok := rank[s.Name]; !ok {
			rank[s.Name] = i
		}
	}
	slices.SortStableFunc(diags, func(x, y configs.Diagnostic) int {
		return cmp.Or(cmp.Compare(rank[x.File], rank[y.File]), cmp.Compare(x.Line, y.Line), cmp.Compare(x.Column, y.Column))
	})
	return diags
}

// tell writes diagnostics, one a line, and makes one error of those that count.
func (a *app) tell(diags []configs.Diagnostic) error {
	wrong := 0
	for _, d := range diags {
		if !d.Warning {
			wrong++
		}
		a.tellOnce(d)
	}
	if wrong > 0 {
		return usagef("the definition is wrong in %s; nothing was applied; mend what the lines above say", count(wrong, "place"))
	}
	return nil
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func applyRank(o configs.Object) int {
	switch o.(type) {
	case *spec.Program:
		return 0
	case *spec.Service:
		return 1
	}
	return 2
}

// metaPtr is the object's metadata, and how the object is called.
func metaPtr(o configs.Object) (*spec.Meta, string) {
	switch o := o.(type) {
	case *spec.StatefulSet:
		return &o.Metadata, "statefulset"
	case *spec.Service:
		return &o.Metadata, "service"
	case *spec.Program:
		return &o.Metadata, "program"
	}
	panic(fmt.Sprintf("supctl: %T is no definition; configs makes only three kinds", o))
}

// setNamespace fills in -n, and refuses an object that names another one.
func (a *app) setNamespace(d *configs.Definition) *configs.Diagnostic {
	m, _ := metaPtr(d.Object)
	if m.Namespace == "" {
		m.Namespace = a.namespace
	}
	if a.namespaceGiven && m.Namespace != a.namespace {
		out := d.Diagnose(spec.Problem{Path: "metadata.namespace", Message: fmt.Sprintf("the object is in namespace %s, not in %s as -n says", m.Namespace, a.namespace)})
		return &out
	}
	return nil
}

// place says where in the user's file the problems lie that the server found.
func (a *app) place(d *configs.Definition, err error) error {
	var e *spec.Error
	if !errors.As(err, &e) || e.Reason != "InvalidDefinition" {
		return err
	}
	var diags []configs.Diagnostic
	for _, line := range e.Details {
		path, message, ok := strings.Cut(line, ": ")
		if !ok {
			path, message = "", line
		}
		diags = append(diags, d.Diagnose(spec.Problem{Path: path, Message: message}))
	}
	if len(diags) == 0 {
		return err
	}
	return a.tell(diags)
}

// warn tells the server's warnings about a definition, placed in its file.
func (a *app) warn(d *configs.Definition, warnings []string) {
	for _, w := range warnings {
		path, message, ok := strings.Cut(w, ": ")
		if !ok {
			path, message = "", w
		}
		a.tellOnce(d.Diagnose(spec.Problem{Path: path, Message: message, Warning: true}))
	}
}

// tellOnce writes a diagnostic, a warning only the first time: the server says again what
// was found here already.
func (a *app) tellOnce(d configs.Diagnostic) {
	line := oneLine(d.String())
	if d.Warning && a.warned[line] {
		return
	}
	if a.warned == nil {
		a.warned = map[string]bool{}
	}
	a.warned[line] = true
	a.notef("%s", line)
}
