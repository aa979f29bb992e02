package server

import (
	"fmt"
	"strings"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/client"
	"supd/supervisor/spec"
)

// rules say, for each reason to wait or to be unwell, which rule holds, what comes
// next, and the command that would help. %s in a command is the member, its set, or
// its node, as arg says.
var rules = []struct {
	reason, rule, next, command string
	arg                         string // "member", "set", "node", "volume", "log" (see logOf), "asked" (see asked), or ""
}{
	{"Order", "ordinals that never ran start from low to high, each behind the gate of podManagementPolicy", "it starts when the lower one passes the gate", "supctl explain %s", "holder"},
	{"ScaleDownBlocked", "a set is made smaller only while every member is healthy", "the removal goes on when all are healthy again", "supctl explain %s", "set"},
	{"Budget", "voluntary downtime is bounded by maxUnavailable, whatever made members unavailable", "it is restarted when enough others are available", "supctl explain %s", "set"},
	{"MayStop", "a member that serves is stopped for a rollout, restart, scale-down or drain only when its mayStop probe says yes", "it is asked again every period; the command stops it whatever it says, and so does a definition without the probe, which restarts nobody", "supctl %s", "pass"},
	{"RoleLast", "with spec.updateStrategy.rollingUpdate.roleLast the member of that role is updated after all others", "it is restarted when no other is left that can be", "supctl explain %s", "set"},
	{"DrainBudget", "a drain keeps to the budget of each set: voluntary downtime is bounded by maxUnavailable, whatever made members unavailable", "it is stopped when enough others are available; a greater spec.updateStrategy.rollingUpdate.maxUnavailable lets more be stopped at once", "supctl explain %s", "set"},
	{"Drained", "a node that is drained runs no members until it is uncordoned; a member with directories keeps its place there", "it starts again when its node is uncordoned", "supctl node uncordon %s", "node"},
	{"Frozen", "while the cluster is frozen by command nothing is started, stopped, placed or deleted; members run on and are restarted in place", "all goes on when it is unfrozen", "supctl cluster unfreeze", ""},
	{"NodeLost", "a member's node does not answer: whether it runs there is not known, and nobody else may start it", "all goes on when the node answers again", "supctl describe node %s", "node"},
	{"NodeSuspect", "its node has not answered for a moment; a member on it does not count as healthy", "the node is Ready again when it answers, or Lost when its lease has run out", "supctl describe node %s", "node"},
	{"NodeUnknown", "its node is not registered", "it goes on when the node registers", "supctl node list", ""},
	{"VolumeNodeLost", "a member with volumes never moves by itself; its directory is on a node that takes no members now", "it starts when that node answers and is not cordoned, or when the directory is given up by its name", "supctl describe node %s", "node"},
	{"NotFenced", "with onNodeLoss Fence a member is started elsewhere only when its node had said that this start of it ends with the node's lease; a keeper or supd of an older version, or a change of onNodeLoss a moment before, did not", "it goes on when the node answers again, or when its machine is vouched for to be dead", "supctl explain node/%s", "node"},
	{state.VolumeMissing, "a directory that was made and is not there is never made anew: most likely its disk is not mounted", "it starts when the directory is back, or when it is given up by its name", "supctl volume abandon %s", "volume"},
	{"VolumeReleasing", "a name is free only when its released directory is gone", "it is reserved when the directory is gone", "supctl volume undo-release %s", "volume"},
	{"VolumeDropped", "a revision that names a volume starts only with its directory; this one was dropped from the definition and released", "it goes on when the set's newest revision is the one for it (lower the partition, or resume the rollout)", "supctl rollout history %s", "set"},
	{"NameTaken", "a volume's name has one owner", "nothing, until the other volume is released", "supctl volume list", ""},
	{"NoAddress", "every member has its own address of the plan", "nothing, until addresses are free", "supctl get members -A -o wide", ""},
	{"NoNode", "a member is placed on a node that is Ready, not cordoned, and fits placement and ports", "it is reserved when such a node is there", "supctl node list", ""},
	{"PortTaken", "two members cannot have one port of one address", "it is reserved when the port is free or another node is there", "supctl get members -A -o wide", ""},
	{"Stopping", "a member is gone only when its last process has ended", "it is killed when its stop timeout is over", "supctl logs %s", "member"},
	{"Recreate", "with updateStrategy Recreate all members stop before any starts", "it starts when all have stopped", "supctl get members -l " + LabelSet + "=%s", "set"},
	{"Paused", "while a rollout is paused no member is restarted for it; repair, scaling and first starts go on", "it goes on when it is resumed", "supctl rollout resume %s", "set"},
	{"Shutdown", "the whole cluster was stopped in order (supd dev); what it stopped stays down until it is started as a whole", "members start again with the next supd dev on the same directory", "supctl cluster status", ""},
	{"NotStarted", "an ordinal that never ran starts in its turn", "it starts when its turn comes", "supctl explain %s", "set"},
	{"Starting", "a member is healthy only when it runs, is ready and is steady", "its node reports when it runs", "supctl logs %s", "member"},
	{"NotReady", "a member is healthy only while its readiness probe passes", "the probe is tried again every period", "supctl logs %s", "member"},
	{"NotSteady", "after a start or a crash a member must run a while before it counts as healthy", "it is steady when it has run that long", "supctl logs %s --previous", "member"},
	{"NeedsCgroup", "a process that cannot be limited as its definition asks is not started; limits of cpu, memory, pids and io are kept by cgroup v2", "it starts when its node offers the controller that is named (boot it with cgroup v2 only: systemd.unified_cgroup_hierarchy=1 cgroup_no_v1=all), or when the definition asks for no such limit", "supctl describe node %s", "node"},
	{"OOMKilled", "a process that needs more memory than its limits.memory, or than its host has, is killed by the kernel, with all that it has forked", "it is started again, with growing pauses; raise limits.memory, or have the program use less", "supctl logs %s --previous", "member"},
	{"LeaseEnded", "with onNodeLoss Fence a member ends before its node's lease does, for afterwards it may be started elsewhere; a preStop hook is not run then: what is left of the lease is for the stop itself", "it starts with a new epoch when its node answers again", "supctl describe member %s", "member"},
	{"NoLease", "with onNodeLoss Fence a member starts only on a node whose lease holds and is known to its keeper", "it is started when the lease is renewed, twice a second", "supctl describe member %s", "member"},
	{"ExecFailed", "a member runs only when its program can be executed, by its user and in its view", "it is tried again, with growing pauses; what is said to be missing or forbidden is to be mended on the node, or in the definition", "supctl describe member %s", "member"},
	{"UserUnknown", "a member runs as the user and group that its definition names, which its node must know", "it is tried again, with growing pauses; make the account on the node, or name another", "supctl describe member %s", "member"},
	{"SecretMissing", "what comes fromFile is read on the node at each start", "it is tried again, with growing pauses; put the file on the node", "supctl describe member %s", "member"},
	{"OnJoinFailed", "a member that joins a formed set is started only when its onJoin hook has succeeded", "the hook is tried again, with growing pauses", "supctl logs %s -c hook-onJoin", "member"},
	{"OnLeaveRunning", "a member is removed only when its onLeave hook has succeeded, while it still runs", "it is stopped when the hook has ended well", "supctl logs %s -c hook-onLeave", "member"},
	{"OnLeaveFailed", "a member is removed only when its onLeave hook has succeeded, while it still runs", "the hook is tried again, with growing pauses; mend what it says, or name the member with --accept-unhealthy, which passes the hook by", "supctl logs %s -c hook-onLeave", "member"},
	{"AfterLeaveRunning", "after a member was removed the lowest healthy one runs its afterLeave hook; the next removal waits for it", "it goes on when the hook has ended well", "supctl logs %s", "asked"},
	{"AfterLeaveFailed", "after a member was removed the lowest healthy one runs its afterLeave hook; the next removal waits for it", "the hook is tried again, with growing pauses; change its command, or take the hook out of the definition", "supctl logs %s", "asked"},
	{"AfterLeaveWaits", "after a member was removed the lowest healthy one runs its afterLeave hook; the next removal, and the return of the ordinal, wait for it", "it goes on when a healthy member has run it; mend one, or take the hook out of the definition", "supctl explain %s", "set"},
	{"OnFormedRunning", "a new set is formed when all have started and the onFormed hook has succeeded", "it is formed when the hook has ended well", "supctl logs %s", "asked"},
	{"OnFormedFailed", "a new set is formed when all have started and the onFormed hook has succeeded", "the hook is tried again, with growing pauses; its command may be changed, which restarts nobody", "supctl logs %s", "asked"},
	{"Held", "when all of a set was down, the member with the newest data goes first: each tells its position by its hook", "it starts when every member has told", "supctl explain %s", "set"},
	{"PositionWaits", "when all of a set was down, the member with the newest data goes first: each tells its position by its hook", "all start when every member has told; one that never can is given up with its directory (supctl volume abandon) or machine (supctl node forget), or its hook is changed to print -1", "supctl describe member %s", "member"},
	{"BootstrapWaits", "when all of a set was down, the member with the newest data goes first, and the others join it: nobody takes its place, for it may have taken writes", "they join it when it is available; if it never can be, give its data up (move it out of its directory, or, if its machine is gone, supctl volume abandon), and have all begin anew (supctl restart)", "supctl explain %s", "holder"},
	{"NobodyFirst", "when all of a set was down, the member with the newest data goes first, and the others join it; members that crash are restarted where they are, and find each other by themselves or not at all", "they go on if they find each other; a restart stops them all, has each tell its position, and begins with the newest data", "supctl restart %s", "set"},
	{"PositionFailed", "when all of a set was down, the member with the newest data goes first: each tells its position by its hook", "the hook is tried again, with growing pauses; a hook that prints -1 for data that cannot be read lets the others go on", "supctl logs %s -c hook-position", "member"},
	{"PostStartPending", "a process counts as started only when its postStart hook has ended well", "its probes begin when the hook has ended, or it is restarted when the hook fails", "supctl describe member %s", "member"},
	{"PostStartFailed", "a process whose postStart hook fails is restarted, as after a crash", "the hook runs again after the restart, with growing pauses; its command may be changed, which restarts nobody else", "supctl logs %s -c hook-postStart", "member"},
	{"Init", "Init: a member's processes start when its onJoin hook and its init steps have ended well, one after the other", "its processes start when that has ended well", "supctl logs %s", "log"},
	{"InitFailed", "InitFailed: a member's processes start only when every init step has exited with 0; one that is to run once and has done so is not run again", "the step is tried again, with growing pauses; a mended definition is followed at once", "supctl logs %s", "log"},
	{"TemplateFailed", "TemplateFailed: a member starts only when every template of its definition can be rendered on its node", "it is tried again, with growing pauses; a mended definition is followed at once", "supctl describe member %s", "member"},
	{"FileFailed", "FileFailed: a member starts only when its files can be written on its node", "it is tried again, with growing pauses; a mended definition is followed at once", "supctl describe member %s", "member"},
	{"PortInUse", "PortInUse: a member starts only when nobody else on its node listens on its ports", "it is tried again, with growing pauses; end the other program, or have the definition name another port", "supctl describe member %s", "member"},
	{"CrashLoop", "CrashLoop: a process that ends is started again, with growing pauses (restart.backoff); its member counts when it has stayed up", "its node starts it again; its log tells what it said before it ended", "supctl logs %s", "log"},
	{"ExitedForGood", "ExitedForGood: a process is not started again after an exit status that its definition lists (restart.neverOn)", "nothing, until the member is restarted or its definition is mended", "supctl restart %s", "member"},
	{"StartupPending", "StartupPending: the other probes begin when the startup probe has passed; a process whose startup probe fails failureThreshold times is restarted", "the probe is tried again every period", "supctl logs %s", "log"},
	{"StartupFailed", "StartupFailed: a process whose startup probe has failed failureThreshold times is stopped and started again", "it is started again, with growing pauses; a program that needs longer wants a greater failureThreshold, which restarts nobody", "supctl logs %s", "log"},
	{"LivenessFailed", "LivenessFailed: a process whose liveness probe has failed failureThreshold times is stopped and started again", "it is started again, with growing pauses", "supctl logs %s", "log"},
	{"KeeperDown", "KeeperDown: members are started and stopped by their node's supd-keeper; what runs runs on without it", "it goes on when the keeper answers again; supd starts one at once, unless systemd is to", "supctl describe node %s", "node"},
	{"DiskFull", "DiskFull: a member starts only when its directories and files can be written", "it is tried again, with growing pauses; make room on its node", "supctl describe node %s", "node"},
	{"ReadOnlyDisk", "ReadOnlyDisk: a member starts only when its directories and files can be written", "it is tried again, with growing pauses; have its node's file system written to again", "supctl describe node %s", "node"},
	{"VolumeMissing", "VolumeMissing: a member that has data is never started on an empty directory in its stead", "it starts when the directory is there again, perhaps with the disk that it is on, or when it is given up by its name (supctl volume abandon)", "supctl describe member %s", "member"},
	{"StillLocked", "StillLocked: nothing is started twice: a process of an earlier start still holds the member's lock", "it starts when that process has ended", "supctl describe member %s", "member"},
	{"StillRunning", "StillRunning: nothing is started twice: processes of an earlier start still run", "it starts when they have ended", "supctl describe member %s", "member"},
	{"NeedsRoot", "what needs root is refused on a node whose supd does not run as root, never ignored", "nothing, until the definition or the node changes", "supctl describe member %s", "member"},
}

