package supervisor

import (
	"context"
	"crypto"
	"crypto/tls"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"supd/raftstore"
	"supd/raftstore/state"
	"supd/supervisor/client"
	"supd/supervisor/control"
	"supd/supervisor/pki"
	"supd/supervisor/server"
	"supd/supervisor/spec"
)

// howToShareASecret is what to do where nodes lack credentials.
const howToShareASecret = "make a secret with `supd secret > FILE`, copy FILE to all these nodes by a safe way (mode 0600), " +
	"set bootstrap_secret_file: FILE in the configuration of each, and start them again"

// openPKI opens the node's credentials, and takes the configured secret among them.
func (d *Daemon) openPKI() (err error) {
	if d.pki, err = pki.Open(filepath.Join(d.o.Config.DataDir, "pki")); err != nil {
		return err
	}
	d.transport = client.NewTransport(d.pki.Client(d.trusted))
	secret, err := d.o.Config.Secret()
	if err != nil || secret == "" {
		return err
	}
	seed, err := pki.SeedFrom(secret)
	if err != nil {
		return err
	}
	if err := d.pki.SaveSeed(seed); errors.Is(err, pki.ErrOtherCA) {
		d.log.Warn("bootstrap secret means nothing here: the node has credentials of a cluster that has another", "err", err)
		return nil
	} else if err != nil {
		return err
	}
	return nil
}

// lacks is what a node needs to know to say whether it can go on.
type lacks struct {
	ca     bool // it knows its cluster's CA
	member bool // it has been part of a cluster
	others int  // nodes of the View beside it
	expect int  // bootstrap_expect
}

// makeSeed decides whether a node makes a seed of its own: one that is a cluster alone.
// An error says that it cannot go on. A node that is to be let into a cluster waits.
func makeSeed(l lacks) (bool, error) {
	switch {
	case l.ca:
		return false, nil
	case l.member && l.others > 0:
		return false, fmt.Errorf("cannot start: this node is part of a cluster of %d nodes that a version without TLS formed, and has no credentials: "+
			"all nodes need the same; %s", l.others+1, howToShareASecret)
	case l.member || l.expect == 1:
		return true, nil
	case l.expect > 1:
		return false, fmt.Errorf("cannot start: bootstrap_expect is %d, and nodes form a cluster together only with a secret that they share; %s",
			l.expect, howToShareASecret)
	}
	return false, nil
}

// openCredentials sees to it, once the View is known, that the node has what it needs.
func (d *Daemon) openCredentials() error {
	v := d.store.View()
	others := 0
	for n := range v.Nodes() {
		if n.ID != d.id.ID {
			others++
		}
	}
	// A View that knows no cluster yet (a crash soon after the node was taken in) does not deny one.
	if d.id.Member && d.pki.Pin() == "" && (v.Cluster.CA != "" || v.Cluster.ID == "") {
		dir := filepath.Join(d.o.Config.DataDir, "pki")
		return fmt.Errorf("cannot start: this node is part of a cluster, and its credentials in %s are gone; bring that directory back from a copy, "+
			"or set bootstrap_secret_file if its first nodes shared a secret, or %s", dir, pki.HowBack(dir))
	}
	makes, err := makeSeed(lacks{ca: d.pki.Pin() != "", member: d.id.Member, others: others, expect: d.o.Config.BootstrapExpect})
	if err != nil {
		return err
	}
	if makes {
		seed, err := pki.NewSeed()
		if err == nil {
			err = d.pki.SaveSeed(seed)
		}
		if err != nil {
			return err
		}
		d.log.Info("seed of a new cluster made", "pin", d.pki.Pin())
	}
	if v.Cluster.CA != "" {
		pin, err := pki.PinOf([]byte(v.Cluster.CA))
		if err != nil {
			return err
		}
		if own := d.pki.Pin(); own != "" && own != pin {
			return fmt.Errorf("cannot start: %s holds credentials of a cluster with the CA %s, and the log is of one with the CA %s; "+
				"bring back the directory that belongs to this node", filepath.Join(d.o.Config.DataDir, "pki"), own, pin)
		}
	}
	if d.pki.Pin() == "" {
		d.log.Info("node has no credentials yet: it waits to be let into a cluster")
		return nil
	}
	_, err = d.renew(context.Background(), time.Now())
	if err != nil && d.pki.Certificate() == nil {
		d.log.Warn("node has no certificate yet", "err", err)
	}
	return nil
}

