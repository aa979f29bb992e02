package client

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"supd/supervisor/spec"
)

// JoinRequest is the body of POST /v1/join: a new node shows a token and its key.
type JoinRequest struct {
	Token string `json:"token"`
	ID    string `json:"id"` // NAME.8HEX
	// Request is a certificate request (PEM), which proves that the node has its key.
	Request string `json:"request"`
}

// Welcome answers it with what a node needs to be one.
type Welcome struct {
	ClusterID   string   `json:"clusterID"`
	CA          string   `json:"ca"`          // PEM
	Certificate string   `json:"certificate"` // PEM, for the node's key
	Peers       []string `json:"peers"`       // where others gossip
	GossipKeys  string   `json:"gossipKeys"`  // secret
}

// Join asks to be let into a cluster. It is not tried again here: who calls does.
func (c *Client) Join(ctx context.Context, in JoinRequest) (Welcome, error) {
	ctx, cancel := context.WithTimeout(ctx, c.opts.RequestTimeout)
	defer cancel()
	var out Welcome
	a, err := c.once(ctx, call{method: http.MethodPost, path: "/v1/join", body: in})
	if err != nil {
		return out, err
	}
	return out, decodeInto(a, &out)
}

// NewJoinToken is the body of POST /v1/cluster/join-tokens.
type NewJoinToken struct {
	Uses    int           `json:"uses"`
	Expires spec.Duration `json:"expires"`
}

// JoinToken is a join token as the API shows it. Its secret is told once, when it is made.
type JoinToken struct {
	ID       string    `json:"id"`
	Token    string    `json:"token,omitempty"` // once
	Uses     int       `json:"uses"`
	Left     int       `json:"left"`
	Expires  time.Time `json:"expires"`
	Created  time.Time `json:"created"`
	Who      string    `json:"who"`
	Admitted []string  `json:"admitted"` // node ids
	// Join are addresses of the API for the new node to ask at.
	Join []string `json:"join,omitempty"`
}

// CreateJoinToken makes a token that lets nodes in.
func (c *Client) CreateJoinToken(ctx context.Context, in NewJoinToken, o WriteOptions) (JoinToken, error) {
	var out JoinToken
	_, err := c.write(ctx, call{method: http.MethodPost, path: "/v1/cluster/join-tokens", body: in}, o, &out)
	return out, err
}

// JoinTokens lists the tokens that let nodes in.
func (c *Client) JoinTokens(ctx context.Context) ([]JoinToken, error) {
	var out struct {
		Items []JoinToken `json:"items"`
	}
	_, err := c.do(ctx, call{method: http.MethodGet, path: "/v1/cluster/join-tokens"}, &out)
	return out.Items, err
}

// RevokeJoinToken takes a token back.
func (c *Client) RevokeJoinToken(ctx context.Context, id string, o WriteOptions) error {
	_, err := c.write(ctx, call{method: http.MethodDelete, path: "/v1/cluster/join-tokens/" + url.PathEscape(id)}, o, nil)
	return err
}

// InitTimeout is how long forming a cluster of one node may take.
const InitTimeout = 30 * time.Second

// ClusterInit has the daemon form a cluster of itself.
func (c *Client) ClusterInit(ctx context.Context) (*spec.ClusterStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, max(InitTimeout, c.opts.RequestTimeout))
	defer cancel()
	var out spec.ClusterStatus
	a, err := c.once(ctx, call{method: http.MethodPost, path: "/v1/cluster/init"})
	if err != nil {
		return nil, err
	}
	return &out, decodeInto(a, &out)
}

// Leave takes a node out of the cluster for good.
func (c *Client) Leave(ctx context.Context, node string, o WriteOptions) (Written, error) {
	return c.write(ctx, call{method: http.MethodPost, path: Nodes.ObjectPath("", node) + "/leave"}, o, nil)
}

// Seed asks the leader for the cluster's secret, as a node does that is to vote.
func (c *Client) Seed(ctx context.Context) (string, error) {
	var out Seed
	_, err := c.do(ctx, call{method: http.MethodGet, path: "/v1/internal/seed"}, &out)
	return out.Seed, err
}

// GossipKeys asks another node for the keys of gossip.
func (c *Client) GossipKeys(ctx context.Context) (string, error) {
	var out GossipKeys
	_, err := c.do(ctx, call{method: http.MethodGet, path: "/v1/internal/gossip-keys"}, &out)
	return out.Keys, err
}

// GossipKeys answers GET /v1/internal/gossip-keys. It is secret.
type GossipKeys struct {
	Keys string `json:"keys"`
}

// RotateGossipKey has the nodes change to a new key of gossip.
func (c *Client) RotateGossipKey(ctx context.Context, o WriteOptions) (Written, error) {
	return c.write(ctx, call{method: http.MethodPost, path: "/v1/cluster/rotate-gossip-key"}, o, nil)
}

// Seed answers GET /v1/internal/seed. It is secret.
type Seed struct {
	Seed string `json:"seed"`
}
