package server

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"sync"
	"time"

	"supd/supervisor/client"
	"supd/supervisor/spec"
)

// ownerTimeout is how long the owner of a fact outside the log is waited for.
const ownerTimeout = 2 * time.Second

// filter is what a read asks for.
type filter struct {
	ns, name string
	selector selector
	event    string
	// only these namespaces, if any is named: the caller's
	only []string
}

func (k kind) filterOf(r *http.Request) (filter, error) {
	sel, err := parseSelector(r.URL.Query().Get("labelSelector"))
	if err != nil {
		return filter{}, err
	}
	return filter{ns: r.PathValue("ns"), name: r.PathValue("name"), selector: sel, event: r.URL.Query().Get("for"), only: callerOf(r).Namespaces}, nil
}

// reaches tells whether the caller may see an object at all. What has no namespace concerns the whole cluster.
func (f filter) reaches(o object) bool { return len(f.only) == 0 || slices.Contains(f.only, o.ns) }

// find returns the objects that a filter wants.
func (k kind) find(rd reading, f filter) []object {
	if f.name != "" {
		if o, ok := k.one(rd, f.ns, f.name); ok && f.reaches(o) {
			return []object{o}
		}
		return nil
	}
	return slices.DeleteFunc(k.all(rd, f.ns), func(o object) bool {
		return !f.reaches(o) || !f.selector.matches(o.labels) || f.event != "" && o.event != f.event
	})
}

func (k kind) list(s *Server, w http.ResponseWriter, r *http.Request) error {
	f, err := k.filterOf(r)
	if err != nil {
		return err
	}
	if flag(r, "watch") {
		return s.watch(w, r, k, f)
	}
	rd := s.reading()
	objects := k.find(rd, f)
	if k.ask != nil && (k.resource == client.Nodes || k.resource == client.Volumes && flag(r, "usage")) {
		k.ask(s, r, objects)
	}
	items := make([]any, 0, len(objects))
	for _, o := range objects {
		items = append(items, o.value)
	}
	setIndex(w, rd.v)
	return writeJSON(w, http.StatusOK, spec.List[any]{APIVersion: spec.APIVersion, Kind: k.kind + "List", Items: items})
}

func (k kind) get(s *Server, w http.ResponseWriter, r *http.Request) error {
	f, err := k.filterOf(r)
	if err != nil {
		return err
	}
	if flag(r, "watch") {
		return s.watch(w, r, k, f)
	}
	rd := s.reading()
	objects := k.find(rd, f)
	setIndex(w, rd.v)
	if len(objects) == 0 {
		return k.missing(f)
	}
	if k.ask != nil {
		k.ask(s, r, objects)
	}
	return writeJSON(w, http.StatusOK, objects[0].value)
}

func (k kind) missing(f filter) error {
	e := spec.Errorf(spec.CodeNotFound, "there is no %s %s", k.word, f.name)
	if k.resource.Namespaced() {
		e = spec.Errorf(spec.CodeNotFound, "there is no %s %s in namespace %s", k.word, f.name, f.ns)
	}
	e.Reason = "NotFound"
	return e
}

func (k kind) explainObject(s *Server, w http.ResponseWriter, r *http.Request) error {
	rd := s.reading()
	f := filter{ns: r.PathValue("ns"), name: r.PathValue("name")}
	x, ok := k.explain(rd, f.ns, f.name)
	setIndex(w, rd.v)
	if !ok {
		return k.missing(f)
	}
	return writeJSON(w, http.StatusOK, x)
}

