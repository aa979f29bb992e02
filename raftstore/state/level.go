package state

import (
	"encoding/json"
	"fmt"
	"strings"

	"supd/supervisor/spec"
)

// A node that meets an entry it does not understand stops following (see Decode). So
// while nodes of several versions are in a cluster, nothing may enter the log that the
// oldest of them lacks. Each node registers its Level, and the leader asks Fit before
// it proposes.

// Level is how much of the log a version understands. Levels only grow.
type Level struct {
	// Commands it knows, counted in the order of Commands.
	Commands int `json:"commands,omitempty"`
	// Fields it knows of those added to commands later, counted in the order of Fields.
	Fields int `json:"fields,omitempty"`
}

// NodeTooOld is the reason of refusals for a node that would not understand the log.
const NodeTooOld = "NodeTooOld"

// firstCommands is what the versions knew that registered no Level.
const firstCommands = 27

// ownLevel and addedFields are asked for with every entry.
var (
	ownLevel    = Level{Commands: len(Commands()), Fields: len(Fields())}
	addedFields = Fields()
)

// OwnLevel is this version's.
func OwnLevel() Level { return ownLevel }

// Fields are the fields that commands got after a version had been released without
// them, as KIND and the JSON path below it, in the order in which they came: new ones
// go at the end. A test finds those that are missing here.
func Fields() []string {
	return []string{
		"RegisterNode node.level",
		"RegisterNode node.given",
		"RegisterNode node.own",
		"RegisterNode node.masked",
		"RegisterNode node.draining",
		"RegisterNode node.drainSince",
		"RegisterNode node.drainWho",
		"RegisterNode node.drainWhy",
		"InitCluster ca",
		"RegisterNode node.fences",
		"RegisterNode node.boot",
		"StartMember fence",
		"Report members.seen.fenced",
		"Report members.seen.hooks",
		"Report found",
		"PutSet rules",
		"PutSet spec.processes.hooks.*.signal",
		"PutSet template.processes.hooks.*.signal",
		"PutSet template.shape",
		"StartMember ports",
		"Report members.seen.position",
		"PutSet spec.processes.startup.stopTimeout",
		"PutSet spec.processes.readiness.stopTimeout",
		"PutSet spec.processes.liveness.stopTimeout",
		"PutSet template.processes.startup.stopTimeout",
		"PutSet template.processes.readiness.stopTimeout",
		"PutSet template.processes.liveness.stopTimeout",
		"PutProgram spec.startup.stopTimeout",
		"PutProgram spec.readiness.stopTimeout",
		"PutProgram spec.liveness.stopTimeout",
		"PutSet spec.processes.role",
		"PutSet spec.processes.mayStop",
		"PutSet template.processes.role",
		"PutSet template.processes.mayStop",
		"PutProgram spec.role",
		"PutProgram spec.mayStop",
		"PutSet spec.updateStrategy.rollingUpdate.roleLast",
		"Report members.seen.role",
		"Report members.seen.mayStop",
		"StopMember ifMayStop",
		"Report members.seen.diedYoung",
		"AbandonVolume missing",
		"StopMember unplaced",
		"AskHook unplaced",
		"Report members.seen.processes.lastExit.message",
		"PutSet spec.processes.hooks.*.http",
		"PutSet template.processes.hooks.*.http",
		"Report rules",
		"AskHook again",
	}
}

// registersLevel is how many of Fields every version sends that registers a Level.
const registersLevel = 1

// orFirst is the level of a node that registered none.
func (l Level) orFirst() Level {
	l.Commands = max(l.Commands, firstCommands)
	return l
}

// Level is the least that all nodes of the View know, and whose it is; this version's
// own when there are no others.
func (v *View) Level() (least Level, commands, fields *Node) {
	least = OwnLevel()
	for n := range v.Nodes() {
		l := n.Level.orFirst()
		if l.Commands < least.Commands {
			least.Commands, commands = l.Commands, n
		}
		if l.Fields < least.Fields {
			least.Fields, fields = l.Fields, n
		}
	}
	return least, commands, fields
}

// place is a command's among Commands, from 1.
var place = func() map[string]int {
	m := map[string]int{}
	for i, c := range Commands() {
		m[c.kind()] = i + 1
	}
	return m
}()

