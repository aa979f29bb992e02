package probe

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"supd/supervisor/spec"
)

// serveGRPC runs gRPC's own server and returns its port.
func serveGRPC(t *testing.T, register func(*grpc.Server)) spec.IntOrString {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	register(s)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return portOf(l.Addr())
}

func portOf(a net.Addr) spec.IntOrString {
	return spec.IntOrString(strconv.Itoa(a.(*net.TCPAddr).Port))
}

// odd answers what no good server does.
type odd struct {
	healthpb.UnimplementedHealthServer
}

func (odd) Check(ctx context.Context, r *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	switch r.Service {
	case "later":
		return &healthpb.HealthCheckResponse{Status: 77}, nil
	case "slow":
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return nil, status.Error(codes.PermissionDenied, "not for you: 100 %")
}

func TestGRPC(t *testing.T) {
	t.Parallel()
	h := health.NewServer()
	h.SetServingStatus("db.there", healthpb.HealthCheckResponse_SERVING)
	h.SetServingStatus("db.sick", healthpb.HealthCheckResponse_NOT_SERVING)
	good := serveGRPC(t, func(s *grpc.Server) { healthpb.RegisterHealthServer(s, h) })
	strange := serveGRPC(t, func(s *grpc.Server) { healthpb.RegisterHealthServer(s, odd{}) })
	none := serveGRPC(t, func(*grpc.Server) {})
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		port    spec.IntOrString
		service string
		ok      bool
		says    string // in the output of a success, or the message
	}{
		{"the server as a whole", good, "", true, "SERVING"},
		{"a service", good, "db.${x}", true, "SERVING"},
		{"a sick service", good, "db.sick", false, "answered NOT_SERVING"},
		{"a service it does not know", good, "db.other", false, "NotFound"},
		{"a refusal", strange, "", false, "PermissionDenied: not for you: 100 %"},
		{"a status of a later version", strange, "later", false, "answered 77"},
		{"no health service", none, "", false, "Unimplemented: it has no health service"},
		{"no gRPC", portOf(plain.Listener.Addr()), "", false, "grpc 127.0.0.1:"},
		{"nobody", portOf(closed.Addr()), "", false, "refused"},
	} {
		res := check(t, &spec.Probe{GRPC: &spec.GRPCCall{Port: c.port, Service: c.service}}, resolve("127.0.0.1", nil))
		said := res.Message
		if c.ok {
			said = res.Output
		}
		if res.OK != c.ok || !strings.Contains(said, c.says) || strings.Contains(said, "\n") {
			t.Errorf("%s: %+v, want ok %v %q", c.name, res, c.ok, c.says)
		}
	}
	slow, err := New(&spec.Probe{GRPC: &spec.GRPCCall{Port: strange, Service: "slow"}}, resolve("127.0.0.1", nil))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if res := slow.Check(ctx); res.OK || !strings.Contains(res.Message, "did not answer in time") {
		t.Errorf("one that does not answer: %+v", res)
	}
}

func TestHealthStatus(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		answer string
		want   uint64
		ok     bool
	}{
		{"\x00\x00\x00\x00\x00", 0, true},
		{"\x00\x00\x00\x00\x02\x08\x01", 1, true},
		{"\x00\x00\x00\x00\x06\x12\x02hi\x08\x02", 2, true},
		{"\x00\x00\x00\x00\x04\x18\x05\x08\x01", 1, true},
		{"", 0, false},
		{"\x01\x00\x00\x00\x02\x08\x01", 0, false},
		{"\x00\x00\x00\x00\x03\x08\x01", 0, false},
		{"\x00\x00\x00\x00\x01\x08", 0, false},
		{"\x00\x00\x00\x00\x02\x12\x05", 0, false},
		{"\x00\x00\x00\x00\x02\x0d\x01", 0, false},
		{"\x00\x00\x00\x00\x02\xff\xff", 0, false},
	} {
		if got, err := healthStatus([]byte(c.answer)); got != c.want && c.ok || (err == nil) != c.ok {
			t.Errorf("%q: %d, %v; want %d, ok %v", c.answer, got, err, c.want, c.ok)
		}
	}
}
