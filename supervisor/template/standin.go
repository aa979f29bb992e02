package template

import (
	"fmt"

	"supd/supervisor/spec"
)

// DefaultPath is PATH for members whose definition sets none.
const DefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// BaseEnv is the environment every process has below SUP_*: it inherits nothing
// from the daemon.
func BaseEnv(home, user string) []Var {
	return []Var{{"PATH", DefaultPath}, {"HOME", home}, {"USER", user}, {"LOGNAME", user}}
}

// StandInput is what stand-in facts are made from.
type StandInput struct {
	Namespace, Name string
	Spec            spec.StatefulSetSpec
	Template        spec.Template
	Zone            string
	// AtLeast so many members, whatever the definition says.
	AtLeast int
}

func (in StandInput) replicas() int {
	n := 1
	if in.Spec.Replicas != nil {
		n = max(1, *in.Spec.Replicas)
	}
	return max(n, in.AtLeast)
}

// StandIn makes facts for every ordinal of a set that need not exist yet: each
// name and number has a plausible value.
func StandIn(in StandInput) []*Facts {
	start, n := 0, in.replicas()
	if in.Spec.Ordinals != nil {
		start = in.Spec.Ordinals.Start
	}
	service := in.Spec.ServiceName
	if service == "" {
		service = in.Name
	}
	zone := in.Zone
	if zone == "" {
		zone = spec.ClusterZone
	}
	ports := map[string]int{}
	for _, p := range in.Template.Processes {
		for _, port := range p.Ports {
			ports[port.Name] = port.Port
			if port.Port == 0 {
				ports[port.Name] = 30000 + len(ports)
			}
		}
	}
	members := make([]Member, n)
	for i := range members {
		name := spec.MemberName(in.Name, start+i)
		members[i] = Member{
			Name: name, Namespace: in.Namespace, Set: in.Name, Ordinal: start + i,
			IP: fmt.Sprintf("127.64.%d.%d", i/250%256, i%250+1), Hostname: name,
			FQDN: spec.MemberFQDN(name, service, in.Namespace, zone), Node: "node-1",
			Epoch: 1, Revision: spec.RevisionName(in.Name, in.Template.Hash()), Volumes: "new",
			Bootstrap: i == 0, Ports: ports,
		}
	}
	volumes := map[string]string{}
	for _, v := range in.Spec.Volumes {
		volumes[v.Name] = "/var/lib/supd/volumes/" + v.Name
		if v.MountPath != "" {
			volumes[v.Name] = v.MountPath
		}
	}
	for _, s := range in.Template.Scratch {
		volumes[s.Name] = "/var/lib/supd/run/" + s.Name
	}
	out := make([]*Facts, n)
	for i := range out {
		out[i] = &Facts{
			Member: members[i], Members: members,
			Set: Set{
				Name: in.Name, Replicas: n, Service: service,
				FQDN: spec.ServiceFQDN(service, in.Namespace, zone),
			},
			Volumes: volumes,
			Node:    Node{Name: "node-1", Address: "127.0.0.1"},
		}
	}
	return out
}
