package pki

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// The files of a store.
const (
	fileSeed        = "seed"
	fileCA          = "ca.pem"
	fileKey         = "node.key"
	fileCertificate = "node.pem"
)

// ErrOtherCA refuses credentials of another cluster than those that are here.
var ErrOtherCA = errors.New("these are credentials of another cluster")

// Store is the directory DATA/pki of one node: seed (voters only), ca.pem, node.key,
// node.pem and gossip. Any goroutine may call it; what it saves, TLS connections use from then on.
type Store struct {
	dir string

	mu   sync.Mutex // guards what follows
	seed Seed
	ca   *x509.Certificate
	key  ed25519.PrivateKey
	cert *tls.Certificate // the key's; nil without one

	gossip GossipKeys    // none before they are known
	news   chan struct{} // closed when one of these changes
}

// Open reads a node's credentials, or begins a new directory with a new key. A damaged
// file is an error that says which; nothing is replaced by itself.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot use %s: %w", dir, err)
	}
	if err := errors.Join(os.Chmod(dir, 0o700), syncDir(filepath.Dir(dir))); err != nil { // a lost name takes all below it along
		return nil, fmt.Errorf("cannot use %s: %w", dir, err)
	}
	s := &Store{dir: dir, news: make(chan struct{})}
	leftovers, err := filepath.Glob(filepath.Join(dir, ".*.*"))
	if err != nil {
		return nil, err
	}
	for _, f := range leftovers { // of a crash in write
		if err := os.Remove(f); err != nil {
			return nil, fmt.Errorf("cannot use %s: %w", dir, err)
		}
	}
	if err := syncDir(dir); err != nil { // what was renamed right before a kill may not be safe yet, and is relied on from now on
		return nil, fmt.Errorf("cannot use %s: %w", dir, err)
	}
	for _, step := range []struct {
		name string
		take func([]byte) error
		none func() error
	}{
		{fileSeed, s.takeSeed, nil},
		{fileCA, s.takeCA, nil},
		{fileKey, s.takeKey, s.newKey},
		{fileCertificate, s.takeCertificate, nil},
		{fileGossip, s.takeGossip, nil},
	} {
		b, err := s.read(step.name)
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
			if step.none != nil {
				err = step.none()
			}
		} else if err == nil {
			if err = step.take(b); err != nil {
				err = fmt.Errorf("cannot use %s: %w; bring it back from a copy, or %s",
					filepath.Join(dir, step.name), err, HowBack(dir))
			}
		}
		if err != nil {
			return nil, err
		}
	}
	return s, nil
}

// HowBack says how a node whose credentials are damaged or gone gets them again. Its id stays,
// and with it what runs there.
func HowBack(dir string) string {
	return "empty " + dir + " and put seed, ca.pem and gossip of a node that votes there (its DATA/pki; by a safe way, mode 0600): the rest makes itself"
}

func (s *Store) takeSeed(b []byte) (err error) {
	s.seed, err = ParseSeed(string(b))
	return err
}

func (s *Store) takeCA(b []byte) (err error) {
	s.ca, err = parseCA(b)
	return err
}

func (s *Store) takeKey(b []byte) error {
	der, err := decode(typeKey, b)
	if err != nil {
		return err
	}
	k, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return err
	}
	key, ok := k.(ed25519.PrivateKey)
	if !ok {
		return errors.New("it is no ed25519 key")
	}
	s.key = key
	return nil
}

// newKey makes the key of a new directory. One that has a certificate has lost its key.
func (s *Store) newKey() error {
	if _, err := os.Stat(filepath.Join(s.dir, fileCertificate)); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot use %s: %s is gone, and %s is there (%v); bring the key back from a copy, or %s",
			s.dir, fileKey, fileCertificate, err, HowBack(s.dir))
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return fmt.Errorf("cannot make the node's key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("cannot make the node's key: %w", err)
	}
	s.key = key
	return s.write(fileKey, encode(typeKey, der))
}

// takeCertificate uses a certificate if it is the key's and the CA's.
func (s *Store) takeCertificate(b []byte) error {
	leaf, err := parseCertificate(b)
	if err != nil {
		return err
	}
	pub, ok := leaf.PublicKey.(ed25519.PublicKey)
	switch {
	case !ok || !pub.Equal(s.key.Public()):
		return errors.New("the certificate is not for this node's key")
	case s.ca == nil:
		return fmt.Errorf("there is no %s beside it", fileCA)
	case leaf.CheckSignatureFrom(s.ca) != nil:
		return ErrOtherCA
	}
	s.cert = &tls.Certificate{Certificate: [][]byte{leaf.Raw, s.ca.Raw}, PrivateKey: s.key, Leaf: leaf}
	return nil
}

