package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"supd/supervisor/client"
	"supd/supervisor/spec"
)

func (a *app) rolloutCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rollout",
		Short: "Follow, undo, pause and resume what a changed template causes",
		Long: `rollout is about the members of a set following a changed template, from the highest
ordinal down, within the set's budget (updateStrategy.rollingUpdate.maxUnavailable).`,
	}
	cmd.AddCommand(a.rolloutStatusCommand(), a.rolloutHistoryCommand(), a.rolloutUndoCommand(), a.rolloutPauseCommand(), a.rolloutResumeCommand())
	return group(cmd)
}

func (a *app) rolloutStatusCommand() *cobra.Command {
	var wait bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "status NAME",
		Short: "Follow a rollout to its end",
		Long: `status follows until every member that is to follow the newest template does and is
ready. It fails when the rollout stalls (no progress for the set's progressDeadline), is
paused, or has gone back by itself (autoRollback).

Exit status: 0 complete; 1 stalled, paused, or gone back; with --wait=false also: under
way; 3 not found; 5 no daemon; 6 --timeout ran out.`,
		Example: "  supctl rollout status web --timeout 5m",
		Args:    cobra.ExactArgs(1),
	}
	cmd.Flags().BoolVar(&wait, "wait", true, "follow to the end; false: say how it is now")
	cmd.Flags().DurationVar(&timeout, "timeout", defaultTimeout, "give up following after so long")
	cmd.RunE = a.do(func(cmd *cobra.Command, args []string) error {
		if timeout <= 0 {
			return usagef("--timeout must be more than 0")
		}
		return a.onSet(args[0], func(c *client.Client, name string) error {
			if !wait {
				return a.rolloutNow(cmd.Context(), c, name)
			}
			return a.followRollout(cmd.Context(), c, name, 0, timeout)
		})
	})
	return cmd
}

