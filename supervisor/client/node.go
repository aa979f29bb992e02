package client

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"time"

	"supd/supervisor/spec"
)

// Heartbeat sends an agent's heartbeat to the leader, by way of the daemon the
// client talks to. It is not tried again: the next one follows soon.
func (c *Client) Heartbeat(ctx context.Context, h Heartbeat) (HeartbeatAnswer, error) {
	var out HeartbeatAnswer
	a, err := c.once(ctx, call{method: http.MethodPost, path: "/v1/internal/heartbeat", body: h})
	if err != nil {
		return out, err
	}
	return out, decodeInto(a, &out)
}

// Report sends a state.Report to the leader. It is not tried again here: the agent
// numbers its reports and decides.
func (c *Client) Report(ctx context.Context, report any) error {
	_, err := c.once(ctx, call{method: http.MethodPost, path: "/v1/internal/report", body: report})
	return err
}

// Register sends a state.Node to the leader.
func (c *Client) Register(ctx context.Context, node any) error {
	_, err := c.once(ctx, call{method: http.MethodPost, path: "/v1/internal/register", body: node})
	return err
}

// RenewCertificate has this node's certificate made anew by the node the client talks to,
// for the key that signed the request.
func (c *Client) RenewCertificate(ctx context.Context, request []byte) ([]byte, error) {
	var out Certificate
	ctx, cancel := context.WithTimeout(ctx, c.opts.RequestTimeout)
	defer cancel()
	a, err := c.once(ctx, call{method: http.MethodPost, path: "/v1/internal/certificate", body: CertificateRequest{string(request)}, harmless: true})
	if err == nil {
		err = decodeInto(a, &out)
	}
	if err != nil {
		return nil, err
	}
	return []byte(out.Certificate), nil
}

// Stopping sets or takes off the mark that the whole cluster is being stopped.
func (c *Client) Stopping(ctx context.Context, stopping bool) error {
	_, err := c.do(ctx, call{method: http.MethodPost, path: "/v1/internal/stopping", body: StoppingRequest{stopping}, repeatable: true}, nil)
	return err
}

// NodeLogs opens a log on the node that owns the member.
func (c *Client) NodeLogs(ctx context.Context, ns, member string, o LogOptions) (io.ReadCloser, error) {
	q := o.Query()
	q.Set("namespace", ns)
	q.Set("member", member)
	return c.stream(ctx, "/v1/internal/logs", q)
}

// NodeUsage asks the node that has a volume how many bytes it holds.
func (c *Client) NodeUsage(ctx context.Context, ns, volume string) (int64, error) {
	var out Usage
	q := url.Values{"namespace": {ns}, "volume": {volume}}
	_, err := c.do(ctx, call{method: http.MethodGet, path: "/v1/internal/usage", query: q}, &out)
	return out.UsedBytes, err
}

// NodeProbes asks the node of a member for its probes.
func (c *Client) NodeProbes(ctx context.Context, ns, member string) ([]spec.ProbeStatus, error) {
	var out Probes
	q := url.Values{"namespace": {ns}, "member": {member}}
	_, err := c.do(ctx, call{method: http.MethodGet, path: "/v1/internal/probes", query: q}, &out)
	return out.Probes, err
}

// NodeMayStop has a node ask its member now whether it may be stopped. It is not tried
// again: the answer would be late.
func (c *Client) NodeMayStop(ctx context.Context, q MayStopRequest) (out MayStop, err error) {
	a, err := c.once(ctx, call{method: http.MethodPost, path: "/v1/internal/may-stop", body: q})
	if err == nil {
		err = decodeInto(a, &out)
	}
	return out, err
}

// NodeTrouble asks a node what keeps it from its part in the cluster's state.
func (c *Client) NodeTrouble(ctx context.Context) (Trouble, error) {
	var out Trouble
	_, err := c.do(ctx, call{method: http.MethodGet, path: "/v1/internal/trouble"}, &out)
	return out, err
}

// NodeKeeper asks a node for its keeper.
func (c *Client) NodeKeeper(ctx context.Context) (spec.KeeperStatus, error) {
	var out spec.KeeperStatus
	_, err := c.do(ctx, call{method: http.MethodGet, path: "/v1/internal/keeper"}, &out)
	return out, err
}

// NodeUpgradeKeeper has a node's keeper become the binary on its disk, as node was asked by who.
func (c *Client) NodeUpgradeKeeper(ctx context.Context, node, who string) (KeeperUpgrade, error) {
	head := http.Header{HeaderForwarded: {node}, HeaderWho: {who}}
	return c.upgradeKeeper(ctx, call{method: http.MethodPost, path: "/v1/internal/upgrade-keeper", head: head})
}

// UpgradeKeeper has the keeper of a node become the binary on that node's disk, in place: its members don't notice. It may
// take UpgradeTimeout. CodeRefused: nothing has changed, the message says why.
func (c *Client) UpgradeKeeper(ctx context.Context, node string) (KeeperUpgrade, error) {
	return c.upgradeKeeper(ctx, call{method: http.MethodPost, path: Nodes.ObjectPath("", node) + "/upgrade-keeper"})
}

// UpgradeTimeout is how long a keeper may take to look at the new binary, to stand still and to become it.
const UpgradeTimeout = 20 * time.Second

func (c *Client) upgradeKeeper(ctx context.Context, k call) (KeeperUpgrade, error) {
	ctx, cancel := context.WithTimeout(ctx, max(UpgradeTimeout, c.opts.RequestTimeout))
	defer cancel()
	var out KeeperUpgrade
	a, err := c.once(ctx, k)
	if err != nil {
		return out, err
	}
	return out, decodeInto(a, &out)
}

// LeaseTable asks the leader until when each node's lease lasts.
func (c *Client) LeaseTable(ctx context.Context) (map[string]time.Time, error) {
	var out Leases
	_, err := c.do(ctx, call{method: http.MethodGet, path: "/v1/internal/leases"}, &out)
	return out.Until, err
}
