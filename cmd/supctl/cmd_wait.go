package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"supd/supervisor/spec"
)

func (a *app) waitCommand() *cobra.Command {
	var what string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "wait KIND/NAME --for=CONDITION",
		Short: "Wait until an object is as asked for",
		Long: `wait follows one object until a condition holds:
  ready            a set: all that is wanted runs, is ready and up to date; a member: it is ready
  available        ready for minReady
  deleted          the object is gone
  replicas=N       a set has N started members
  condition=NAME   a set's condition is True (condition=NAME=False: is False)
It goes on while a set is stalled, for that may be mended; apply --wait and rollout status
don't.

Exit status: 0 it holds; 3 not found; 4 refused, also when access ends meanwhile; 5 no daemon;
6 --timeout ran out.`,
		Example: `  supctl wait sts/web --for=ready --timeout 2m
  supctl wait member/web-2 --for=deleted`,
		Args: cobra.RangeArgs(1, 2),
	}
	cmd.Flags().StringVar(&what, "for", "", "the condition")
	cmd.Flags().DurationVar(&timeout, "timeout", defaultTimeout, "give up after so long")
	cmd.RunE = a.do(func(cmd *cobra.Command, args []string) error {
		k, name, err := parseTarget(args)
		if err != nil {
			return err
		}
		if timeout <= 0 {
			return usagef("--timeout must be more than 0")
		}
		judge, err := judgeOf(k, name, what)
		if err != nil {
			return err
		}
		c, err := a.client()
		if err != nil {
			return err
		}
		defer c.Close()
		ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
		defer cancel()
		err = a.follow(ctx, c, follower{
			kind: k, ns: a.namespace, name: name, what: what, timeout: timeout, judge: judge, progress: a.progress(),
		})
		switch {
		case err != nil:
			return err
		case strings.Contains(what, "="):
			a.printf("%s/%s: %s\n", k.word, name, what)
		default:
			a.printf("%s/%s is %s\n", k.word, name, what)
		}
		return nil
	})
	return cmd
}

// judgeOf finds what --for asks of a kind.
func judgeOf(k kindOf, name, what string) (func(json.RawMessage) (verdict, error), error) {
	if what == "" {
		return nil, usagef("say what to wait for: --for=ready, available, deleted, replicas=N or condition=NAME")
	}
	if what == "deleted" {
		return judgeGone, nil
	}
	key, value, _ := strings.Cut(what, "=")
	switch k.word {
	case "statefulset":
		if judge := setJudge(key, value); judge != nil {
			return decodeJudge(k.word, name, judge), nil
		}
	case "member":
		if judge := memberJudge(key); judge != nil && value == "" {
			return decodeJudge(k.word, name, judge), nil
		}
	case "node":
		if what == "ready" {
			return decodeJudge(k.word, name, func(n *spec.Node) (verdict, error) {
				return verdict{done: n.Status.Alive, note: "it is " + n.Status.State}, nil
			}), nil
		}
	}
	return nil, usagef("cannot wait for %q of a %s", what, k.word)
}

func setJudge(key, value string) func(*spec.StatefulSet) (verdict, error) {
	switch {
	case key == "ready" && value == "":
		return func(s *spec.StatefulSet) (verdict, error) { return setReady(s, 0), nil }
	case key == "available" && value == "":
		return conditionJudge(spec.ConditionAvailable, "True")
	case key == "replicas":
		n, err := strconv.Atoi(value)
		if err != nil || n < 0 {
			return nil
		}
		return func(s *spec.StatefulSet) (verdict, error) {
			if s.Status == nil {
				return verdict{note: "it has no status yet"}, nil
			}
			return verdict{done: s.Status.Replicas == n, note: fmt.Sprintf("it has %d of %d", s.Status.Replicas, n)}, nil
		}
	case key == "condition" && value != "":
		name, status, ok := strings.Cut(value, "=")
		if !ok {
			status = "True"
		}
		if !strings.EqualFold(status, "true") && !strings.EqualFold(status, "false") {
			return nil
		}
		return conditionJudge(name, status)
	}
	return nil
}

func conditionJudge(name, status string) func(*spec.StatefulSet) (verdict, error) {
	return func(s *spec.StatefulSet) (verdict, error) {
		c := conditionOf(s, name)
		if c == nil {
			return verdict{}, usagef("a statefulset has no condition %q; there are Available, Progressing, ScaleDownBlocked and Stalled", name)
		}
		return verdict{done: strings.EqualFold(c.Status, status), note: c.Type + " is " + c.Status + ": " + c.Message}, nil
	}
}

func memberJudge(key string) func(*spec.Member) (verdict, error) {
	note := func(m *spec.Member) string {
		if m.Status.Message != "" {
			return "it is " + m.Status.Phase + ": " + m.Status.Message
		}
		return "it is " + m.Status.Phase
	}
	switch key {
	case "ready":
		return func(m *spec.Member) (verdict, error) { return verdict{m.Status.Ready, note(m)}, nil }
	case "available":
		return func(m *spec.Member) (verdict, error) { return verdict{m.Status.Available, note(m)}, nil }
	}
	return nil
}