// Seed is the cluster's root secret; zero at those that don't vote.
func (s *Store) Seed() Seed {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seed
}

// SaveSeed keeps the cluster's seed, and the CA it makes. A seed of another CA than the
// one that is here is refused with ErrOtherCA.
func (s *Store) SaveSeed(seed Seed) error {
	ca, err := seed.CA()
	if err != nil {
		return err
	}
	if err := s.SaveCA(ca.Certificate()); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seed == seed {
		return nil
	}
	if err := s.write(fileSeed, []byte(seed.Text()+"\n")); err != nil {
		return err
	}
	s.seed = seed
	s.tellLocked()
	return nil
}

// DropSeed forgets the seed, as a node does that votes no more. Its certificate stays.
func (s *Store) DropSeed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seed = Seed{}
	s.tellLocked()
	if err := os.Remove(filepath.Join(s.dir, fileSeed)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot remove the seed: %w", err)
	}
	return syncDir(s.dir)
}

// CA is the cluster's CA certificate as PEM; nil before the node knows it.
func (s *Store) CA() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ca == nil {
		return nil
	}
	return encode(typeCertificate, s.ca.Raw)
}

// Pin is the pin of CA, or "".
func (s *Store) Pin() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ca == nil {
		return ""
	}
	return pinOf(s.ca)
}

// SaveCA keeps the cluster's CA certificate. One with another key than the one that is
// here is refused with ErrOtherCA.
func (s *Store) SaveCA(caPEM []byte) error {
	ca, err := parseCA(caPEM)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ca != nil {
		if !bytes.Equal(s.ca.RawSubjectPublicKeyInfo, ca.RawSubjectPublicKeyInfo) {
			return fmt.Errorf("cannot use the CA %s: %w (%s)", pinOf(ca), ErrOtherCA, pinOf(s.ca))
		}
		return nil
	}
	if err := s.write(fileCA, encode(typeCertificate, ca.Raw)); err != nil {
		return err
	}
	s.ca = ca
	s.tellLocked()
	return nil
}

// Public is the node's public key, the same for the directory's life.
func (s *Store) Public() ed25519.PublicKey { return s.key.Public().(ed25519.PublicKey) }

// Request is a certificate request of the node's key.
func (s *Store) Request() ([]byte, error) { return NewRequest(s.key) }

// SaveCertificate keeps a new certificate of the node. Connections made from now on use
// it; those that are open are not touched.
func (s *Store) SaveCertificate(certPEM []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.cert
	if err := s.takeCertificate(certPEM); err != nil {
		return fmt.Errorf("cannot use the new certificate: %w", err)
	}
	if err := s.write(fileCertificate, certPEM); err != nil {
		s.cert = old
		return err
	}
	s.tellLocked()
	return nil
}

// Sign makes the node's certificate of the seed that is here.
func (s *Store) Sign(id string, v Validity) error {
	seed := s.Seed()
	if seed.IsZero() {
		return errors.New("cannot sign for this node: it does not hold the cluster's seed")
	}
	ca, err := seed.CA()
	if err != nil {
		return err
	}
	name, _, _ := strings.Cut(id, ".")
	p, err := ca.SignNode(s.Public(), id, name, v)
	if err != nil {
		return err
	}
	return s.SaveCertificate(p)
}

// Certificate is the node's certificate; nil without one.
func (s *Store) Certificate() *x509.Certificate {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cert == nil {
		return nil
	}
	return s.cert.Leaf
}

// Changed is closed when the store holds something new.
func (s *Store) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.news
}

func (s *Store) tellLocked() {
	close(s.news)
	s.news = make(chan struct{})
}

// Due tells whether a certificate should be made anew: there is none, it is another's,
// a third of its life is over, or, as a clock that jumped leaves it, its life has not begun.
func Due(c *x509.Certificate, id string, now time.Time) bool {
	return c == nil || c.Subject.CommonName != id || now.Before(c.NotBefore) || !now.Before(RenewAt(c))
}

// RenewAt is when a third of a certificate's life is over.
func RenewAt(c *x509.Certificate) time.Time {
	return c.NotBefore.Add(c.NotAfter.Sub(c.NotBefore) / 3)
}
