package dns_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	miekg "github.com/miekg/dns"

	"supd/netid/dns"
	"supd/raftstore/state"
	"supd/supervisor/spec"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const goldenFile = "testdata/answers.txt"

// TestAnswers asks every question of the golden file (lines "? NAME TYPE") and
// compares what is answered.
func TestAnswers(t *testing.T) {
	t.Parallel()
	v := story(t).view
	b, err := os.ReadFile(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for line := range strings.Lines(string(b)) {
		switch {
		case strings.HasPrefix(line, "#"):
			got.WriteString(line)
		case strings.HasPrefix(line, "? "):
			got.WriteString(line)
			f := strings.Fields(line)
			got.WriteString(show(t, v, f[1], f[2]))
		}
	}
	if *update {
		if err := os.WriteFile(goldenFile, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(b), got.String()); diff != "" {
		t.Errorf("%s (-want +got):\n%s", goldenFile, diff)
	}
}

func show(t *testing.T, v *state.View, name, qtype string) string {
	t.Helper()
	q := miekg.Question{Name: name, Qtype: miekg.StringToType[qtype], Qclass: miekg.ClassINET}
	if q.Qtype == 0 {
		t.Fatalf("no such type %s", qtype)
	}
	r, ours := dns.Answer(v, q)
	if !ours {
		return "  elsewhere\n"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "  %s\n", miekg.RcodeToString[r.Rcode])
	for _, s := range []struct {
		mark string
		rrs  []miekg.RR
	}{{"=", r.Answer}, {"^", r.Ns}, {"+", r.Extra}} {
		for _, rr := range s.rrs {
			if err := checkRecord(rr); err != nil {
				t.Errorf("%s %s: %v", name, qtype, err)
			}
			fmt.Fprintf(&b, "  %s %s\n", s.mark, strings.ReplaceAll(rr.String(), "\t", " "))
		}
	}
	return b.String()
}

func checkRecord(rr miekg.RR) error {
	if rr.Header().Ttl != 5 {
		return fmt.Errorf("TTL %d", rr.Header().Ttl)
	}
	buf := make([]byte, 1024)
	_, err := miekg.PackRR(rr, buf, 0, nil, false)
	return err
}

func TestBeforeTheClusterIsFormed(t *testing.T) {
	t.Parallel()
	q := miekg.Question{Name: "web-0.web.default.svc.cluster.local.", Qtype: miekg.TypeA, Qclass: miekg.ClassINET}
	if r, ours := dns.Answer(state.New(), q); !ours || r.Rcode != miekg.RcodeServerFailure {
		t.Errorf("got %+v, %v", r, ours)
	}
	q.Name = "example.com."
	if _, ours := dns.Answer(state.New(), q); ours {
		t.Error("answers for example.com")
	}
}

// TestEveryMembersNameResolves holds in every state that story goes through.
func TestEveryMembersNameResolves(t *testing.T) {
	t.Parallel()
	v := story(t).view
	n := 0
	for m := range v.Members("") {
		n++
		name := v.FQDN(m) + "."
		r, ours := dns.Answer(v, miekg.Question{Name: name, Qtype: miekg.TypeA, Qclass: miekg.ClassINET})
		if !ours || len(r.Answer) != 1 || r.Answer[0].(*miekg.A).A.String() != m.IP {
			t.Errorf("%s: %v", name, r)
		}
		rev, err := miekg.ReverseAddr(m.IP)
		if err != nil {
			t.Fatal(err)
		}
		r, ours = dns.Answer(v, miekg.Question{Name: rev, Qtype: miekg.TypePTR, Qclass: miekg.ClassINET})
		if !ours || !strings.Contains(fmt.Sprint(r.Answer), name) {
			t.Errorf("%s: %v", rev, r)
		}
	}
	if n == 0 {
		t.Fatal("no members")
	}
}

func TestAfterScaleDownTheNameIsGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.node("n1", "127.0.0.1:7953")
	w.set("web", "web", 1, nil, planIP(0), "n1")
	w.apply(&state.DeleteSet{Namespace: "default", Name: "web"})
	q := miekg.Question{Name: "web-0.web.default.svc.cluster.local.", Qtype: miekg.TypeA, Qclass: miekg.ClassINET}
	if r, _ := dns.Answer(w.view, q); len(r.Answer) != 1 {
		t.Errorf("gone while its record is there: %+v", r)
	}
	m := w.view.Member("default", "web", 0)
	w.apply(&state.StopMember{Namespace: "default", Set: "web", Gone: true, Why: "SetDeleted", IfGeneration: m.Generation})
	m = w.view.Member("default", "web", 0)
	if m != nil {
		w.apply(&state.DropMember{Namespace: "default", Set: "web", IfGeneration: m.Generation})
	}
	if r, _ := dns.Answer(w.view, q); r.Rcode != miekg.RcodeNameError || len(r.Ns) != 1 {
		t.Errorf("got %+v", r)
	}
}

func FuzzAnswer(f *testing.F) {
	w := story(f)
	for _, name := range []string{
		"web.default.svc.cluster.local.", "_client._tcp.web.default.svc.cluster.local.", "_a..web.default.svc.cluster.local.",
		"1.0.64.127.in-addr.arpa.", "cluster.local.", ".", "", "..svc.cluster.local.", "_._tcp.web.default.svc.cluster.local.",
		"web-00000000000000000000000.web.default.svc.cluster.local.", `a\.b.web.default.svc.cluster.local.`,
	} {
		f.Add(name, uint16(miekg.TypeA))
		f.Add(name, uint16(miekg.TypeANY))
	}
	f.Fuzz(func(t *testing.T, name string, qtype uint16) {
		r, ours := dns.Answer(w.view, miekg.Question{Name: name, Qtype: qtype, Qclass: miekg.ClassINET})
		if !ours {
			return
		}
		if (len(r.Answer) == 0) != (len(r.Ns) == 1) {
			t.Errorf("%q: %d answers and %d authorities", name, len(r.Answer), len(r.Ns))
		}
		if r.Rcode == miekg.RcodeNameError && len(r.Answer) > 0 {
			t.Errorf("%q: NXDOMAIN with answers", name)
		}
		for _, rr := range r.Answer {
			if rr.Header().Name != name || qtype != miekg.TypeANY && rr.Header().Rrtype != qtype {
				t.Errorf("%q %d: answered %v", name, qtype, rr)
			}
		}
	})
}

var sink int

// BenchmarkAnswer is Answer alone, in a cluster of 1000 sets and 10 000 members.
func BenchmarkAnswer(b *testing.B) {
	v := big(b).view
	for name, q := range map[string]string{
		"member":  "set-500-3.set-500.default.svc.cluster.local.",
		"service": "set-500.default.svc.cluster.local.",
		"missing": "no-such.default.svc.cluster.local.",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r, _ := dns.Answer(v, miekg.Question{Name: q, Qtype: miekg.TypeA, Qclass: miekg.ClassINET})
				sink += len(r.Answer)
			}
		})
	}
}

// big is a cluster of 1000 sets and 10 000 members, all ready.
func big(tb testing.TB) *world {
	w := newWorld(tb)
	w.view = state.New()
	w.apply(&state.InitCluster{ID: "c1", Incarnation: "i1", Plan: "loopback", PlanCIDR: "127.64.0.0/10", Zone: spec.ClusterZone})
	w.node("n1", "127.0.0.1:7953")
	for i := range 1000 {
		name := fmt.Sprintf("set-%d", i)
		w.set(name, name, 10, nil, planIP(i*10), "n1")
		if i == 500 {
			for k := range 10 {
				w.ready(name, k, true)
			}
		}
	}
	return w
}
