package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"supd/supervisor/client"
	"supd/supervisor/spec"
)

func (a *app) logsCommand() *cobra.Command {
	var o client.LogOptions
	var all, prefix bool
	var sinceTime string
	cmd := &cobra.Command{
		Use:   "logs MEMBER",
		Short: "Show what a member's process wrote, from any node",
		Long: `logs shows the output of a member's main process, or of the one named by -c. With
--all-members NAME is a set, and the logs of all its members are shown.

It is what the present start has written. With --since or --since-time it is what was written
from then on, by earlier starts too (five are kept). Their exactness is about two seconds, and
rather too much is shown than too little. Logs are bounded (log_max of the node's
configuration), the oldest lines go first. A line that begins with [supd: says where some are
missing.

Exit status: 0 done; 2 wrong usage; 3 not found; 4 refused, also when access ends while it
follows; 5 no daemon, or its node is away.`,
		Example: `  supctl logs web-0 -f --tail 20
  supctl logs web-0 --previous
  supctl logs web-0 --since 10m
  supctl logs web --all-members --prefix -f`,
		Args: cobra.ExactArgs(1),
	}
	cmd.Flags().BoolVarP(&o.Follow, "follow", "f", false, "go on and show what is written")
	cmd.Flags().IntVar(&o.Tail, "tail", -1, "only the last so many lines (-1: all)")
	cmd.Flags().DurationVar(&o.Since, "since", 0, "only what was written within this time, such as 10m")
	cmd.Flags().StringVar(&sinceTime, "since-time", "", "only what was written from this time on (RFC 3339)")
	cmd.Flags().BoolVar(&o.Previous, "previous", false, "of the start before the present one")
	cmd.Flags().StringVarP(&o.Process, "process", "c", "", "of this process (default the main one)")
	cmd.Flags().BoolVar(&all, "all-members", false, "of all members of the set NAME")
	cmd.Flags().BoolVar(&prefix, "prefix", false, "write the member's name before each line")
	cmd.RunE = a.do(func(cmd *cobra.Command, args []string) error {
		switch {
		case o.Follow && o.Previous:
			return usagef("the log of an earlier start does not grow: -f and --previous don't go together")
		case o.Tail < -1:
			return usagef("--tail must be 0 or more, or -1 for all")
		case o.Since < 0 || cmd.Flags().Changed("since") && o.Since == 0:
			return usagef("--since must be more than 0")
		case o.Since > 0 && sinceTime != "":
			return usagef("--since and --since-time don't go together")
		}
		if sinceTime != "" {
			var err error
			if o.SinceTime, err = time.Parse(time.RFC3339, sinceTime); err != nil {
				return usagef("cannot read --since-time %q: want a time such as 2006-01-02T15:04:05Z", sinceTime)
			}
		}
		return a.logs(cmd.Context(), args[0], all, prefix, o)
	})
	return cmd
}

func (a *app) logs(ctx context.Context, arg string, all, prefix bool, o client.LogOptions) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	defer c.Close()
	if !all {
		k, name, err := parseTargetOr(arg, "member")
		if err != nil {
			return err
		}
		if k.resource != client.Members {
			return usagef("want a member (or a set with --all-members), not a %s", k.word)
		}
		l := &logWriter{w: a.stdout}
		return l.copy(ctx, c, a.namespace, name, prefix, o)
	}
	name, err := a.setName(arg)
	if err != nil {
		return err
	}
	return a.logsOfSet(ctx, c, name, prefix, o)
}

func (a *app) logsOfSet(ctx context.Context, c *client.Client, set string, prefix bool, o client.LogOptions) error {
	if _, _, err := c.GetRaw(ctx, client.StatefulSets, a.namespace, set, client.ReadOptions{}); err != nil {
		return err
	}
	members, _, err := client.List[spec.Member](ctx, c, client.Members, client.ReadOptions{Namespace: a.namespace})
	if err != nil {
		return err
	}
	l := &logWriter{w: a.stdout}
	var wg sync.WaitGroup
	errs := make([]error, len(members))
	for i, m := range members {
		if m.Spec.Set != set || m.Spec.Epoch == 0 {
			continue
		}
		if !o.Follow { // one after the other: each log stays in one piece
			errs[i] = l.copy(ctx, c, a.namespace, m.Metadata.Name, prefix, o)
			continue
		}
		wg.Go(func() { errs[i] = l.copy(ctx, c, a.namespace, m.Metadata.Name, prefix, o) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// logWriter writes whole lines of several logs.
type logWriter struct {
	mu sync.Mutex
	w  io.Writer // guarded by mu
}

func (l *logWriter) copy(ctx context.Context, c *client.Client, ns, member string, prefix bool, o client.LogOptions) error {
	body, err := c.Logs(ctx, ns, member, o)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	defer body.Close()
	r := bufio.NewReaderSize(body, 64<<10)
	var told *spec.Error // why the daemon ended it
	begins := true       // false within a line that is too long to be held whole
	for {
		line, err := r.ReadSlice('\n')
		if len(line) > 0 {
			if werr := l.line(member, line, prefix && begins); werr != nil {
				return spec.Errorf(spec.CodeInternal, "cannot write the log: %v", werr)
			}
		}
		begins = !errors.Is(err, bufio.ErrBufferFull)
		switch {
		case !begins:
		case errors.Is(err, io.EOF) || err != nil && ctx.Err() != nil:
			return nil
		case errors.As(err, &told):
			return told
		case err != nil:
			return spec.Errorf(spec.CodeNoLeader, "the log of member %s broke off: %v", member, err)
		}
	}
}

func (l *logWriter) line(member string, line []byte, prefix bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if prefix {
		if _, err := fmt.Fprintf(l.w, "[%s] ", member); err != nil {
			return err
		}
	}
	_, err := l.w.Write(line)
	return err
}
