package supervisor

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"supd/supervisor/client"
	"supd/supervisor/pki"
	"supd/supervisor/spec"
)

// Ports where a join address names none: the API's, and gossip's.
const (
	joinPort   = "7950"
	gossipPort = "7952"
)

// Pauses between attempts to be let in.
const (
	joinAgain   = time.Second
	joinLongest = 15 * time.Second
)

// hasToken tells whether this node was given a token and has no certificate yet.
func (d *Daemon) hasToken() bool {
	return d.pki.Certificate() == nil && (d.o.Config.Token != "" || d.o.Config.TokenFile != "")
}

// letIn waits until this node has a certificate: made of the secret that it shares with
// others, or asked for with a token, or because it forms a cluster when told to. A token
// that is refused is an error: waiting does not make it good.
func (d *Daemon) letIn(ctx context.Context) error {
	if d.hasToken() {
		return d.askIn(ctx)
	}
	said := false
	for {
		changed := d.pki.Changed()
		if d.pki.Certificate() != nil {
			return nil
		}
		if !said {
			said = true
			d.waits(d.waitsFor())
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// waits says for what, in the log and to who asks whether the daemon is ready.
func (d *Daemon) waits(why string) {
	d.cluster.waits.Store(&why)
	d.log.Info("waiting", "reason", why)
}

// waitsFor says what a node without a cluster is to be told.
func (d *Daemon) waitsFor() string {
	return fmt.Sprintf("this node belongs to no cluster: form one with supctl --addr unix://%s cluster init, "+
		"or join one with a token (supctl cluster join-token, there): supd run --join ADDRESS --token TOKEN", d.o.Config.Socket)
}

// askIn asks the join addresses, one after the other, until one lets this node in.
func (d *Daemon) askIn(ctx context.Context) error {
	text, err := d.o.Config.JoinToken()
	if err != nil {
		return err
	}
	t, err := pki.ParseToken(text)
	if err != nil {
		return err
	}
	if t.Kind != pki.JoinToken {
		return errors.New("cannot join: the token is an account's; a node joins with one of: supctl cluster join-token")
	}
	request, err := d.pki.Request()
	if err != nil {
		return err
	}
	in := client.JoinRequest{Token: text, ID: d.id.ID, Request: string(request)}
	pause, said := joinAgain, ""
	for {
		w, why, err := d.askAround(ctx, pki.Pinned(t.Pin, nil), in)
		if err != nil {
			return fmt.Errorf("cannot join: %w", err)
		}
		if w != nil {
			return d.accept(w)
		}
		if why != said {
			said = why
			d.waits("to be let into the cluster: " + why)
		}
		select {
		case <-time.After(pause):
			pause = min(2*pause, joinLongest)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// askAround asks each join address once. Why says why nobody has let this node in yet;
// err, that the cluster refuses it.
func (d *Daemon) askAround(ctx context.Context, tc *tls.Config, in client.JoinRequest) (w *client.Welcome, why string, err error) {
	var whys []string
	foreign := 0
	for _, addr := range d.o.Config.Join {
		addr = withPort(addr, joinPort)
		c, err := client.New(addr, client.Options{TLS: tc, NoRetry: true})
		if err != nil {
			return nil, "", err
		}
		w, err := c.Join(ctx, in)
		c.Close()
		if err == nil {
			return &w, "", nil
		}
		var e *spec.Error
		if errors.As(err, &e) && e.Code != spec.CodeNoLeader && e.Code != spec.CodeInternal && e.Reason != "TooManyRequests" {
			return nil, "", fmt.Errorf("%s answers: %w", addr, err)
		}
		if isForeign(err) {
			foreign++
			err = fmt.Errorf("%s: %w", addr, pki.ErrNotPinned)
		}
		whys = append(whys, err.Error())
	}
	if foreign == len(whys) {
		return nil, "", fmt.Errorf("the token is another cluster's, or the address: %s", strings.Join(whys, "; "))
	}
	return nil, strings.Join(whys, "; "), nil
}

// withPort adds a port to an address that has none.
func withPort(addr, port string) string {
	if _, _, err := net.SplitHostPort(addr); err == nil {
		return addr
	}
	return net.JoinHostPort(strings.Trim(addr, "[]"), port)
}

// accept keeps what the cluster answered, the certificate last: with it this node is in.
func (d *Daemon) accept(w *client.Welcome) error {
	keys, err := pki.ParseGossipKeys(w.GossipKeys)
	if err != nil {
		return err
	}
	d.id.Peers = w.Peers
	if err := errors.Join(d.pki.SaveCA([]byte(w.CA)), d.pki.SaveGossipKeys(keys), d.id.save()); err != nil {
		return err
	}
	if err := d.pki.SaveCertificate([]byte(w.Certificate)); err != nil {
		return err
	}
	d.log.Info("let into the cluster; the token is not needed any more", "cluster", w.ClusterID)
	return nil
}

// startCluster makes the secret and the certificate of a new cluster, and has this node
// form it alone.
func (d *Daemon) startCluster() error {
	seed := d.pki.Seed()
	if seed.IsZero() {
		var err error
		if seed, err = pki.NewSeed(); err != nil {
			return err
		}
	}
	d.id.Alone = true
	if err := errors.Join(d.id.save(), d.pki.SaveSeed(seed)); err != nil {
		return err
	}
	return d.pki.Sign(d.id.ID, d.validity(time.Now()))
}

// isForeign tells whether a server of another cluster than the token's has answered. The
// client's errors are texts.
func isForeign(err error) bool { return strings.Contains(err.Error(), pki.ErrNotPinned.Error()) }
