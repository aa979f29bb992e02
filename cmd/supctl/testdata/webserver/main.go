// Command webserver is the little web server of the scenarios of Kubernetes' own tests: it serves the files of a directory, so
// that a member is broken by moving one away, says at /revision and /hostname who it is, and sends who asks for
// /redirect?to=URL there.
//
//	webserver -listen 127.0.0.1:8080 -dir DIR [-grpc 127.0.0.1:8081] [-revision NAME] [-exit STATUS]
//
// At -grpc is gRPC's health service: SERVING while there is a file healthz. At SIGTERM it ends with STATUS (0).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

func main() {
	listen := flag.String("listen", "", "where to listen")
	dir := flag.String("dir", "", "what to serve")
	health := flag.String("grpc", "", "where gRPC's health service listens")
	revision := flag.String("revision", "", "what /revision says")
	exit := flag.Int("exit", 0, "the status to end with at SIGTERM")
	flag.Parse()

	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	go func() {
		<-term
		os.Exit(*exit)
	}()

	if *health != "" {
		go serveHealth(*health, *dir)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/redirect", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.FormValue("to"), http.StatusFound) //nolint:gosec // a test's server, which is told where to
	})
	mux.HandleFunc("/revision", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, *revision) })
	mux.HandleFunc("/hostname", func(w http.ResponseWriter, _ *http.Request) {
		name, err := os.Hostname()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		fmt.Fprintln(w, name)
	})
	mux.Handle("/", http.FileServer(http.Dir(*dir)))
	server := &http.Server{Addr: *listen, Handler: mux} //nolint:gosec // a test's server, on loopback
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serveHealth(listen, dir string) {
	l, err := net.Listen("tcp", listen) //nolint:noctx // until the process ends
	if err == nil {
		s := grpc.NewServer()
		healthpb.RegisterHealthServer(s, health{dir: dir})
		err = s.Serve(l)
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

type health struct {
	healthpb.UnimplementedHealthServer
	dir string
}

func (h health) Check(context.Context, *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	status := healthpb.HealthCheckResponse_SERVING
	if _, err := os.Stat(filepath.Join(h.dir, "healthz")); err != nil {
		status = healthpb.HealthCheckResponse_NOT_SERVING
	}
	return &healthpb.HealthCheckResponse{Status: status}, nil
}
