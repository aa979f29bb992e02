package control

import (
	"cmp"
	"slices"
	"sort"
)

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

// Standing is what the leader knows of one server of Raft.
type Standing struct {
	Server
	// Rack is what would fail together; "" is a rack of its own.
	Rack  string
	Self  bool // the leader
	Alive bool // was heard a moment ago
	Fit   bool // alive, and has caught up
	Dead  bool // has been lost for so long that its vote goes to another
	Gone  bool // forgotten, or has left: it is to be no server any more
	Bare  bool // does not hold the cluster's secret, which voters have
}

// Voters says the next step towards the voters that the cluster should have, false
// when there is none. One step at a time, each for itself harmless: none is taken
// without a living majority, and none makes less of what may still be lost. So a
// dead voter loses its vote only after another got it, and a number of voters that
// is even is a step between two odd ones. Where nothing happens, steps come to an end.
func Voters(servers []Standing) (change, bool) {
	e := newElectorate(servers)
	ch, ok := e.next()
	return ch, ok && e.harmless(ch)
}

// electorate is the servers, sorted into those that vote and those that might.
type electorate struct {
	voters, fit []Standing
	dead        *Standing // a voter that is dead or gone
	goneServer  *Standing // a server without a vote that is gone
	goneSelf    bool
	later       bool // a living server has no vote and is not fit for one yet
	allAlive    bool
	want        int
}

func newElectorate(servers []Standing) electorate {
	servers = slices.Clone(servers)
	slices.SortFunc(servers, func(a, b Standing) int { return cmp.Compare(a.ID, b.ID) })
	e := electorate{allAlive: true}
	lasting := 0
	for i := range servers {
		s := &servers[i]
		lost := s.Dead || s.Gone
		if !lost {
			lasting++
		}
		e.allAlive = e.allAlive && s.Alive && !lost
		switch {
		case s.Voter:
			e.voters = append(e.voters, *s)
			if lost && !s.Self && (e.dead == nil || s.Gone && !e.dead.Gone) {
				e.dead = s
			}
			e.goneSelf = e.goneSelf || s.Self && s.Gone
		case s.Gone:
			e.goneServer = s
		case lost:
		case s.Fit:
			e.fit = append(e.fit, *s)
		default:
			e.later = true
		}
	}
	e.want = VoterCount(lasting)
	return e
}

// next is the step, were it harmless; the first case that fits.
func (e electorate) next() (change, bool) {
	n := len(e.voters)
	even := n%2 == 0
	switch {
	case e.goneServer != nil:
		return change{Do: doRemove, ID: e.goneServer.ID}, true
	case e.goneSelf && n > 1:
		return change{Do: doTransfer}, true
	case even && e.dead != nil, e.dead != nil && e.dead.Gone && len(e.fit) == 0:
		return e.dismiss(), true
	case even && n < e.want && len(e.fit) > 0:
		return promote(e.best()), true
	case even && n < e.want && e.later:
		return change{}, false // it will be fit soon
	case even && n > 0, n > MaxVoters:
		worst, ok := e.worst(e.voters)
		return change{Do: doDemote, ID: worst.ID}, ok
	case e.dead != nil && len(e.fit) > 0:
		return promote(e.best()), true
	case n+2 <= e.want && len(e.fit) > 1:
		return promote(e.best()), true
	case n == e.want && e.allAlive:
		return e.spreadBetter()
	}
	return change{}, false
}

// promote gives a vote, or first the secret that goes with it.
func promote(s Standing) change {
	if s.Bare {
		return change{Do: doSeed, ID: s.ID}
	}
	return change{Do: doPromote, ID: s.ID, Addr: s.Addr, Voter: true}
}

// dismiss takes the vote of a dead voter; one that is gone is a server no more.
func (e electorate) dismiss() change {
	if e.dead.Gone {
		return change{Do: doRemove, ID: e.dead.ID}
	}
	return change{Do: doDemote, ID: e.dead.ID}
}

// best is the fit server whose vote spreads the living voters best.
func (e electorate) best() Standing {
	var lasting []Standing
	for _, v := range e.voters {
		if !v.Dead && !v.Gone {
			lasting = append(lasting, v)
		}
	}
	best := e.fit[0]
	for _, s := range e.fit[1:] {
		if crowding(with(lasting, s)).less(crowding(with(lasting, best))) {
			best = s
		}
	}
	return best
}

// worst is the voter, never the leader, without whom the others are spread best.
func (e electorate) worst(voters []Standing) (worst Standing, ok bool) {
	for _, s := range voters {
		if s.Self {
			continue
		}
		if !ok || !crowding(without(voters, worst.ID)).less(crowding(without(voters, s.ID))) {
			worst, ok = s, true
		}
	}
	return worst, ok
}

// spreadBetter begins an exchange of two voters, where that makes a rack's loss
// cost fewer votes; each exchange makes it strictly better, so they come to an end.
func (e electorate) spreadBetter() (change, bool) {
	if len(e.fit) == 0 {
		return change{}, false
	}
	best := e.best()
	more := with(e.voters, best)
	if worst, ok := e.worst(more); ok && crowding(without(more, worst.ID)).less(crowding(e.voters)) {
		return promote(best), true
	}
	return change{}, false
}

// harmless tells whether a living majority is there, is there after ch too, and
// whether as many voters as before may then be lost.
func (e electorate) harmless(ch change) bool {
	before, after := spare(e.voters), 0
	switch ch.Do {
	case doPromote:
		after = spare(with(e.voters, Standing{Server: Server{ID: ch.ID}, Alive: true}))
	case doDemote:
		after = spare(without(e.voters, ch.ID))
	case doRemove: // it does not count, whether or not it is still there
		after = spare(without(e.voters, ch.ID))
		before = max(before, 0)
	case doTransfer, doSeed:
		return true
	}
	return before >= 0 && after >= before
}

// spare is how many more voters may be lost; negative: there is no majority.
func spare(voters []Standing) int {
	alive := 0
	for _, v := range voters {
		if v.Alive && !v.Gone {
			alive++
		}
	}
	return alive - (len(voters)/2 + 1)
}

// crowd is how badly voters are spread: the votes of the fullest rack, then the sum
// of the squares over all.
type crowd struct{ most, squares int }

func (c crowd) less(d crowd) bool {
	return c.most < d.most || c.most == d.most && c.squares < d.squares
}

func crowding(voters []Standing) crowd {
	racks := map[string]int{}
	for _, v := range voters {
		rack := "rack " + v.Rack
		if v.Rack == "" {
			rack = "server " + v.ID
		}
		racks[rack]++
	}
	var c crowd
	for _, n := range racks {
		c.most = max(c.most, n)
		c.squares += n * n
	}
	return c
}

func with(list []Standing, s Standing) []Standing { return append(slices.Clone(list), s) }

func without(list []Standing, id string) []Standing {
	return slices.DeleteFunc(slices.Clone(list), func(s Standing) bool { return s.ID == id })
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