// advise fills in rule, next and command for a reason.
func advise(x *client.Explanation, reason string, args map[string]string) {
	for _, r := range rules {
		if r.reason != reason {
			continue
		}
		x.Rule, x.Next = r.rule, r.next
		switch {
		case r.arg == "":
			x.Command = r.command
		case args[r.arg] != "":
			x.Command = fmt.Sprintf(r.command, args[r.arg])
		}
		if args["ns"] != "" && args["ns"] != spec.DefaultNS && x.Command != "" {
			x.Command += " -n " + args["ns"]
		}
		return
	}
	x.Rule = reason + ": a member counts only while all is well with it"
	x.Next = "its node tries again, with growing pauses"
	if args["member"] != "" {
		x.Command = withNamespace("supctl describe member "+args["member"], args["ns"])
	}
}

// content is what an explanation of something that is well says.
func content(x *client.Explanation) {
	x.Rule = "nothing holds it: it is as it is wanted"
	x.Next = "nothing, until something changes"
}

func memberArgs(m *state.Member) map[string]string {
	return map[string]string{"ns": m.Namespace, "member": m.Name(), "set": m.Set, "node": m.Node, "log": logOf(m)}
}

// logOf names the log that tells what ails a member: of the init step or hook that its
// message names, or of the first process that is not ready. The main process's needs no name.
func logOf(m *state.Member) string {
	for _, of := range []struct{ word, prefix string }{{"init step ", "init-"}, {"hook ", "hook-"}} {
		if rest, ok := strings.CutPrefix(m.Seen.Message, of.word); ok {
			name, _, _ := strings.Cut(rest, " ")
			return m.Name() + " -c " + of.prefix + strings.TrimSuffix(name, ":")
		}
	}
	for i, p := range m.Seen.Processes {
		if p.Ready {
			continue
		}
		if i == 0 {
			break
		}
		return m.Name() + " -c " + p.Name
	}
	return m.Name()
}