func writeJSON(w http.ResponseWriter, status int, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return spec.Errorf(spec.CodeInternal, "cannot encode the answer: %v", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // a reader that is gone needs no answer
	return nil
}

// askUsage asks each volume's node how much it holds, all at once.
func askUsage(s *Server, r *http.Request, objects []object) {
	ctx, cancel := context.WithTimeout(r.Context(), ownerTimeout)
	defer cancel()
	var wg sync.WaitGroup
	for i := range objects {
		vol, ok := objects[i].value.(spec.Volume)
		if !ok {
			continue
		}
		wg.Go(func() {
			n, err := s.usage(ctx, vol)
			if err != nil {
				vol.Status.UsedBytesReason = spec.Errorf(spec.CodeOf(err), "%v", err).Message
			} else {
				vol.Status.UsedBytes, vol.Status.UsedBytesReason = &n, ""
			}
			objects[i].value = vol
		})
	}
	wg.Wait()
}

func (s *Server) usage(ctx context.Context, vol spec.Volume) (int64, error) {
	if vol.Status.Path == "" {
		return 0, spec.Errorf(spec.CodeNotFound, "it has no directory yet")
	}
	if vol.Spec.Node == s.o.Node {
		return s.o.Agent.Usage(ctx, vol.Metadata.Namespace, vol.Metadata.Name)
	}
	c, err := s.nodeClient(vol.Spec.Node)
	if err != nil {
		return 0, err
	}
	return c.NodeUsage(ctx, vol.Metadata.Namespace, vol.Metadata.Name)
}

// nodeClient makes a client of another node's API.
func (s *Server) nodeClient(node string) (*client.Client, error) {
	return s.patientClient(node, ownerTimeout)
}

func (s *Server) patientClient(node string, timeout time.Duration) (*client.Client, error) {
	addr, ok := s.o.Cluster.NodeAPI(node)
	if !ok {
		e := spec.Errorf(spec.CodeNoLeader, "the address of node %s is not known", node)
		e.Reason = "NodeUnknown"
		return nil, e
	}
	return client.New(s.o.Scheme+"://"+addr, client.Options{Transport: s.o.Transport, RequestTimeout: timeout})
}

// askNodes asks the leader for leases, and one node for its keeper: of many, one that is away would delay all.
func askNodes(s *Server, r *http.Request, objects []object) {
	if r.PathValue("name") == "" {
		askLeases(s, r, objects)
		return
	}
	var k *spec.KeeperStatus
	var err error
	var wg sync.WaitGroup
	wg.Go(func() { k, err = s.keeperStatus(r.Context(), r.PathValue("name")) })
	askTroubles(s, r, objects)
	askLeases(s, r, objects)
	wg.Wait()
	for i := range objects {
		n, ok := objects[i].value.(spec.Node)
		if !ok {
			continue
		}
		n.Status.Keeper, n.Status.KeeperReason = k, ""
		if err != nil {
			n.Status.KeeperReason = err.Error()
		}
		objects[i].value = n
	}
}

// askLeases asks the leader until when the nodes' leases last.
func askLeases(s *Server, r *http.Request, objects []object) {
	ctx, cancel := context.WithTimeout(r.Context(), ownerTimeout)
	defer cancel()
	until, err := s.leaseTable(ctx)
	for i := range objects {
		n, ok := objects[i].value.(spec.Node)
		if !ok {
			continue
		}
		t, has := until[n.Metadata.Name]
		switch {
		case err != nil:
			n.Status.LeaseUntilReason = err.Error()
		case !has:
			n.Status.LeaseUntilReason = "NoLease: the leader has given this node none"
		default:
			u := t.UTC()
			n.Status.LeaseUntil, n.Status.LeaseUntilReason = &u, ""
		}
		objects[i].value = n
	}
}

func (s *Server) leaseTable(ctx context.Context) (map[string]time.Time, error) {
	rs := s.o.Cluster.Status()
	if rs.Leading {
		return s.o.Control.Leases(), nil
	}
	if rs.Leader == "" || rs.LeaderAPI == "" {
		return nil, spec.Errorf(spec.CodeNoLeader, "NoLeader: nobody gives leases now")
	}
	c, err := client.New(s.o.Scheme+"://"+rs.LeaderAPI, client.Options{Transport: s.o.Transport, RequestTimeout: ownerTimeout})
	if err != nil {
		return nil, err
	}
	return c.LeaseTable(ctx)
}

func (s *Server) getScale(w http.ResponseWriter, r *http.Request) error {
	rd := s.reading()
	o, ok := oneSet(rd, r.PathValue("ns"), r.PathValue("name"))
	setIndex(w, rd.v)
	if !ok {
		return spec.Errorf(spec.CodeNotFound, "there is no statefulset %s in namespace %s", r.PathValue("name"), r.PathValue("ns"))
	}
	set := o.value.(spec.StatefulSet)
	return writeJSON(w, http.StatusOK, client.Scale{
		Replicas: set.Status.Replicas, ReadyReplicas: set.Status.ReadyReplicas, Wanted: *set.Spec.Replicas,
	})
}

func (s *Server) version(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, http.StatusOK, client.Version{Version: s.o.Version, Node: s.o.Node})
}

func (s *Server) cluster(w http.ResponseWriter, r *http.Request) error {
	rd := s.reading()
	st := ClusterStatus(rd.v, rd.rs, unaskedLease)
	st.Hash = s.hash.get(rd.v)
	objects := make([]object, len(st.Nodes))
	for i, n := range st.Nodes {
		objects[i].value = n
	}
	askTroubles(s, r, objects)
	askLeases(s, r, objects)
	for i := range objects {
		st.Nodes[i] = objects[i].value.(spec.Node)
	}
	countVoters(&st)
	setIndex(w, rd.v)
	return writeJSON(w, http.StatusOK, st)
}
