// Package dns answers DNS questions from a View: members, services, their ports,
// addresses back to names, and the zone itself. Other names go to the host's own
// servers. Every node answers from its own copy, with or without a quorum.
//
// Goroutines, all within Run and ended when it returns:
//
//	serve     one per socket, fed by it, owns it until ctx ends
//	handlers  one per question (and one per TCP connection), made by the library;
//	          each reads one View and keeps nothing
package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"

	"supd/raftstore/state"
)

// Views gives the newest View; nil while there is none.
type Views interface{ View() *state.View }

// Options of a Server.
type Options struct {
	// Listen are host:port; each is listened on by UDP and TCP, port 0 means the
	// same free port for both.
	Listen []string
	Views  Views
	// Upstreams (host:port) answer what is not ours, asked in this order. Our own
	// addresses among them are left out.
	Upstreams []string
	Logger    *slog.Logger
}

// Server is this node's DNS server.
type Server struct {
	views   Views
	log     *slog.Logger
	sockets []socket
	forward *forwarder
	turn    atomic.Uint32 // rotates answers
	newest  atomic.Pointer[index]
}

// socket is one address, listened on in both ways.
type socket struct {
	udp net.PacketConn
	tcp net.Listener
}

func (s socket) close() error { return errors.Join(s.udp.Close(), s.tcp.Close()) }

// maxUDP is the largest answer sent by UDP, however large the asker's buffer: it
// fits every network's packets (RFC 9715). What is longer comes by TCP.
const maxUDP = 1232

// New binds the addresses; nothing is answered before Run. Without Run, Close.
func New(o Options) (*Server, error) {
	if len(o.Listen) == 0 || o.Views == nil {
		return nil, errors.New("cannot make a DNS server: no address to listen on or no View to answer from")
	}
	s := &Server{views: o.Views, log: o.Logger}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	for _, addr := range o.Listen {
		sock, err := listen(addr)
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		s.sockets = append(s.sockets, sock)
	}
	f, err := newForwarder(o.Upstreams, s.Addrs())
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.forward = f
	return s, nil
}

// listen binds UDP and TCP on the same port.
func listen(addr string) (socket, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return socket{}, fmt.Errorf("cannot listen on %q for DNS: %w", addr, err)
	}
	// A free port of UDP may be taken for TCP: another one, then.
	for range 32 {
		udp, uerr := net.ListenPacket("udp", addr)
		if uerr != nil {
			return socket{}, fmt.Errorf("cannot listen for DNS: %w", uerr)
		}
		_, chosen, _ := net.SplitHostPort(udp.LocalAddr().String())
		tcp, terr := net.Listen("tcp", net.JoinHostPort(host, chosen))
		if terr == nil {
			return socket{udp: udp, tcp: tcp}, nil
		}
		err = errors.Join(terr, udp.Close())
		if port != "0" {
			break
		}
	}
	return socket{}, fmt.Errorf("cannot listen for DNS: %w", err)
}

// Addr is the first address, with the port that was chosen.
func (s *Server) Addr() string { return s.sockets[0].udp.LocalAddr().String() }

// Addrs are all addresses, in the order of Options.Listen.
func (s *Server) Addrs() []string {
	out := make([]string, len(s.sockets))
	for i, k := range s.sockets {
		out[i] = k.udp.LocalAddr().String()
	}
	return out
}

// Close gives the addresses back when Run was never called.
func (s *Server) Close() error {
	var errs []error
	for _, k := range s.sockets {
		errs = append(errs, k.close())
	}
	return errors.Join(errs...)
}

// Run serves until ctx ends; it returns when all it started has ended.
func (s *Server) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	h := handler{Server: s, ctx: ctx}
	for _, k := range s.sockets {
		for _, srv := range []*dns.Server{
			{PacketConn: k.udp, Handler: h, UDPSize: 4096},
			{Listener: k.tcp, Handler: h},
		} {
			serve(ctx, g, srv)
		}
	}
	s.log.Info("DNS server started", "addresses", s.Addrs(), "upstreams", s.forward.servers)
	return g.Wait()
}

// serve runs one of the library's servers until ctx ends.
func serve(ctx context.Context, g *errgroup.Group, srv *dns.Server) {
	started, ended := make(chan struct{}), make(chan struct{})
	srv.NotifyStartedFunc = func() { close(started) }
	g.Go(func() error {
		defer close(ended)
		if err := srv.ActivateAndServe(); err != nil {
			return fmt.Errorf("DNS server: %w", err)
		}
		return nil
	})
	g.Go(func() error {
		select {
		case <-started:
		case <-ended:
			return nil
		}
		select {
		case <-ctx.Done():
		case <-ended:
			return nil
		}
		if err := srv.Shutdown(); err != nil {
			return fmt.Errorf("stop the DNS server: %w", err)
		}
		return nil
	})
}
