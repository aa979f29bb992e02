package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// Bounds on what is asked of others.
const (
	oneTry     = 2 * time.Second // for one server's answer
	allTries   = 4 * time.Second
	maxForward = 500 // questions under way at once
)

// forwarder asks the host's own servers.
type forwarder struct {
	servers []string
	good    atomic.Uint32 // index of the server that answered last
	room    chan struct{}
}

func newForwarder(servers, own []string) (*forwarder, error) {
	f := &forwarder{room: make(chan struct{}, maxForward)}
	for _, s := range servers {
		if _, _, err := net.SplitHostPort(s); err != nil {
			return nil, fmt.Errorf("cannot use DNS server %q: want host:port: %w", s, err)
		}
		if !slices.Contains(own, s) && !slices.Contains(f.servers, s) {
			f.servers = append(f.servers, s)
		}
	}
	return f, nil
}

func (f *forwarder) any() bool { return len(f.servers) > 0 }

var errBusy = errors.New("too many questions are under way")

// ask asks one server after the other, first the one that answered last, and
// returns the first answer that says something.
func (f *forwarder) ask(ctx context.Context, req *dns.Msg, tcp bool) (*dns.Msg, error) {
	select {
	case f.room <- struct{}{}:
		defer func() { <-f.room }()
	default:
		return nil, errBusy
	}
	ctx, cancel := context.WithTimeout(ctx, allTries)
	defer cancel()
	var last *dns.Msg
	var errs []error
	first := int(f.good.Load())
	for i := range f.servers {
		k := (first + i) % len(f.servers)
		answer, err := exchange(ctx, req, f.servers[k], tcp)
		switch {
		case err != nil:
			errs = append(errs, err)
		case answer.Rcode == dns.RcodeServerFailure || answer.Rcode == dns.RcodeRefused:
			last = answer
		default:
			f.good.Store(uint32(k))
			return answer, nil
		}
	}
	if last != nil {
		return last, nil
	}
	return nil, errors.Join(errs...)
}

// exchange asks one server, under an id of our own.
func exchange(ctx context.Context, req *dns.Msg, server string, tcp bool) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, oneTry)
	defer cancel()
	network := "udp"
	if tcp {
		network = "tcp"
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, network, server)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", server, err)
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	conn := &dns.Conn{Conn: c, UDPSize: dns.MaxMsgSize}
	ask := req.Copy()
	ask.Id = dns.Id()
	if err := conn.WriteMsg(ask); err != nil {
		return nil, fmt.Errorf("ask %s: %w", server, err)
	}
	for {
		answer, err := conn.ReadMsg()
		if ctx.Err() != nil {
			return nil, fmt.Errorf("ask %s: no answer: %w", server, ctx.Err())
		}
		if err != nil {
			return nil, fmt.Errorf("ask %s: %w", server, err)
		}
		if answers(answer, ask) {
			answer.Id = req.Id
			answer.Question = req.Question
			return answer, nil
		}
	}
}

// answers tells an answer to our question from a forged or late one.
func answers(m, ask *dns.Msg) bool {
	if m.Id != ask.Id || !m.Response || len(m.Question) != 1 {
		return false
	}
	a, b := m.Question[0], ask.Question[0]
	return a.Qtype == b.Qtype && a.Qclass == b.Qclass && strings.EqualFold(a.Name, b.Name)
}