// trusted tells whether a node that shows a good certificate may be spoken with: one that
// was forgotten, or has left, may not.
func (d *Daemon) trusted(id string) error {
	opened := d.opened.Load()
	if opened == nil { // nobody is spoken with before who was forgotten is known
		return fmt.Errorf("this node is still starting, and cannot tell yet whether node %s belongs to the cluster", id)
	}
	if f := opened.View().Cluster.Forgot(id); f != nil {
		err := spec.Errorf(spec.CodeRefused, "node %s was forgotten, or left, at %s: the cluster never takes it back; let the machine join anew with an empty data directory",
			id, f.At.Format(time.RFC3339))
		err.Reason = state.NodeForgotten
		return err
	}
	return nil
}

// tlsWith is for connections with one node, as long as that is trusted.
func (d *Daemon) tlsWith(id string) *tls.Config {
	return d.pki.Client(func(got string) error {
		if err := pki.Is(id)(got); err != nil {
			return err
		}
		return d.trusted(got)
	})
}

// raftTLS secures the log: each connection is with the one node that is meant.
func (d *Daemon) raftTLS() raftstore.TLS {
	return raftstore.TLS{
		Server: d.pki.NodeServer(d.trusted),
		Client: func(id string) *tls.Config {
			node, _ := control.SplitServer(id)
			return d.pki.Client(pki.Is(node))
		},
	}
}

// validity is that of a certificate made now.
func (d *Daemon) validity(now time.Time) pki.Validity {
	if life := d.o.CertificateLifetime; life > 0 {
		return pki.Validity{From: now.Add(-life / 10), Until: now.Add(life)}
	}
	return pki.NodeValidity(now)
}

// Pauses of the loop that renews.
const (
	// renewCheck is how often the clock is looked at, for it may jump.
	renewCheck = time.Minute
	renewAgain = 5 * time.Second
)

// keepCredentials renews the node's certificate in time, and sees to it, on the leader,
// that the log knows the CA. It ends with ctx.
func (d *Daemon) keepCredentials(ctx context.Context) error {
	said := ""
	for {
		pkiChanged, viewChanged := d.pki.Changed(), d.store.Changed()
		wait, err := d.renew(ctx, time.Now())
		if err == nil {
			err = d.noteCA(ctx)
		}
		switch {
		case err == nil:
			said = ""
		case ctx.Err() == nil && err.Error() != said:
			said = err.Error()
			d.log.Warn("credentials not kept", "err", err)
		}
		select {
		case <-pkiChanged:
		case <-viewChanged:
			calm(ctx)
		case <-time.After(wait):
		case <-ctx.Done():
			return nil
		}
	}
}

// renew has the certificate made anew if that is due, and tells when to look again.
func (d *Daemon) renew(ctx context.Context, now time.Time) (wait time.Duration, err error) {
	cert := d.pki.Certificate()
	switch {
	case d.pki.Pin() == "":
		return renewCheck, nil
	case !pki.Due(cert, d.id.ID, now):
		return min(renewCheck, max(pki.RenewAt(cert).Sub(now), time.Millisecond)), nil
	case !d.pki.Seed().IsZero():
		err = d.pki.Sign(d.id.ID, d.validity(now))
	case cert == nil:
		return renewCheck, errors.New("this node has neither a certificate nor the seed to make one; let it join anew with a token")
	default:
		err = d.askForCertificate(ctx)
	}
	if err != nil {
		return renewAgain, err
	}
	d.transport.CloseIdleConnections() // they show the one before; whoever is busy is told so by the other side
	if d.leader != nil {
		d.leader.close()
	}
	cert = d.pki.Certificate()
	d.log.Info("certificate made", "until", cert.NotAfter, "serial", cert.SerialNumber)
	return min(renewCheck, max(pki.RenewAt(cert).Sub(now), time.Millisecond)), nil
}

// askForCertificate has another node sign, the leader first: those that vote can.
func (d *Daemon) askForCertificate(ctx context.Context) error {
	request, err := d.pki.Request()
	if err != nil {
		return err
	}
	err = d.askNodes(ctx, func(ctx context.Context, c *client.Client) error {
		cert, err := c.RenewCertificate(ctx, request)
		if err != nil {
			return err
		}
		return d.pki.SaveCertificate(cert)
	})
	if err != nil {
		return fmt.Errorf("cannot renew this node's certificate: %w", err)
	}
	return nil
}

