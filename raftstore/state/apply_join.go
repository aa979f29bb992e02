package state

import (
	"slices"
	"strings"
	"time"

	"supd/supervisor/spec"
)

// JoinToken lets nodes into the cluster: whoever shows its secret. Only the secret's
// hash is kept.
type JoinToken struct {
	ID      string    `json:"id"`
	Hash    string    `json:"hash"` // hexadecimal SHA-256 of the secret
	Uses    int       `json:"uses"` // how many nodes it lets in
	Expires time.Time `json:"expires"`
	Created time.Time `json:"created"`
	Who     string    `json:"who,omitempty"`
	// Admitted are the nodes it has let in. Each may ask again with the same key: the
	// answer may have been lost.
	Admitted []Admission `json:"admitted,omitempty"`
}

// Admission is a node that a token let in.
type Admission struct {
	ID  string    `json:"id"`  // NAME.8HEX
	Key string    `json:"key"` // hexadecimal SHA-256 of its public key
	At  time.Time `json:"at"`
}

// Left is how many more nodes the token lets in.
func (j *JoinToken) Left() int { return max(0, j.Uses-len(j.Admitted)) }

// Bounds of join tokens: those that have not expired, and the nodes that one lets in.
const (
	MaxJoinTokens = 100
	MaxTokenUses  = 100
)

// JoinToken returns a token by its id, or nil; it may have expired.
func (c *Cluster) JoinToken(id string) *JoinToken {
	for i := range c.JoinTokens {
		if c.JoinTokens[i].ID == id {
			return &c.JoinTokens[i]
		}
	}
	return nil
}

func (t *tx) addJoinToken(c *AddJoinToken) *spec.Error {
	switch {
	case c.ID == "" || c.Hash == "" || c.Uses < 1 || c.Uses > MaxTokenUses:
		return refuse("Invalid", "a join token needs an id, a hash and 1 to %d uses", MaxTokenUses)
	case !c.Expires.After(t.now):
		return refuse("Invalid", "join token %s would have expired already", c.ID)
	case t.Cluster.JoinToken(c.ID) != nil:
		return refuse("TokenExists", "there is a join token %s already", c.ID)
	}
	list := t.liveTokens()
	if len(list) >= MaxJoinTokens {
		return refuse("TooMany", "there are %d join tokens that have not expired; revoke one first: supctl cluster join-token revoke ID", len(list))
	}
	t.Cluster.JoinTokens = append(list, JoinToken{
		ID: c.ID, Hash: c.Hash, Uses: c.Uses, Expires: c.Expires.UTC(), Created: t.now, Who: t.e.Who,
	})
	t.changed, t.created = true, true
	t.event("", "cluster/"+t.Cluster.ID, "JoinTokenAdded", "join token %s lets in %d until %s", c.ID, c.Uses, c.Expires.UTC().Format(time.RFC3339))
	return nil
}

// liveTokens are those that have not expired, in a list of its own.
func (t *tx) liveTokens() []JoinToken {
	return slices.DeleteFunc(slices.Clone(t.Cluster.JoinTokens), func(j JoinToken) bool { return !j.Expires.After(t.now) })
}

func (t *tx) revokeJoinToken(c *RevokeJoinToken) *spec.Error {
	if t.Cluster.JoinToken(c.ID) == nil {
		return notFound("join token", "-", c.ID)
	}
	t.Cluster.JoinTokens = slices.DeleteFunc(slices.Clone(t.Cluster.JoinTokens), func(j JoinToken) bool { return j.ID == c.ID })
	t.changed = true
	t.event("", "cluster/"+t.Cluster.ID, "JoinTokenRevoked", "join token %s lets nobody in any more", c.ID)
	return nil
}

