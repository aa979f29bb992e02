package client

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"time"

	"supd/supervisor/spec"
)

// RestoreRequest restores a snapshot file. Confirm is the cluster's id.
type RestoreRequest struct {
	File    []byte `json:"file"`
	Confirm string `json:"confirm"`
}

// Restored says what a restore did.
type Restored struct {
	// Index and Time are the snapshot's.
	Index       uint64    `json:"index"`
	Time        time.Time `json:"time"`
	Incarnation string    `json:"incarnation"`
	Epoch       uint64    `json:"epoch"`
	// Changes are the sets whose wish changed, in words.
	Changes []string `json:"changes"`
	Message string   `json:"message"`
}

// snapshotTimeout bounds the transfer of a snapshot file.
const snapshotTimeout = time.Minute

// SaveSnapshot copies a snapshot file of the cluster to w: the leader's, or with stale
// what the daemon that is asked has.
func (c *Client) SaveSnapshot(ctx context.Context, w io.Writer, stale bool) error {
	ctx, cancel := context.WithTimeout(ctx, snapshotTimeout)
	defer cancel()
	q := url.Values{}
	if !stale {
		q.Set("consistent", "1")
	}
	body, err := c.stream(ctx, "/v1/cluster/snapshot", q)
	if err != nil {
		return err
	}
	defer body.Close()
	if _, err := io.Copy(w, body); err != nil {
		return spec.Errorf(spec.CodeInternal, "the snapshot did not come whole: %v", err)
	}
	return nil
}

// RestoreSnapshot restores a snapshot file, or with dry only tells what that would change.
func (c *Client) RestoreSnapshot(ctx context.Context, req RestoreRequest, dry bool, o WriteOptions) (Restored, error) {
	var out Restored
	q := o.query()
	if dry {
		q.Set("dryRun", "1")
	}
	ctx, cancel := context.WithTimeout(ctx, snapshotTimeout)
	defer cancel()
	// Not tried again when its fate is not known: a second one would be refused as stale.
	a, err := c.once(ctx, call{method: http.MethodPost, path: "/v1/cluster/restore", query: q, body: req})
	if err != nil {
		return out, err
	}
	return out, decodeInto(a, &out)
}