// onSet calls f with the name of a set.
func (a *app) onSet(arg string, f func(c *client.Client, name string) error) error {
	name, err := a.setName(arg)
	if err != nil {
		return err
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	defer c.Close()
	return f(c, name)
}

func (a *app) rolloutNow(ctx context.Context, c *client.Client, name string) error {
	s, _, err := client.Get[spec.StatefulSet](ctx, c, client.StatefulSets, a.namespace, name, client.ReadOptions{})
	if err != nil {
		return err
	}
	if c := stalledOf(s); c != nil {
		return stalledError(s, c)
	}
	v, err := judgeRollout(s, &stall{}, a.now())
	if err != nil {
		return err
	}
	if !v.done {
		return spec.Errorf(spec.CodeInternal, "the rollout of statefulset %s is under way: %s", name, v.note)
	}
	a.printf("statefulset/%s: %s\n", name, rolledOut(s))
	return nil
}

func (a *app) followRollout(ctx context.Context, c *client.Client, name string, index uint64, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var last *spec.StatefulSet
	var w stall
	err := a.follow(ctx, c, follower{
		kind: kindTable[0], ns: a.namespace, name: name, what: "rolled out", minIndex: index, timeout: timeout, progress: a.progress(),
		judge: decodeJudge("statefulset", name, func(s *spec.StatefulSet) (verdict, error) {
			last = s
			return judgeRollout(s, &w, a.now())
		}),
	})
	if err != nil {
		return err
	}
	a.printf("statefulset/%s: %s\n", name, rolledOut(last))
	return nil
}

// judgeRollout tells how far a rollout is. That it does not get any further by itself is
// an error.
func judgeRollout(s *spec.StatefulSet, w *stall, now time.Time) (verdict, error) {
	v := setReady(s, 0)
	if s.Status == nil {
		return v, nil
	}
	name := s.Metadata.Name
	if !v.done {
		if err := w.judge(s, now); err != nil {
			return verdict{}, err
		}
	}
	progressing := conditionOf(s, spec.ConditionProgressing)
	switch {
	case progressing != nil && progressing.Reason == "Paused":
		return verdict{}, spec.Errorf(spec.CodeInternal, "the rollout of statefulset %s does not go on: %s; supctl rollout resume %s", name, progressing.Message, name)
	case v.done:
		if err := wentBack(s, ""); err != nil {
			return verdict{}, err
		}
	}
	return v, nil
}

// wentBack is the error of a set that went back by itself, from the given revision or, if
// that is "", from any.
func wentBack(s *spec.StatefulSet, from string) error {
	r := s.Status.Rollback
	if r == nil || !r.Auto || from != "" && r.From != from {
		return nil
	}
	return spec.Errorf(spec.CodeInternal, "statefulset %s went back from revision %s to %s by itself (autoRollback): %s; look with supctl events --for sts/%s",
		s.Metadata.Name, r.From, s.Status.UpdateRevision, r.Why, s.Metadata.Name)
}

// rolledOut says what has been reached.
func rolledOut(s *spec.StatefulSet) string {
	st, wanted := s.Status, wantedOf(s)
	switch {
	case st.UpdatedReplicas >= wanted:
		return fmt.Sprintf("all %s of revision %s", count(wanted, "member"), st.UpdateRevision)
	case s.Spec.UpdateStrategy.Type == spec.OnDelete:
		return fmt.Sprintf("%d of %s of revision %s; the others follow when they are deleted (OnDelete)", st.UpdatedReplicas, count(wanted, "member"), st.UpdateRevision)
	}
	return fmt.Sprintf("%d of %s of revision %s; those below the partition stay on %s", st.UpdatedReplicas, count(wanted, "member"), st.UpdateRevision, st.CurrentRevision)
}

func (a *app) rolloutHistoryCommand() *cobra.Command {
	var revision uint64
	cmd := &cobra.Command{
		Use:   "history NAME",
		Short: "List a set's revisions: who asked for them, when, why, and who runs them",
		Long: `history lists the templates that are kept of a set (spec.revisionHistoryLimit beside
those in use), the newest first. One that is asked for again is the newest again, with a
new number and its old name. With --revision it shows one template as YAML.

Exit status: 0 done; 3 not found; 5 no daemon.`,
		Example: `  supctl rollout history web
  supctl rollout history web --revision 2`,
		Args:        cobra.ExactArgs(1),
		Annotations: map[string]string{outputs: "json yaml jsonpath"},
	}
	cmd.Flags().Uint64Var(&revision, "revision", 0, "show the template with this number")
	cmd.RunE = a.do(func(cmd *cobra.Command, args []string) error {
		return a.onSet(args[0], func(c *client.Client, name string) error {
			r, err := c.Rollout(cmd.Context(), a.namespace, name)
			if err != nil {
				return err
			}
			switch {
			case cmd.Flags().Changed("revision"):
				return a.showRevision(cmd.Context(), c, r, revision)
			case a.isData():
				return a.writeValue(r)
			}
			a.printf("%s", historyGrid(r, a.now()))
			return nil
		})
	})
	return cmd
}

func historyGrid(r *client.Rollout, now time.Time) grid {
	g := grid{head: []string{"REVISION", "NAME", "IS", "ASKED FOR", "WHO", "WHY", "MEMBERS"}}
	for _, rev := range r.Revisions {
		var is []string
		if rev.Update {
			is = append(is, "update")
		}
		if rev.Current {
			is = append(is, "current")
		}
		g.rows = append(g.rows, []string{
			strconv.FormatUint(rev.Revision, 10), rev.Name, dash(strings.Join(is, ",")), age(&rev.At, now) + " ago", dash(rev.Who), dash(oneLine(rev.Why)),
			dash(strings.Join(rev.Members, ",")),
		})
	}
	return g
}

func (a *app) showRevision(ctx context.Context, c *client.Client, r *client.Rollout, number uint64) error {
	for _, rev := range r.Revisions {
		if rev.Revision != number {
			continue
		}
		doc, _, err := c.GetRaw(ctx, client.Revisions, a.namespace, rev.Name, client.ReadOptions{})
		if err != nil {
			return err
		}
		if a.isData() {
			return a.writeDoc(doc)
		}
		text, err := toYAML(doc)
		if err != nil {
			return err
		}
		a.printf("%s", text)
		return nil
	}
	return spec.Errorf(spec.CodeNotFound, "statefulset %s has no revision %d; supctl rollout history %s lists them", r.Name, number, r.Name)
}

func (a *app) rolloutUndoCommand() *cobra.Command {
	var to uint64
	var w waitFlags
	cmd := &cobra.Command{
		Use:   "undo NAME",
		Short: "Go back to an older revision",
		Long: `undo makes an older template the wanted one again: without a number the last that all
members ran, if another is being rolled out, else the one before. Only members that run
another one are restarted; who was never available on its revision, at once. Replicas,
sizes and policies stay as they are.

Exit status: 0 accepted, or with --wait complete; 1 with --wait: stalled or paused; 3 no
such set or revision; 4 refused; 5 no leader; 6 --timeout ran out.`,
		Example: `  supctl rollout undo web --wait
  supctl rollout undo web --to-revision 2 --reason 'v3 leaks'`,
		Args:        cobra.ExactArgs(1),
		Annotations: map[string]string{outputs: "json yaml jsonpath", writes: "yes", versioned: "yes"},
	}
	cmd.Flags().Uint64Var(&to, "to-revision", 0, "the number of the revision, as history has it")
	w.add(cmd, "every member runs it and is ready")
	cmd.RunE = a.do(func(cmd *cobra.Command, args []string) error {
		if err := w.check(cmd); err != nil {
			return err
		}
		if cmd.Flags().Changed("to-revision") && to == 0 {
			return usagef("--to-revision must be the number of a revision; supctl rollout history %s lists them", args[0])
		}
		return a.onSet(args[0], func(c *client.Client, name string) error {
			r, res, err := c.UndoRollout(cmd.Context(), a.namespace, name, client.UndoRequest{ToRevision: to}, a.writeOptions())
			if err != nil {
				return err
			}
			did := "goes back to revision " + r.UpdateRevision
			if res.Result == client.Unchanged {
				did = "is at revision " + r.UpdateRevision + " already"
			}
			return a.tellRollout(cmd.Context(), c, r, res, did, w)
		})
	})
	return cmd
}

// tellRollout says what a change of a rollout did, and follows it if asked.
func (a *app) tellRollout(ctx context.Context, c *client.Client, r *client.Rollout, res client.Written, did string, w waitFlags) error {
	a.warnings(res)
	if a.isData() {
		if err := a.writeValue(r); err != nil {
			return err
		}
	} else {
		a.printf("statefulset/%s %s\n", r.Name, did)
	}
	if !w.wait {
		return nil
	}
	return a.followRollout(ctx, c, r.Name, res.Index, w.timeout)
}

func (a *app) rolloutPauseCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "pause NAME",
		Short: "Keep members from being restarted for a rollout",
		Long: `pause lets no member be restarted for a changed template, or by restart, until resume.
Members stay on their revisions, also when they are repaired; scaling goes on, with the
last revision that all members ran. What is paused does not stall.

Exit status: 0 done; 3 not found; 4 refused; 5 no leader.`,
		Example:     "  supctl rollout pause web --reason 'looking at web-2 first'",
		Args:        cobra.ExactArgs(1),
		Annotations: map[string]string{outputs: "json yaml jsonpath", writes: "yes", versioned: "yes"},
		RunE: a.do(func(cmd *cobra.Command, args []string) error {
			return a.onSet(args[0], func(c *client.Client, name string) error {
				r, res, err := c.PauseRollout(cmd.Context(), a.namespace, name, a.writeOptions())
				if err != nil {
					return err
				}
				did := "paused"
				if res.Result == client.Unchanged {
					did = "is paused already"
				}
				return a.tellRollout(cmd.Context(), c, r, res, did, waitFlags{})
			})
		}),
	}
}

func (a *app) rolloutResumeCommand() *cobra.Command {
	var w waitFlags
	cmd := &cobra.Command{
		Use:   "resume NAME",
		Short: "Let a paused rollout go on",
		Long: `resume lets go on what pause holds; the time until it counts as stalled begins anew.

Exit status: 0 done, or with --wait complete; 1 with --wait: stalled; 3 not found; 4
refused; 5 no leader; 6 --timeout ran out.`,
		Example:     "  supctl rollout resume web --wait",
		Args:        cobra.ExactArgs(1),
		Annotations: map[string]string{outputs: "json yaml jsonpath", writes: "yes", versioned: "yes"},
	}
	w.add(cmd, "the rollout is complete")
	cmd.RunE = a.do(func(cmd *cobra.Command, args []string) error {
		if err := w.check(cmd); err != nil {
			return err
		}
		return a.onSet(args[0], func(c *client.Client, name string) error {
			r, res, err := c.ResumeRollout(cmd.Context(), a.namespace, name, a.writeOptions())
			if err != nil {
				return err
			}
			did := "resumed"
			if res.Result == client.Unchanged {
				did = "is not paused"
			}
			return a.tellRollout(cmd.Context(), c, r, res, did, w)
		})
	})
	return cmd
}
