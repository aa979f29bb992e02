package main

import (
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"supd/supervisor/client"
	"supd/supervisor/spec"
)

func (a *app) clusterInitCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Form a new cluster of the daemon that is asked",
		Long: `init has the daemon form a new cluster of itself alone, with secrets of its own. Other
nodes then join it with a token (supctl cluster join-token). It is asked by its unix
socket, for no cluster has an account yet.

It is refused when the daemon is part of a cluster, has a token to join one, forms one
by itself (bootstrap_expect), or has found nodes of one.

Exit status: 0 done; 4 refused; 5 no daemon.`,
		Example:     "  supctl cluster init",
		Args:        cobra.NoArgs,
		Annotations: map[string]string{outputs: "json yaml jsonpath"},
	}
	cmd.RunE = a.do(func(cmd *cobra.Command, _ []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		defer c.Close()
		st, err := c.ClusterInit(cmd.Context())
		if err != nil {
			return err
		}
		if a.isData() {
			return a.writeValue(st)
		}
		a.printf("cluster/%s formed\n", st.ClusterID)
		return nil
	})
	return cmd
}

// madeToken is a new token as programs see it.
type madeToken struct {
	client.JoinToken
	Command string `json:"command"`
}

func (a *app) joinTokenCommand() *cobra.Command {
	uses, expires := 1, time.Hour
	cmd := &cobra.Command{
		Use:   "join-token",
		Short: "Make a token that lets new nodes into the cluster",
		Long: `join-token makes a token by which new nodes get into the cluster, and prints it: it can't
be shown again, for the cluster keeps its hash only. What to run on the new host is
written to standard error. The token also tells the new node how to know this cluster,
so nothing else need be copied there; who has it can be a node until it has expired, is
used up or revoked, so send it as you would a password.

Exit status: 0 done; 2 wrong usage; 4 refused; 5 no leader.`,
		Example: `  supctl cluster join-token
  supctl cluster join-token --uses 3 --expires 10m
  supctl cluster join-token list
  supctl cluster join-token revoke 0123456789ab`,
		Args:        cobra.NoArgs,
		Annotations: map[string]string{writes: "yes", outputs: "json yaml jsonpath"},
	}
	cmd.Flags().IntVar(&uses, "uses", uses, "how many nodes it lets in")
	cmd.Flags().DurationVar(&expires, "expires", expires, "how long it is good, at most 168h")
	cmd.RunE = a.do(func(cmd *cobra.Command, _ []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		defer c.Close()
		t, err := c.CreateJoinToken(cmd.Context(), client.NewJoinToken{Uses: uses, Expires: spec.Duration(expires)}, a.writeOptions())
		if err != nil {
			return err
		}
		run := "supd run --join " + strings.Join(t.Join, ",") + " --token " + t.Token
		if a.isData() {
			return a.writeValue(madeToken{t, run})
		}
		a.printf("%s\n", t.Token)
		nodes := "1 node"
		if t.Uses != 1 {
			nodes = strconv.Itoa(t.Uses) + " nodes"
		}
		a.notef("join token %s lets in %s until %s. On the new host:\n  %s", t.ID, nodes, t.Expires.Local().Format(time.DateTime), run)
		return nil
	})
	cmd.AddCommand(a.listTokensCommand(), a.revokeTokenCommand())
	return cmd
}

func (a *app) listTokensCommand() *cobra.Command {
	return &cobra.Command{
		Use:         "list",
		Aliases:     []string{"ls"},
		Short:       "List the join tokens, without their secrets",
		Long:        "list shows the join tokens, expired ones until the next is made.\n\nExit status: 0 done; 5 no daemon.",
		Args:        cobra.NoArgs,
		Annotations: map[string]string{outputs: "json yaml jsonpath"},
		RunE: a.do(func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			list, err := c.JoinTokens(cmd.Context())
			if err != nil {
				return err
			}
			if a.isData() {
				return a.writeValue(map[string]any{"items": list})
			}
			g := grid{head: []string{"ID", "LEFT", "USES", "EXPIRES", "BY", "LET IN"}}
			for _, t := range list {
				until := t.Expires.Local().Format(time.DateTime)
				if !t.Expires.After(time.Now()) {
					until = "expired"
				}
				g.rows = append(g.rows, []string{t.ID, strconv.Itoa(t.Left), strconv.Itoa(t.Uses), until, dash(t.Who), dash(strings.Join(t.Admitted, ", "))})
			}
			a.printf("%s", g)
			return nil
		}),
	}
}

func (a *app) revokeTokenCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "revoke ID",
		Short: "Take a join token back",
		Long: `revoke takes a join token back: it lets nobody in any more. Nodes that it has let in stay
(see supctl cluster leave and supctl node forget).

Exit status: 0 done; 3 no such token; 5 no leader.`,
		Args:        cobra.ExactArgs(1),
		Annotations: map[string]string{writes: "yes"},
		RunE: a.do(func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			if err := c.RevokeJoinToken(cmd.Context(), args[0], a.writeOptions()); err != nil {
				return err
			}
			a.printf("join-token/%s revoked\n", args[0])
			return nil
		}),
	}
}

func (a *app) leaveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "leave [NODE]",
		Short: "Take a node, by default the one that is asked, out of the cluster for good",
		Long: `leave takes a node out of the cluster for good: its vote goes to another, its record is
removed, and its daemon ends. Its data directory is kept, and marked: supd does not
start with it again, unless it is given a new token, and is a new node then.

It is refused while the node has members or directories (drain it, scale down and
release those first), when the others would lose the quorum, and for the last node. A
machine that is dead can't leave: supctl node forget gives it up.

Exit status: 0 done; 3 no such node; 4 refused; 5 no leader.`,
		Example: `  supctl cluster leave
  supctl cluster leave n4`,
		Args:        cobra.MaximumNArgs(1),
		Annotations: map[string]string{writes: "yes"},
		RunE: a.do(func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			var name string
			if len(args) == 1 {
				var k kindOf
				if k, name, err = parseTargetOr(args[0], "node"); err != nil {
					return err
				}
				if k.resource != client.Nodes {
					return usagef("want a node, not a %s", k.word)
				}
			} else {
				v, err := c.ServerVersion(cmd.Context())
				if err != nil {
					return err
				}
				name = v.Node
			}
			if _, err := c.Leave(cmd.Context(), name, a.writeOptions()); err != nil {
				return err
			}
			a.printf("node/%s left\n", name)
			return nil
		}),
	}
}
