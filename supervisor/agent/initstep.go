package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/keeper"
	"supd/supervisor/probe"
	"supd/supervisor/spec"
	"supd/volumes"
)

// maxInitOutput is what is kept of an init step's output.
const maxInitOutput = 256 << 10

// init runs the init steps in order, after onJoin. One with once is passed over when it has
// succeeded for all of the member's volumes, and noted in each, durably, before
// the next step. A volume that was added later does not have it done again.
func (j job) init(ctx context.Context, r *rendering, dirs map[string]volumes.Dir) error {
	for i, s := range r.init {
		if s.spec.Once {
			done, err := j.onceDone(s.spec.Name)
			if err != nil {
				return err
			}
			if done {
				continue
			}
		}
		j.progress(i+2, "init step %s (%d of %d) runs", s.spec.Name, i+1, len(r.init))
		if err := j.initStep(ctx, s, r.starts[j.part.Template.Processes[0].Name].Lock); err != nil {
			return err
		}
		if s.spec.Once {
			for _, vol := range j.part.Volumes {
				if err := j.a.o.Pool.OnceDone(claimMade(j.part, vol.Template), s.spec.Name); err != nil {
					return err
				}
			}
		}
		if err := j.remember(func(m *memory) { delete(m.Attempts, s.spec.Name) }); err != nil {
			return err
		}
	}
	return nil
}

// claimMade is the claim of a volume that Ensure has just found or made.
func claimMade(p Part, name string) volumes.Claim {
	for _, vol := range p.Volumes {
		if vol.Template == name {
			c := claimOf(p, vol)
			c.Made = true
			return c
		}
	}
	return volumes.Claim{}
}

func (j job) onceDone(step string) (bool, error) {
	if len(j.part.Volumes) == 0 {
		return false, failf(InitFailed, "init step %s is to run once, but there is no volume to note that in", step)
	}
	added := !slices.ContainsFunc(j.part.Volumes, func(v *state.Volume) bool { return !v.Added })
	for _, vol := range j.part.Volumes {
		if vol.Added && !added {
			continue
		}
		steps, err := j.a.o.Pool.Once(claimMade(j.part, vol.Template))
		if err != nil {
			return false, err
		}
		if !slices.Contains(steps, step) {
			return false, nil
		}
	}
	return true, nil
}

// initStep tries one step, and its retries, at once after each other. The whole
// start is tried again later when all have failed.
func (j job) initStep(ctx context.Context, s initStep, lock string) error {
	var failure error
	for try := 0; try <= s.spec.Retries; try++ {
		if try > 0 && !pause(ctx, backoff(try, 100*time.Millisecond, 5*time.Second)) {
			return ctx.Err()
		}
		attempt := 0
		if err := j.remember(func(m *memory) { m.Attempts[s.spec.Name]++; attempt = m.Attempts[s.spec.Name] }); err != nil {
			return err
		}
		if failure = j.attempt(ctx, s, lock, attempt); failure == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(failure, keeper.ErrGivenUp) || errors.Is(failure, keeper.ErrNoLease) {
			return failure // for the loop to judge
		}
	}
	return failure
}

// attempt runs a step once. It holds the lock of the process that comes after it, so
// that neither runs beside what is left of an earlier start.
func (j job) attempt(ctx context.Context, s initStep, lock string, attempt int) error {
	x := s.exec
	x.Env = withVar(x.Env, "SUP_ATTEMPT", strconv.Itoa(attempt))
	timeout := spec.DefaultInitTimeout.D()
	if s.spec.Timeout != nil && s.spec.Timeout.D() > 0 {
		timeout = s.spec.Timeout.D()
	}
	return j.try(ctx, trial{
		what: "init step " + s.spec.Name, log: initName(s.spec.Name), reason: InitFailed, attempt: attempt,
		secret: knowsSecret(s.spec.Exec, j.part.Template.Processes[0].Files),
		run: keeper.Run{
			Member: j.key.String(), Process: j.part.Template.Processes[0].Name, Epoch: j.step.Epoch, Exec: x,
			Lock: lock, Timeout: timeout, MaxOutput: maxInitOutput, Fence: j.part.fenced(), Decided: j.decided,
		},
	})
}

// trial is one attempt of a command beside a member.
type trial struct {
	what    string // "init step x"
	log     string // where its output goes, for `logs -c`
	reason  string // of its failure
	attempt int
	secret  bool // its output may not be told
	run     keeper.Run
	output  *[]byte // where it goes beside its log; nil: nowhere
}