// asked names the log of the hook that a set waits for, as logOf does; "": nobody was asked.
func asked(v *state.View, s *state.Set) string {
	for _, m := range v.SetMembers(s.Meta.Namespace, s.Meta.Name) {
		if a := m.Asked; a != nil && (m.Runs(a.Hook) || a.State == spec.HookFailed) {
			return m.Name() + " -c hook-" + a.Hook
		}
	}
	return ""
}

// ExplainMember says why a member is as it is.
func ExplainMember(v *state.View, m *state.Member, waits []spec.Wait) client.Explanation {
	x := client.Explanation{Object: "member/" + m.Name(), Details: []string{}}
	s := v.Set(m.Namespace, m.Set)
	switch {
	case m.Wish == state.WishGone || s == nil || !s.Wants(m.Ordinal):
		x.Wanted = "gone"
	case m.Wish == state.WishReserved:
		x.Wanted = "running, when its turn comes; a place on node " + m.Node + " is reserved"
	case m.Wish == state.WishStop:
		x.Wanted = "stopped (" + m.Why + "), then running again"
		if n := v.Node(m.Node); n != nil && n.Draining {
			x.Wanted = "stopped while its node " + m.Node + " is drained, then running again"
		}
	default:
		x.Wanted = "running on node " + m.Node + " with epoch " + fmt.Sprint(m.Epoch) + ", revision " + spec.RevisionName(m.Set, m.Revision)
	}
	ok, reason, message := v.Healthy(m)
	x.Actual = v.Phase(m)
	if ok {
		x.Actual += ", healthy"
	} else {
		if v.Node(m.Node) == nil {
			message = "its node " + m.Node + " was forgotten"
		}
		x.Actual += ", not healthy: " + message
	}
	x.Details = append(append(x.Details, firstOptions(v, s, m)...), lossOptions(v, s, m)...)
	x.Since = timePtr(unwellSince(v, m))
	if ok {
		x.Since = timePtr(m.ReadySince)
	}
	for _, w := range waits {
		if w.Subject == m.Name() || m.Held && strings.HasPrefix(w.Reason, "Position") { // for whose position it is held
			x.Details = append(x.Details, w.Subject+" "+w.Message)
		}
	}
	args := memberArgs(m)
	for _, vol := range v.MemberVolumes(m.Namespace, m.Set, m.Ordinal) {
		if vol.Reason == state.VolumeMissing {
			args["volume"] = vol.Name()
		}
	}
	if s != nil {
		args["asked"] = asked(v, s)
	}
	switch w, waiting := waitOf(waits, m.Name()); {
	case v.Cluster.Stopping && m.Stopping():
		advise(&x, "Shutdown", args)
	case waiting && w.Reason == "Budget" && !ok:
		advise(&x, reason, args) // it waits for nobody so much as for itself
	case waiting:
		args["holder"], args["pass"] = holder(w), passing(s, m)
		advise(&x, w.Reason, args)
	case ok:
		content(&x)
	default:
		advise(&x, reason, args)
	}
	if s != nil && v.Node(m.Node) == nil {
		explainTied(&x, v, s, m.Ordinal)
	}
	if s != nil && ok && s.Outdated(m) && s.Spec.UpdateStrategy.Type == spec.OnDelete {
		x.Rule = "with updateStrategy OnDelete a member follows a changed definition when it is deleted"
		x.Next, x.Command = "nothing, until it is deleted", "supctl delete member "+m.Name()
	}
	return x
}

