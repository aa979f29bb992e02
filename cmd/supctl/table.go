package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"supd/supervisor/client"
	"supd/supervisor/spec"
)

// grid is a table for people: a head and rows of words.
type grid struct {
	head  []string
	rows  [][]string
	shape shape
}

// shape is which columns there are beside a kind's usual ones.
type shape struct{ namespace, sometimes bool }

// String draws the grid with no borders and three spaces between columns.
func (g grid) String() string {
	t := table.NewWriter()
	t.SetStyle(table.Style{
		Name:    "supctl",
		Box:     table.BoxStyle{PaddingRight: "   "},
		Format:  table.FormatOptions{Header: text.FormatDefault, Row: text.FormatDefault},
		Options: table.OptionsNoBordersAndSeparators,
	})
	t.SuppressTrailingSpaces()
	t.AppendHeader(cells(g.head))
	for _, r := range g.rows {
		t.AppendRow(cells(r))
	}
	return t.Render() + "\n"
}

func cells(words []string) table.Row {
	out := make(table.Row, len(words))
	for i, w := range words {
		out[i] = w
	}
	return out
}

// columns is how a kind is shown: one function per row, wide ones after the others.
type columns struct {
	head, wide []string
	// sometimes is the one of head that is left out while all its cells are "-".
	sometimes string
	row       func(raw json.RawMessage, now time.Time) (words, wide []string, err error)
}

// words leaves out the column that is there only sometimes.
func (c columns) words(all []string, s shape) []string {
	i := slices.Index(c.head, c.sometimes)
	if s.sometimes || i < 0 {
		return all
	}
	return slices.Delete(slices.Clone(all), i, i+1)
}

var columnsOf = map[client.Resource]columns{
	client.StatefulSets: {
		head: []string{"NAME", "READY", "UPDATED", "AVAILABLE", "STATUS", "AGE"},
		wide: []string{"POLICY", "REVISION", "WAITS FOR"},
		row:  rowOf(setRow),
	},
	client.Members: {
		head: []string{"NAME", "READY", "STATUS", "HEALTHY", "ROLE", "RESTARTS", "NODE", "AGE"},
		wide: []string{"IP", "EPOCH", "REVISION", "MESSAGE"},
		// of sets with a role probe
		sometimes: "ROLE",
		row:       rowOf(memberRow),
	},
	client.Volumes: {
		head: []string{"NAME", "STATUS", "MEMBER", "NODE", "SIZE", "AGE"},
		wide: []string{"USED", "PATH", "MESSAGE"},
		row:  rowOf(volumeRow),
	},
	client.Services: {
		head: []string{"NAME", "NOT READY TOO", "PORTS", "AGE"},
		row:  rowOf(serviceRow),
	},
	client.Programs: {
		head: []string{"NAME", "COMMAND", "USER", "AGE"},
		row:  rowOf(programRow),
	},
	client.Revisions: {
		head: []string{"NAME", "STATEFULSET", "REVISION", "AGE"},
		row:  rowOf(revisionRow),
	},
	client.Nodes: {
		head: []string{"NAME", "STATUS", "ROLES", "MEMBERS", "ADDRESS", "VERSION", "AGE"},
		wide: []string{"LEASE UNTIL", "LABELS"},
		row:  rowOf(nodeRow),
	},
	client.Events: {
		head: []string{"LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"},
		wide: []string{"WHO"},
		row:  rowOf(eventRow),
	},
}

func rowOf[T any](f func(*T, time.Time) (words, wide []string)) func(json.RawMessage, time.Time) ([]string, []string, error) {
	return func(raw json.RawMessage, now time.Time) ([]string, []string, error) {
		var v T
		if err := json.Unmarshal(raw, &v); err != nil {
			return nil, nil, spec.Errorf(spec.CodeInternal, "cannot read an object of the answer: %v", err)
		}
		words, wide := f(&v, now)
		return words, wide, nil
	}
}

func setRow(s *spec.StatefulSet, now time.Time) (words, wide []string) {
	st := s.Status
	if st == nil {
		st = &spec.StatefulSetStatus{}
	}
	waits := "-"
	if len(st.WaitsFor) > 0 {
		waits = st.WaitsFor[0].Subject + " " + st.WaitsFor[0].Message
	}
	return []string{
		s.Metadata.Name, fmt.Sprintf("%d/%d", st.ReadyReplicas, wantedOf(s)), strconv.Itoa(st.UpdatedReplicas),
		strconv.Itoa(st.AvailableReplicas), setWord(s), age(s.Metadata.CreatedAt, now),
	}, []string{s.Spec.PodManagementPolicy, st.UpdateRevision, waits}
}

