package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"supd/supervisor/spec"
)

// Resource names a collection of the API: its last path segment.
type Resource string

// The resources.
const (
	StatefulSets Resource = "statefulsets"
	Members      Resource = "members"
	Volumes      Resource = "volumes"
	Services     Resource = "services"
	Programs     Resource = "programs"
	Revisions    Resource = "revisions"
	Nodes        Resource = "nodes"
	Events       Resource = "events"
)

// Namespaced tells whether objects of the resource live in a namespace.
func (r Resource) Namespaced() bool { return r != Nodes }

// ReadOptions narrow a read.
type ReadOptions struct {
	// Namespace; "" means all.
	Namespace string
	// Selector is a label selector ("app=web,tier!=cache").
	Selector string
	// For narrows events to one object, "member/web-0".
	For string
	// Consistent reads on the leader after a barrier.
	Consistent bool
	// Usage asks the nodes how much their volumes hold (volumes only).
	Usage bool
	// MinIndex makes a watch begin no earlier than at this index.
	MinIndex uint64
}

// WriteOptions go with every write.
type WriteOptions struct {
	// IfVersion: only if the object's resourceVersion is still this; 0: not asked.
	IfVersion uint64
	// Reason goes into the event.
	Reason string
	// DryRun computes the answer and changes nothing.
	DryRun bool
	// AcceptUnhealthy names members accepted as lost by a scale-down.
	AcceptUnhealthy []string
}

func (o WriteOptions) query() url.Values {
	q := url.Values{}
	if o.Reason != "" {
		q.Set("reason", o.Reason)
	}
	if o.DryRun {
		q.Set("dryRun", "1")
	}
	if len(o.AcceptUnhealthy) > 0 {
		q.Set("acceptUnhealthy", strings.Join(o.AcceptUnhealthy, ","))
	}
	return q
}

func (o ReadOptions) query() url.Values {
	q := url.Values{}
	if o.Selector != "" {
		q.Set("labelSelector", o.Selector)
	}
	if o.For != "" {
		q.Set("for", o.For)
	}
	if o.Consistent {
		q.Set("consistent", "1")
	}
	if o.Usage {
		q.Set("usage", "1")
	}
	if o.MinIndex != 0 {
		q.Set("minIndex", strconv.FormatUint(o.MinIndex, 10))
	}
	return q
}

// Path is the collection's path; all namespaces when ns is "".
func (r Resource) Path(ns string) string {
	if ns == "" || !r.Namespaced() {
		return "/v1/" + string(r)
	}
	return "/v1/namespaces/" + seg(ns) + "/" + string(r)
}

// ObjectPath is one object's path.
func (r Resource) ObjectPath(ns, name string) string { return r.Path(ns) + "/" + seg(name) }

// ListRaw reads a collection as it came, with the index it was read at.
func (c *Client) ListRaw(ctx context.Context, r Resource, o ReadOptions) (json.RawMessage, uint64, error) {
	a, err := c.do(ctx, call{method: http.MethodGet, path: r.Path(o.Namespace), query: o.query()}, nil)
	return a.body, a.index(), err
}

// GetRaw reads one object as it came, with the index it was read at.
func (c *Client) GetRaw(ctx context.Context, r Resource, ns, name string, o ReadOptions) (json.RawMessage, uint64, error) {
	a, err := c.do(ctx, call{method: http.MethodGet, path: r.ObjectPath(ns, name), query: o.query()}, nil)
	return a.body, a.index(), err
}

// List reads a collection: List[spec.Member](ctx, c, Members, ...).
func List[T any](ctx context.Context, c *Client, r Resource, o ReadOptions) ([]T, uint64, error) {
	var l spec.List[T]
	a, err := c.do(ctx, call{method: http.MethodGet, path: r.Path(o.Namespace), query: o.query()}, &l)
	return l.Items, a.index(), err
}

// Get reads one object: Get[spec.Member](ctx, c, Members, ...).
func Get[T any](ctx context.Context, c *Client, r Resource, ns, name string, o ReadOptions) (*T, uint64, error) {
	var v T
	a, err := c.do(ctx, call{method: http.MethodGet, path: r.ObjectPath(ns, name), query: o.query()}, &v)
	if err != nil {
		return nil, a.index(), err
	}
	return &v, a.index(), nil
}

func (c *Client) write(ctx context.Context, k call, o WriteOptions, out any) (Written, error) {
	k.ifVersion = o.IfVersion
	k.query = o.query()
	a, err := c.do(ctx, k, out)
	if err != nil {
		return Written{}, err
	}
	return Written{Result: a.header.Get(HeaderResult), Index: a.index(), Warnings: a.header.Values(HeaderWarning)}, nil
}

