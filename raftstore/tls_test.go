package raftstore

import (
	"crypto/tls"
	"errors"
	"os"
	"time"

	"supd/supervisor/pki"
)

// NodeTLS is the TLS of a server in the cluster that shares a secret.
func NodeTLS(secret, id string) TLS {
	s := nodeStore(secret, id, pki.NodeValidity(time.Now()))
	return TLS{Server: s.NodeServer(pki.AnyNode), Client: func(id string) *tls.Config { return s.Client(pki.Is(id)) }}
}

// ClientTLS is what a node of that cluster, or of another, connects with, wherever it
// connects to.
func ClientTLS(secret, id string, v pki.Validity) *tls.Config {
	c := nodeStore(secret, id, v).Client(pki.AnyNode)
	c.VerifyConnection = nil
	return c
}

func nodeStore(secret, id string, v pki.Validity) *pki.Store {
	dir, err := os.MkdirTemp("", "pki")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	s, err := pki.Open(dir)
	if err != nil {
		panic(err)
	}
	seed, err := pki.SeedFrom(secret)
	if err = errors.Join(err, s.SaveSeed(seed), s.Sign(id, v)); err != nil {
		panic(err)
	}
	return s
}
