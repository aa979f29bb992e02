// Package dns answers DNS questions from a View.
package dns

import (
	"context"
	"log/slog"

	"supd/raftstore/state"
)

// Views gives the newest View.
type Views interface{ View() *state.View }

// Options of a Server.
type Options struct {
	// Listen are host:port; each is listened on by UDP and TCP, port 0 means the
	// same free port for both.
	Listen []string
	Views  Views
	// Upstreams (host:port) answer what is not ours.
	Upstreams []string
	Logger    *slog.Logger
}

// Server is this node's DNS server.
type Server struct{}

// New binds the addresses; nothing is answered before Run. Without Run, Close.
func New(o Options) (*Server, error) { panic("being written") }

// Addr is the first address, with the port that was chosen; Addrs all of them.
func (s *Server) Addr() string    { panic("being written") }
func (s *Server) Addrs() []string { panic("being written") }

// Run serves until ctx ends; it returns when all it started has ended.
func (s *Server) Run(ctx context.Context) error { panic("being written") }

// Close gives the addresses back when Run was never called.
func (s *Server) Close() error { panic("being written") }
