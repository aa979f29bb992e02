package server_test

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/client"
	"supd/supervisor/server/servertest"
	"supd/supervisor/spec"
)

// newHangup listens and closes every connection when a request has begun.
func newHangup(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b := make([]byte, 1)
			_, _ = c.Read(b)
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return l.Addr().String()
}

func asSpec(t *testing.T, err error) *spec.Error {
	t.Helper()
	var e *spec.Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want an error with a code", err)
	}
	return e
}

func TestPutSet(t *testing.T) {
	t.Parallel()
	n := servertest.New("node-1")
	n.Form(3)
	c, _ := serve(t, n)
	ctx := t.Context()
	set, w, err := c.PutStatefulSet(ctx, servertest.Web(3), client.WriteOptions{Reason: "first"})
	if err != nil || w.Result != client.Created || w.Index != n.View().Index {
		t.Fatalf("first PUT = %+v, %v", w, err)
	}
	if set.Spec.Network.Mode != spec.NetworkMember || set.Metadata.ResourceVersion == 0 {
		t.Errorf("stored %+v, want defaults of this cluster and a version", set)
	}
	if n.View().Service("default", "web") == nil {
		t.Error("there is no governing service")
	}
	if _, w, err = c.PutStatefulSet(ctx, servertest.Web(3), client.WriteOptions{}); err != nil || w.Result != client.Unchanged {
		t.Errorf("the same PUT = %+v, %v, want unchanged", w, err)
	}
	// What get prints is taken back as it is.
	if _, w, err = c.PutStatefulSet(ctx, set, client.WriteOptions{IfVersion: set.Metadata.ResourceVersion}); err != nil || w.Result != client.Unchanged {
		t.Errorf("PUT of what was read = %+v, %v, want unchanged", w, err)
	}
	index := n.View().Index
	if _, w, err = c.PutStatefulSet(ctx, servertest.Web(5), client.WriteOptions{DryRun: true}); err != nil || w.Result != client.Configured || n.View().Index != index {
		t.Errorf("dry run = %+v, %v at %d, want nothing changed", w, err, n.View().Index)
	}
	_, _, err = c.PutStatefulSet(ctx, servertest.Web(5), client.WriteOptions{IfVersion: set.Metadata.ResourceVersion + 1000})
	if e := asSpec(t, err); e.Code != spec.CodeConflict {
		t.Errorf("PUT with a stale version = %v, want a conflict", e)
	}
}

// TestScaleDownRefused: nothing changes, the members are named, and the one way round
// names them.
func TestScaleDownRefused(t *testing.T) {
	t.Parallel()
	n := servertest.Story()
	c, _ := serve(t, n)
	ctx := t.Context()
	one := 1
	before := n.View().Set("default", "web")
	_, _, err := c.Scale(ctx, "default", "web", client.ScaleRequest{Replicas: &one}, client.WriteOptions{})
	if e := asSpec(t, err); e.Code != spec.CodeRefused || !strings.Contains(e.Message, "web-1") || !strings.Contains(e.Message, "exit status 1") {
		t.Errorf("scale = %v, want it refused with the member and its reason", e)
	}
	_, _, err = c.PutStatefulSet(ctx, servertest.Web(1), client.WriteOptions{})
	if e := asSpec(t, err); e.Code != spec.CodeRefused || !strings.Contains(e.Message, "web-1") {
		t.Errorf("apply = %v, want it refused as well", e)
	}
	if n.View().Set("default", "web") != before {
		t.Error("something was changed")
	}
	n.Heal("default", "web-1")
	n.SetSilent("node-2", true)
	_, _, err = c.Scale(ctx, "default", "web", client.ScaleRequest{Replicas: &one}, client.WriteOptions{})
	if e := asSpec(t, err); e.Reason != "NodeSilent" {
		t.Errorf("scale with a silent node = %v, want NodeSilent", e)
	}
	n.SetSilent("node-2", false)
	three := 3
	_, _, err = c.Scale(ctx, "default", "web", client.ScaleRequest{Replicas: &one, CurrentReplicas: &three}, client.WriteOptions{})
	if e := asSpec(t, err); e.Code != spec.CodeConflict {
		t.Errorf("scale from another number = %v, want a conflict", e)
	}
	n.Sicken("default", "web-1", "still")
	set, w, err := c.Scale(ctx, "default", "web", client.ScaleRequest{Replicas: &one, AcceptUnhealthy: []string{"web-1"}}, client.WriteOptions{})
	if err != nil || w.Result != client.Configured || *set.Spec.Replicas != 1 {
		t.Errorf("scale with the member accepted = %+v, %v", w, err)
	}
}

