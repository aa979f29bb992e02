package pki

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// ServerName is in every node's certificate: what a client expects that knows the CA,
// but not which node answers.
const ServerName = "node.supd"

// The organisations in certificates: what its holder is.
const (
	orgNode    = "node"
	orgAccount = "account"
)

const (
	typeCertificate = "CERTIFICATE"
	typeKey         = "PRIVATE KEY"
	typeRequest     = "CERTIFICATE REQUEST"
)

// NodeLifetime is how long a node's certificate is good from when it was made, and
// Backdate how long before: clocks differ.
const (
	NodeLifetime = 30 * 24 * time.Hour
	Backdate     = 24 * time.Hour
)

// Validity is when a certificate is good.
type Validity struct{ From, Until time.Time }

// NodeValidity is that of a node's certificate made now.
func NodeValidity(now time.Time) Validity {
	return Validity{From: now.Add(-Backdate), Until: now.Add(NodeLifetime)}
}

// CA signs the certificates of a cluster.
type CA struct {
	key  ed25519.PrivateKey
	cert *x509.Certificate
}

// newCA makes the CA of a key. Nothing in the certificate depends on anything else.
func newCA(key ed25519.PrivateKey) (*CA, error) {
	pub := key.Public().(ed25519.PublicKey)
	sum := sha256.Sum256(pub)
	serial := new(big.Int).SetBytes(sum[:16])
	serial.SetBit(serial, 127, 0) // positive in 16 bytes
	tmpl := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "supd cluster " + hex.EncodeToString(sum[:4])},
		NotBefore:             time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:              time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign,
		SubjectKeyId:          sum[:20], // named here: x509 may choose another way in another Go
	}
	der, err := x509.CreateCertificate(nil, tmpl, tmpl, pub, key) // ed25519 needs no randomness
	if err != nil {
		return nil, fmt.Errorf("cannot make the cluster's CA: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("cannot make the cluster's CA: %w", err)
	}
	return &CA{key, cert}, nil
}

// Certificate is the CA's own certificate as PEM. It is public.
func (c *CA) Certificate() []byte { return encode(typeCertificate, c.cert.Raw) }

// Pin names the CA's key; see PinOf.
func (c *CA) Pin() string { return pinOf(c.cert) }

// PinOf is a short hash of the key in a CA's certificate: 32 hexadecimal digits by which
// one who has no file of the CA knows it.
func PinOf(caPEM []byte) (string, error) {
	c, err := parseCA(caPEM)
	if err != nil {
		return "", err
	}
	return pinOf(c), nil
}

func pinOf(c *x509.Certificate) string {
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:16])
}

// SignNode signs for a node: its id, NAME.8HEX, and its name.
func (c *CA) SignNode(pub crypto.PublicKey, id, name string, v Validity) ([]byte, error) {
	return c.sign(pub, v, &x509.Certificate{
		Subject:     pkix.Name{CommonName: id, Organization: []string{orgNode}},
		DNSNames:    []string{ServerName, name},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
}

// SignAccount signs for an account. Its certificate serves clients only.
func (c *CA) SignAccount(pub crypto.PublicKey, name string, v Validity) ([]byte, error) {
	return c.sign(pub, v, &x509.Certificate{
		Subject:     pkix.Name{CommonName: name, Organization: []string{orgAccount}},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

func (c *CA) sign(pub crypto.PublicKey, v Validity, tmpl *x509.Certificate) ([]byte, error) {
	if tmpl.Subject.CommonName == "" {
		return nil, errors.New("cannot sign a certificate that names nobody")
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 126))
	if err != nil {
		return nil, fmt.Errorf("cannot sign a certificate for %s: %w", tmpl.Subject.CommonName, err)
	}
	tmpl.SerialNumber = serial.Add(serial, big.NewInt(1))
	tmpl.NotBefore, tmpl.NotAfter = v.From.UTC(), v.Until.UTC()
	tmpl.KeyUsage = x509.KeyUsageDigitalSignature
	tmpl.BasicConstraintsValid = true
	der, err := x509.CreateCertificate(rand.Reader, tmpl, c.cert, pub, c.key)
	if err != nil {
		return nil, fmt.Errorf("cannot sign a certificate for %s: %w", tmpl.Subject.CommonName, err)
	}
	return encode(typeCertificate, der), nil
}

// NewRequest makes a certificate request (PEM), which proves that its sender holds the
// key. Names in it mean nothing: whoever signs decides them.
func NewRequest(key crypto.Signer) ([]byte, error) {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, fmt.Errorf("cannot make a certificate request: %w", err)
	}
	return encode(typeRequest, der), nil
}

// ParseRequest gives the public key of a request that its holder signed.
func ParseRequest(reqPEM []byte) (crypto.PublicKey, error) {
	der, err := decode(typeRequest, reqPEM)
	if err != nil {
		return nil, fmt.Errorf("cannot read the certificate request: %w", err)
	}
	r, err := x509.ParseCertificateRequest(der)
	if err == nil {
		err = r.CheckSignature()
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the certificate request: %w", err)
	}
	return r.PublicKey, nil
}

// KeyHash names a public key: the hexadecimal SHA-256 of its standard encoding.
func KeyHash(pub crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return "", fmt.Errorf("cannot name a key: %w", err)
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:]), nil
}

// parseCA reads a CA's certificate, and refuses one that is none.
func parseCA(caPEM []byte) (*x509.Certificate, error) {
	c, err := parseCertificate(caPEM)
	if err != nil {
		return nil, fmt.Errorf("cannot read the CA's certificate: %w", err)
	}
	if !c.IsCA || c.CheckSignatureFrom(c) != nil {
		return nil, errors.New("cannot use the CA's certificate: it is not one that signs itself")
	}
	return c, nil
}

func parseCertificate(p []byte) (*x509.Certificate, error) {
	der, err := decode(typeCertificate, p)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func encode(typ string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: typ, Bytes: der})
}

// decode reads exactly one PEM block of a type.
func decode(typ string, p []byte) ([]byte, error) {
	b, rest := pem.Decode(p)
	if b == nil || b.Type != typ {
		return nil, fmt.Errorf("it holds no PEM block %s", typ)
	}
	if len(bytes.TrimSpace(rest)) > 0 {
		return nil, fmt.Errorf("it holds more than one PEM block %s", typ)
	}
	return b.Bytes, nil
}
