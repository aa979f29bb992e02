package supervisor

import (
	"fmt"
	"os"
	"syscall"
	"time"

	"supd/supervisor/pki"
	"supd/supervisor/server"
	"supd/supervisor/spec"
)

// authority makes accounts' credentials with what this node holds.
type authority struct {
	node string
	pki  *pki.Store
}

var _ server.Authority = authority{}

// CA is the cluster's CA certificate as PEM, nil while there is none.
func (a authority) CA() []byte { return a.pki.CA() }

// SignAccount signs for the key of a certificate request. Only a node with the seed can, and every voter has it.
func (a authority) SignAccount(request []byte, name string, from, until time.Time) ([]byte, string, error) {
	pub, err := pki.ParseRequest(request)
	if err != nil {
		return nil, "", err
	}
	hash, err := pki.KeyHash(pub)
	if err != nil {
		return nil, "", err
	}
	seed := a.pki.Seed()
	if seed.IsZero() {
		return nil, "", spec.Errorf(spec.CodeRefused, "node %s does not hold the cluster's seed; look at %s on it", a.node, "pki/seed")
	}
	ca, err := seed.CA()
	if err != nil {
		return nil, "", err
	}
	cert, err := ca.SignAccount(pub, name, pki.Validity{From: from, Until: until})
	return cert, hash, err
}

// limits are what callers may ask of this daemon; connections never take more than half of the descriptors there are.
func (d *Daemon) limits() server.Limits {
	c := d.o.Config
	l := server.Limits{Rate: c.APIRate, Streams: c.APIStreams, Connections: c.APIConnections}
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err == nil && files.Cur < 1<<30 {
		l.Connections = min(l.Connections, max(16, int(files.Cur/4))) // the socket has as many
	}
	return l
}

// openUp lets all users of this host connect to the socket, whom the server then lets read only.
func (d *Daemon) openUp(path string) error {
	if !d.o.Config.SocketRead {
		return nil
	}
	if err := os.Chmod(path, 0o666); err != nil {
		return fmt.Errorf("socket_read: %w", err)
	}
	return nil
}

// groupOf is the group of a socket, whose members operate.
func groupOf(path string) (uint32, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return 0, fmt.Errorf("cannot listen on %s: %w", path, err)
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, fmt.Errorf("cannot listen on %s: its group is not known", path)
	}
	return st.Gid, nil
}
