package main

import (
	"errors"
	"fmt"
	"os/exec"
	"strconv"
)

// cut is what becomes of packets from one host to another.
type cut int

const (
	whole   cut = iota
	dropped     // they vanish: the neighbour's address leads nowhere
	refused     // the sender is told that there is no way
)

const nowhere = "02:5d:00:00:ff:ff"

// towards are the commands that make the way from h to another host so.
func (h *host) towards(to *host, c cut) []string {
	mac, route := to.mac, fmt.Sprintf("route replace %s/32 dev eth0", to.ip)
	switch c {
	case whole:
	case dropped:
		mac = nowhere
	case refused:
		route = fmt.Sprintf("route replace unreachable %s/32", to.ip)
	}
	return []string{fmt.Sprintf("neigh replace %s lladdr %s nud permanent dev eth0", to.ip, mac), route}
}

// cut changes ways, each a pair of hosts' numbers: from, to.
func (l *lab) cut(c cut, ways ...[2]int) error {
	commands := map[int][]string{}
	l.mu.Lock()
	for _, w := range ways {
		l.cuts[w] = c
		commands[w[0]] = append(commands[w[0]], l.hosts[w[0]-1].towards(l.hosts[w[1]-1], c)...)
	}
	l.mu.Unlock()
	var errs []error
	for n, cs := range commands {
		errs = append(errs, l.hosts[n-1].ip4(cs))
	}
	return errors.Join(errs...)
}

// ip4 has a host do commands of ip(8); one without power does what is needed when it boots.
func (h *host) ip4(commands []string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.init == nil {
		return nil
	}
	return ipIn(h.pid, commands...)
}

// plug pulls ports of the switch or puts them back; "br0" is the switch itself.
func (l *lab) plug(up bool, ports ...string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	for _, p := range ports {
		l.down[p] = !up
		word := "down"
		if up {
			word = "up"
		}
		if err := l.sw("link set " + p + " " + word); err != nil && l.hasPort(p) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// hasPort tells whether the switch has the port: one of a host without power goes.
func (l *lab) hasPort(p string) bool {
	return exec.Command("nsenter", "-t", strconv.Itoa(l.hub.Process.Pid), "--net", "ip", "link", "show", p).Run() == nil
}

// heal makes all ways and ports whole.
func (l *lab) heal() error {
	var ways [][2]int
	ports := []string{"br0"}
	for _, a := range l.hosts {
		ports = append(ports, fmt.Sprintf("p%d", a.n))
		for _, b := range l.hosts {
			if a != b {
				ways = append(ways, [2]int{a.n, b.n})
			}
		}
	}
	return errors.Join(l.cut(whole, ways...), l.plug(true, ports...))
}

// between are the ways, both or one, from any of some hosts to any of others.
func between(from, to []int, both bool) [][2]int {
	var ways [][2]int
	for _, a := range from {
		for _, b := range to {
			if a == b {
				continue
			}
			ways = append(ways, [2]int{a, b})
			if both {
				ways = append(ways, [2]int{b, a})
			}
		}
	}
	return ways
}
