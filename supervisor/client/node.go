package client

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"time"
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

// LeaseTable asks the leader until when each node's lease lasts.
func (c *Client) LeaseTable(ctx context.Context) (map[string]time.Time, error) {
	var out Leases
	_, err := c.do(ctx, call{method: http.MethodGet, path: "/v1/internal/leases"}, &out)
	return out.Until, err
}
