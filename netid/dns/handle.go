package dns

import (
	"context"
	"net"

	"github.com/miekg/dns"
)

// handler answers one message after the other for one Run.
type handler struct {
	*Server
	ctx context.Context // of the Run it belongs to: ends questions sent upstream
}

var _ dns.Handler = handler{}

// ServeDNS answers one message.
func (h handler) ServeDNS(w dns.ResponseWriter, req *dns.Msg) {
	_, tcp := w.RemoteAddr().(*net.TCPAddr)
	m := h.respond(req, tcp)
	if err := w.WriteMsg(m); err != nil {
		h.log.Debug("DNS answer not sent", "err", err)
	}
}

// respond makes the whole answer to a message.
func (h handler) respond(req *dns.Msg, tcp bool) *dns.Msg {
	m := new(dns.Msg)
	m.SetReply(req)
	m.RecursionAvailable = h.forward.any()
	opt := req.IsEdns0()
	if opt != nil {
		m.SetEdns0(maxUDP, opt.Do())
	}
	if rcode := check(req, opt); rcode != dns.RcodeSuccess {
		m.Rcode = rcode // of EDNS0 too: Pack puts the upper bits into the OPT record
		return m
	}
	v := h.views.View()
	if v == nil {
		m.Rcode = dns.RcodeServerFailure
		return m
	}
	r, ours := answer(v, req.Question[0], h.index(v).governs)
	if !ours {
		return h.elsewhere(req, m, opt, tcp)
	}
	m.Authoritative = r.Rcode == dns.RcodeSuccess || r.Rcode == dns.RcodeNameError
	m.Rcode, m.Answer, m.Ns = r.Rcode, rotate(r.Answer, h.turn.Add(1)), r.Ns
	m.Extra = append(r.Extra, m.Extra...)
	fit(m, opt, tcp)
	return m
}

// elsewhere answers what is not ours.
func (h handler) elsewhere(req, m *dns.Msg, opt *dns.OPT, tcp bool) *dns.Msg {
	if !h.forward.any() || !req.RecursionDesired {
		m.Rcode = dns.RcodeRefused
		return m
	}
	answer, err := h.forward.ask(h.ctx, req, tcp)
	if err != nil {
		h.log.Debug("DNS question not answered upstream", "err", err)
		m.Rcode = dns.RcodeServerFailure
		return m
	}
	answer.RecursionAvailable = true
	fit(answer, opt, tcp)
	return answer
}

// check tells what is wrong with a message, or RcodeSuccess.
func check(req *dns.Msg, opt *dns.OPT) int {
	opts := 0
	for _, rr := range req.Extra {
		if rr.Header().Rrtype == dns.TypeOPT {
			opts++
		}
	}
	switch {
	case req.Opcode != dns.OpcodeQuery:
		return dns.RcodeNotImplemented
	case len(req.Question) != 1 || opts > 1:
		return dns.RcodeFormatError
	case opt != nil && opt.Version() != 0:
		return dns.RcodeBadVers
	}
	switch q := req.Question[0]; {
	case q.Qclass != dns.ClassINET && q.Qclass != dns.ClassANY:
		return dns.RcodeRefused
	case q.Qtype == dns.TypeAXFR || q.Qtype == dns.TypeIXFR:
		return dns.RcodeRefused
	}
	return dns.RcodeSuccess
}

// fit cuts a message to what the asker can take, and says so (TC).
func fit(m *dns.Msg, opt *dns.OPT, tcp bool) {
	size := dns.MinMsgSize
	switch {
	case tcp:
		size = dns.MaxMsgSize
	case opt != nil:
		size = min(max(int(opt.UDPSize()), dns.MinMsgSize), maxUDP)
	}
	m.Truncate(size)
}

// rotate begins another answer each time, so that askers who take the first one
// are spread.
func rotate(rrs []dns.RR, turn uint32) []dns.RR {
	if len(rrs) < 2 {
		return rrs
	}
	k := int(turn % uint32(len(rrs)))
	return append(append(make([]dns.RR, 0, len(rrs)), rrs[k:]...), rrs[:k]...)
}