func wantedOf(s *spec.StatefulSet) int {
	if s.Spec.Replicas == nil || s.Status != nil && s.Status.Deleting {
		return 0
	}
	return *s.Spec.Replicas
}

// setWord is a set's state in one word.
func setWord(s *spec.StatefulSet) string {
	stalled, progressing := conditionOf(s, spec.ConditionStalled), conditionOf(s, spec.ConditionProgressing)
	switch {
	case stalled != nil && stalled.Status == "True":
		return "Stalled"
	case progressing != nil && progressing.Status == "True":
		return progressing.Reason
	}
	return "Ready"
}

func conditionOf(s *spec.StatefulSet, typ string) *spec.Condition {
	if s.Status == nil {
		return nil
	}
	for i := range s.Status.Conditions {
		if strings.EqualFold(s.Status.Conditions[i].Type, typ) {
			return &s.Status.Conditions[i]
		}
	}
	return nil
}

func memberRow(m *spec.Member, now time.Time) (words, wide []string) {
	ready := 0
	for _, p := range m.Status.Processes {
		if p.Ready && m.Status.Ready {
			ready++
		}
	}
	total := max(1, len(m.Status.Processes))
	if m.Status.Ready && len(m.Status.Processes) == 0 {
		ready = 1
	}
	healthy := "yes"
	if !m.Status.Healthy {
		healthy = "no, " + m.Status.Reason
	}
	words = []string{
		m.Metadata.Name, fmt.Sprintf("%d/%d", ready, total), m.Status.Phase, healthy, dash(m.Status.Role),
		strconv.Itoa(m.Status.Restarts), m.Spec.Node, age(m.Metadata.CreatedAt, now),
	}
	wide = []string{m.Spec.IP, strconv.FormatUint(m.Spec.Epoch, 10), dash(m.Spec.Revision), dash(m.Status.Message)}
	return words, wide
}

func volumeRow(v *spec.Volume, now time.Time) (words, wide []string) {
	size := "-"
	if v.Spec.Size != "" {
		size = string(v.Spec.Size)
		if !v.Status.SizeEnforced {
			size += " (advisory)"
		}
	}
	used := "-"
	if v.Status.UsedBytes != nil {
		used = bytesWord(*v.Status.UsedBytes)
	}
	return []string{v.Metadata.Name, v.Status.Phase, dash(v.Status.Member), v.Spec.Node, size, age(v.Metadata.CreatedAt, now)},
		[]string{used, dash(v.Status.Path), dash(v.Status.Message)}
}

func serviceRow(s *spec.Service, now time.Time) (words, wide []string) {
	var ports []string
	for _, p := range s.Spec.Ports {
		ports = append(ports, fmt.Sprintf("%s:%d/%s", p.Name, p.Port, p.Protocol))
	}
	all := "no"
	if s.Spec.PublishNotReadyAddresses {
		all = "yes"
	}
	return []string{s.Metadata.Name, all, dash(strings.Join(ports, ",")), age(s.Metadata.CreatedAt, now)}, nil
}

func programRow(p *spec.Program, now time.Time) (words, wide []string) {
	command := strings.Join(append(append([]string{}, p.Spec.Command...), p.Spec.Args...), " ")
	return []string{p.Metadata.Name, dash(cut(oneLine(command), 60)), dash(p.Spec.User), age(p.Metadata.CreatedAt, now)}, nil
}

func revisionRow(r *spec.Revision, now time.Time) (words, wide []string) {
	return []string{r.Metadata.Name, r.Set, strconv.FormatUint(r.Revision, 10), age(r.Metadata.CreatedAt, now)}, nil
}

func nodeRow(n *spec.Node, now time.Time) (words, wide []string) {
	status := n.Status.State
	switch {
	case n.Status.Drained:
		status += ",Drained"
	case n.Spec.Draining:
		status += ",Draining"
	case n.Spec.Cordoned:
		status += ",Cordoned"
	}
	var roles []string
	if n.Status.Leader {
		roles = append(roles, "leader")
	}
	if n.Status.Voter {
		roles = append(roles, "voter")
	}
	lease := dash(n.Status.LeaseUntilReason)
	if n.Status.LeaseUntil != nil {
		lease = n.Status.LeaseUntil.UTC().Format("15:04:05Z")
	}
	return []string{
		n.Metadata.Name, status, dash(strings.Join(roles, ",")), strconv.Itoa(n.Status.Members),
		n.Spec.Address, dash(n.Status.Version), age(n.Metadata.CreatedAt, now),
	}, []string{lease, dash(labelsWord(n.Spec.Labels))}
}

func eventRow(e *spec.Event, now time.Time) (words, wide []string) {
	return []string{age(&e.At, now), e.Type, e.Reason, e.Object, oneLine(e.Message)}, []string{dash(e.Who)}
}