// passing is the narrowest way past a member that does not let itself be stopped.
func passing(s *state.Set, m *state.Member) string {
	if s == nil || s.Wants(m.Ordinal) {
		return "delete member " + m.Name()
	}
	return fmt.Sprintf("scale %s --replicas %d --accept-unhealthy %s", m.Set, s.Replicas(), m.Name())
}

func waitOf(waits []spec.Wait, subject string) (spec.Wait, bool) {
	for _, w := range waits {
		if w.Subject == subject {
			return w, true
		}
	}
	return spec.Wait{}, false
}

// holder is the member that a wait for order names: "waits until web-0 is ...".
func holder(w spec.Wait) string {
	rest, ok := strings.CutPrefix(w.Message, "waits until ")
	if !ok {
		return w.Subject
	}
	name, _, _ := strings.Cut(rest, " ")
	return name
}

// ExplainSet says why a set is as it is.
func ExplainSet(v *state.View, s *state.Set, now time.Time, waits []spec.Wait) client.Explanation {
	x := client.Explanation{Object: "statefulset/" + s.Meta.Name, Details: []string{}}
	c := prospect(v, s, now)
	x.Wanted = fmt.Sprintf("%d members of revision %s, %s", c.wanted, spec.RevisionName(s.Meta.Name, s.Revision), s.Spec.PodManagementPolicy)
	if s.Deleting {
		x.Wanted = "gone; its volumes are retained"
		if s.Spec.VolumeRetention.WhenDeleted == spec.Delete {
			x.Wanted = "gone, and its members' directories with it"
		}
	}
	x.Actual = fmt.Sprintf("%d started, %d ready, %d available, %d on that revision", c.started, c.ready, c.available, c.updated)
	progressing := progressingCondition(s, c, nil)
	if progressing.Status == "True" {
		x.Actual += "; " + progressing.Message
	}
	x.Since = progressing.Since
	for _, w := range waits {
		x.Details = append(x.Details, w.Subject+" "+w.Message)
	}
	x.Details = append(x.Details, c.sick...)
	args := map[string]string{"ns": s.Meta.Namespace, "set": s.Meta.Name, "asked": asked(v, s)}
	explainSick(&x, v, s, c, args)
	switch {
	case v.Cluster.Stopping:
		advise(&x, "Shutdown", args)
	case len(waits) > 0:
		w := waits[0]
		addMemberArgs(v, s, w, args)
		advise(&x, w.Reason, args)
		if _, ordinal, ok := spec.SplitMember(w.Subject); ok && w.Reason == "VolumeNodeLost" {
			explainTied(&x, v, s, ordinal)
		}
		// What a set waits for is mended at the member that is sick.
		if args["sick"] != "" && (w.Reason == "ScaleDownBlocked" || w.Reason == "Budget" || w.Reason == "Order") {
			x.Command = withNamespace("supctl explain "+args["sick"], s.Meta.Namespace)
		}
	case progressing.Status == "True" && args["sick"] != "":
		// explainSick has said it
	case progressing.Status == "True":
		x.Rule, x.Next = "nothing holds it: it goes on", "the next step is under way"
		x.Command = withNamespace("supctl wait statefulset/"+s.Meta.Name+" --for=ready", s.Meta.Namespace)
	case args["sick"] == "":
		content(&x)
	}
	if self := withNamespace("supctl explain "+s.Meta.Name, s.Meta.Namespace); x.Command == self || x.Command == "" && len(waits) > 0 {
		x.Command = withNamespace("supctl describe sts "+s.Meta.Name, s.Meta.Namespace)
		if args["asked"] != "" {
			x.Command = withNamespace("supctl logs "+args["asked"], s.Meta.Namespace)
		}
	}
	explainRollout(&x, v, s, c, now, waits)
	return x
}

