// Package configs turns bytes into values: definitions in HCL, native YAML or JSON
// and Kubernetes YAML into the objects of package spec, and back; and the daemon's
// configuration. Decoding starts no goroutine and touches no file but those Load names.
package configs

import (
	"fmt"
	"sort"

	"supd/supervisor/spec"
)

// Object is a *spec.StatefulSet, *spec.Service or *spec.Program, as the user wrote
// it, before defaults.
type Object any

// Diagnostic is one thing to say about a file. Line and Column count from 1; 0
// means the file as a whole. Path is the field as the file spells it.
type Diagnostic struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Path    string `json:"path"`
	Message string `json:"message"`
	// Warning: told, not refused.
	Warning bool `json:"warning,omitempty"`
}

// String is "FILE:LINE:COLUMN: PATH: MESSAGE".
func (d Diagnostic) String() string {
	s := d.File
	if d.Line > 0 {
		s += fmt.Sprintf(":%d:%d", d.Line, d.Column)
	}
	s += ": "
	if d.Warning {
		s += "warning: "
	}
	if d.Path != "" {
		s += d.Path + ": "
	}
	return s + d.Message
}

// HasErrors tells whether any of the diagnostics is more than a warning.
func HasErrors(diags []Diagnostic) bool {
	for _, d := range diags {
		if !d.Warning {
			return true
		}
	}
	return false
}

// Definition is an object with its place in the files it came from.
type Definition struct {
	Object Object
	// File and Line say where the object begins.
	File string
	Line int

	places places
	// podLabels are the labels of a manifest's template: whom a budget selects.
	podLabels map[string]string
}

// Diagnose places a problem that was found in the object later (by templates, by
// the server) where the user wrote the field.
func (d *Definition) Diagnose(p spec.Problem) Diagnostic {
	n, rest := d.places.find(p.Path)
	out := Diagnostic{File: d.File, Path: p.Path, Message: p.Message, Warning: p.Warning}
	if n != nil {
		out.Line, out.Column, out.Path = n.line, n.col, d.places.spell(n.path, rest)
	}
	return out
}

// Decode reads definitions in any of the three forms, in order, and checks them
// (with their defaults, by spec.Validate). All errors of all files come at once,
// sorted by place. With errors the objects are those that could be read; don't apply them.
func Decode(files []Source) ([]Object, []Diagnostic) {
	defs, diags := Parse(files)
	objs := make([]Object, len(defs))
	for i, d := range defs {
		objs[i] = d.Object
	}
	return objs, diags
}

// Parse is Decode for callers that check more and want to say where.
func Parse(files []Source) ([]Definition, []Diagnostic) {
	var defs []Definition
	var diags []Diagnostic
	var budgets []budget
	var services []service
	parsers, maps := make([]*parser, len(files)), &configMaps{}
	for i, f := range files {
		parsers[i] = &parser{file: f.Name, src: f.Data, maps: maps}
		parsers[i].read(f)
	}
	for _, p := range parsers { // of all files first: a set may stand before what it uses
		p.configMaps()
	}
	for _, p := range parsers {
		p.documents()
		SortDiagnostics(p.diags)
		defs = append(defs, p.defs...)
		diags = append(diags, p.diags...)
		budgets = append(budgets, p.budgets...)
		services = append(services, p.services...)
	}
	diags = append(diags, maps.unused()...)
	diags = append(diags, checkServices(defs, services)...)
	diags = append(diags, checkBudgets(defs, budgets)...)
	return defs, append(diags, duplicates(defs)...)
}

// SortDiagnostics orders diagnostics of one file by place.
func SortDiagnostics(d []Diagnostic) {
	sort.SliceStable(d, func(i, j int) bool {
		if d[i].Line != d[j].Line {
			return d[i].Line < d[j].Line
		}
		return d[i].Column < d[j].Column
	})
}

func duplicates(defs []Definition) []Diagnostic {
	seen := map[string]*Definition{}
	var out []Diagnostic
	for i := range defs {
		d := &defs[i]
		kind, meta := identity(d.Object)
		ns := namespaceOf(meta.Namespace)
		key := kind + "/" + ns + "/" + meta.Name
		if first := seen[key]; first != nil {
			out = append(out, d.Diagnose(spec.Problem{
				Path:    "metadata.name",
				Message: fmt.Sprintf("%s %s/%s is defined twice, first at %s:%d", kind, ns, meta.Name, first.File, first.Line),
			}))
			continue
		}
		seen[key] = d
	}
	return out
}

func identity(o Object) (kind string, m spec.Meta) {
	switch o := o.(type) {
	case *spec.StatefulSet:
		return spec.KindStatefulSet, o.Metadata
	case *spec.Service:
		return spec.KindService, o.Metadata
	case *spec.Program:
		return spec.KindProgram, o.Metadata
	}
	panic(fmt.Sprintf("configs: %T is no Object; use one of the three", o))
}
