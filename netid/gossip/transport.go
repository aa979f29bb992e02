package gossip

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// transport is memberlist's way to the others: one UDP and one TCP socket on one
// port. What comes in must be sealed with a key of the cluster, and passes the filter of
// filter.go before memberlist sees it. memberlist seals what it sends.
type transport struct {
	addr      netip.AddrPort
	keys      *keys
	strangers *strangers
	udp       *net.UDPConn
	tcp       *net.TCPListener
	packets   chan *memberlist.Packet
	streams   chan net.Conn

	ctx  context.Context // ends with the transport; memberlist's calls have none
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu   sync.Mutex // guards open
	open map[net.Conn]struct{}
	end  func() error
}

var _ memberlist.NodeAwareTransport = (*transport)(nil)

const (
	streamTimeout = 2 * time.Second
	maxStreams    = 128
	maxPacket     = 65536
	readBuffer    = 2 << 20
)

// bind opens both sockets on the same port.
func bind(addr string, log *slog.Logger) (*transport, error) {
	k, err := newKeys()
	if err != nil {
		return nil, err
	}
	at, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %q for gossip: want IP:port: %w", addr, err)
	}
	for range 32 {
		udp, uerr := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
		if uerr != nil {
			return nil, fmt.Errorf("cannot listen for gossip: %w", uerr)
		}
		port := netip.MustParseAddrPort(udp.LocalAddr().String()).Port()
		full := netip.AddrPortFrom(at.Addr(), port)
		tcp, terr := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(full))
		if terr == nil {
			t := newTransport(full, udp, tcp)
			t.keys, t.strangers = k, newStrangers(log)
			return t, nil
		}
		err = errors.Join(terr, udp.Close())
		if at.Port() != 0 {
			break
		}
	}
	return nil, fmt.Errorf("cannot listen for gossip: %w", err)
}

func newTransport(addr netip.AddrPort, udp *net.UDPConn, tcp *net.TCPListener) *transport {
	t := &transport{
		addr: addr, udp: udp, tcp: tcp,
		packets: make(chan *memberlist.Packet), streams: make(chan net.Conn),
		open: map[net.Conn]struct{}{},
	}
	t.ctx, t.stop = context.WithCancel(context.Background())
	t.end = sync.OnceValue(t.shutdown)
	return t
}

// start begins to read. A small read buffer is no error, only a loss of packets.
func (t *transport) start() {
	_ = t.udp.SetReadBuffer(readBuffer)
	t.wg.Go(t.readPackets)
	t.wg.Go(t.acceptStreams)
}

// Shutdown closes the sockets and all connections, and waits for the readers.
func (t *transport) Shutdown() error { return t.end() }

func (t *transport) shutdown() error {
	t.stop()
	err := errors.Join(t.udp.Close(), t.tcp.Close())
	t.mu.Lock()
	for c := range t.open {
		_ = c.Close() // cut off on purpose
	}
	t.mu.Unlock()
	t.wg.Wait()
	return err
}

func (t *transport) readPackets() {
	buf := make([]byte, maxPacket)
	for {
		n, from, err := t.udp.ReadFrom(buf)
		now := time.Now()
		if err != nil {
			if t.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			continue // an error of an earlier send, as the kernel reports them
		}
		plain, err := t.keys.open(buf[:n], nil)
		if err != nil {
			t.strangers.dropped(from, err, now)
			continue
		}
		if !packetOK(plain, 0) {
			continue
		}
		p := &memberlist.Packet{Buf: append([]byte(nil), buf[:n]...), From: from, Timestamp: now}
		select {
		case t.packets <- p:
		case <-t.ctx.Done():
			return
		}
	}
}

func (t *transport) acceptStreams() {
	for {
		c, err := t.tcp.Accept()
		if err != nil {
			if t.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			select { // out of descriptors, most likely
			case <-time.After(100 * time.Millisecond):
			case <-t.ctx.Done():
				return
			}
			continue
		}
		conn, ok := t.track(c)
		if !ok {
			continue
		}
		select {
		case t.streams <- conn:
		case <-t.ctx.Done():
			_ = conn.Close()
			return
		}
	}
}

// track wraps a connection in the filter and remembers it until it is closed. It
// takes no more than maxStreams.
func (t *transport) track(c net.Conn) (net.Conn, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ctx.Err() != nil || len(t.open) >= maxStreams {
		_ = c.Close()
		return nil, false
	}
	t.open[c] = struct{}{}
	return &stream{Conn: c, keys: t.keys, strangers: t.strangers, done: func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.open, c)
	}}, true
}

// allowed keeps a node on loopback from being made to send elsewhere: packets
// name addresses to answer to.
func (t *transport) allowed(addr string) error {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return fmt.Errorf("cannot gossip with %q: %w", addr, err)
	}
	if t.addr.Addr().IsLoopback() && !to.Addr().IsLoopback() {
		return fmt.Errorf("cannot gossip with %s: this node is on loopback only", addr)
	}
	return nil
}

// FinalAdvertiseAddr is what we were told to advertise.
func (t *transport) FinalAdvertiseAddr(ip string, port int) (net.IP, int, error) {
	parsed := net.ParseIP(ip)
	if parsed == nil {
		return nil, 0, fmt.Errorf("cannot advertise %q for gossip", ip)
	}
	if v4 := parsed.To4(); v4 != nil {
		parsed = v4
	}
	return parsed, port, nil
}

// WriteTo sends one packet.
func (t *transport) WriteTo(b []byte, addr string) (time.Time, error) {
	if err := t.allowed(addr); err != nil {
		return time.Time{}, err
	}
	_, err := t.udp.WriteToUDPAddrPort(b, netip.MustParseAddrPort(addr))
	return time.Now(), err
}

// WriteToAddress is WriteTo.
func (t *transport) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	return t.WriteTo(b, a.Addr)
}

// DialTimeout opens a connection.
func (t *transport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	if err := t.allowed(addr); err != nil {
		return nil, err
	}
	d := net.Dialer{Timeout: timeout}
	c, err := d.DialContext(t.ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	conn, ok := t.track(c)
	if !ok {
		return nil, errors.New("cannot gossip: too many connections, or the end has come")
	}
	return conn, nil
}

// DialAddressTimeout is DialTimeout.
func (t *transport) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return t.DialTimeout(a.Addr, timeout)
}

// PacketCh is where packets come in.
func (t *transport) PacketCh() <-chan *memberlist.Packet { return t.packets }

// StreamCh is where connections come in.
func (t *transport) StreamCh() <-chan net.Conn { return t.streams }
