package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"supd/supervisor/server/servertest"
)

// asks are the commands that change nothing that the cluster records: they read, or work without a cluster, or act on
// one host's processes.
var asks = strings.Fields(`plan diff validate convert get describe explain logs events wait version completion-bash completion-fish completion-powershell
	completion-zsh help rollout-status rollout-history volume-list volume-describe node-list cluster-status cluster-snapshot-save cluster-snapshot-inspect
	cluster-join-token-list auth-list auth-whoami exec cp node-upgrade-keeper cluster-init`)

// changes are a use of every command that changes something, in this order, on the story of servertest. Those that end
// in ! need more than it has, and are refused there; their own tests have them succeed.
var changes = []string{
	"auth create ann --role viewer", "auth revoke ann",
	"apply -f FILE", "scale kv --replicas 3", "restart web", "rollout pause db", "rollout resume db", "rollout undo db", "delete sts kv",
	"volume release data-web-2", "volume undo-release data-web-2",
	"node cordon node-1", "node uncordon node-1", "node drain node-2", "node label node-1 disk=fast",
	"cluster freeze", "cluster unfreeze", "cluster rotate-gossip-key",
	"cluster transfer-leader node-2 !", "cluster join-token !", "cluster join-token revoke 0123456789ab !", "cluster leave node-3 !",
	"cluster snapshot restore FILE !", "node forget node-3 !", "volume abandon data-web-2 !",
}

// TestReasons: every command that changes something takes --reason, no other does, and what was given stands in the
// event with who asked and from where.
func TestReasons(t *testing.T) {
	t.Parallel()
	var verbs []string
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		verb := strings.ReplaceAll(strings.TrimPrefix(c.CommandPath(), "supctl "), " ", "-")
		known := false
		for _, a := range asks {
			known = known || a == verb
		}
		switch takes := c.Annotations[writes] != ""; {
		case !c.HasParent(), c.HasSubCommands() && !takes && c.CommandPath() != "supctl cluster join-token":
		case takes == known:
			t.Errorf("%s: takes --reason: %v, but is among what changes nothing: %v", c.CommandPath(), takes, known)
		case takes:
			verbs = append(verbs, strings.TrimPrefix(c.CommandPath(), "supctl "))
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk((&app{stdout: &bytes.Buffer{}, stderr: &bytes.Buffer{}}).root())
	for _, v := range verbs {
		used := false
		for _, c := range changes {
			used = used || strings.HasPrefix(c+" ", v+" ")
		}
		if !used {
			t.Errorf("supctl %s is not tried here", v)
		}
	}

	n := servertest.Story()
	addr := secure(t, n, "a", 0).root
	file := write(t, "kv.yaml", definition)
	for _, c := range changes {
		line, needsMore := strings.CutSuffix(c, " !")
		why := "because of " + strings.ReplaceAll(line, " ", "-")
		args := append(strings.Fields(strings.ReplaceAll(line, "FILE", file)), "--addr", addr, "--reason", why)
		if needsMore {
			args = append(args, "--request-timeout", "100ms")
		}
		before := n.View().Index
		r := call(t, t.Context(), n, "", args...)
		if needsMore {
			if strings.Contains(r.stderr, "--reason") {
				t.Errorf("supctl %s: %s", c, r.stderr)
			}
			continue
		}
		if r.status != exitOK {
			t.Errorf("supctl %s = %d: %s", c, r.status, r.stderr)
			continue
		}
		found := false
		for e := range n.View().Events() {
			found = found || e.Index > before && strings.HasSuffix(e.Message, "("+why+")") && strings.Contains(e.Who, ":")
		}
		if !found {
			t.Errorf("supctl %s: no event has the reason, with who asked and from where", c)
		}
	}
}