// try runs a command to its end. A Failure with the trial's reason is the command's own.
func (j job) try(ctx context.Context, t trial) error {
	rctx, cancel := context.WithTimeout(ctx, t.run.Timeout+keeperTimeout)
	defer cancel()
	res, err := j.a.o.Keeper.Run(rctx, t.run)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, keeper.ErrGivenUp) || errors.Is(err, keeper.ErrNoLease) {
			return err
		}
		f := failureOf(err)
		if f.Reason == CannotStart || t.reason == HookFailed && f.Reason == ExecFailed {
			f.Reason = t.reason
		}
		return failf(f.Reason, "%s: %v", t.what, err)
	}
	if err := j.keepOutput(t, res); err != nil {
		return err
	}
	if t.output != nil {
		*t.output = res.Output
	}
	tail := because(lastLine(res.Output))
	if tail != "" && t.secret {
		tail = fmt.Sprintf(" (its output is in the log only, for it has secrets: supctl logs %s -c %s)", j.key.Name(), t.log)
	}
	switch {
	case res.TimedOut:
		return failf(t.reason, "%s did not end within %v%s", t.what, t.run.Timeout, tail)
	case res.Signal != "":
		return failf(t.reason, "%s was ended by signal %s%s", t.what, res.Signal, tail)
	case res.Code != 0:
		return failf(t.reason, "%s exited with %d%s", t.what, res.Code, tail)
	}
	return nil
}

// initName is what an init step is called beside processes in logs. To the keeper
// it is a command beside the main process, so what might be left of it is killed
// before that starts.
func initName(step string) string { return spec.InitProcess(step) }

// keepOutput appends what an attempt has printed to a log of its own, which
// `logs -c init-STEP` and `logs -c hook-NAME` show.
func (j job) keepOutput(t trial, res keeper.RunResult) error {
	path := keeper.LogPath(j.logDir(), t.log)
	if st, err := os.Stat(path); err == nil && st.Size() > 4*maxInitOutput {
		if err := os.Rename(path, path+".1"); err != nil {
			return fmt.Errorf("cannot keep the output of %s: %w", t.what, err)
		}
	}
	f, err := os.OpenFile(filepath.Clean(path), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
	if err != nil {
		return fmt.Errorf("cannot keep the output of %s: %w", t.what, err)
	}
	out := res.Output
	if len(out) > 0 && out[len(out)-1] != '\n' {
		out = append(slices.Clone(out), '\n')
	}
	_, err = f.Write(out)
	if err == nil && res.Truncated {
		_, err = fmt.Fprintf(f, "[output of attempt %d cut off here]\n", t.attempt)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("cannot keep the output of %s: %w", t.what, err)
	}
	return nil
}

// lastLine is the last line with something on it.
func lastLine(b []byte) string {
	end := len(b)
	for end > 0 && (b[end-1] == '\n' || b[end-1] == '\r' || b[end-1] == ' ') {
		end--
	}
	start := end
	for start > 0 && b[start-1] != '\n' && end-start < 300 {
		start--
	}
	return oneLine(string(b[start:end]))
}

func withVar(env []string, name, value string) []string {
	out := make([]string, 0, len(env)+1)
	for _, kv := range env {
		if len(kv) <= len(name) || kv[:len(name)+1] != name+"=" {
			out = append(out, kv)
		}
	}
	return append(out, name+"="+value)
}

// runner runs exec probes as the process's own: same user, view and environment.
type runner struct {
	keeper Keeper
	run    keeper.Run
	env    keeper.PackedEnv // of run
}

var _ probe.Runner = runner{}

func (r runner) RunProbe(ctx context.Context, argv []string, timeout time.Duration) (probe.Exit, error) {
	run := r.run
	run.Argv, run.Timeout, run.Env = argv, timeout, r.env.Unpack()
	res, err := r.keeper.Run(ctx, run)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			return probe.Exit{TimedOut: true}, nil
		}
		return probe.Exit{}, err
	}
	return probe.Exit{Code: res.Code, Signal: res.Signal, Output: res.Output, TimedOut: res.TimedOut}, nil
}

// knowsSecret tells whether a program is given what no message may show. It could
// print it, and the last line it has printed goes into the log of the cluster.
func knowsSecret(e spec.Exec, files []spec.File) bool {
	return slices.ContainsFunc(e.Env, func(v spec.EnvVar) bool { return v.FromFile != "" }) ||
		slices.ContainsFunc(files, func(f spec.File) bool { return f.FromFile != "" })
}
