package control

import "sort"

// MaxVoters is the most voters a cluster has: two of five may be lost, and more
// would only slow every write.
const MaxVoters = 5

// VoterCount is how many of n servers vote: the greatest odd number up to
// MaxVoters. An even number can lose no more servers than the odd one below it.
func VoterCount(n int) int {
	n = min(n, MaxVoters)
	if n > 0 && n%2 == 0 {
		n--
	}
	return n
}

// Voters says which server gets a vote next, by id, or "". Well tells which
// servers answer and have caught up. Votes are only ever added, one at a time, and
// only when the servers at hand are enough to reach the next odd number: dead
// servers keep their places.
func Voters(servers []Server, well func(id string) bool) (promote string) {
	var voters int
	var candidates []string
	for _, s := range servers {
		switch {
		case s.Voter:
			voters++
		case well(s.ID):
			candidates = append(candidates, s.ID)
		}
	}
	sort.Strings(candidates)
	target := VoterCount(len(servers))
	need := 1 + voters%2 // to the next odd number
	if voters+need > target || len(candidates) < need {
		return ""
	}
	return candidates[0]
}

// First is the first membership of a cluster formed by these ids: sorted, so that
// every node makes the same, and the first VoterCount of them vote.
func First(servers []Server) []Server {
	out := append([]Server(nil), servers...)
	sort.Slice(out, func(i, j int) bool { return out[i].ID < out[j].ID })
	for i := range out {
		out[i].Voter = i < VoterCount(len(out))
	}
	return out
}