// explainRollout says that a rollout has stalled, or was undone, and the way out.
func explainRollout(x *client.Explanation, v *state.View, s *state.Set, c counted, now time.Time, waits []spec.Wait) {
	if r := s.Rollback; r != nil {
		by := r.Who
		if r.Auto {
			by = "autoRollback"
		}
		x.Details = append(x.Details, fmt.Sprintf("it went back from revision %s at %s by %s%s", spec.RevisionName(s.Meta.Name, r.From), r.At.UTC().Format(time.RFC3339), by, because(r.Why)))
	}
	stalled := stalledCondition(v, s, progressingCondition(s, c, nil), now, waits)
	if stalled.Status != "True" {
		return
	}
	x.Details = append(x.Details, "stalled since "+stalled.Since.Format(time.RFC3339)+": "+stalled.Message)
	switch back := v.Previous(s); {
	case s.Current == s.Revision || back == nil:
	case s.Spec.AutoRollback && s.Formed:
		x.Next = "a member of the new revision that does not get well has the set go back to revision " + spec.RevisionName(s.Meta.Name, s.Current) + " (autoRollback); a new definition mends it as well"
	default:
		x.Next += fmt.Sprintf("; or the rollout is undone: supctl rollout undo %s", s.Meta.Name)
	}
}