func (t *tx) admitNode(c *AdmitNode) *spec.Error {
	name, suffix, ok := strings.Cut(c.ID, ".")
	if !ok || suffix == "" || spec.CheckLabel(name) != nil || c.Key == "" {
		return refuse("Invalid", "a node that joins needs an id NAME.8HEX and a key, not %q", c.ID)
	}
	if f := t.Cluster.Forgot(c.ID); f != nil {
		return forgotten(name, f)
	}
	j := t.Cluster.JoinToken(c.Token)
	switch {
	case j == nil:
		return refuse("TokenUnknown", "the join token %s is not known here: it was revoked, has expired long ago, or is another cluster's; make one: supctl cluster join-token", c.Token)
	case j.Hash != c.Hash:
		return refuse("TokenWrong", "the secret of join token %s is wrong; was it copied whole?", c.Token)
	}
	for _, a := range j.Admitted {
		if a.ID == c.ID && a.Key == c.Key {
			return nil // it asks again
		}
	}
	switch n := t.Node(name); {
	case t.Cluster.Forgot(c.ID) != nil:
		return forgotten(name, t.Cluster.Forgot(c.ID))
	case !j.Expires.After(t.now):
		return refuse("TokenExpired", "the join token %s expired at %s; make another: supctl cluster join-token", c.Token, j.Expires.Format(time.RFC3339))
	case j.Left() == 0:
		return refuse("TokenUsed", "the join token %s was used already, by node id %s; make another: supctl cluster join-token", c.Token, j.Admitted[len(j.Admitted)-1].ID)
	case n != nil && n.ID != c.ID:
		return refuse("NameTaken", "the name %s belongs to node id %s, not %s: give this node another name, bring the old data directory back, or give that machine up: supctl node forget %s", name, n.ID, c.ID, name)
	case n != nil || t.admittedOtherwise(c):
		return refuse("NodeExists", "node id %s has been let in already, with another key", c.ID)
	}
	list := slices.Clone(t.Cluster.JoinTokens)
	for i := range list {
		if list[i].ID == c.Token {
			list[i].Admitted = append(slices.Clone(list[i].Admitted), Admission{ID: c.ID, Key: c.Key, At: t.now})
		}
	}
	t.Cluster.JoinTokens = list
	t.changed = true
	t.event("", "node/"+name, "Admitted", "node id %s was let in by join token %s", c.ID, c.Token)
	return nil
}

// admittedOtherwise tells whether a token has let in the same node id with another key.
func (t *tx) admittedOtherwise(c *AdmitNode) bool {
	for _, j := range t.Cluster.JoinTokens {
		for _, a := range j.Admitted {
			if a.ID == c.ID && a.Key != c.Key {
				return true
			}
		}
	}
	return false
}

// MayRemove tells what keeps a node from leaving, or nil: what it has would be lost.
func (v *View) MayRemove(n *Node) *spec.Error {
	var left []string
	for m := range v.NodeMembers(n.Name) {
		left = append(left, "member "+m.Namespace+"/"+m.Name())
	}
	for vol := range v.Volumes("") {
		if vol.Node == n.Name {
			left = append(left, "volume "+vol.Namespace+"/"+vol.Name())
		}
	}
	if len(left) == 0 {
		return nil
	}
	shown := strings.Join(left[:min(5, len(left))], ", ")
	if len(left) > 5 {
		shown += ", ..."
	}
	err := refuse("NodeNotEmpty", "node %s cannot leave: it has %s (%d in all); drain it (supctl node drain %s), scale its sets down and release its volumes first; "+
		"a machine that is gone for good is given up with: supctl node forget %s", n.Name, shown, len(left), n.Name, n.Name)
	err.Details = left
	return err
}

func (t *tx) removeNode(c *RemoveNode) *spec.Error {
	if f := t.Cluster.Forgot(c.ID); f != nil && f.Name == c.Name {
		return nil
	}
	n := t.Node(c.Name)
	switch {
	case n == nil:
		return notFound("node", "-", c.Name)
	case n.ID != c.ID:
		return stale("node %s has the id %s now, not %s", c.Name, n.ID, c.ID)
	}
	if err := t.MayRemove(n); err != nil {
		return err
	}
	for _, id := range slices.Collect(t.Identities()) {
		if id.Node == n.Name {
			moved := *id
			moved.Node = n.ID // its name may be another machine's one day
			put(t, &t.ids, ordinalKey(id.Namespace, id.Set, id.Ordinal), &moved)
		}
	}
	del(t, &t.nodes, n.Name)
	list := append(slices.Clone(t.Cluster.Forgotten), ForgottenNode{ID: n.ID, Name: n.Name, At: t.now, Left: true})
	t.Cluster.Forgotten = list[max(0, len(list)-MaxForgotten):]
	t.event("", "node/"+n.Name, "Left", "node %s (id %s) has left the cluster; its id is not let in again", n.Name, n.ID)
	return nil
}

// NodeForgotten is the reason of a refusal to a node that was given up, or has left.
const NodeForgotten = "NodeForgotten"

// Forgot returns what is remembered of a forgotten node's id, or nil.
func (c *Cluster) Forgot(id string) *ForgottenNode {
	for i := range c.Forgotten {
		if c.Forgotten[i].ID == id {
			return &c.Forgotten[i]
		}
	}
	return nil
}

func forgotten(name string, f *ForgottenNode) *spec.Error {
	return refuse(NodeForgotten, "node %s (id %s) was forgotten, or left, at %s: this cluster never takes this data directory back; keep it for what is in it, and let the machine join anew with an empty one",
		name, f.ID, f.At.Format(time.RFC3339))
}
