package agent

import (
	"time"

	"supd/raftstore/state"
	"supd/volumes"
)

// findAgain is when a look for directories that failed is tried again.
const findAgain = time.Minute

// find tells the cluster, once it was recovered by hand, of directories that its log does
// not know, for they were made in a part of it that is lost. One that no member was ever
// started on holds nothing.
func (t *trash) find(v *state.View, now time.Time) {
	if v.Cluster.Recovered == "" || t.found == v.Cluster.Recovered || now.Before(t.findAt) {
		return
	}
	list, err := t.o.Pool.List()
	if err != nil {
		t.findAt = now.Add(findAgain)
		t.o.Logger.Warn("cannot look for directories that the recovered cluster does not know; it is tried again", "err", err)
		return
	}
	t.found = v.Cluster.Recovered
	known := map[string]bool{}
	for vol := range v.Volumes("") {
		known[vol.UID] = true
	}
	var out []state.FoundVolume
	for _, f := range list {
		used := f.Epoch > 0 || f.Why != "" || f.Abandoned
		if f.Foreign || f.Place != volumes.PlaceLive || known[f.Marker.UID] || !used {
			continue
		}
		t.o.Logger.Warn("a directory is here that the recovered cluster does not know", "namespace", f.Namespace, "volume", f.Name, "path", f.Path)
		m := f.Marker
		out = append(out, state.FoundVolume{
			Namespace: m.Namespace, Set: m.Set, Template: m.Template, Ordinal: m.Ordinal, UID: m.UID, Path: f.Data(), Abandoned: f.Abandoned,
		})
	}
	t.said.found(out)
}
