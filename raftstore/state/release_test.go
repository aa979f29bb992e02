package state_test

import (
	"testing"

	"supd/raftstore/state"
	"supd/supervisor/spec"
)

// TestReleasedAgainWhileItComesBack: released, taken back, and released again before
// the node has told that the directory is back. Where it is, is not known then; it
// must go to the trash (again) before it may be emptied, or its emptying never ends.
func TestReleasedAgainWhileItComesBack(t *testing.T) {
	t.Parallel()
	one := 1
	procs := []spec.Process{{Name: "main", Exec: spec.Exec{Command: []string{"sleep", "inf"}}}}
	tpl := spec.Template{Processes: procs}
	v := state.New()
	seq := uint64(0)
	did := func(event string) *state.Report {
		seq++
		return &state.Report{Node: "n1", Run: "r", Seq: seq, Volumes: []state.VolumeReport{
			{Namespace: "default", Name: "data-web-0", UID: "v0", Event: event, Path: "/p"},
		}}
	}
	member := func(v *state.View) *state.Member { return v.Member("default", "web", 0) }
	volume := func(v *state.View) *state.Volume { return v.Volume("default", "data-web-0") }
	for _, c := range []func() state.Command{
		func() state.Command {
			return &state.InitCluster{ID: "c", Incarnation: "1", Plan: "none", Zone: spec.ClusterZone}
		},
		func() state.Command {
			return &state.RegisterNode{Node: state.Node{Name: "n1", ID: "n1.id", Run: "r", HostIP: "127.0.0.1"}}
		},
		func() state.Command {
			return &state.PutSet{
				Namespace: "default", Name: "web", UID: "u", Template: tpl,
				Spec: spec.StatefulSetSpec{Replicas: &one, ServiceName: "web", Processes: procs, Volumes: []spec.VolumeSpec{{Name: "data"}}},
			}
		},
		func() state.Command {
			return &state.Reserve{Namespace: "default", Set: "web", IfGeneration: 1, Slots: []state.Slot{
				{UID: "m0", Node: "n1", IP: "127.0.0.1", VolumeUIDs: map[string]string{"data": "v0"}},
			}}
		},
		func() state.Command { return did(state.VolumeMade) },
		func() state.Command { return &state.DeleteSet{Namespace: "default", Name: "web"} },
		func() state.Command {
			return &state.StopMember{Namespace: "default", Set: "web", Gone: true, IfGeneration: member(v).Generation}
		},
		func() state.Command {
			return &state.DropMember{Namespace: "default", Set: "web", IfGeneration: member(v).Generation}
		},
		func() state.Command { return &state.ReleaseVolume{Namespace: "default", Name: "data-web-0"} },
		func() state.Command { return did(state.VolumeTrashed) },
		func() state.Command { return &state.UndoRelease{Namespace: "default", Name: "data-web-0"} },
		func() state.Command { return &state.ReleaseVolume{Namespace: "default", Name: "data-web-0"} },
		func() state.Command { return did(state.VolumeRestored) }, // of the undo that is taken back
	} {
		v = apply(t, v, c())
	}
	vol := volume(v)
	if vol.Phase != spec.VolumeReleasing || vol.Undo || vol.Trashed {
		t.Fatalf("got %s, undo %v, trashed %v; want it on its way to the trash", vol.Phase, vol.Undo, vol.Trashed)
	}
	empty := func() *state.EmptyVolume {
		return &state.EmptyVolume{Namespace: "default", Name: "data-web-0", UID: "v0", IfGeneration: volume(v).Generation}
	}
	if _, res := v.Apply(v.Index+1, entry(empty())); res.Err == nil {
		t.Error("may be emptied although it may be in place")
	}
	v = apply(t, v, did(state.VolumeTrashed))
	v = apply(t, v, empty())
	v = apply(t, v, did(state.VolumeEmptied))
	if volume(v) != nil {
		t.Error("the volume is still there")
	}
}
