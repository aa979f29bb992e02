package agent

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"

	"supd/supervisor/client"
	"supd/supervisor/keeper"
	"supd/supervisor/spec"
)

// Logs opens the log of a member's process on this node; Process "" is the main
// one, "init-STEP" an init step, "hook-NAME" a hook of the main process. With Follow it goes on until Close.
func (a *Agent) Logs(_ context.Context, namespace, member string, o client.LogOptions) (io.ReadCloser, error) {
	set, ordinal, ok := spec.SplitMember(member)
	if !ok || spec.CheckLabel(namespace) != nil || spec.CheckLabel(member) != nil {
		return nil, spec.Errorf(spec.CodeInvalid, "%q in namespace %q is no member's name", member, namespace)
	}
	k := Key{namespace, set, ordinal}
	name, err := a.processFor(k, o.Process)
	if err != nil {
		return nil, err
	}
	tail := o.Tail // negative is all here, 0 there
	switch {
	case tail < 0:
		tail = 0
	case tail == 0:
		tail = -1
	}
	r, err := keeper.OpenLog(a.logDir(k), name, keeper.LogOptions{
		Previous: o.Previous, Tail: tail, Follow: o.Follow, Since: o.From(time.Now()),
	})
	switch {
	case errors.Is(err, fs.ErrNotExist) && o.Previous:
		return nil, spec.Errorf(spec.CodeNotFound, "process %s of member %s has no earlier log: it was started once", name, member)
	case errors.Is(err, fs.ErrNotExist):
		return nil, spec.Errorf(spec.CodeNotFound, "process %s of member %s has written no log on node %s yet", name, member, a.o.Node)
	case err != nil:
		return nil, spec.Errorf(spec.CodeInternal, "cannot open the log of process %s of member %s: %v", name, member, err)
	}
	return r, nil
}

// processFor checks a process's name, or finds the main one.
func (a *Agent) processFor(k Key, process string) (string, error) {
	v := a.o.Views.View()
	m := v.Member(k.Namespace, k.Set, k.Ordinal)
	if m == nil {
		return "", spec.Errorf(spec.CodeNotFound, "there is no member %s in namespace %s", k.Name(), k.Namespace)
	}
	rev := v.Revision(k.Namespace, k.Set, m.Revision)
	if rev == nil || len(rev.Template.Processes) == 0 {
		return "", spec.Errorf(spec.CodeInternal, "member %s has no revision in the log", k.Name())
	}
	if process == "" {
		return rev.Template.Processes[0].Name, nil
	}
	names := rev.Template.LogNames()
	if slices.Contains(names, process) {
		return process, nil
	}
	return "", spec.Errorf(spec.CodeNotFound, "member %s has no process %q; there is: %s", k.Name(), process, strings.Join(names, ", "))
}

// Usage is how many bytes of disk a volume of this node takes up.
func (a *Agent) Usage(ctx context.Context, namespace, volume string) (int64, error) {
	v := a.o.Views.View()
	vol := v.Volume(namespace, volume)
	switch {
	case vol == nil:
		return 0, spec.Errorf(spec.CodeNotFound, "there is no volume %s in namespace %s", volume, namespace)
	case vol.Node != a.o.Node:
		return 0, spec.Errorf(spec.CodeNotFound, "volume %s is on node %s, not on %s", volume, vol.Node, a.o.Node)
	case !vol.Made:
		return 0, nil
	}
	n, err := a.o.Pool.Usage(ctx, claimOf(Part{Cluster: &v.Cluster}, vol))
	if err != nil {
		return 0, spec.Errorf(spec.CodeInternal, "cannot measure volume %s: %v", volume, err)
	}
	return n, nil
}
