package supervisor_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"supd/configs"
	"supd/supervisor"
)

// TestStrangersDisturbNothing: who has no certificate, or one of another cluster, gets
// nowhere on any port, and the leader leads on.
func TestStrangersDisturbNothing(t *testing.T) {
	t.Parallel()
	nodes := together(t, 3)
	before, err := nodes[0].api.Cluster(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	stranger := conf(t, "node-9", 0)
	stranger.BootstrapSecret = "the secret of another cluster altogether"
	stranger.Join = []string{nodes[0].cfg.Gossip, nodes[1].cfg.Gossip}
	alone := start(t, stranger)
	for range 20 {
		for _, n := range nodes {
			for _, addr := range []string{n.cfg.API, n.cfg.Raft} {
				for _, say := range []string{"GET / HTTP/1.1\r\n\r\n", "supd-raft/1 " + n.cfg.Name + " x\n", "\x16\x03\x01"} {
					c, err := net.Dial("tcp", addr)
					if err != nil {
						t.Fatal(err)
					}
					_, _ = c.Write([]byte(say)) // it may have hung up
					defer c.Close()
				}
			}
		}
	}
	for i := range 10 {
		if err := nodes[i%3].write(t.Context(), i); err != nil {
			t.Error(err)
		}
	}
	after, err := nodes[0].api.Cluster(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if after.Leader != before.Leader || after.Term != before.Term || len(after.Nodes) != 3 {
		t.Errorf("leader %s in term %d with %d nodes; want %s in %d with 3", after.Leader, after.Term, len(after.Nodes), before.Leader, before.Term)
	}
	if st, err := alone.api.Cluster(t.Context()); err == nil && len(st.Nodes) > 0 {
		t.Errorf("the stranger sees %d nodes", len(st.Nodes))
	}
}

// TestSecretIsNeeded: nodes that are to form a cluster together need a secret; one that
// was a member before TLS is told what to do, and goes on once it was done.
func TestSecretIsNeeded(t *testing.T) {
	t.Parallel()
	c := conf(t, "node-1", 3)
	c.BootstrapSecret = ""
	refused := func(c configs.Daemon, want string) {
		t.Helper()
		d, err := supervisor.New(supervisor.Options{Config: c})
		if err == nil {
			d.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New: %v; want %q", err, want)
		}
	}
	refused(c, "supd secret")
	c.BootstrapSecret = "too short"
	refused(c, "32")
	nodes := together(t, 3)
	for _, n := range nodes {
		n.end()
		if err := os.RemoveAll(filepath.Join(n.cfg.DataDir, "pki")); err != nil { // as an older version left it
			t.Fatal(err)
		}
		old := n.cfg
		old.BootstrapSecret = ""
		refused(old, "bootstrap_secret_file")
	}
	again := make([]*node, 3)
	for i, n := range nodes {
		again[i] = start(t, n.cfg)
	}
	eventually(t, "all are back", func(ctx context.Context) error { return allReady(ctx, again[2], 3) })
	other := again[0].cfg
	again[0].end()
	other.BootstrapSecret = "this secret was changed when it meant nothing"
	back := start(t, other)
	eventually(t, "a changed secret means nothing", func(ctx context.Context) error { return allReady(ctx, back, 3) })
	back.end()
	if err := errors.Join(os.RemoveAll(filepath.Join(other.DataDir, "pki"))); err != nil {
		t.Fatal(err)
	}
	refused(other, "holds credentials of a cluster with the CA")
}

// shown is the serial of the certificate at an address.
func shown(addr string) (string, error) {
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: 2 * time.Second}, "tcp", addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		return "", err
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0].SerialNumber.String(), nil
}

// TestCertificatesAreRenewed: with certificates of a few seconds a cluster lives on, and
// its listeners show the new ones.
func TestCertificatesAreRenewed(t *testing.T) {
	t.Parallel()
	const life = 6 * time.Second
	var cfgs []configs.Daemon
	var nodes []*node
	for i := range 3 {
		c := conf(t, fmt.Sprintf("node-%d", i+1), 3)
		if i > 0 {
			c.Join = []string{cfgs[0].Gossip}
		}
		cfgs = append(cfgs, c)
	}
	for _, c := range cfgs {
		nodes = append(nodes, startWith(t, supervisor.Options{Config: c, CertificateLifetime: life}))
	}
	for _, n := range nodes {
		eventually(t, "all are ready", func(ctx context.Context) error { return allReady(ctx, n, 3) })
	}
	seen := map[string]map[string]bool{}
	for _, c := range cfgs {
		seen[c.Name] = map[string]bool{}
		eventually(t, c.Name+" shows its third certificate", func(context.Context) error {
			s, err := shown(c.API)
			if err != nil {
				return err
			}
			seen[c.Name][s] = true
			if n := len(seen[c.Name]); n < 3 {
				return fmt.Errorf("%d seen", n)
			}
			return nil
		})
	}
	for i, n := range nodes {
		if err := n.write(t.Context(), i); err != nil {
			t.Error(err)
		}
	}
	// Voters that were away for longer than that sign for themselves again.
	for _, n := range nodes {
		n.end()
	}
	<-time.After(life)
	for i, c := range cfgs {
		nodes[i] = startWith(t, supervisor.Options{Config: c, CertificateLifetime: life})
	}
	eventually(t, "all are ready again", func(ctx context.Context) error { return allReady(ctx, nodes[0], 3) })
}
