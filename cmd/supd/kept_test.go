package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"supd/configs"
	"supd/supervisor/client"
	"supd/supervisor/keeper"
	"supd/supervisor/spec"
)

func overlayJSON(t *testing.T, replace map[string]string) []byte {
	t.Helper()
	b, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestKeptData opens the data directories that earlier builds left: testdata/kept has
// one of each build that changed something, and every later one must open all of them.
// make kept adds one. They are unpacked elsewhere than where they were made: nothing
// in a data directory may hang on its path but what is told anew at each start.
func TestKeptData(t *testing.T) {
	if testing.Short() {
		t.Skip("starts daemons and members")
	}
	if *makeKept != "" {
		makeKeptData(t, *makeKept)
	}
	archives, err := filepath.Glob(filepath.Join(keptIn, "*.tar.gz"))
	if err != nil || len(archives) == 0 {
		t.Fatalf("no kept directories: %v", err)
	}
	for _, a := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(a), ".tar.gz"), func(t *testing.T) {
			t.Parallel()
			k := startKept(t, a)
			k.objects()
			k.membersAgain()
			k.directories()
			k.writes()
		})
	}
}

// kept is a daemon that runs on a kept directory, with a keeper that this test started:
// one that supd starts would take the cgroup of the directory's node, which others may be using at the same time.
type kept struct {
	*testing.T
	dir string
	api *client.Client
	log string
}

func startKept(t *testing.T, archive string) *kept {
	t.Helper()
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	dir := openDir(t)
	if err := unpack(archive, dir); err != nil {
		t.Fatal(err)
	}
	var ports portChoice
	cfg := configs.DefaultDaemon()
	cfg.Name, cfg.DataDir, cfg.Socket, cfg.SocketGroup = nodeName(1), dir, filepath.Join(dir, "supd.sock"), ""
	cfg.BootstrapExpect, cfg.KeeperManaged = 1, configs.KeeperBySystemd
	for _, at := range []*string{&cfg.API, &cfg.Raft, &cfg.Gossip, &cfg.DNS} {
		if *at, err = ports.next(); err != nil {
			t.Fatal(err)
		}
	}
	ports.release()
	text, err := cfg.YAML()
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "supd.yaml"), []byte(text), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	k := &kept{T: t, dir: dir, log: filepath.Join(dir, "test.log")}
	k.start(filepath.Join(bin, "supd-keeper"), "run", "--dir", filepath.Join(dir, "keeper"), "--log-file", filepath.Join(dir, "keeper", "keeper.log"))
	k.start(filepath.Join(bin, "supd"), "run", "--config", filepath.Join(dir, "supd.yaml"))
	k.api = dial(t, "unix://"+cfg.Socket)
	t.Cleanup(func() {
		if t.Failed() {
			b, err := os.ReadFile(k.log)
			t.Logf("%s%v", b, err)
		}
	})
	t.Cleanup(k.stopMembers)
	until(t, "the daemon leads", func() error { return k.api.Ready(t.Context()) })
	kc := keeper.Dial(cfg.KeeperSocket())
	defer kc.Close()
	if _, err := kc.List(t.Context(), 0); err != nil {
		t.Errorf("the keeper's records: %v", err)
	}
	return k
}

// start starts a program, and stops it at the end.
func (k *kept) start(name string, args ...string) {
	k.Helper()
	log, err := os.OpenFile(k.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		k.Fatal(err)
	}
	defer log.Close()
	c := exec.Command(name, args...)
	c.Stdout, c.Stderr = log, log
	if err := c.Start(); err != nil {
		k.Fatal(err)
	}
	k.Cleanup(func() {
		if err := c.Process.Signal(os.Interrupt); err != nil {
			k.Error(err)
		}
		if err := c.Wait(); err != nil {
			k.Errorf("%s: %v", name, err)
		}
	})
}

// stopMembers stops all members, for the keeper to be able to end.
func (k *kept) stopMembers() {
	ctx := context.WithoutCancel(k.Context())
	until(k, "the members stop", func() error {
		if err := k.api.Stopping(ctx, true); err != nil {
			return err
		}
		ms, _, err := client.List[spec.Member](ctx, k.api, client.Members, client.ReadOptions{})
		for _, m := range ms {
			for _, p := range m.Status.Processes {
				if p.PID > 0 && alive(p.PID) {
					return fmt.Errorf("%s has process %d", m.Metadata.Name, p.PID)
				}
			}
		}
		return err
	})
}

