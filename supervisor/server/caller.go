package server

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"supd/supervisor/client"
	"supd/supervisor/spec"
)

// Caller is who asks, and what he may.
type Caller struct {
	// Who goes into events and logs, with where from: "unix:root", "account:ci@10.0.0.5", "node:n1@10.0.0.7".
	Who string
	// Role is "" for one who may read health and metrics only.
	Role spec.Role
	// Namespaces he is limited to; none: all.
	Namespaces []string
	// Node is the name of the node that asks for itself, NodeID its id. Its word on whose account it asks for is believed.
	Node, NodeID string
	// Account by which he was let in: what he asks for ends when it is revoked.
	Account string
	// local: the daemon's own user and root, on the socket.
	local bool
	// expired: the node's certificate has run out, as this says.
	expired string
	// stranger is a node that the View does not have yet: it may only register.
	stranger bool
	// unknown is why he has no role.
	unknown string
}

// callerKey holds the Caller of a request.
type callerKey struct{}

// WithCaller notes who asks where neither a socket nor a certificate tells.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// callerOf is who asks, as serve has found out.
func callerOf(r *http.Request) Caller {
	c, _ := r.Context().Value(callerKey{}).(Caller)
	return c
}

// who asks, for events and logs.
func who(r *http.Request) string { return callerOf(r).Who }

// scope is how far a route reaches.
type scope int

const (
	inNamespace scope = iota // the namespace of its path
	narrowed                 // shows each caller what his namespaces hold
	wide                     // the whole cluster: needs a role for all namespaces
	anywhere                 // tells nothing of any namespace
)

// scopeOf tells how far a route reaches.
func scopeOf(rt Route) scope {
	switch {
	case strings.Contains(rt.Pattern, "{ns}"):
		return inNamespace
	case rt.Pattern == "/v1/version" || rt.Pattern == "/v1/whoami":
		return anywhere
	}
	for _, k := range kinds() {
		if k.resource.Namespaced() && rt.Pattern == "/v1/"+string(k.resource) {
			return narrowed
		}
	}
	return wide
}

// roleFor is the least role for a class of access; Open and NodeOnly need none.
func roleFor(a Access) spec.Role {
	switch a {
	case Read:
		return spec.RoleViewer
	case Write, Enter:
		return spec.RoleOperator
	case Admin:
		return spec.RoleAdmin
	case Open, NodeOnly:
	}
	return ""
}

// mayUse decides whether a caller may use a route on a namespace ("": none in its path).
func mayUse(c Caller, rt Route, ns string) *spec.Error {
	switch {
	case rt.Access == Open:
		return nil
	case c.expired != "" && rt.Pattern != renewal:
		return unauthenticated("%s", c.expired)
	case rt.Access == NodeOnly:
		switch {
		case c.stranger && !forStrangers(rt.Pattern):
			return notRegistered(c.Node)
		case c.Node != "":
			return nil
		case c.Role == "":
			return unauthenticated("%s is for the cluster's nodes: it takes a node's certificate", rt.Pattern)
		}
		return forbidden("%s is for the cluster's nodes: it takes a node's certificate, and %s shows none", rt.Pattern, c.Who)
	case c.Node != "" && c.Role == "":
		return forbidden("%s, as a node, may not %s %s", c.Who, rt.Method, rt.Pattern)
	case c.Role == "" && c.unknown != "":
		return unauthenticated("%s", c.unknown)
	case c.Role == "":
		return unauthenticated("cannot tell who asks: over TCP give a token (SUPCTL_TOKEN or --token-file) or a certificate (--cert, --key) of an account, or use the unix socket on a node; supctl auth create makes accounts")
	case !c.Role.Includes(roleFor(rt.Access)):
		return forbidden("%s is %s, and %s %s takes %s: ask an admin for an account of that role (supctl auth create NAME --role %s)",
			c.Who, c.Role, rt.Method, rt.Pattern, roleFor(rt.Access), roleFor(rt.Access))
	case len(c.Namespaces) == 0:
		return nil
	}
	switch scopeOf(rt) {
	case inNamespace:
		if !slices.Contains(c.Namespaces, ns) {
			return forbidden("%s is limited to %s, and namespace %s is another", c.Who, limits(c.Namespaces), ns)
		}
	case wide:
		return forbidden("%s is limited to %s, and %s %s concerns the whole cluster: that takes an account for all namespaces", c.Who, limits(c.Namespaces), rt.Method, rt.Pattern)
	case narrowed, anywhere:
	}
	return nil
}

// forStrangers are the routes of a node that the View does not have yet, or only a View behind the cluster's does not.
func forStrangers(pattern string) bool {
	switch pattern {
	case renewal, internalPath + "register", internalPath + "heartbeat", internalPath + "seed":
		return true
	}
	return false
}

// notRegistered asks a node to come again.
func notRegistered(node string) *spec.Error {
	e := spec.Errorf(spec.CodeNoLeader, "node %s is not registered in the cluster yet; try again", node)
	e.Reason = client.ReasonNoLeader
	return e
}

func limits(namespaces []string) string {
	if len(namespaces) == 1 {
		return "namespace " + namespaces[0]
	}
	return "the namespaces " + strings.Join(namespaces, ", ")
}

// Reasons of refusals for who asks and how often; each has an HTTP status of its own.
const (
	reasonUnauthenticated = "Unauthenticated"    // 401
	reasonForbidden       = "Forbidden"          // 403
	reasonTooMany         = client.ReasonTooMany // 429
)

func unauthenticated(format string, args ...any) *spec.Error {
	return refused(reasonUnauthenticated, format, args...)
}

func forbidden(format string, args ...any) *spec.Error {
	return refused(reasonForbidden, format, args...)
}