// Fit makes of a command what all nodes of the View understand, or refuses it. What a
// node tells of itself and its members is cut down (it registers again when the others
// have been upgraded), and so is the promise of a fence: without it nobody is taken over.
// A definition is then taken by the older rules, but only if it asks for nothing newer.
func (v *View) Fit(c Command) (Command, *spec.Error) {
	least, commands, fields := v.Level()
	if place[c.kind()] > least.Commands {
		return nil, tooOld(commands, c, "")
	}
	if fields == nil || least.Fields >= len(addedFields) {
		return c, nil
	}
	return fitFields(c, fields, addedFields[max(least.Fields, registersLevel):])
}

// fitFields makes of a command what node n understands, which lacks the added fields.
func fitFields(c Command, n *Node, added []string) (Command, *spec.Error) {
	raw, err := json.Marshal(c)
	var tree any
	if err == nil {
		err = json.Unmarshal(raw, &tree)
	}
	if err != nil {
		return nil, spec.Errorf(spec.CodeInternal, "cannot look at the fields of %s: %v", c.kind(), err)
	}
	fitted := cutDown(c)
	changed := false
	for _, f := range added {
		kind, path, _ := strings.Cut(f, " ")
		if kind != c.kind() || !cut(tree, strings.Split(path, ".")) {
			continue
		}
		if _, definition := c.(*PutSet); fitted == nil || definition && path != "rules" {
			return nil, tooOld(n, c, path)
		}
		changed = true
	}
	if !changed {
		return c, nil
	}
	if raw, err = json.Marshal(tree); err == nil {
		err = json.Unmarshal(raw, fitted)
	}
	if err != nil {
		return nil, spec.Errorf(spec.CodeInternal, "cannot cut %s down to what node %s understands: %v", c.kind(), n.Name, err)
	}
	return fitted, nil
}

// cutDown is an empty command of c's kind if that says no less than it should when newer
// fields are left out, or nil.
func cutDown(c Command) Command {
	switch c.(type) {
	case *RegisterNode:
		return &RegisterNode{}
	case *StartMember:
		return &StartMember{}
	case *Report:
		return &Report{}
	case *PutSet:
		return &PutSet{}
	}
	return nil
}

// cut removes what stands at a path, through lists and maps, and tells whether it was
// there. "*" is any key of a map.
func cut(tree any, path []string) (found bool) {
	switch x := tree.(type) {
	case []any:
		for _, e := range x {
			found = cut(e, path) || found
		}
	case map[string]any:
		for k, e := range x {
			switch {
			case path[0] != "*" && path[0] != k:
			case len(path) == 1:
				delete(x, k)
				found = true
			default:
				found = cut(e, path[1:]) || found
			}
		}
	}
	return found
}

func tooOld(n *Node, c Command, field string) *spec.Error {
	what := c.kind()
	if field != "" {
		what += "." + field
	}
	version := n.Version
	if version == "" {
		version = "of another version"
	}
	return &spec.Error{
		Code: spec.CodeRefused, Reason: NodeTooOld,
		Message: fmt.Sprintf("node %s (supd %s) does not understand %s yet, and would stop following; upgrade supd on it first, "+
			"or forget the node if it is gone for good", n.Name, version, what),
	}
}

// mayFollow refuses a node that does not know commands the log has already: it could
// never follow, and would hold everybody else to what it knows. (The versions that
// register no level have no way to reach this one.)
func (t *tx) mayFollow(n *Node) *spec.Error {
	if have := n.Level.Commands; have > 0 && have < t.Cluster.Commands {
		return &spec.Error{
			Code: spec.CodeRefused, Reason: NodeTooOld,
			Message: fmt.Sprintf("node %s (supd %s) is too old for this cluster's log: it knows %d kinds of entries, and there are %d in use; "+
				"start a newer supd on it (its data directory stays as it is)", n.Name, n.Version, have, t.Cluster.Commands),
		}
	}
	return nil
}

// noteCommand notes the newest kind of command in use.
func (t *tx) noteCommand() {
	if p := place[t.e.Cmd.kind()]; p > firstCommands && p > t.Cluster.Commands {
		t.Cluster.Commands = p
	}
}
