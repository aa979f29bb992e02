// Command webserver is the little web server of the scenarios of Kubernetes' own tests: it serves the files of a directory, so
// that a member is broken by moving one away, and says at /revision and /hostname who it is.
//
//	webserver -listen 127.0.0.1:8080 -dir DIR [-revision NAME] [-exit STATUS]
//
// At SIGTERM it ends with STATUS (0).
package main

import (
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	listen := flag.String("listen", "", "where to listen")
	dir := flag.String("dir", "", "what to serve")
	revision := flag.String("revision", "", "what /revision says")
	exit := flag.Int("exit", 0, "the status to end with at SIGTERM")
	flag.Parse()

	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	go func() {
		<-term
		os.Exit(*exit)
	}()

	mux := http.NewServeMux()
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