// PutStatefulSet creates or changes a set and returns it as it now is.
func (c *Client) PutStatefulSet(ctx context.Context, s *spec.StatefulSet, o WriteOptions) (*spec.StatefulSet, Written, error) {
	var out spec.StatefulSet
	w, err := c.write(ctx, call{method: http.MethodPut, path: StatefulSets.ObjectPath(s.Metadata.Namespace, s.Metadata.Name), body: s, repeatable: true}, o, &out)
	return &out, w, err
}

// PutService creates or changes a service.
func (c *Client) PutService(ctx context.Context, s *spec.Service, o WriteOptions) (*spec.Service, Written, error) {
	var out spec.Service
	w, err := c.write(ctx, call{method: http.MethodPut, path: Services.ObjectPath(s.Metadata.Namespace, s.Metadata.Name), body: s, repeatable: true}, o, &out)
	return &out, w, err
}

// PutProgram creates or changes a Program.
func (c *Client) PutProgram(ctx context.Context, p *spec.Program, o WriteOptions) (*spec.Program, Written, error) {
	var out spec.Program
	w, err := c.write(ctx, call{method: http.MethodPut, path: Programs.ObjectPath(p.Metadata.Namespace, p.Metadata.Name), body: p, repeatable: true}, o, &out)
	return &out, w, err
}

// Preview returns what putting a set would cause; nothing is changed.
func (c *Client) Preview(ctx context.Context, req PreviewRequest, o WriteOptions) (*Preview, error) {
	var out Preview
	m := req.StatefulSet.Metadata
	_, err := c.write(ctx, call{method: http.MethodPost, path: StatefulSets.ObjectPath(m.Namespace, m.Name) + "/plan", body: req, repeatable: true, harmless: true}, o, &out)
	return &out, err
}

// Delete deletes an object: a set (ordered, volumes retained), a member (stopped
// gracefully, its replacement is it), a service or a Program.
func (c *Client) Delete(ctx context.Context, r Resource, ns, name string, o WriteOptions) (Written, error) {
	return c.write(ctx, call{method: http.MethodDelete, path: r.ObjectPath(ns, name)}, o, nil)
}

// Scale changes only the number of replicas and returns the set as it now is.
func (c *Client) Scale(ctx context.Context, ns, name string, req ScaleRequest, o WriteOptions) (*spec.StatefulSet, Written, error) {
	var out spec.StatefulSet
	w, err := c.write(ctx, call{method: http.MethodPut, path: StatefulSets.ObjectPath(ns, name) + "/scale", body: req, repeatable: req.CurrentReplicas == nil}, o, &out)
	return &out, w, err
}

// RestartSet restarts a set's members in order, under the gates.
func (c *Client) RestartSet(ctx context.Context, ns, name string, req RestartRequest, o WriteOptions) (Written, error) {
	return c.write(ctx, call{method: http.MethodPost, path: StatefulSets.ObjectPath(ns, name) + "/restart", body: req}, o, nil)
}

// Rollout tells how far a set's rollout is, and its revisions.
func (c *Client) Rollout(ctx context.Context, ns, name string) (*Rollout, error) {
	var out Rollout
	_, err := c.do(ctx, call{method: http.MethodGet, path: StatefulSets.ObjectPath(ns, name) + "/rollout"}, &out)
	return &out, err
}

// PauseRollout keeps a set's members from being restarted; ResumeRollout lets that go on.
func (c *Client) PauseRollout(ctx context.Context, ns, name string, o WriteOptions) (*Rollout, Written, error) {
	return c.rollout(ctx, ns, name, call{path: "/pause", repeatable: true}, o)
}

// ResumeRollout takes PauseRollout back.
func (c *Client) ResumeRollout(ctx context.Context, ns, name string, o WriteOptions) (*Rollout, Written, error) {
	return c.rollout(ctx, ns, name, call{path: "/resume", repeatable: true}, o)
}

// UndoRollout goes back to an older revision. Without a number it is not repeated by
// itself: a second one would go back further.
func (c *Client) UndoRollout(ctx context.Context, ns, name string, req UndoRequest, o WriteOptions) (*Rollout, Written, error) {
	return c.rollout(ctx, ns, name, call{path: "/undo", body: req}, o)
}

func (c *Client) rollout(ctx context.Context, ns, name string, k call, o WriteOptions) (*Rollout, Written, error) {
	k.method, k.path = http.MethodPost, StatefulSets.ObjectPath(ns, name)+"/rollout"+k.path
	var out Rollout
	w, err := c.write(ctx, k, o, &out)
	return &out, w, err
}

// RestartMember restarts one member under the gates.
func (c *Client) RestartMember(ctx context.Context, ns, name string, o WriteOptions) (Written, error) {
	return c.write(ctx, call{method: http.MethodPost, path: Members.ObjectPath(ns, name) + "/restart"}, o, nil)
}

