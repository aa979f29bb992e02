package template

import "github.com/zclconf/go-cty/cty"

// roots are the names a template may begin with, each with how its value is made.
// A root is made only when a template names it.
var roots = map[string]func(*Facts) cty.Value{
	"member": func(f *Facts) cty.Value {
		m := f.Member
		return cty.ObjectVal(map[string]cty.Value{
			"name": cty.StringVal(m.Name), "ordinal": number(m.Ordinal), "namespace": cty.StringVal(m.Namespace),
			"set": cty.StringVal(m.Set), "ip": cty.StringVal(m.IP), "hostname": cty.StringVal(m.Hostname),
			"fqdn": cty.StringVal(m.FQDN), "node": cty.StringVal(m.Node), "epoch": cty.NumberUIntVal(m.Epoch),
			"revision": cty.StringVal(m.Revision), "volumes": cty.StringVal(m.Volumes),
			"joining": cty.BoolVal(m.Joining), "bootstrap": cty.BoolVal(m.Bootstrap),
		})
	},
	"leaver": func(f *Facts) cty.Value {
		if f.Leaver == nil {
			return cty.EmptyObjectVal // only afterLeave knows one
		}
		m := f.Leaver
		return cty.ObjectVal(map[string]cty.Value{
			"name": cty.StringVal(m.Name), "ordinal": number(m.Ordinal), "ip": cty.StringVal(m.IP), "hostname": cty.StringVal(m.Hostname),
			"fqdn": cty.StringVal(m.FQDN), "node": cty.StringVal(m.Node), "port": ports(m.Ports),
		})
	},
	"members": func(f *Facts) cty.Value { return memberList(f.Members) },
	"peers":   func(f *Facts) cty.Value { return memberList(f.Peers()) },
	"set": func(f *Facts) cty.Value {
		return cty.ObjectVal(map[string]cty.Value{
			"name": cty.StringVal(f.Set.Name), "replicas": number(f.Set.Replicas),
			"service": cty.StringVal(f.Set.Service), "fqdn": cty.StringVal(f.Set.FQDN),
			"formed": cty.BoolVal(f.Set.Formed),
		})
	},
	"volume": func(f *Facts) cty.Value { return texts(f.Volumes) },
	"port":   func(f *Facts) cty.Value { return ports(f.Member.Ports) },
	"node": func(f *Facts) cty.Value {
		return cty.ObjectVal(map[string]cty.Value{
			"name": cty.StringVal(f.Node.Name), "address": cty.StringVal(f.Node.Address),
			"labels": labels(f.Node.Labels),
		})
	},
	"env": func(f *Facts) cty.Value { return texts(f.Env) },
}

func memberList(ms []Member) cty.Value {
	vals := make([]cty.Value, len(ms))
	for i, m := range ms {
		vals[i] = cty.ObjectVal(map[string]cty.Value{
			"name": cty.StringVal(m.Name), "ordinal": number(m.Ordinal), "ip": cty.StringVal(m.IP),
			"fqdn": cty.StringVal(m.FQDN), "node": cty.StringVal(m.Node), "ready": cty.BoolVal(m.Ready),
			"port": ports(m.Ports),
		})
	}
	// A tuple, not a list: members of a set that is being changed may differ in
	// the names of their ports.
	return cty.TupleVal(vals)
}

func texts(m map[string]string) cty.Value {
	vals := make(map[string]cty.Value, len(m))
	for k, v := range m {
		vals[k] = cty.StringVal(v)
	}
	return cty.ObjectVal(vals)
}

// labels is a map, not an object: lookup(node.labels, "zone", "") must work for
// nodes with and without the label.
func labels(m map[string]string) cty.Value {
	if len(m) == 0 {
		return cty.MapValEmpty(cty.String)
	}
	vals := make(map[string]cty.Value, len(m))
	for k, v := range m {
		vals[k] = cty.StringVal(v)
	}
	return cty.MapVal(vals)
}

func ports(m map[string]int) cty.Value {
	vals := make(map[string]cty.Value, len(m))
	for k, v := range m {
		vals[k] = number(v)
	}
	return cty.ObjectVal(vals)
}

func number(n int) cty.Value { return cty.NumberIntVal(int64(n)) }
