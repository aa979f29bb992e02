package dns_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	miekg "github.com/miekg/dns"
	"go.uber.org/goleak"

	"supd/netid/dns"
	"supd/raftstore/state"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// views is the newest View.
type views struct{ atomic.Pointer[state.View] }

func (v *views) View() *state.View { return v.Load() }

func serving(v *state.View) *views {
	s := &views{}
	s.Store(v)
	return s
}

// start runs a server until the test ends, and checks how it ends.
func start(t testing.TB, o dns.Options) *dns.Server {
	t.Helper()
	if o.Listen == nil {
		o.Listen = []string{"127.0.0.1:0"}
	}
	s, err := dns.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return s
}

func question(name string, qtype uint16) *miekg.Msg {
	m := new(miekg.Msg)
	m.SetQuestion(name, qtype)
	return m
}

// ask retries nothing but a lost packet.
func ask(t testing.TB, network, addr string, m *miekg.Msg) *miekg.Msg {
	t.Helper()
	c := &miekg.Client{Net: network, Timeout: 10 * time.Second, UDPSize: 4096}
	r, _, err := c.Exchange(m, addr)
	if err != nil {
		t.Fatalf("%s %v: %v", network, m.Question, err)
	}
	return r
}

func addresses(m *miekg.Msg) []string {
	var out []string
	for _, rr := range m.Answer {
		if a, ok := rr.(*miekg.A); ok {
			out = append(out, a.A.String())
		}
	}
	return out
}

func TestServesUDPAndTCPOnEveryAddress(t *testing.T) {
	t.Parallel()
	s := start(t, dns.Options{Listen: []string{"127.0.0.1:0", "127.0.0.3:0"}, Views: serving(story(t).view)})
	if len(s.Addrs()) != 2 || s.Addr() != s.Addrs()[0] {
		t.Fatalf("addresses %q", s.Addrs())
	}
	for _, addr := range s.Addrs() {
		for _, network := range []string{"udp", "tcp"} {
			r := ask(t, network, addr, question("WEB-0.Web.default.svc.cluster.local.", miekg.TypeA))
			if got := addresses(r); len(got) != 1 || got[0] != "127.64.0.1" {
				t.Errorf("%s %s: %v", network, addr, r)
			}
			if !r.Authoritative || r.RecursionAvailable || r.Truncated || !r.RecursionDesired {
				t.Errorf("flags: %v", r.MsgHdr)
			}
			for _, name := range []string{r.Question[0].Name, r.Answer[0].Header().Name} {
				if name != "WEB-0.Web.default.svc.cluster.local." {
					t.Errorf("case not echoed: %s", name)
				}
			}
		}
	}
}

func TestFollowsTheView(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.node("n1", "127.0.0.1:7953")
	w.set("web", "web", 1, nil, planIP(0), "n1")
	v := serving(nil)
	s := start(t, dns.Options{Views: v})
	q := func() *miekg.Msg { return question("web.default.svc.cluster.local.", miekg.TypeA) }
	if r := ask(t, "udp", s.Addr(), q()); r.Rcode != miekg.RcodeServerFailure {
		t.Errorf("without a View: %v", r)
	}
	v.Store(w.view)
	if r := ask(t, "udp", s.Addr(), q()); r.Rcode != miekg.RcodeSuccess || len(r.Answer) != 0 || len(r.Ns) != 1 {
		t.Errorf("nobody ready: %v", r)
	}
	w.ready("web", 0, true)
	v.Store(w.view)
	if r := ask(t, "udp", s.Addr(), q()); len(r.Answer) != 1 {
		t.Errorf("ready: %v", r)
	}
	w.nodeState("n1", "Suspect")
	v.Store(w.view)
	if r := ask(t, "udp", s.Addr(), q()); len(r.Answer) != 1 {
		t.Errorf("the only ready one is on a suspect node: %v", r)
	}
}

func TestAnswersAreRotated(t *testing.T) {
	t.Parallel()
	s := start(t, dns.Options{Views: serving(story(t).view)})
	first := map[string]bool{}
	for range 10 {
		r := ask(t, "udp", s.Addr(), question("web.default.svc.cluster.local.", miekg.TypeA))
		if got := addresses(r); len(got) == 2 {
			first[got[0]] = true
		}
	}
	if len(first) != 2 {
		t.Errorf("first answers: %v", first)
	}
}

