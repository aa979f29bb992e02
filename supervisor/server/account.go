package server

import (
	"net/http"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/client"
	"supd/supervisor/pki"
	"supd/supervisor/spec"
)

// Authority makes the credentials of accounts. It is asked on the leader.
type Authority interface {
	// CA is the cluster's CA certificate as PEM, nil while there is none.
	CA() []byte
	// SignAccount signs for a key, given by the certificate request (PEM) of its holder.
	SignAccount(request []byte, name string, from, until time.Time) (certificate []byte, keyHash string, err error)
}

// certificateLife is how long an account's certificate is good if it isn't to expire; the account is what is revoked.
const certificateLife = 10 * 365 * 24 * time.Hour

// createAccount makes an account and its credentials, which only the answer holds.
func (s *Server) createAccount(w http.ResponseWriter, r *http.Request) error {
	var in client.AccountRequest
	if err := decode(r, &in); err != nil {
		return err
	}
	name := r.PathValue("name")
	kind := spec.AccountToken
	if in.Request != "" {
		kind = spec.AccountCertificate
	}
	if err := spec.CheckAccount(name, in.Role, in.Namespaces, kind); err != nil {
		return spec.Errorf(spec.CodeInvalid, "cannot make the account: %v", err)
	}
	if in.ExpiresIn < 0 {
		return spec.Errorf(spec.CodeInvalid, "cannot make account %s: it would have expired already", name)
	}
	cmd := &state.PutAccount{Name: name, UID: newUID(), Role: in.Role, Namespaces: in.Namespaces, Kind: kind}
	if in.ExpiresIn > 0 {
		cmd.Expires = s.o.Now().UTC().Add(in.ExpiresIn.D()).Truncate(time.Second)
	}
	out, err := s.credentials(cmd, in.Request)
	if err != nil {
		return err
	}
	view, res, err := s.propose(r, cmd)
	if err != nil {
		return err
	}
	if a := view.Account(name); a != nil {
		out.Account = Account(a, s.o.Now())
	}
	w.Header().Set("Cache-Control", "no-store")
	return answer(w, res, out)
}

// credentials makes what proves an account, and puts into cmd what the cluster keeps of it.
func (s *Server) credentials(cmd *state.PutAccount, request string) (client.Credentials, error) {
	var out client.Credentials
	var ca []byte
	if s.o.Authority != nil {
		ca = s.o.Authority.CA()
	}
	if ca == nil {
		return out, refused("NoCA", "cannot make account %s: the cluster has no CA yet; has it been formed? (supctl cluster status)", cmd.Name)
	}
	out.CA = string(ca)
	if request == "" {
		pin, err := pki.PinOf(ca)
		if err != nil {
			return out, err
		}
		text, t, err := pki.NewToken(pki.AuthToken, pin)
		if err != nil {
			return out, err
		}
		out.Token, cmd.Token, cmd.Hash = text, t.ID, t.Hash
		return out, nil
	}
	now := s.o.Now()
	until := cmd.Expires
	if until.IsZero() {
		until = now.Add(certificateLife)
	}
	cert, hash, err := s.o.Authority.SignAccount([]byte(request), cmd.Name, now.Add(-pki.Backdate), until)
	if err != nil {
		return out, spec.Errorf(spec.CodeRefused, "cannot make a certificate for account %s: %v", cmd.Name, err)
	}
	out.Certificate, cmd.Hash = string(cert), hash
	return out, nil
}

func (s *Server) revokeAccount(w http.ResponseWriter, r *http.Request) error {
	return s.simple(w, r, &state.RevokeAccount{Name: r.PathValue("name")})
}

func (s *Server) listAccounts(w http.ResponseWriter, _ *http.Request) error {
	v := s.o.Store.View()
	items := []spec.Account{}
	for a := range v.Accounts() {
		items = append(items, Account(a, s.o.Now()))
	}
	setIndex(w, v)
	return writeJSON(w, http.StatusOK, spec.List[spec.Account]{APIVersion: spec.APIVersion, Kind: spec.KindAccount + "List", Items: items})
}

func (s *Server) getAccount(w http.ResponseWriter, r *http.Request) error {
	v := s.o.Store.View()
	setIndex(w, v)
	a := v.Account(r.PathValue("name"))
	if a == nil {
		e := spec.Errorf(spec.CodeNotFound, "there is no account %s", r.PathValue("name"))
		e.Reason = "NotFound"
		return e
	}
	return writeJSON(w, http.StatusOK, Account(a, s.o.Now()))
}

// Account is the API object of a: nothing of its token, not even the hash.
func Account(a *state.Account, now time.Time) spec.Account {
	created := a.CreatedAt
	out := spec.Account{
		APIVersion: spec.APIVersion, Kind: spec.KindAccount,
		Metadata: spec.Meta{Name: a.Name, UID: a.UID, Generation: 1, ResourceVersion: a.Index, CreatedAt: &created},
		Spec:     spec.AccountSpec{Role: a.Role, Namespaces: append([]string{}, a.Namespaces...), Kind: a.Kind},
		Status:   spec.AccountStatus{Expired: a.Expired(now), CreatedBy: a.CreatedBy},
	}
	if !a.Expires.IsZero() {
		t := a.Expires
		out.Spec.Expires = &t
	}
	return out
}

// whoami tells the caller who the daemon takes him for.
func (s *Server) whoami(w http.ResponseWriter, r *http.Request) error {
	c := callerOf(r)
	out := client.Whoami{Who: c.Who, Role: c.Role, Namespaces: append([]string{}, c.Namespaces...), Account: c.Account, Node: s.o.Node}
	if a := s.o.Store.View().Account(c.Account); a != nil && !a.Expires.IsZero() {
		t := a.Expires
		out.Expires = &t
	}
	return writeJSON(w, http.StatusOK, out)
}
