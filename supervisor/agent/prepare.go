package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"syscall"

	"supd/raftstore/state"
	"supd/supervisor/keeper"
	"supd/supervisor/spec"
	"supd/volumes"
)

// prepared says that all is ready for the processes of one epoch, and what it was made from. What they are started
// with is rendered when they are: each environment names all members of the set, which a thousand of them must not hold.
type prepared struct {
	epoch    uint64
	print    uint64
	revision *state.Revision
	probes   map[string]*probing        // by process
	preStop  map[string]*keeper.PreStop // of the processes that have one
	peers    uint64                     // that it was rendered from
	hooked   map[string]execID          // the execs whose postStart has succeeded
	runs     map[string]spec.HookStatus // of hooks that the log asked for
	marks    map[string]peersMark       // what processes know of their peers
}

// asks tells whether a mayStop probe of the process is the one that was prepared.
func (p *prepared) asks(process string, ask *spec.Probe) bool {
	x := p.probes[process]
	return x != nil && reflect.DeepEqual(x.mayStop, ask)
}

// freePorts refuses a start when another program listens on one of the process's
// ports: the message then names the port, not just an exit code.
func freePorts(ctx context.Context, part Part, proc spec.Process) error {
	for _, port := range proc.Ports {
		n, ok := part.Member.Ports[port.Name]
		if !ok {
			n = port.Port
		}
		if n == 0 {
			continue
		}
		addr := net.JoinHostPort(part.Member.IP, strconv.Itoa(n))
		err := tryListen(ctx, port.Protocol, addr)
		if errors.Is(err, syscall.EADDRINUSE) {
			return failf(PortInUse, "port %s (%s) of process %s is in use by another program", port.Name, addr, proc.Name)
		}
		// Any other trouble is the program's to meet: it may listen elsewhere.
	}
	return nil
}

func tryListen(ctx context.Context, protocol, addr string) error {
	var lc net.ListenConfig
	if protocol == spec.ProtocolUDP {
		c, err := lc.ListenPacket(ctx, "udp", addr)
		if err != nil {
			return err
		}
		return c.Close()
	}
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	return l.Close()
}

// prepare makes all that a start needs, in order: the right to do it, volumes,
// directories, files, and onJoin and the init steps when nothing of the member runs yet.
func (j job) prepare(ctx context.Context) (p *prepared, onJoin spec.HookStatus, err error) {
	r, dirs, err := j.furnish(ctx)
	if err != nil {
		return nil, onJoin, err
	}
	if j.step.Init {
		if onJoin, err = j.onJoin(ctx, r); err != nil {
			return nil, onJoin, err
		}
		if err := j.init(ctx, r, dirs); err != nil {
			return nil, onJoin, err
		}
	}
	return r.prepared(j), onJoin, nil
}

// furnish makes a member's directories and files.
func (j job) furnish(ctx context.Context) (*rendering, map[string]volumes.Dir, error) {
	t := j.part.Template
	if err := needsRoot(j.part, j.a.o.Root); err != nil {
		return nil, nil, err
	}
	owner, err := j.accounts().find(mainUser(t), mainGroup(t), nil)
	if err != nil {
		return nil, nil, err
	}
	dirs, err := j.claim(ctx, owner)
	if err != nil {
		return nil, nil, err
	}
	if err := j.makeDirs(owner); err != nil {
		return nil, nil, err
	}
	r, err := j.render(dirs)
	if err != nil {
		return nil, nil, err
	}
	return r, dirs, j.writeAll(r, true)
}

// adopt learns how a member that runs was prepared, and writes again only what was
// rendered from something that has changed since.
func (j job) adopt(ctx context.Context) (*prepared, map[string]keeper.Settings, error) {
	for _, vol := range j.part.Volumes {
		err := j.sayMade(ctx, vol)
		if vol.Added && !vol.Made && errors.Is(err, volumes.ErrMissing) {
			continue // it was added since: the next start makes it
		}
		if err != nil {
			return nil, nil, err
		}
	}
	r, err := j.renderAgain()
	if err != nil {
		return nil, nil, err
	}
	if err := j.writeAll(r, false); err != nil {
		return nil, nil, err
	}
	mem, err := j.recall()
	if err != nil {
		return nil, nil, err
	}
	p := r.prepared(j)
	p.hooked, p.runs, p.marks = mem.Hooked, mem.Runs, mem.Peers
	return p, mem.Settings, nil
}