// askNodes asks the leader, then every other node, until one gives no error.
func (d *Daemon) askNodes(ctx context.Context, ask func(context.Context, *client.Client) error) error {
	err := errors.New("no other node is known")
	for _, addr := range d.otherAPIs() {
		c, cerr := client.New(addr, client.Options{Transport: d.transport, NoRetry: true, RequestTimeout: 2 * time.Second})
		if cerr != nil {
			return cerr
		}
		if err = ask(ctx, c); err == nil || ctx.Err() != nil {
			return err
		}
	}
	return err
}

// otherAPIs are the addresses of the other nodes' APIs, the leader's first.
func (d *Daemon) otherAPIs() []string {
	var out []string
	seen := map[string]bool{"": true, d.meta.API: true}
	add := func(addr string) {
		if !seen[addr] {
			seen[addr] = true
			out = append(out, addr)
		}
	}
	if d.cluster != nil {
		add(d.cluster.Status().LeaderAPI)
		for _, n := range d.gossip.Nodes() {
			if n.Alive && n.ID != d.id.ID {
				add(n.API)
			}
		}
	}
	for n := range d.store.View().Nodes() {
		if n.ID != d.id.ID {
			add(n.API)
		}
	}
	return out
}

// noteCA has the log know the CA, where a version without TLS formed the cluster.
func (d *Daemon) noteCA(ctx context.Context) error {
	c := d.store.View().Cluster
	if _, leads := d.store.Leading(); !leads || c.ID == "" || c.CA != "" || d.pki.Pin() == "" {
		return nil
	}
	res, err := d.store.Propose(ctx, state.Entry{At: time.Now().UTC(), Who: "node:" + d.id.Name, Cmd: &state.NoteCA{CA: string(d.pki.CA())}})
	if err != nil {
		return err
	}
	if res.Err != nil {
		return res.Err
	}
	return nil
}

// credentials is what the API knows of them.
type credentials struct{ d *Daemon }

var (
	_ server.Certificates = credentials{}
	_ server.Authority    = credentials{}
)

// PeerOf tells whose certificate a connection shows. The listener has verified it.
func (c credentials) PeerOf(cs tls.ConnectionState) (pki.Peer, error) {
	p, err := pki.Holder(cs.PeerCertificates[0])
	if err == nil && p.Node != "" {
		err = c.d.trusted(p.Node)
	}
	return p, err
}

// CA is the cluster's CA certificate.
func (c credentials) CA() []byte { return c.d.pki.CA() }

// SignAccount signs for an account, if this node can.
func (c credentials) SignAccount(request []byte, name string, from, until time.Time) (cert []byte, hash string, err error) {
	pub, err := pki.ParseRequest(request)
	if err != nil {
		return nil, "", spec.Errorf(spec.CodeInvalid, "%v", err)
	}
	if hash, err = pki.KeyHash(pub); err != nil {
		return nil, "", spec.Errorf(spec.CodeInvalid, "%v", err)
	}
	ca, err := c.authority()
	if err != nil {
		return nil, "", err
	}
	cert, err = ca.SignAccount(pub, name, pki.Validity{From: from, Until: until})
	return cert, hash, err
}

// authority is the CA, at those that vote.
func (c credentials) authority() (*pki.CA, error) {
	seed := c.d.pki.Seed()
	if seed.IsZero() {
		e := spec.Errorf(spec.CodeNoLeader, "node %s does not hold the cluster's seed; ask a node that votes", c.d.id.Name)
		e.Reason = "NoSeed"
		return nil, e
	}
	return seed.CA()
}

// Issue signs for a node of the View.
func (c credentials) Issue(id string, pub crypto.PublicKey) ([]byte, error) {
	if c.d.store.View().NodeByID(id) == nil {
		return nil, spec.Errorf(spec.CodeRefused, "node id %s is none of this cluster's", id)
	}
	ca, err := c.authority()
	if err != nil {
		return nil, err
	}
	return ca.SignNode(pub, id, spec.NodeName(id), c.d.validity(time.Now()))
}
