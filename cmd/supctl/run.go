package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"supd/supervisor/client"
	"supd/supervisor/spec"
)

// Exit statuses, as every command's help has them.
const (
	exitOK       = 0
	exitFailed   = 1
	exitUsage    = 2
	exitNotFound = 3
	exitRefused  = 4
	exitNoLeader = 5
	exitTimeout  = 6
)

// exitStatus is the only place where a code becomes an exit status.
func exitStatus(err error) int {
	if err == nil {
		return exitOK
	}
	switch spec.CodeOf(err) {
	case spec.CodeInvalid:
		return exitUsage
	case spec.CodeNotFound:
		return exitNotFound
	case spec.CodeRefused, spec.CodeConflict:
		return exitRefused
	case spec.CodeNoLeader:
		return exitNoLeader
	case spec.CodeTimeout:
		return exitTimeout
	case spec.CodeInternal:
		return exitFailed
	}
	return exitFailed
}

// defaultAddr is where supd listens unless told otherwise.
const defaultAddr = "unix:///run/supd/supd.sock"

// app is one call of supctl.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	now            func() time.Time

	addr, namespace, output, reason string
	namespaceGiven                  bool
	requestTimeout                  time.Duration
	ifVersion                       uint64
	warned                          map[string]bool // warnings about definitions
	started                         bool            // a command's own code ran: its errors are no usage errors
	creds                           credentialFlags
}

// run is the whole program. The result is the exit status.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr, now: time.Now}
	return a.run(ctx, args)
}

func (a *app) run(ctx context.Context, args []string) int {
	root := a.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	var end *commandEnd
	if errors.As(err, &end) {
		a.notef("%s", oneLine(end.text))
		return end.status
	}
	var e *spec.Error
	if !a.started && !errors.As(err, &e) {
		err = spec.Errorf(spec.CodeInvalid, "%v; see supctl --help", err)
	}
	fmt.Fprintf(a.stderr, "supctl: %s\n", oneLine(err.Error()))
	return exitStatus(err)
}

func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}

func usagef(format string, args ...any) error { return spec.Errorf(spec.CodeInvalid, format, args...) }

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "supctl",
		Short: "Control supd, a StatefulSet for bare metal",
		Long: `supctl talks to the API of a supd daemon: any node of the cluster does.

It finds the daemon by --addr, the environment variable SUPCTL_ADDR, or the default
socket ` + strings.TrimPrefix(defaultAddr, "unix://") + `. On the socket the kernel says who asks; an
https:// address takes an account's token or certificate (supctl auth --help). Kinds may be written long, plural or short:
statefulset(s)/sts, member(s)/m/pod(s), volume(s)/vol/pvc, service(s)/svc,
program(s)/prog, revision(s)/rev, node(s)/no, event(s)/ev.

Exit status: 0 done; 1 failed; 2 wrong usage or definition; 3 not found; 4 refused
or conflict; 5 no leader or daemon to talk to; 6 --timeout ran out.`,
		SilenceErrors: true, SilenceUsage: true,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			a.namespaceGiven = cmd.Flags().Changed("namespace")
			return a.checkGlobals(cmd)
		},
	}
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usagef("%v; see supctl --help", err) })
	f := root.PersistentFlags()
	f.StringVar(&a.addr, "addr", "", "the daemon: unix:///PATH or https://HOST:PORT (default $SUPCTL_ADDR, then "+defaultAddr+")")
	f.StringVar(&a.creds.tokenFile, "token-file", "", "for https://: the file with an account's token (default $SUPCTL_TOKEN itself)")
	f.StringVar(&a.creds.ca, "ca", "", "for https://: the file with the cluster's CA certificate; a token needs none (default $SUPCTL_CA)")
	f.StringVar(&a.creds.cert, "cert", "", "for https://: the file with an account's certificate (default $SUPCTL_CERT)")
	f.StringVar(&a.creds.key, "key", "", "for https://: the file with its key (default $SUPCTL_KEY)")
	f.StringVarP(&a.namespace, "namespace", "n", spec.DefaultNS, "the namespace")
	f.StringVarP(&a.output, "output", "o", "", "the form of the output, where a command has several")
	f.DurationVar(&a.requestTimeout, "request-timeout", 5*time.Second, "how long one request may take, and a write is tried again while there is no leader")
	f.StringVar(&a.reason, "reason", "", "why; goes into the event (commands that change something)")
	f.Uint64Var(&a.ifVersion, "if-version", 0, "only if the object's resourceVersion is still this (commands that change one object)")
	root.AddCommand(
		a.applyCommand(), a.planCommand(), a.diffCommand(), a.validateCommand(), a.convertCommand(),
		a.getCommand(), a.describeCommand(), a.explainCommand(),
		a.scaleCommand(), a.deleteCommand(), a.restartCommand(), a.rolloutCommand(), a.volumeCommand(),
		a.logsCommand(), a.execCommand(), a.cpCommand(), a.eventsCommand(), a.nodeCommand(), a.clusterCommand(), a.waitCommand(), a.authCommand(), a.versionCommand(),
	)
	root.InitDefaultCompletionCmd()
	if c, _, err := root.Find([]string{"completion"}); err == nil {
		group(c) // cobra's own shows its help for a shell that it does not know, and succeeds
	}
	return root
}