// explainSick names the first unhealthy member and why.
func explainSick(x *client.Explanation, v *state.View, s *state.Set, c counted, args map[string]string) {
	if len(c.sickNames) == 0 {
		return
	}
	args["sick"] = c.sickNames[0]
	m := v.MemberNamed(s.Meta.Namespace, c.sickNames[0])
	if m == nil {
		return
	}
	_, reason, _ := v.Healthy(m)
	advise(x, reason, memberArgs(m))
	x.Since = timePtr(unwellSince(v, m))
}

func addMemberArgs(v *state.View, s *state.Set, w spec.Wait, args map[string]string) {
	args["holder"] = holder(w)
	if m := v.MemberNamed(s.Meta.Namespace, w.Subject); m != nil {
		args["member"], args["node"], args["log"], args["pass"] = m.Name(), m.Node, logOf(m), passing(s, m)
		return
	}
	args["member"] = w.Subject
	_, ordinal, ok := spec.SplitMember(w.Subject)
	if !ok {
		return
	}
	for _, vs := range s.Spec.Volumes {
		if vol := v.Volume(s.Meta.Namespace, spec.VolumeName(vs.Name, s.Meta.Name, ordinal)); vol != nil {
			args["node"], args["volume"] = vol.Node, vol.Name()
			return
		}
	}
}