// renderAgain renders what was prepared, and makes nothing.
func (j job) renderAgain() (*rendering, error) {
	dirs := map[string]volumes.Dir{}
	for _, vol := range j.part.Volumes {
		d, err := j.a.o.Pool.Where(claimOf(j.part, vol))
		if err != nil {
			return nil, err
		}
		if vol.Added && !vol.Made {
			if _, err := os.Stat(d.Data); errors.Is(err, os.ErrNotExist) {
				continue // the next start makes it
			}
		}
		dirs[vol.Template] = d
	}
	return j.render(dirs)
}

// sayMade tells of a directory that was made by an agent that ended before it
// could. Nothing is made here: the member runs in it.
func (j job) sayMade(ctx context.Context, vol *state.Volume) error {
	if vol.Made && vol.Reason == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, diskTimeout)
	defer cancel()
	c := claimOf(j.part, vol)
	c.Made = true
	d, err := j.a.o.Pool.Ensure(ctx, c)
	if err != nil {
		return err
	}
	j.a.said.volume(volumeReport(vol, state.VolumeMade, d.Data, nil))
	return nil
}

func (j job) accounts() accounts { return accounts{root: j.a.o.Root} }

// claim makes or finds the member's directories and takes them for this epoch.
func (j job) claim(ctx context.Context, main account) (map[string]volumes.Dir, error) {
	ctx, cancel := context.WithTimeout(ctx, diskTimeout)
	defer cancel()
	dirs := map[string]volumes.Dir{}
	for _, vol := range j.part.Volumes {
		if vol.Node != j.a.o.Node {
			return nil, failf(VolumeElsewhere, "volume %s is on node %s", vol.Name(), vol.Node)
		}
		switch vol.Phase {
		case spec.VolumePending, spec.VolumeBound:
		default:
			return nil, failf(VolumeElsewhere, "volume %s is %s", vol.Name(), vol.Phase)
		}
		d, err := j.claimOne(ctx, vol, main)
		if err != nil {
			f := failureOf(err)
			j.a.said.volume(volumeReport(vol, state.VolumeTrouble, "", f))
			return nil, err
		}
		dirs[vol.Template] = d
		j.a.said.volume(volumeReport(vol, state.VolumeMade, d.Data, nil))
	}
	return dirs, nil
}

func (j job) claimOne(ctx context.Context, vol *state.Volume, main account) (volumes.Dir, error) {
	c := claimOf(j.part, vol)
	owner := main
	if vol.Owner != "" {
		var err error
		name, group := splitOwner(vol.Owner)
		if owner, err = j.accounts().find(name, group, nil); err != nil {
			return volumes.Dir{}, err
		}
	}
	if owner.Set {
		c.HasOwner, c.OwnerUID, c.OwnerGID = true, int(owner.UID), int(owner.GID)
	}
	if vol.Mode != "" {
		mode, err := strconv.ParseUint(vol.Mode, 8, 12)
		if err != nil {
			return volumes.Dir{}, failf(CannotStart, "the mode %q of volume %s is not octal", vol.Mode, vol.Name())
		}
		c.Mode = os.FileMode(mode & 0o777)
		for bit, flag := range map[uint64]os.FileMode{0o4000: os.ModeSetuid, 0o2000: os.ModeSetgid, 0o1000: os.ModeSticky} {
			if mode&bit != 0 {
				c.Mode |= flag
			}
		}
	}
	noted := false
	if !c.Made {
		var err error
		if noted, err = j.a.wasMade(c.UID); err != nil {
			return volumes.Dir{}, err
		}
		c.Made = noted
	}
	d, err := j.a.o.Pool.Ensure(ctx, c)
	if err != nil {
		return d, err
	}
	if !vol.Made && !noted {
		if err := j.a.noteMade(c.UID); err != nil {
			return d, err
		}
	}
	return d, j.a.o.Pool.Take(c, j.step.Epoch, j.a.o.Node)
}

func claimOf(p Part, vol *state.Volume) volumes.Claim {
	return volumes.Claim{
		ClusterID: p.Cluster.ID, Namespace: vol.Namespace, Set: vol.Set, Template: vol.Template,
		Ordinal: vol.Ordinal, Name: vol.ClaimName(), UID: vol.UID, Made: vol.Made,
	}
}

func volumeReport(vol *state.Volume, event, path string, f *Failure) state.VolumeReport {
	r := state.VolumeReport{Namespace: vol.Namespace, Name: vol.Name(), UID: vol.UID, Event: event, Path: path}
	if f != nil {
		r.Reason, r.Message = f.Reason, f.Message
	}
	return r
}

