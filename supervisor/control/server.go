package control

import (
	"strconv"
	"strings"
)

// Server is one member of the Raft cluster. ID is its node's; Store counts the stores
// that the node has given up (their votes and acknowledgements are forgotten): each
// store is another server in Raft, so that no vote is given twice in one name.
type Server struct {
	ID    string
	Store int
	Addr  string
	Voter bool
}

// ServerID is the id in Raft of a node's store: the node's own for the first one.
func ServerID(node string, store int) string {
	if store == 0 {
		return node
	}
	return node + "#" + strconv.Itoa(store)
}

// SplitServer takes apart what ServerID has put together.
func SplitServer(id string) (node string, store int) {
	node, n, _ := strings.Cut(id, "#")
	store, err := strconv.Atoi(n)
	if err != nil {
		store = 0
	}
	return node, store
}

// givenUp is the server of a store that its node has given up: it takes no part any
// more, nor can it, and goes before the node's present store is added.
func givenUp(servers []Server, peers []Peer) (Server, bool) {
	for _, s := range servers {
		for _, p := range peers {
			if p.ID == s.ID && p.Alive && p.Store > s.Store {
				return s, true
			}
		}
	}
	return Server{}, false
}