func TestSharedAddressIsGivenOnce(t *testing.T) {
	t.Parallel()
	s := start(t, dns.Options{Views: serving(story(t).view)})
	if r := ask(t, "udp", s.Addr(), question("host.default.svc.cluster.local.", miekg.TypeA)); len(r.Answer) != 1 {
		t.Errorf("got %v", r.Answer)
	}
}

func TestSizes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.node("n1", "127.0.0.1:7953")
	const members = 150
	w.set("web", "web", members, nil, planIP(0), "n1")
	for i := range members {
		w.ready("web", i, true)
	}
	s := start(t, dns.Options{Views: serving(w.view)})
	for _, c := range []struct {
		network   string
		edns      uint16 // 0: none
		truncated bool
		limit     int
	}{
		{"udp", 0, true, 512},
		{"udp", 100, true, 512},
		{"udp", 512, true, 512},
		{"udp", 1000, true, 1000},
		{"udp", 65535, true, 1232},
		{"tcp", 0, false, 65535},
		{"tcp", 512, false, 65535},
	} {
		m := question("web.default.svc.cluster.local.", miekg.TypeA)
		if c.edns > 0 {
			m.SetEdns0(c.edns, true)
		}
		r := ask(t, c.network, s.Addr(), m)
		b, err := r.Pack()
		if err != nil {
			t.Fatal(err)
		}
		r.Compress = true
		if r.Truncated != c.truncated || r.Len() > c.limit || len(r.Answer) == 0 {
			t.Errorf("%+v: TC %v, %d bytes (%d unpacked), %d answers", c, r.Truncated, r.Len(), len(b), len(r.Answer))
		}
		if !c.truncated && len(r.Answer) != members {
			t.Errorf("%+v: %d answers", c, len(r.Answer))
		}
		opt := r.IsEdns0()
		if (opt != nil) != (c.edns > 0) {
			t.Errorf("%+v: OPT %v", c, opt)
		}
		if opt != nil && (opt.UDPSize() != 1232 || !opt.Do() || opt.Version() != 0) {
			t.Errorf("%+v: OPT %v", c, opt)
		}
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	s := start(t, dns.Options{Views: serving(story(t).view)})
	name := "web.default.svc.cluster.local."
	for what, c := range map[string]struct {
		change func(*miekg.Msg)
		rcode  int
	}{
		"elsewhere, no upstream": {func(m *miekg.Msg) { m.Question[0].Name = "example.com." }, miekg.RcodeRefused},
		"class":                  {func(m *miekg.Msg) { m.Question[0].Qclass = miekg.ClassCHAOS }, miekg.RcodeRefused},
		"transfer":               {func(m *miekg.Msg) { m.Question[0].Qtype = miekg.TypeAXFR }, miekg.RcodeRefused},
		"opcode":                 {func(m *miekg.Msg) { m.Opcode = miekg.OpcodeNotify }, miekg.RcodeNotImplemented},
		"update":                 {func(m *miekg.Msg) { m.Opcode = miekg.OpcodeUpdate }, miekg.RcodeNotImplemented},
		"no question":            {func(m *miekg.Msg) { m.Question = nil }, miekg.RcodeFormatError},
		"two OPT":                {func(m *miekg.Msg) { m.SetEdns0(512, false); m.SetEdns0(512, false) }, miekg.RcodeFormatError},
		"EDNS version":           {func(m *miekg.Msg) { m.SetEdns0(512, false); m.IsEdns0().SetVersion(7) }, miekg.RcodeBadVers},
	} {
		m := question(name, miekg.TypeA)
		c.change(m)
		if r := ask(t, "udp", s.Addr(), m); r.Rcode != c.rcode || len(r.Answer) > 0 {
			t.Errorf("%s: got %v", what, r)
		}
	}
}

// upstream is somebody else's server.
func upstream(t *testing.T, answer func(w miekg.ResponseWriter, m *miekg.Msg)) string {
	t.Helper()
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &miekg.Server{PacketConn: udp, Handler: miekg.HandlerFunc(answer)}
	started, ended := make(chan struct{}), make(chan error, 1)
	srv.NotifyStartedFunc = func() { close(started) }
	go func() { ended <- srv.ActivateAndServe() }()
	<-started
	t.Cleanup(func() {
		if err := errors.Join(srv.Shutdown(), <-ended); err != nil {
			t.Error(err)
		}
	})
	return udp.LocalAddr().String()
}