// needsRoot names what of a template only root can do.
func needsRoot(p Part, root bool) error {
	if root {
		return nil
	}
	t := p.Template
	for _, name := range sortedKeys(t.VolumeMounts) {
		if t.VolumeMounts[name] != "" {
			return failf(NeedsRoot, "volume %s is to be mounted at %s, which only root may do; use ${volume.%s} instead, or run supd as root", name, t.VolumeMounts[name], name)
		}
	}
	for _, s := range t.Scratch {
		if s.MountPath != "" {
			return failf(NeedsRoot, "scratch directory %s is to be mounted at %s, which only root may do", s.Name, s.MountPath)
		}
	}
	for _, s := range t.Init {
		if len(s.Mounts) > 0 {
			return failf(NeedsRoot, "init step %s has mounts, which only root may do", s.Name)
		}
		if err := privilegesNeedRoot("init step "+s.Name, s.Privileges); err != nil {
			return err
		}
	}
	for _, proc := range t.Processes {
		if len(proc.Mounts) > 0 {
			return failf(NeedsRoot, "process %s has mounts, which only root may do", proc.Name)
		}
		if limitsOf(proc) != nil {
			return failf(NeedsRoot, "process %s is limited in cpu, memory, pids or io, which only root may do", proc.Name)
		}
		if err := privilegesNeedRoot("process "+proc.Name, proc.Privileges); err != nil {
			return err
		}
	}
	return nil
}

func mainUser(t *spec.Template) string {
	if len(t.Processes) == 0 {
		return ""
	}
	return t.Processes[0].User
}

func mainGroup(t *spec.Template) string {
	if len(t.Processes) == 0 {
		return ""
	}
	return t.Processes[0].Group
}

// makeDirs makes the member's run directory and logs, and its scratch directories
// anew: what an earlier start left there is moved away and removed.
func (j job) makeDirs(owner account) error {
	for _, d := range []struct {
		path string
		mode os.FileMode
	}{
		{filepath.Join(j.a.o.DataDir, "logs", j.key.Namespace), 0o711},
		{j.logDir(), 0o750},
		{filepath.Join(j.a.runDir(), j.key.Namespace), 0o711},
		{j.dir(), 0o711},
		{filepath.Join(j.dir(), "files"), 0o711},
		{filepath.Join(j.dir(), "scratch"), 0o711},
	} {
		if err := os.MkdirAll(d.path, d.mode); err != nil {
			return fmt.Errorf("cannot make a directory: %w", err)
		}
		if err := os.Chmod(d.path, d.mode); err != nil { // whatever the daemon's umask
			return fmt.Errorf("cannot make a directory: %w", err)
		}
	}
	if err := j.sweep(); err != nil {
		return err
	}
	if err := j.makeTmp(); err != nil {
		return err
	}
	for _, s := range j.part.Template.Scratch {
		path := j.scratch(s.Name)
		if err := j.discard(path); err != nil {
			return err
		}
		if err := os.Mkdir(path, 0o700); err != nil {
			return fmt.Errorf("cannot make scratch directory %s: %w", s.Name, err)
		}
		if owner.Set {
			if err := os.Lchown(path, int(owner.UID), int(owner.GID)); err != nil {
				return fmt.Errorf("cannot make scratch directory %s: %w", s.Name, err)
			}
		}
	}
	return nil
}

// dir is the member's run directory.
func (j job) dir() string { return filepath.Join(j.a.runDir(), j.key.Namespace, j.key.Name()) }

func (j job) logDir() string { return j.a.logDir(j.key) }

func (a *Agent) logDir(k Key) string {
	return filepath.Join(a.o.DataDir, "logs", k.Namespace, k.Name())
}

func (j job) scratch(name string) string { return filepath.Join(j.dir(), "scratch", name) }

// discard moves a directory out of the way and removes it.
func (j job) discard(path string) error {
	away := filepath.Join(j.dir(), ".gone-"+newRun())
	err := os.Rename(path, away)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = os.RemoveAll(away)
	}
	if err != nil {
		return fmt.Errorf("cannot empty a scratch directory: %w", err)
	}
	return nil
}

// sweep removes what an interrupted discard has left.
func (j job) sweep() error {
	left, err := filepath.Glob(filepath.Join(j.dir(), ".gone-*"))
	for _, p := range left {
		err = errors.Join(err, os.RemoveAll(p))
	}
	if err != nil {
		return fmt.Errorf("cannot empty a scratch directory: %w", err)
	}
	return nil
}

// clean removes the run directory of a member that is gone from this node. Its
// logs stay.
func (j job) clean() error {
	away := filepath.Join(j.a.runDir(), ".gone-"+newRun())
	err := os.Rename(j.dir(), away)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = os.RemoveAll(away)
	}
	if err != nil {
		return fmt.Errorf("cannot remove the run directory of member %s: %w", j.key, err)
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