// ReleaseVolume gives a retained directory up.
func (c *Client) ReleaseVolume(ctx context.Context, ns, name string, req ReleaseRequest, o WriteOptions) (*spec.Volume, Written, error) {
	var out spec.Volume
	w, err := c.write(ctx, call{method: http.MethodPost, path: Volumes.ObjectPath(ns, name) + "/release", body: req}, o, &out)
	return &out, w, err
}

// UndoRelease takes a release back while the directory is in the trash.
func (c *Client) UndoRelease(ctx context.Context, ns, name string, o WriteOptions) (*spec.Volume, Written, error) {
	var out spec.Volume
	w, err := c.write(ctx, call{method: http.MethodPost, path: Volumes.ObjectPath(ns, name) + "/undo-release"}, o, &out)
	return &out, w, err
}

// AbandonVolume gives up a directory on a node that is Lost or forgotten.
func (c *Client) AbandonVolume(ctx context.Context, ns, name string, req ConfirmRequest, o WriteOptions) (*spec.Volume, Written, error) {
	var out spec.Volume
	w, err := c.write(ctx, call{method: http.MethodPost, path: Volumes.ObjectPath(ns, name) + "/abandon", body: req}, o, &out)
	return &out, w, err
}

// ForgetNode gives up a machine that never comes back.
func (c *Client) ForgetNode(ctx context.Context, node string, req ConfirmRequest, o WriteOptions) (Written, error) {
	return c.write(ctx, call{method: http.MethodPost, path: Nodes.ObjectPath("", node) + "/forget", body: req}, o, nil)
}

// Cordon keeps new members off a node.
func (c *Client) Cordon(ctx context.Context, node string, o WriteOptions) (Written, error) {
	return c.write(ctx, call{method: http.MethodPost, path: Nodes.ObjectPath("", node) + "/cordon", repeatable: true}, o, nil)
}

// Uncordon lets new members on a node again.
func (c *Client) Uncordon(ctx context.Context, node string, o WriteOptions) (Written, error) {
	return c.write(ctx, call{method: http.MethodPost, path: Nodes.ObjectPath("", node) + "/uncordon", repeatable: true}, o, nil)
}

// Drain has a node's members stopped within the budgets of their sets; Uncordon takes
// it back.
func (c *Client) Drain(ctx context.Context, node string, o WriteOptions) (Written, error) {
	return c.write(ctx, call{method: http.MethodPost, path: Nodes.ObjectPath("", node) + "/drain", repeatable: true}, o, nil)
}

// LabelNode sets labels of a node and takes others off.
func (c *Client) LabelNode(ctx context.Context, node string, l Labels, o WriteOptions) (Written, error) {
	return c.write(ctx, call{method: http.MethodPost, path: Nodes.ObjectPath("", node) + "/labels", body: l, repeatable: true}, o, nil)
}

// Freeze puts the brake on: nothing is started, stopped or placed until Unfreeze.
func (c *Client) Freeze(ctx context.Context, o WriteOptions) (Written, error) {
	return c.write(ctx, call{method: http.MethodPost, path: "/v1/cluster/freeze", repeatable: true}, o, nil)
}

// Unfreeze takes the brake off.
func (c *Client) Unfreeze(ctx context.Context, o WriteOptions) (Written, error) {
	return c.write(ctx, call{method: http.MethodPost, path: "/v1/cluster/unfreeze", repeatable: true}, o, nil)
}

// TransferLeader hands leadership to a voter; to any when node is "".
func (c *Client) TransferLeader(ctx context.Context, node string, o WriteOptions) (Transferred, error) {
	var out Transferred
	_, err := c.write(ctx, call{method: http.MethodPost, path: "/v1/cluster/transfer-leader", body: TransferRequest{node}}, o, &out)
	return out, err
}

// Explain says why an object is as it is.
func (c *Client) Explain(ctx context.Context, r Resource, ns, name string) (*Explanation, error) {
	var out Explanation
	_, err := c.do(ctx, call{method: http.MethodGet, path: r.ObjectPath(ns, name) + "/explain"}, &out)
	return &out, err
}

// Cluster returns the cluster's status as the daemon knows it.
func (c *Client) Cluster(ctx context.Context) (*spec.ClusterStatus, error) {
	var out spec.ClusterStatus
	_, err := c.do(ctx, call{method: http.MethodGet, path: "/v1/cluster"}, &out)
	return &out, err
}

// ServerVersion returns the daemon's version and node name.
func (c *Client) ServerVersion(ctx context.Context) (*Version, error) {
	var out Version
	_, err := c.do(ctx, call{method: http.MethodGet, path: "/v1/version"}, &out)
	return &out, err
}

// Ready returns nil when the daemon answers /readyz with success.
func (c *Client) Ready(ctx context.Context) error {
	_, err := c.do(ctx, call{method: http.MethodGet, path: "/readyz"}, nil)
	return err
}