// TestScaleDownWaitsForSteady: what has been ready for a moment will be steady in
// another, and whoever waited for ready need not guess how long.
func TestScaleDownWaitsForSteady(t *testing.T) {
	t.Parallel()
	n := servertest.Story()
	n.Heal("default", "web-1")
	m := n.View().MemberNamed("default", "web-1")
	steady, fresh := m.Seen, m.Seen
	fresh.Steady = false
	n.See(m, fresh)
	one := 1
	c, _ := serve(t, n)
	_, _, err := c.Scale(t.Context(), "default", "web", client.ScaleRequest{Replicas: &one}, client.WriteOptions{})
	if e := asSpec(t, err); e.Code != spec.CodeRefused || !strings.Contains(e.Message, "NotSteady") {
		t.Errorf("scale = %v, want it refused after its time", e)
	}
	n.Patience = time.Minute
	c, _ = serve(t, n)
	done := make(chan error, 1)
	go func() {
		_, _, err := c.Scale(t.Context(), "default", "web", client.ScaleRequest{Replicas: &one}, client.WriteOptions{})
		done <- err
	}()
	n.See(m, steady)
	if err := <-done; err != nil {
		t.Errorf("scale = %v, want it done when the member is steady", err)
	}
	n.Sicken("default", "web-0", "really sick")
	zero := 0
	_, _, err = c.Scale(t.Context(), "default", "web", client.ScaleRequest{Replicas: &zero}, client.WriteOptions{})
	if e := asSpec(t, err); e.Code != spec.CodeRefused {
		t.Errorf("scale with a sick member = %v, want it refused at once", e)
	}
}

