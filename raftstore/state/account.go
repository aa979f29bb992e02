package state

import (
	"iter"
	"time"

	"supd/supervisor/spec"
)

// Account is somebody who may use the API over TCP. Whether it has expired is judged where a request comes in, by the
// clock there: Apply never looks at Expires, or a replay would end otherwise than the first time.
type Account struct {
	Name string `json:"name"`
	// UID is another one when the name is given again.
	UID        string    `json:"uid"`
	Role       spec.Role `json:"role"`
	Namespaces []string  `json:"namespaces,omitempty"` // none: all
	Kind       string    `json:"kind"`
	// Token is the public part of a bearer token, by which the account is found.
	Token string `json:"token,omitempty"`
	// Hash is the SHA-256, in hex, of the token's secret part, or of a certificate's public key.
	Hash      string    `json:"hash"`
	Expires   time.Time `json:"expires,omitzero"` // zero: never
	CreatedAt time.Time `json:"createdAt"`
	CreatedBy string    `json:"createdBy,omitempty"`
	Index     uint64    `json:"index"`
}

// Expired tells whether the account's time is over.
func (a *Account) Expired(now time.Time) bool { return !a.Expires.IsZero() && !now.Before(a.Expires) }

// MaxAccounts bounds the accounts of a View, expired ones too.
const MaxAccounts = 10_000

// PutAccount makes an account. A name that is taken is refused, also an expired account's: it is to be revoked first.
type PutAccount struct {
	Name       string    `json:"name"`
	UID        string    `json:"uid"`
	Role       spec.Role `json:"role"`
	Namespaces []string  `json:"namespaces,omitempty"`
	Kind       string    `json:"kind"`
	Token      string    `json:"token,omitempty"`
	Hash       string    `json:"hash"`
	Expires    time.Time `json:"expires,omitzero"`
}

// RevokeAccount forgets an account: whoever comes with its token or certificate is refused from here on.
type RevokeAccount struct {
	Name string `json:"name"`
}

func (*PutAccount) kind() string    { return "PutAccount" }
func (*RevokeAccount) kind() string { return "RevokeAccount" }

// Account returns an account or nil.
func (v *View) Account(name string) *Account { return get(v.accounts, name) }

// Accounts yields the accounts by name.
func (v *View) Accounts() iter.Seq[*Account] { return walk(v.accounts, "") }

// AccountByToken finds the account of a token's public part, or nil.
func (v *View) AccountByToken(id string) *Account {
	if id == "" {
		return nil
	}
	return get(v.byToken, id)
}

// indexAccount stores an account in its table and index.
func (v *View) indexAccount(a *Account) {
	v.accounts, _, _ = v.accounts.Insert([]byte(a.Name), a)
	if a.Token != "" {
		v.byToken, _, _ = v.byToken.Insert([]byte(a.Token), a)
	}
}

func (t *tx) putAccount(c *PutAccount) *spec.Error {
	if err := spec.CheckAccount(c.Name, c.Role, c.Namespaces, c.Kind); err != nil {
		return refuse("Invalid", "cannot make the account: %v", err)
	}
	if c.Hash == "" || (c.Kind == spec.AccountToken) != (c.Token != "") {
		return refuse("Invalid", "cannot make account %s: a token has an id and a hash, a certificate only a hash", c.Name)
	}
	if t.Account(c.Name) != nil {
		return &spec.Error{
			Code: spec.CodeConflict, Reason: "AccountExists",
			Message: "cannot make account " + c.Name + ": there is one of that name; take another, or first: supctl auth revoke " + c.Name,
		}
	}
	if t.AccountByToken(c.Token) != nil {
		return refuse("TokenTaken", "cannot make account %s: its token's id is another's; try again", c.Name)
	}
	if t.accounts.Len() >= MaxAccounts {
		return refuse("TooManyAccounts", "cannot make account %s: there are %d, as many as may be; revoke some that are not used", c.Name, MaxAccounts)
	}
	t.indexAccount(&Account{
		Name: c.Name, UID: c.UID, Role: c.Role, Namespaces: c.Namespaces, Kind: c.Kind, Token: c.Token, Hash: c.Hash,
		Expires: c.Expires.UTC(), CreatedAt: t.now, CreatedBy: t.e.Who, Index: t.Index,
	})
	t.changed, t.created = true, true
	until := "for good"
	if !c.Expires.IsZero() {
		until = "until " + c.Expires.UTC().Format(time.RFC3339)
	}
	t.event("", "account/"+c.Name, "Created", "the account is %s of %s, by %s, %s", c.Role, namespacesWord(c.Namespaces), c.Kind, until)
	return nil
}

func namespacesWord(list []string) string {
	if len(list) == 0 {
		return "all namespaces"
	}
	word := "namespace " + list[0]
	for _, ns := range list[1:] {
		word += ", " + ns
	}
	return word
}

func (t *tx) revokeAccount(c *RevokeAccount) *spec.Error {
	a := t.Account(c.Name)
	if a == nil {
		return notFound("account", "-", c.Name)
	}
	del(t, &t.accounts, a.Name)
	if a.Token != "" {
		del(t, &t.byToken, a.Token)
	}
	t.event("", "account/"+c.Name, "Revoked", "the account, %s of %s, is refused from now on", a.Role, namespacesWord(a.Namespaces))
	return nil
}