func withNamespace(command, ns string) string {
	if ns == "" || ns == spec.DefaultNS {
		return command
	}
	return command + " -n " + ns
}

// ExplainVolume says why a volume is as it is.
func ExplainVolume(v *state.View, vol *state.Volume) client.Explanation {
	name := vol.Name()
	x := client.Explanation{Object: "volume/" + name, Actual: vol.Phase + " on node " + vol.Node, Since: timePtr(vol.CreatedAt), Details: []string{}}
	if vol.Path != "" {
		x.Details = append(x.Details, "directory "+vol.Path)
	}
	x.Rule = "nothing is deleted that wasn't released"
	switch vol.Phase {
	case spec.VolumePending:
		x.Wanted, x.Next = "bound to member "+vol.Member(), "node "+vol.Node+" makes the directory when the member is to start"
		x.Command = "supctl explain " + vol.Member()
	case spec.VolumeBound:
		x.Wanted, x.Next = "bound to member "+vol.Member(), "it is retained when the member is removed"
	case spec.VolumeRetained:
		x.Wanted, x.Next = "kept until ordinal "+fmt.Sprint(vol.Ordinal)+" of "+vol.Set+" returns", "it is bound again when the set is scaled up, on the same node"
		x.Command = "supctl volume release " + name
	case spec.VolumeReleasing:
		x.Wanted, x.Next = "gone", "its node deletes it after "+vol.ReleaseAt.UTC().Format(time.RFC3339)
		x.Rule, x.Command = "a released directory stays in the trash until its time, and can be brought back", "supctl volume undo-release "+name
		if vol.Undo {
			x.Wanted, x.Next, x.Command = "retained again", "its node brings it back from the trash", "supctl volume describe "+name
		}
	case spec.VolumeAbandoned:
		x.Wanted, x.Next = "given up by its name", "it is kept there, and never used again"
		x.Rule, x.Command = "an abandoned directory is kept until it is released by its own name", "supctl volume release "+name
	}
	if n := v.Node(vol.Node); n != nil && n.State != spec.NodeReady {
		x.Details = append(x.Details, "its node "+vol.Node+" is "+n.State)
		x.Next = "nothing, until node " + vol.Node + " answers again"
	}
	if vol.Reason != "" {
		x.Actual += ": " + vol.Reason + ", " + vol.Message
		x.Rule, x.Next, x.Command = vol.Reason+": the node could not do what was asked of the directory, and changed nothing", "node "+vol.Node+" tries again", "supctl describe volume "+name
	}
	if vol.Reason == state.VolumeMissing && vol.Phase != spec.VolumeAbandoned {
		x.Rule, x.Command = "a directory that was made and is not there is never made anew: most likely its disk is not mounted", "supctl volume abandon "+name
		x.Next = "node " + vol.Node + " tries again; when the directory is lost for good, the command gives it up, and its name is free"
	}
	if x.Command != "" {
		x.Command = withNamespace(x.Command, vol.Namespace)
	}
	return x
}

// ExplainNode says why a node is as it is.
func ExplainNode(v *state.View, n *state.Node) client.Explanation {
	x := client.Explanation{Object: "node/" + n.Name, Wanted: "Ready", Actual: n.State, Since: timePtr(n.Since), Details: []string{}}
	for m := range v.NodeMembers(n.Name) {
		x.Details = append(x.Details, "member "+m.Name()+" of namespace "+m.Namespace+" is "+v.Phase(m))
	}
	switch n.State {
	case spec.NodeReady:
		content(&x)
	case spec.NodeSuspect:
		x.Rule = "a node that does not answer the leader is suspect; its members do not count as healthy"
		x.Next, x.Command = "it is Ready when it answers, or Lost when its lease has run out", "supctl cluster status"
	case spec.NodeLost:
		x.Rule = "of a lost node's members, those that were fenced (onNodeLoss Fence, no volumes) are started elsewhere; the others stay its own: nobody else may start them"
		x.Next, x.Command = "all goes on when supd runs there again and reaches the others", "supctl get members -A -o wide"
		x.Details = append(x.Details, forgetOption(n.Name))
	}
	if n.Draining {
		explainDrain(&x, v, n)
		return x
	}
	if n.Cordoned {
		x.Actual += ", cordoned"
		x.Details = append(x.Details, "no new members are placed on a cordoned node")
		if n.State == spec.NodeReady {
			x.Command = "supctl node uncordon " + n.Name
		}
	}
	return x
}

