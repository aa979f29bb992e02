package main

import (
	"cmp"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"

	"supd/supervisor/client"
	"supd/supervisor/pki"
	"supd/supervisor/spec"
)

// credentialFlags say who supctl is, and whom it trusts, at an https:// address.
type credentialFlags struct {
	tokenFile, ca, cert, key string
}

// access adds to the options what an address over TCP needs: who we are, and how the daemon is known.
func (a *app) access(addr string, o *client.Options) error {
	if strings.HasPrefix(addr, "unix://") || strings.HasPrefix(addr, "/") {
		return nil // the kernel tells the daemon who we are
	}
	if strings.HasPrefix(addr, "http://") {
		return spec.Errorf(spec.CodeInvalid, "cannot use address %q: supd speaks TLS only, so that nobody reads tokens on the way; use https://HOST:PORT, or the unix socket on a node", addr)
	}
	token, err := a.token()
	if err != nil {
		return err
	}
	own, err := a.ownCertificate()
	if err != nil {
		return err
	}
	if own != nil && token != "" {
		return usagef("both a token and a certificate are given: give one of them")
	}
	o.Token = token
	ca := cmp.Or(a.creds.ca, os.Getenv("SUPCTL_CA"))
	switch {
	case ca != "":
		b, err := os.ReadFile(ca)
		if err != nil {
			return usagef("cannot read the CA's certificate: %v", err)
		}
		if o.TLS, err = pki.Trusting(b, own); err != nil {
			return usagef("cannot use %s: %v", ca, err)
		}
	case token != "":
		t, err := pki.ParseToken(token)
		if err != nil {
			return usagef("%v", err)
		}
		if t.Kind != pki.AuthToken {
			return usagef("cannot use the token: it lets a node join (supd run --join), and speaks for no account; supctl auth create makes the other kind")
		}
		o.TLS = pki.Pinned(t.Pin, own)
	default:
		return usagef("cannot use address %q: it is not known whom to trust there; give a token (SUPCTL_TOKEN or --token-file), which names the cluster, or its CA's certificate (--ca FILE, SUPCTL_CA; a node has it as pki/ca.pem in its data directory)", addr)
	}
	o.TLS.VerifyConnection = untrusted(addr, o.TLS.VerifyConnection)
	return nil
}

// untrusted makes what is wrong with the other side an error that says so: it is not that nobody is there.
func untrusted(addr string, verify func(tls.ConnectionState) error) func(tls.ConnectionState) error {
	return func(cs tls.ConnectionState) error {
		err := verify(cs)
		if err == nil {
			return nil
		}
		return &spec.Error{
			Code: spec.CodeRefused, Reason: client.ReasonUntrusted,
			Message: fmt.Sprintf("cannot trust %s: %v; look whether the address and the token or CA are of the same cluster: nothing was sent", addr, err),
		}
	}
}

// token is that of --token-file or SUPCTL_TOKEN, "" for none.
func (a *app) token() (string, error) {
	if a.creds.tokenFile == "" {
		return strings.TrimSpace(os.Getenv("SUPCTL_TOKEN")), nil
	}
	b, err := os.ReadFile(a.creds.tokenFile)
	if err != nil {
		return "", usagef("cannot read the token: %v", err)
	}
	if st, err := os.Stat(a.creds.tokenFile); err == nil && st.Mode().IsRegular() && st.Mode().Perm()&0o007 != 0 {
		a.notef("warning: everybody on this host may read the token in %s; chmod 600 %s", a.creds.tokenFile, a.creds.tokenFile)
	}
	if len(b) > 4096 {
		return "", usagef("cannot use the token: %s is too large to hold one", a.creds.tokenFile)
	}
	return strings.TrimSpace(string(b)), nil
}

// ownCertificate is that of --cert and --key or their variables, nil for none.
func (a *app) ownCertificate() (*tls.Certificate, error) {
	cert, key := cmp.Or(a.creds.cert, os.Getenv("SUPCTL_CERT")), cmp.Or(a.creds.key, os.Getenv("SUPCTL_KEY"))
	if cert == "" && key == "" {
		return nil, nil
	}
	if cert == "" || key == "" {
		return nil, usagef("a certificate and its key go together: give both --cert and --key")
	}
	c, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, usagef("cannot use the certificate: %v", err)
	}
	return &c, nil
}

// credentialFiles are the files of a new account. They are made, empty, before it is: an account whose credentials can't
// be kept is of no use.
type credentialFiles struct {
	names   []string
	request string // PEM; "" for a token
	key     ed25519.PrivateKey
	kept    bool
}

func newCredentialFiles(name string, f authCreate) (*credentialFiles, error) {
	cf := &credentialFiles{}
	var want []string
	switch {
	case f.certificate:
		prefix := cmp.Or(f.out, name)
		want = []string{prefix + ".key", prefix + ".pem", prefix + ".ca.pem"}
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("cannot make a key: %w", err)
		}
		request, err := pki.NewRequest(key)
		if err != nil {
			return nil, err
		}
		cf.key, cf.request = key, string(request)
	case f.out != "":
		want = []string{f.out}
	}
	for _, n := range want {
		file, err := os.OpenFile(n, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			cf.drop()
			return nil, usagef("cannot make the file: %v", err)
		}
		cf.names = append(cf.names, n)
		if err := file.Close(); err != nil {
			cf.drop()
			return nil, err
		}
	}
	return cf, nil
}

// keep writes what was got.
func (cf *credentialFiles) keep(out client.Credentials) error {
	texts := []string{out.Token + "\n"}
	if cf.key != nil {
		der, err := x509.MarshalPKCS8PrivateKey(cf.key)
		if err != nil {
			return err
		}
		texts = []string{string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), out.Certificate, out.CA}
	}
	var errs []error
	for i, n := range cf.names {
		errs = append(errs, os.WriteFile(n, []byte(texts[i]), 0o600))
	}
	err := errors.Join(errs...)
	cf.kept = err == nil
	return err
}

// drop removes files that hold nothing.
func (cf *credentialFiles) drop() {
	if cf.kept {
		return
	}
	for _, n := range cf.names {
		_ = os.Remove(n) // it is empty
	}
}