func answerWith(ip string, rcode int) func(miekg.ResponseWriter, *miekg.Msg) {
	return func(w miekg.ResponseWriter, m *miekg.Msg) {
		r := new(miekg.Msg)
		r.SetRcode(m, rcode)
		if ip != "" {
			r.Answer = []miekg.RR{&miekg.A{Hdr: miekg.RR_Header{Name: m.Question[0].Name, Rrtype: miekg.TypeA, Class: miekg.ClassINET, Ttl: 60}, A: net.ParseIP(ip)}}
		}
		_ = w.WriteMsg(r)
	}
}

func TestOtherNamesGoUpstream(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	good := upstream(t, func(w miekg.ResponseWriter, m *miekg.Msg) {
		asked.Add(1)
		answerWith("192.0.2.1", miekg.RcodeSuccess)(w, m)
	})
	bad := upstream(t, answerWith("", miekg.RcodeServerFailure))
	// A port where nobody listens.
	dead, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := dead.Close(); err != nil {
		t.Fatal(err)
	}
	s := start(t, dns.Options{Views: serving(story(t).view), Upstreams: []string{dead.LocalAddr().String(), bad, good}})
	for range 2 {
		m := question("Example.com.", miekg.TypeA)
		r := ask(t, "udp", s.Addr(), m)
		if got := addresses(r); len(got) != 1 || got[0] != "192.0.2.1" || r.Authoritative || !r.RecursionAvailable || r.Id != m.Id {
			t.Errorf("got %v", r)
		}
	}
	if r := ask(t, "udp", s.Addr(), question("web-0.web.default.svc.cluster.local.", miekg.TypeA)); len(r.Answer) != 1 {
		t.Errorf("got %v", r)
	}
	if r := ask(t, "udp", s.Addr(), question("nosuch.cluster.local.", miekg.TypeA)); r.Rcode != miekg.RcodeNameError {
		t.Errorf("got %v", r)
	}
	if n := asked.Load(); n != 2 {
		t.Errorf("upstream was asked %d times", n)
	}
	m := question("example.com.", miekg.TypeA)
	m.RecursionDesired = false
	if r := ask(t, "udp", s.Addr(), m); r.Rcode != miekg.RcodeRefused {
		t.Errorf("got %v", r)
	}
	failing := start(t, dns.Options{Views: serving(story(t).view), Upstreams: []string{bad, dead.LocalAddr().String()}})
	if r := ask(t, "udp", failing.Addr(), question("example.com.", miekg.TypeA)); r.Rcode != miekg.RcodeServerFailure {
		t.Errorf("got %v", r)
	}
}

func TestForgedAnswersArePassedOver(t *testing.T) {
	t.Parallel()
	up := upstream(t, func(w miekg.ResponseWriter, m *miekg.Msg) {
		forged := m.Copy()
		forged.Id++
		answerWith("192.0.2.66", miekg.RcodeSuccess)(w, forged)
		forged = m.Copy()
		forged.Question[0].Name = "evil.example."
		answerWith("192.0.2.66", miekg.RcodeSuccess)(w, forged)
		answerWith("192.0.2.1", miekg.RcodeSuccess)(w, m)
	})
	s := start(t, dns.Options{Views: serving(story(t).view), Upstreams: []string{up}})
	if got := addresses(ask(t, "udp", s.Addr(), question("example.com.", miekg.TypeA))); len(got) != 1 || got[0] != "192.0.2.1" {
		t.Errorf("got %v", got)
	}
}