func TestVolumeRelease(t *testing.T) {
	t.Parallel()
	n := servertest.Story()
	c, _ := serve(t, n)
	ctx := t.Context()
	_, _, err := c.ReleaseVolume(ctx, "default", "data-web-0", client.ReleaseRequest{}, client.WriteOptions{})
	if e := asSpec(t, err); e.Code != spec.CodeRefused {
		t.Errorf("release of a volume in use = %v, want it refused", e)
	}
	_, _, err = c.ReleaseVolume(ctx, "default", "data-web-2", client.ReleaseRequest{Now: true, Confirm: "data-web-1"}, client.WriteOptions{})
	if e := asSpec(t, err); e.Code != spec.CodeRefused || e.Reason != "NotConfirmed" {
		t.Errorf("release at once with another name = %v, want it refused", e)
	}
	v, _, err := c.ReleaseVolume(ctx, "default", "data-web-2", client.ReleaseRequest{}, client.WriteOptions{})
	if err != nil || v.Status.Phase != spec.VolumeReleasing || !v.Status.ReleaseAt.Equal(n.Now().Add(24*time.Hour)) {
		t.Fatalf("release = %+v, %v, want it in the trash for a day", v, err)
	}
	n.Settle()
	if _, _, err = c.UndoRelease(ctx, "default", "data-web-2", client.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	n.Settle()
	if v, _, err = client.Get[spec.Volume](ctx, c, client.Volumes, "default", "data-web-2", client.ReadOptions{}); err != nil || v.Status.Phase != spec.VolumeRetained {
		t.Errorf("after the undo it is %+v, %v, want Retained", v, err)
	}
	if _, _, err = c.ReleaseVolume(ctx, "default", "data-web-2", client.ReleaseRequest{Now: true, Confirm: "data-web-2"}, client.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	n.Settle()
	if _, _, err = c.GetRaw(ctx, client.Volumes, "default", "data-web-2", client.ReadOptions{}); spec.CodeOf(err) != spec.CodeNotFound {
		t.Errorf("after release at once: %v, want it gone", err)
	}
}

func TestMemberWrites(t *testing.T) {
	t.Parallel()
	n := servertest.Story()
	c, _ := serve(t, n)
	ctx := t.Context()
	epoch := n.View().Member("default", "web", 0).Epoch
	if _, err := c.Delete(ctx, client.Members, "default", "web-0", client.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	m, _, err := client.Get[spec.Member](ctx, c, client.Members, "default", "web-0", client.ReadOptions{})
	if err != nil || m.Status.Ready || m.Status.Phase != spec.MemberStopping {
		t.Errorf("right after its deletion it is %+v, %v; want it not ready from that very entry", m, err)
	}
	n.Sleep("node-1", false)
	n.Settle()
	if got := n.View().Member("default", "web", 0).Epoch; got <= epoch {
		t.Errorf("epoch %d, want a later start than %d", got, epoch)
	}
	for _, name := range []string{"web-7", "nothing"} {
		if _, err := c.RestartMember(ctx, "default", name, client.WriteOptions{}); spec.CodeOf(err) != spec.CodeNotFound {
			t.Errorf("restart of %s = %v, want NotFound", name, err)
		}
	}
	if _, err := c.RestartSet(ctx, "default", "web", client.RestartRequest{}, client.WriteOptions{IfVersion: 3}); spec.CodeOf(err) != spec.CodeInvalid {
		t.Errorf("a condition that cannot be kept = %v, want it refused", err)
	}
	res, err := c.RestartSet(ctx, "default", "web", client.RestartRequest{}, client.WriteOptions{})
	if err != nil || len(res.Warnings) != 0 {
		t.Errorf("restart: %+v, %v; want no warning", res, err)
	}
	n.Do(&state.PauseRollout{Namespace: "default", Name: "web", Paused: true})
	res, err = c.RestartSet(ctx, "default", "web", client.RestartRequest{}, client.WriteOptions{})
	if err != nil || len(res.Warnings) != 1 || !strings.Contains(res.Warnings[0], "supctl rollout resume web") {
		t.Errorf("restart of a paused set: %+v, %v; want it told that it waits", res, err)
	}
}

// TestPreview: the steps are those that then happen, and nothing is changed by asking.
func TestPreview(t *testing.T) {
	t.Parallel()
	n := servertest.New("node-1")
	n.Form(3)
	c, _ := serve(t, n)
	ctx := t.Context()
	steps := func(set *spec.StatefulSet) []string {
		t.Helper()
		before := n.View()
		p, err := c.Preview(ctx, client.PreviewRequest{StatefulSet: set}, client.WriteOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if n.View() != before {
			t.Fatal("a preview changed the state")
		}
		var out []string
		for _, s := range p.Steps {
			out = append(out, s.Verb+" "+s.Subject)
		}
		return out
	}
	want := func(set *spec.StatefulSet, want string) {
		t.Helper()
		if got := strings.Join(steps(set), ", "); got != want {
			t.Errorf("steps are %s, want %s", got, want)
		}
	}
	want(servertest.Web(2), "reserve web-0, reserve web-1, start web-0, start web-1")
	n.Put(servertest.Web(3))
	n.Settle()
	want(servertest.Web(3), "")
	want(servertest.Web(1), "stop web-2, remove web-2, stop web-1, remove web-1")
	changed := servertest.Web(3)
	changed.Spec.Processes[0].Command = []string{"/bin/sleep", "infinity"}
	want(changed, "stop web-2, start web-2, stop web-1, start web-1, stop web-0, start web-0")
	probe := servertest.Web(3)
	probe.Spec.Processes[0].Readiness.Exec = []string{"true"}
	want(probe, "")
	percent := servertest.Web(3)
	percent.Spec.Processes[0].Env = spec.Env{{Name: "A", Value: "b"}}
	percent.Spec.Volumes = append(percent.Spec.Volumes, spec.VolumeSpec{Name: "logs"})
	percent.Spec.UpdateStrategy.RollingUpdate = &spec.RollingUpdateOptions{MaxUnavailable: "20%"}
	p, err := c.Preview(ctx, client.PreviewRequest{StatefulSet: percent}, client.WriteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Steps[0].Why + " | " + p.Steps[1].Why; !strings.Contains(got, "template changed: process main: env; volumes") || !strings.Contains(got, "new directory logs-web-2") {
		t.Errorf("the first steps are because of %s", got)
	}
	if got := strings.Join(p.Notes, "; "); got != "at most 1 of 3 members are unavailable at a time: maxUnavailable 20% of 3 is 1, rounded up" {
		t.Errorf("notes: %s", got)
	}
	p, err = c.Preview(ctx, client.PreviewRequest{StatefulSet: probe}, client.WriteOptions{})
	if err != nil || len(p.Restarts) != 0 || len(p.Notes) != 1 || !strings.Contains(p.Notes[0], "no member is restarted") {
		t.Errorf("another probe: %+v, %v", p, err)
	}
	steady := n.View().Member("default", "web", 0)
	fresh := steady.Seen
	fresh.Steady = false // it has just been started: it does not make its new directory now
	report := func(seen state.Observation) {
		n.Report(steady.Node, []state.MemberReport{{Namespace: "default", Set: "web", Ordinal: 0, Seen: seen}}, nil)
	}
	report(fresh)
	p, err = c.Preview(ctx, client.PreviewRequest{StatefulSet: percent}, client.WriteOptions{})
	if err != nil || len(p.Steps) != 6 || !strings.Contains(p.Steps[5].Why, "new directory logs-web-0") {
		t.Errorf("steps while web-0 is not steady: %+v, %v", p.Steps, err)
	}
	report(steady.Seen)
	onDelete := servertest.Web(3)
	onDelete.Spec.UpdateStrategy = spec.UpdateStrategy{Type: spec.OnDelete}
	onDelete.Spec.Processes[0].Command = []string{"/bin/sleep", "infinity"}
	p, err = c.Preview(ctx, client.PreviewRequest{StatefulSet: onDelete}, client.WriteOptions{})
	if got := strings.Join(p.Notes, "; "); err != nil || got != "followed only when they are deleted (OnDelete): web-0, web-1, web-2" {
		t.Errorf("notes with OnDelete: %s, %v", got, err)
	}
	hooked := servertest.Web(1)
	hooked.Spec.Processes[0].Hooks = spec.Hooks{spec.HookOnLeave: {Command: []string{"leave"}}, spec.HookAfterLeave: {Command: []string{"after"}}}
	want(hooked, "run web-2, stop web-2, remove web-2, run web-0, run web-1, stop web-1, remove web-1, run web-0")
	n.Sicken("default", "web-2", "sick")
	_, err = c.Preview(ctx, client.PreviewRequest{StatefulSet: servertest.Web(1)}, client.WriteOptions{})
	if e := asSpec(t, err); e.Code != spec.CodeRefused || !strings.Contains(e.Message, "web-2") {
		t.Errorf("preview of a refused scale-down = %v, want it refused", e)
	}
	n.Do(&state.SetNode{Name: "node-2", State: spec.NodeSuspect, IfGeneration: n.View().Node("node-2").Generation})
	p, err = c.Preview(ctx, client.PreviewRequest{StatefulSet: changed}, client.WriteOptions{})
	if err != nil || len(p.Waits) == 0 || len(p.Notes) == 0 || !strings.HasPrefix(p.Notes[len(p.Notes)-1], "restarted later, when nothing holds them any more: web-0, web-1") {
		t.Errorf("preview while a node is silent: %+v, %v; want who is restarted later", p, err)
	}
}