// objects: what was in the View is there.
func (k *kept) objects() {
	sets, _, err := client.List[spec.StatefulSet](k.Context(), k.api, client.StatefulSets, client.ReadOptions{})
	if err != nil || len(sets) != 2 {
		k.Errorf("there are %d sets, %v", len(sets), err)
	}
	volumes := map[string]string{}
	vols, _, err := client.List[spec.Volume](k.Context(), k.api, client.Volumes, client.ReadOptions{})
	if err != nil {
		k.Error(err)
	}
	for _, v := range vols {
		volumes[v.Metadata.Name] = v.Status.Phase
	}
	for name, want := range map[string]string{"data-web-0": spec.VolumeBound, "data-web-1": spec.VolumeBound, "data-old-0": spec.VolumeRetained} {
		if volumes[name] != want {
			k.Errorf("volume %s is %q, want %s", name, volumes[name], want)
		}
	}
	// Its time in the trash is over some day.
	if p := volumes["data-old-1"]; p != spec.VolumeReleasing && p != "" {
		k.Errorf("released volume is %s", p)
	}
	if _, err := os.Stat(filepath.Join(k.dir, keptAccount)); err == nil {
		l, err := k.api.Accounts(k.Context())
		if err != nil || len(l.Items) != 1 {
			k.Errorf("accounts: %v, %v", l.Items, err)
		}
	}
	events, _, err := client.List[spec.Event](k.Context(), k.api, client.Events, client.ReadOptions{})
	if err != nil || len(events) < 10 {
		k.Errorf("there are %d events, %v", len(events), err)
	}
}

// membersAgain: they start, with higher epochs than they had.
func (k *kept) membersAgain() {
	if err := k.api.Stopping(k.Context(), false); err != nil {
		k.Fatal(err)
	}
	memberPids(k.T, k.api, 4)
}

// directories: the members found what they had written; the one retained is there.
func (k *kept) directories() {
	for _, m := range []string{"web-0", "web-1"} {
		files, err := filepath.Glob(filepath.Join(k.dir, "volumes", "*", "data-"+m+".*", "data", "epochs"))
		if err != nil || len(files) != 1 {
			k.Errorf("%s has %d files, %v", m, len(files), err)
			continue
		}
		var f []string
		until(k, m+" writes", func() error { // a member is ready before its first word
			b, err := os.ReadFile(files[0])
			if f = strings.Fields(string(b)); err == nil && len(f) < 2 {
				err = fmt.Errorf("it has written %d times, want before and after", len(f))
			}
			return err
		})
		last := 0
		for _, s := range f {
			n, err := strconv.Atoi(s)
			if err != nil || n <= last {
				k.Errorf("%s has had the epochs %v", m, f)
			}
			last = n
		}
		if len(f) != 2 {
			k.Errorf("%s has written %d times, want before and after", m, len(f))
		}
		var v *spec.Volume
		until(k, "the path is told anew", func() error {
			vs, _, err := client.Get[spec.Volume](k.Context(), k.api, client.Volumes, spec.DefaultNS, "data-"+m, client.ReadOptions{})
			v = vs
			if err == nil && v.Status.Path != filepath.Dir(files[0]) {
				err = fmt.Errorf("%s is at %s by the View, and at %s", m, v.Status.Path, files[0])
			}
			return err
		})
	}
	if files, err := filepath.Glob(filepath.Join(k.dir, "volumes", "*", "data-old-0.*", "data", "epochs")); err != nil || len(files) != 1 {
		k.Errorf("the retained directory: %v, %v", files, err)
	}
}

// writes: a set grows.
func (k *kept) writes() {
	three := 3
	if _, _, err := k.api.Scale(k.Context(), spec.DefaultNS, "web", client.ScaleRequest{Replicas: &three}, client.WriteOptions{}); err != nil {
		k.Fatal(err)
	}
	memberPids(k.T, k.api, 5)
}