// explainDrain says how far a drain is.
func explainDrain(x *client.Explanation, v *state.View, n *state.Node) {
	left := v.DrainLeft(n.Name)
	x.Wanted = "drained: no member runs there"
	if n.DrainWho != "" {
		x.Wanted += ", as " + n.DrainWho + " asked"
	}
	if n.DrainWhy != "" {
		x.Wanted += " (" + n.DrainWhy + ")"
	}
	x.Since = timePtr(n.DrainSince)
	if len(left) == 0 {
		x.Actual += ", drained"
		x.Rule = "a node that is drained runs no members until it is uncordoned; what has directories there keeps its place"
		x.Next, x.Command = "nothing, until it is uncordoned", "supctl node uncordon "+n.Name
		return
	}
	x.Actual += fmt.Sprintf(", draining: %d of its members may still run", len(left))
	if n.State == spec.NodeReady {
		x.Rule = "a drain stops members gracefully, within the budget of each set; a node is drained when its keeper has reported every member gone"
		x.Next, x.Command = "it is drained when they have stopped", "supctl explain "+left[0].Name()
		x.Command = withNamespace(x.Command, left[0].Namespace)
	}
}

func explainSetNamed(rd reading, ns, name string) (client.Explanation, bool) {
	s := rd.v.Set(ns, name)
	if s == nil {
		return client.Explanation{}, false
	}
	return ExplainSet(rd.v, s, rd.now, rd.waits(s)), true
}

func explainMemberNamed(rd reading, ns, name string) (client.Explanation, bool) {
	m := rd.v.MemberNamed(ns, name)
	if m == nil {
		return explainMissing(rd, ns, name)
	}
	var waits []spec.Wait
	if s := rd.v.Set(ns, m.Set); s != nil {
		waits = rd.waits(s)
	}
	return ExplainMember(rd.v, m, waits), true
}

func explainVolumeNamed(rd reading, ns, name string) (client.Explanation, bool) {
	vol := rd.v.Volume(ns, name)
	if vol == nil {
		return client.Explanation{}, false
	}
	return ExplainVolume(rd.v, vol), true
}

func explainNodeNamed(rd reading, _, name string) (client.Explanation, bool) {
	n := rd.v.Node(name)
	if n == nil {
		return client.Explanation{}, false
	}
	x := ExplainNode(rd.v, n)
	for _, w := range rd.drainWaits(n) {
		x.Details = append(x.Details, w.Subject+" "+w.Message)
	}
	return x, true
}

// explainMissing explains an ordinal that a set wants and that has no place yet.
func explainMissing(rd reading, ns, name string) (client.Explanation, bool) {
	set, ordinal, ok := spec.SplitMember(name)
	s := rd.v.Set(ns, set)
	if !ok || s == nil || !s.Wants(ordinal) {
		return client.Explanation{}, false
	}
	x := client.Explanation{
		Object: "member/" + name, Wanted: "running, when its turn comes", Actual: "no place is reserved for it yet",
		Since: timePtr(s.ScaledAt), Details: []string{}, Rule: "nothing holds it: it is reserved next", Next: "it is reserved",
	}
	waits := rd.waits(s)
	w, waiting := waitOf(waits, name)
	if !waiting { // what holds the whole set holds it too
		w, waiting = waitOf(waits, set)
	}
	if !waiting {
		return x, true
	}
	args := map[string]string{"ns": ns, "set": set}
	addMemberArgs(rd.v, s, w, args)
	advise(&x, w.Reason, args)
	x.Details = append(x.Details, w.Subject+" "+w.Message)
	explainTied(&x, rd.v, s, ordinal)
	return x, true
}
