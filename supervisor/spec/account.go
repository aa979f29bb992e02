package spec

import (
	"fmt"
	"slices"
	"time"
)

// Role is what an account may do; each may all that those before it may.
type Role string

// The roles.
const (
	RoleViewer   Role = "viewer"   // reads
	RoleOperator Role = "operator" // changes wishes, enters members
	RoleAdmin    Role = "admin"    // accounts, join tokens, giving nodes and volumes up, snapshots
)

// Roles lists the roles from the least to the most.
func Roles() []Role { return []Role{RoleViewer, RoleOperator, RoleAdmin} }

// Includes tells whether r may all that other may. No role includes none but itself.
func (r Role) Includes(other Role) bool {
	mine := slices.Index(Roles(), r)
	return mine >= 0 && mine >= slices.Index(Roles(), other)
}

// Kinds of an account: how its holder proves to be it.
const (
	AccountToken       = "token"
	AccountCertificate = "certificate"
)

// MaxAccountNamespaces bounds the namespaces of one account.
const MaxAccountNamespaces = 100

// Account is the API object of somebody who may use the API over TCP. No namespaces: all.
type Account struct {
	APIVersion string        `json:"apiVersion"`
	Kind       string        `json:"kind"`
	Metadata   Meta          `json:"metadata"`
	Spec       AccountSpec   `json:"spec"`
	Status     AccountStatus `json:"status"`
}

// AccountSpec is what an account may do, and until when.
type AccountSpec struct {
	Role       Role       `json:"role"`
	Namespaces []string   `json:"namespaces"`
	Kind       string     `json:"kind"`
	Expires    *time.Time `json:"expires"`
}

// AccountStatus tells how an account stands at the time it was read.
type AccountStatus struct {
	Expired bool `json:"expired"`
	// CreatedBy is who made it.
	CreatedBy string `json:"createdBy"`
}

// KindAccount is the kind of an Account.
const KindAccount = "Account"

// CheckAccount tells what is wrong with an account, or nil.
func CheckAccount(name string, role Role, namespaces []string, kind string) error {
	if err := CheckLabel(name); err != nil {
		return fmt.Errorf("the account's name %w", err)
	}
	if !slices.Contains(Roles(), role) {
		return fmt.Errorf("there is no role %q: want viewer, operator or admin", role)
	}
	if kind != AccountToken && kind != AccountCertificate {
		return fmt.Errorf("there is no kind of account %q: want token or certificate", kind)
	}
	if len(namespaces) > MaxAccountNamespaces {
		return fmt.Errorf("an account has %d namespaces at most, not %d; leave them out for all", MaxAccountNamespaces, len(namespaces))
	}
	for i, ns := range namespaces {
		if err := CheckLabel(ns); err != nil {
			return fmt.Errorf("the namespace %w", err)
		}
		if slices.Contains(namespaces[:i], ns) {
			return fmt.Errorf("the namespace %s is named twice", ns)
		}
	}
	return nil
}