// What a command takes of the global flags stands in its annotations.
const (
	outputs   = "outputs"   // the forms -o may have, space between
	writes    = "writes"    // takes --reason
	versioned = "versioned" // takes --if-version
)

func (a *app) checkGlobals(cmd *cobra.Command) error {
	if cmd.Flags().Changed("output") && !a.outputKnown(strings.Fields(cmd.Annotations[outputs])) {
		if cmd.Annotations[outputs] == "" {
			return usagef("%s does not take -o", cmd.CommandPath())
		}
		return usagef("cannot write output %q; %s writes: %s", a.output, cmd.CommandPath(), strings.ReplaceAll(cmd.Annotations[outputs], " ", ", "))
	}
	if cmd.Flags().Changed("reason") && cmd.Annotations[writes] == "" {
		return usagef("%s changes nothing: it does not take --reason", cmd.CommandPath())
	}
	if cmd.Flags().Changed("if-version") && (cmd.Annotations[versioned] == "" || a.ifVersion == 0) {
		return usagef("%s does not take --if-version %d", cmd.CommandPath(), a.ifVersion)
	}
	if a.requestTimeout <= 0 {
		return usagef("--request-timeout must be more than 0")
	}
	return nil
}

func (a *app) outputKnown(forms []string) bool {
	form, _, isPath := strings.Cut(a.output, "=")
	if isPath != (form == "jsonpath") {
		return false
	}
	return slices.Contains(forms, form)
}

// do wraps a command's own code: from here on errors are not about usage.
func (a *app) do(f func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		a.started = true
		return f(cmd, args)
	}
}

// client makes the client of the daemon.
func (a *app) client() (*client.Client, error) {
	addr := a.addr
	if addr == "" {
		addr = os.Getenv("SUPCTL_ADDR")
	}
	if addr == "" {
		addr = defaultAddr
	}
	o := client.Options{RequestTimeout: a.requestTimeout, RetryUnknown: true}
	if err := a.access(addr, &o); err != nil {
		return nil, err
	}
	return client.New(addr, o)
}

func (a *app) writeOptions() client.WriteOptions {
	return client.WriteOptions{IfVersion: a.ifVersion, Reason: a.reason}
}

// printf writes to standard output. Nobody is there to be told when that fails.
func (a *app) printf(format string, args ...any) { fmt.Fprintf(a.stdout, format, args...) }

// notef writes a line to standard error.
func (a *app) notef(format string, args ...any) { fmt.Fprintf(a.stderr, format+"\n", args...) }
