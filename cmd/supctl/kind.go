package main

import (
	"strings"

	"supd/supervisor/client"
)

// kindOf are the ways to write a resource on the command line.
type kindOf struct {
	resource client.Resource
	word     string // as it is printed: "statefulset"
	names    []string
}

var kindTable = []kindOf{
	{client.StatefulSets, "statefulset", []string{"statefulset", "statefulsets", "sts"}},
	{client.Members, "member", []string{"member", "members", "m", "pod", "pods", "po"}},
	{client.Volumes, "volume", []string{"volume", "volumes", "vol", "vols", "pvc"}},
	{client.Services, "service", []string{"service", "services", "svc"}},
	{client.Programs, "program", []string{"program", "programs", "prog"}},
	{client.Revisions, "revision", []string{"revision", "revisions", "rev"}},
	{client.Nodes, "node", []string{"node", "nodes", "no"}},
	{client.Events, "event", []string{"event", "events", "ev"}},
}

func parseKind(s string) (kindOf, error) {
	low := strings.ToLower(s)
	var all []string
	for _, k := range kindTable {
		for _, n := range k.names {
			if n == low {
				return k, nil
			}
		}
		all = append(all, k.word)
	}
	return kindOf{}, usagef("there is no kind %q; kinds are %s", s, strings.Join(all, ", "))
}

// parseTarget reads "KIND/NAME" or "KIND NAME".
func parseTarget(args []string) (kindOf, string, error) {
	kind, name, slash := strings.Cut(args[0], "/")
	switch {
	case slash && len(args) == 1:
	case !slash && len(args) == 2:
		name = args[1]
	default:
		return kindOf{}, "", usagef("want KIND/NAME or KIND NAME")
	}
	k, err := parseKind(kind)
	if err == nil && name == "" {
		err = usagef("want KIND/NAME or KIND NAME: the name is missing")
	}
	return k, name, err
}

// parseTargetOr reads "KIND/NAME", or "NAME" of the kind that is meant.
func parseTargetOr(arg, word string) (kindOf, string, error) {
	if !strings.Contains(arg, "/") {
		arg = word + "/" + arg
	}
	return parseTarget([]string{arg})
}
