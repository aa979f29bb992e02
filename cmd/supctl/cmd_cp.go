package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"supd/supervisor/archive"
	"supd/supervisor/client"
	"supd/supervisor/spec"
)

func (a *app) cpCommand() *cobra.Command {
	var process string
	cmd := &cobra.Command{
		Use:   "cp FILE MEMBER:PATH | cp MEMBER:PATH FILE",
		Short: "Copy files and directories to or from a member, from any node",
		Long: `cp copies a file, or a directory with all below it, to or from a member: in the
view and with the rights of its main process, or of the one named by -c. A relative
PATH starts at the process's working directory. Into a directory that is there it is
copied under its own name; DIR/. copies what is in DIR. A file appears under its name
when all of it has arrived. Modes and symbolic links are kept; sockets, pipes and
devices are skipped. A local name with a colon is written ./NAME.

Exit status: 0 all was copied; 1 not all; 2 wrong usage; 3 not found; 4 the member does
not run; 5 no daemon, or its node is away.`,
		Example: `  supctl cp web.conf web-0:/etc/web/
  supctl cp web-0:data ./data-of-web-0
  supctl cp db-0:/var/lib/db/dump.sql . -c main`,
		Args: cobra.ExactArgs(2),
	}
	cmd.Flags().StringVarP(&process, "process", "c", "", "in the view of this process (default the main one)")
	cmd.RunE = a.do(func(cmd *cobra.Command, args []string) error {
		from, err := parsePlace(args[0])
		if err != nil {
			return err
		}
		to, err := parsePlace(args[1])
		if err != nil {
			return err
		}
		switch {
		case from.member == "" && to.member == "":
			return usagef("neither %s nor %s is in a member: want MEMBER:PATH for one of them", args[0], args[1])
		case from.member != "" && to.member != "":
			return usagef("cannot copy from member to member: copy to this machine first")
		}
		c, err := a.client()
		if err != nil {
			return err
		}
		defer c.Close()
		if to.member != "" {
			return a.upload(cmd.Context(), c, from.path, to, process)
		}
		return a.download(cmd.Context(), c, from, to.path, process)
	})
	return cmd
}

// place is a file here, or one in a member.
type place struct{ member, path string }

// parsePlace reads MEMBER:PATH or a local name. A colon after a slash, or after a leading dot, is part of a local name.
func parsePlace(arg string) (place, error) {
	member, path, ok := strings.Cut(arg, ":")
	switch {
	case arg == "" || ok && path == "":
		return place{}, usagef("%q names no file", arg)
	case !ok || strings.HasPrefix(arg, ".") || strings.HasPrefix(arg, "/"):
		return place{path: arg}, nil
	case member == "":
		return place{}, usagef("%q names no member before the colon; a local file is written ./%s", arg, arg)
	}
	name, err := memberName(member)
	return place{name, path}, err
}

// lastName is what a path is called where it is copied to, and "." for what is in a directory.
func lastName(p string) string {
	if strings.HasSuffix(p, "/.") || p == "." || p == "/" {
		return "."
	}
	return path.Base(p)
}

func (a *app) upload(ctx context.Context, c *client.Client, from string, to place, process string) error {
	abs, err := filepath.Abs(from)
	if err != nil {
		return err
	}
	name := lastName(from)
	if name == ".." || name == "." && !strings.HasSuffix(from, ".") {
		name = filepath.Base(abs)
	}
	return a.copying(ctx, c, to.member, client.ExecOptions{
		Process: process, Copy: true, Stdin: true, Command: []string{"unpack", "--name", name, to.path},
	}, func(s *client.Session, _ io.Reader) error {
		r, err := archive.Pack(inputWriter{s}, from)
		if err == nil {
			err = s.CloseStdin()
		}
		return a.told(r, err)
	})
}

func (a *app) download(ctx context.Context, c *client.Client, from place, to, process string) error {
	return a.copying(ctx, c, from.member, client.ExecOptions{
		Process: process, Copy: true, Command: []string{"pack", from.path},
	}, func(_ *client.Session, r io.Reader) error {
		rep, err := archive.Unpack(r, to, lastName(from.path))
		return a.told(rep, err)
	})
}

// told says what was left out.
func (a *app) told(r archive.Report, err error) error {
	for _, s := range r.Skipped {
		a.notef("skipped %s: no file, directory or link", s)
	}
	return errors.Join(append(r.Failed, err)...)
}

// copying runs the far end of a copy, and local as the near end.
func (a *app) copying(ctx context.Context, c *client.Client, member string, o client.ExecOptions, local func(*client.Session, io.Reader) error) error {
	s, err := c.Exec(ctx, a.namespace, member, o)
	if err != nil {
		return err
	}
	defer s.Close()
	r, w := io.Pipe()
	var here error
	var wg sync.WaitGroup
	wg.Go(func() {
		here = local(s, r)
		if here != nil && o.Stdin {
			_ = s.CloseStdin() // the far end sees that it was cut short; or it has ended, and is why
		}
		_ = r.CloseWithError(here) // it never fails
	})
	var said tail
	res, err := s.Copy(w, &said)
	_ = w.CloseWithError(endOfCopy(err)) // as above
	if err == nil && (res.Code != 0 || res.Signal != "") {
		_ = s.Close() // what is being sent is not read any more
	}
	wg.Wait()
	return a.copied(ctx, member, o, res, err, here, said.String())
}

// endOfCopy is what the near end reads at last.
func endOfCopy(err error) error {
	if err == nil {
		return io.EOF
	}
	return err
}

// copied judges a copy by what both ends say: the one that found the cause is believed.
func (a *app) copied(ctx context.Context, member string, o client.ExecOptions, res client.ExecResult, err, here error, said string) error {
	far := strings.TrimSpace(said)
	failed := err == nil && (res.Code != 0 || res.Signal != "")
	switch {
	case ctx.Err() != nil:
		return spec.Errorf(spec.CodeInternal, "interrupted: not all was copied")
	case o.Stdin && here != nil && !errors.Is(here, errTakesNoMore):
		return spec.Errorf(spec.CodeInternal, "%v", here)
	case failed && far != "":
		return spec.Errorf(spec.CodeInternal, "%s: %s", member, far)
	case failed:
		return spec.Errorf(spec.CodeInternal, "not all was copied: the end in member %s ended with %d %s %s", member, res.Code, res.Signal, res.Message)
	case here != nil && (o.Stdin || err == nil):
		return spec.Errorf(spec.CodeInternal, "%v", here)
	case err != nil:
		return err
	}
	if far != "" {
		a.notef("%s: %s", member, oneLine(far))
	}
	return nil
}

var errTakesNoMore = errors.New("the far end takes no more")

// inputWriter writes to the command's input.
type inputWriter struct{ s *client.Session }

func (w inputWriter) Write(b []byte) (int, error) {
	if err := w.s.Stdin(b); err != nil {
		return 0, fmt.Errorf("%w: %v", errTakesNoMore, err)
	}
	return len(b), nil
}

// tail keeps the last of what is written to it.
type tail struct{ b []byte }

const tailSize = 8 << 10

func (t *tail) Write(b []byte) (int, error) {
	t.b = append(t.b, b...)
	if len(t.b) > tailSize {
		t.b = append([]byte("..."), t.b[len(t.b)-tailSize:]...)
	}
	return len(b), nil
}

func (t *tail) String() string { return string(t.b) }
