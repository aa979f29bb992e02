// Package pki holds a cluster's credentials: the seed, the certificates made of it and
// the tokens by which those without a certificate come in.
//
// A cluster has one secret, its Seed. All else that is secret to the cluster as a whole
// derives from it: the key of the certificate authority (CA), its self-signed
// certificate, byte for byte the same at every holder, and the keys of gossip. Whoever
// has the seed can sign for any node, so only voters keep it. What the log and the View
// hold is public: the CA's certificate, generations, hashes.
//
// A certificate names a node by its id or an account by its name, never by an address:
// addresses may change.
package pki

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
)

// seedSize is a seed's length in bytes.
const seedSize = 32

// MinSecret is the least number of characters of a bootstrap secret: the CA's public key
// lets anybody try secrets as fast as they can, so one must not be guessable.
const MinSecret = 32

// Seed is a cluster's root secret. It prints as a placeholder, whatever prints it.
type Seed struct{ b [seedSize]byte }

// The domain of everything derived; it can never change.
const (
	labelSeed   = "supd/v1 bootstrap secret"
	labelCAKey  = "supd/v1 ca key"
	labelGossip = "supd/v1 gossip key "
)

// NewSeed draws a seed for a new cluster.
func NewSeed() (Seed, error) {
	var s Seed
	if _, err := rand.Read(s.b[:]); err != nil {
		return Seed{}, fmt.Errorf("cannot make a seed: %w", err)
	}
	return s, nil
}

// NewSecret draws a bootstrap secret, for people to put into a file.
func NewSecret() (string, error) {
	s, err := NewSeed()
	if err != nil {
		return "", err
	}
	return hex.EncodeToString(s.b[:]), nil
}

// SeedFrom makes the seed of those who share a bootstrap secret. White space around the
// secret does not count.
func SeedFrom(secret string) (Seed, error) {
	secret = strings.TrimSpace(secret)
	if len(secret) < MinSecret {
		return Seed{}, fmt.Errorf("cannot use the bootstrap secret: it has %d characters, and needs %d or more that nobody can guess; "+
			"make one with: supd secret", len(secret), MinSecret)
	}
	var s Seed
	copy(s.b[:], derive([]byte(secret), labelSeed))
	return s, nil
}

// ParseSeed reads a seed as Text writes it.
func ParseSeed(text string) (Seed, error) {
	b, err := hex.DecodeString(strings.TrimSpace(text))
	if err != nil || len(b) != seedSize {
		return Seed{}, errors.New("cannot use the seed: it is not 64 hexadecimal digits") // nothing of it in an error
	}
	return Seed{[seedSize]byte(b)}, nil
}

// Text is the seed as its file and the way to another voter carry it. It is secret.
func (s Seed) Text() string { return hex.EncodeToString(s.b[:]) }

// IsZero tells whether there is no seed.
func (s Seed) IsZero() bool { return s == Seed{} }

// String hides the seed.
func (s Seed) String() string { return "(secret)" }

// GoString hides the seed.
func (s Seed) GoString() string { return "(secret)" }

// LogValue hides the seed.
func (s Seed) LogValue() slog.Value { return slog.StringValue("(secret)") }

// MarshalText hides the seed: it is in no JSON by accident.
func (s Seed) MarshalText() ([]byte, error) { return []byte("(secret)"), nil }

// GossipKey is the key of gossip's packets in a generation, for AES-256.
func (s Seed) GossipKey(generation uint64) []byte {
	return derive(s.b[:], labelGossip+strconv.FormatUint(generation, 10))
}

// CA is the certificate authority that the seed makes.
func (s Seed) CA() (*CA, error) {
	return newCA(ed25519.NewKeyFromSeed(derive(s.b[:], labelCAKey)))
}

// derive makes 32 bytes of a secret for one purpose.
func derive(secret []byte, label string) []byte {
	b, err := hkdf.Key(sha256.New, secret, nil, label, 32)
	if err != nil {
		panic("pki: no key can be derived, is this Go in FIPS mode? " + err.Error())
	}
	return b
}