// TestStopsWhileAskingUpstream: a server that never answers does not hold up the end.
func TestStopsWhileAskingUpstream(t *testing.T) {
	t.Parallel()
	got := make(chan struct{}, 10)
	up := upstream(t, func(miekg.ResponseWriter, *miekg.Msg) { got <- struct{}{} })
	s, err := dns.New(dns.Options{Listen: []string{"127.0.0.1:0"}, Views: serving(story(t).view), Upstreams: []string{up}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	c, err := miekg.Dial("udp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.WriteMsg(question("example.com.", miekg.TypeA)); err != nil {
		t.Fatal(err)
	}
	<-got
	cancel()
	began := time.Now()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if d := time.Since(began); d > time.Second {
		t.Errorf("took %v to stop", d)
	}
}

func TestOwnAddressIsNoUpstream(t *testing.T) {
	t.Parallel()
	first, err := dns.New(dns.Options{Listen: []string{"127.0.0.1:0"}, Views: serving(nil)})
	if err != nil {
		t.Fatal(err)
	}
	addr := first.Addr()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	s := start(t, dns.Options{Listen: []string{addr}, Views: serving(story(t).view), Upstreams: []string{addr}})
	if r := ask(t, "udp", s.Addr(), question("example.com.", miekg.TypeA)); r.Rcode != miekg.RcodeRefused {
		t.Errorf("got %v", r)
	}
}

func TestBadOptions(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for what, o := range map[string]dns.Options{
		"nothing":  {Views: serving(nil)},
		"no view":  {Listen: []string{"127.0.0.1:0"}},
		"address":  {Listen: []string{"127.0.0.1"}, Views: serving(nil)},
		"upstream": {Listen: []string{"127.0.0.1:0"}, Views: serving(nil), Upstreams: []string{"1.2.3.4"}},
		"taken":    {Listen: []string{"127.0.0.1:0", taken.Addr().String()}, Views: serving(nil)},
	} {
		if _, err := dns.New(o); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
}

// TestGarbage: whatever comes in, the server goes on.
func TestGarbage(t *testing.T) {
	t.Parallel()
	s := start(t, dns.Options{Views: serving(story(t).view)})
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	good, err := question("web.default.svc.cluster.local.", miekg.TypeSRV).Pack()
	if err != nil {
		t.Fatal(err)
	}
	udp, err := net.Dial("udp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	for i := range 2000 {
		b := append([]byte(nil), good...)
		if i%3 == 0 {
			b = make([]byte, r.IntN(600))
		}
		for range 1 + r.IntN(8) {
			if len(b) > 0 {
				b[r.IntN(len(b))] = byte(r.Uint32())
			}
		}
		b = b[:r.IntN(len(b)+1)]
		if _, err := udp.Write(b); err != nil {
			t.Fatal(err)
		}
		if i%100 == 0 {
			tcp, err := net.Dial("tcp", s.Addr())
			if err != nil {
				t.Fatal(err)
			}
			_, _ = tcp.Write(append([]byte{byte(len(b) >> 8), byte(len(b))}, b...)) // it may hang up on us
			_ = tcp.Close()
		}
	}
	if got := addresses(ask(t, "tcp", s.Addr(), question("web-0.web.default.svc.cluster.local.", miekg.TypeA))); len(got) != 1 {
		t.Errorf("got %v", got)
	}
}

// BenchmarkServer compares with the library answering from a bare map, by UDP,
// from as many askers as there are processors.
func BenchmarkServer(b *testing.B) {
	v := big(b).view
	names := make([]string, 10000)
	records := map[string]miekg.RR{}
	for i := range names {
		set := fmt.Sprintf("set-%d", i/10)
		names[i] = fmt.Sprintf("%s-%d.%s.default.svc.cluster.local.", set, i%10, set)
		records[names[i]] = &miekg.A{Hdr: miekg.RR_Header{Name: names[i], Rrtype: miekg.TypeA, Class: miekg.ClassINET, Ttl: 5}, A: net.ParseIP(planIP(0)(i)).To4()}
	}
	b.Run("map", func(b *testing.B) {
		udp, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		srv := &miekg.Server{PacketConn: udp, Handler: miekg.HandlerFunc(func(w miekg.ResponseWriter, m *miekg.Msg) {
			r := new(miekg.Msg)
			r.SetReply(m)
			r.Authoritative = true
			if rr, ok := records[strings.ToLower(m.Question[0].Name)]; ok {
				r.Answer = []miekg.RR{rr}
			}
			_ = w.WriteMsg(r)
		})}
		started := make(chan struct{})
		srv.NotifyStartedFunc = func() { close(started) }
		go func() { _ = srv.ActivateAndServe() }()
		<-started
		defer func() { _ = srv.Shutdown() }()
		load(b, udp.LocalAddr().String(), names)
	})
	b.Run("view", func(b *testing.B) {
		load(b, start(b, dns.Options{Views: serving(v)}).Addr(), names)
	})
}

func load(b *testing.B, addr string, names []string) {
	packed := make([][]byte, len(names))
	for i, n := range names {
		p, err := question(n, miekg.TypeA).Pack()
		if err != nil {
			b.Fatal(err)
		}
		packed[i] = p
	}
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		c, err := net.Dial("udp", addr)
		if err != nil {
			b.Error(err)
			return
		}
		defer c.Close()
		buf := make([]byte, 1500)
		for i := rand.IntN(len(names)); pb.Next(); i++ {
			if _, err := c.Write(packed[i%len(names)]); err != nil {
				b.Error(err)
				return
			}
			if _, err := c.Read(buf); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
