package agent

import (
	"fmt"
	"os"
	"path/filepath"

	"supd/supervisor/keeper"
	"supd/supervisor/spec"
	"supd/volumes"
)

// privateTmp are the directories that a program with a /tmp of its own has.
var privateTmp = []struct{ name, target string }{{"tmp", "/tmp"}, {"var-tmp", "/var/tmp"}}

// confine gives a program what its privileges say.
func (j job) confine(x *keeper.Exec, p spec.Privileges, dirs map[string]volumes.Dir) {
	x.NoNewPrivs = p.NoNewPrivs == nil || *p.NoNewPrivs
	x.Capabilities, x.SetCapabilities = p.CapabilityList()
	if p.PrivateTmp {
		for _, t := range privateTmp {
			x.Mounts = append(x.Mounts, keeper.Mount{Source: filepath.Join(j.tmpDir(), t.name), Target: t.target})
		}
	}
	x.ReadOnlyPaths = p.ReadOnly
	if len(p.ReadOnly) == 0 {
		return
	}
	// Programs also know the member's directories by their paths on the host.
	own := make([]string, 0, len(dirs))
	for _, name := range sortedKeys(dirs) {
		own = append(own, dirs[name].Data)
	}
	for _, s := range j.part.Template.Scratch {
		own = append(own, j.scratch(s.Name))
	}
	for _, dir := range own {
		for _, path := range p.ReadOnly {
			if rel, err := filepath.Rel(path, dir); err == nil && rel != "." && filepath.IsLocal(rel) {
				x.Mounts = append(x.Mounts, keeper.Mount{Source: dir, Target: dir})
				break
			}
		}
	}
}

// tmpDir holds the member's private /tmp. It is closed to all but root, as a mount of what is in it isn't.
func (j job) tmpDir() string { return filepath.Join(j.dir(), "private") }

// makeTmp makes the member's private /tmp anew, if any of its programs asks for one.
func (j job) makeTmp() error {
	if err := j.discard(j.tmpDir()); err != nil {
		return err
	}
	if !wantsTmp(j.part.Template) {
		return nil
	}
	err := os.Mkdir(j.tmpDir(), 0o700)
	for _, t := range privateTmp {
		path := filepath.Join(j.tmpDir(), t.name)
		if err == nil {
			err = os.Mkdir(path, 0o777)
		}
		if err == nil {
			err = os.Chmod(path, 0o777|os.ModeSticky) // whatever the daemon's umask
		}
	}
	if err != nil {
		return fmt.Errorf("cannot make the private /tmp: %w", err)
	}
	return nil
}

func wantsTmp(t *spec.Template) bool {
	for _, s := range t.Init {
		if s.PrivateTmp {
			return true
		}
	}
	for _, p := range t.Processes {
		if p.PrivateTmp {
			return true
		}
	}
	return false
}

// privilegesNeedRoot names what of a program's privileges only root can give.
func privilegesNeedRoot(what string, p spec.Privileges) error {
	switch {
	case len(p.ReadOnly) > 0:
		return failf(NeedsRoot, "%s has readOnlyPaths, which only root may do", what)
	case len(p.Capabilities) > 0:
		return failf(NeedsRoot, "%s is to have capabilities, which only root may give", what)
	case p.PrivateTmp:
		return failf(NeedsRoot, "%s is to have a private /tmp, which only root may do", what)
	}
	return nil
}
