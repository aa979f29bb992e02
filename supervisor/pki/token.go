package pki

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"strings"
)

// TokenKind is what a token is for.
type TokenKind string

// The kinds of tokens.
const (
	JoinToken TokenKind = "join" // lets a node into the cluster
	AuthToken TokenKind = "auth" // speaks for an account
)

// Token is a token taken apart. Its secret stays inside; only the hash is ever kept.
type Token struct {
	Kind TokenKind
	Pin  string // the CA's; see PinOf
	ID   string // names it; public
	Hash string // hexadecimal SHA-256 of its secret
}

// Sizes of a token's parts in bytes, written as hexadecimal digits.
const (
	pinBytes    = 16
	idBytes     = 6
	secretBytes = 32
)

// NewToken draws a token: the text for its holder, which nobody can show again, and what
// the cluster keeps of it.
func NewToken(kind TokenKind, pin string) (text string, t Token, err error) {
	var r [idBytes + secretBytes]byte
	if _, err := rand.Read(r[:]); err != nil {
		return "", Token{}, fmt.Errorf("cannot make a token: %w", err)
	}
	text = fmt.Sprintf("supd-%s-v1.%s.%x.%x", kind, pin, r[:idBytes], r[idBytes:])
	t, err = ParseToken(text)
	return text, t, err
}

// ParseToken reads a token's text. Its errors hold nothing of the text.
func ParseToken(text string) (Token, error) {
	f := strings.Split(strings.TrimSpace(text), ".")
	if len(f) != 4 {
		return Token{}, fmt.Errorf("cannot use the token: want supd-join-v1.PIN.ID.SECRET or supd-auth-v1.PIN.ID.SECRET, this has %d parts", len(f))
	}
	t := Token{Pin: f[1], ID: f[2]}
	switch f[0] {
	case "supd-join-v1":
		t.Kind = JoinToken
	case "supd-auth-v1":
		t.Kind = AuthToken
	default:
		return Token{}, fmt.Errorf("cannot use the token: it begins with neither supd-join-v1 nor supd-auth-v1")
	}
	for i, n := range []int{1: pinBytes, 2: idBytes, 3: secretBytes} {
		if n > 0 && !lowerHex(f[i], n) {
			return Token{}, fmt.Errorf("cannot use the token: its part %d is not %d hexadecimal digits; was it copied whole?", i+1, 2*n)
		}
	}
	sum := sha256.Sum256([]byte(f[3]))
	t.Hash = hex.EncodeToString(sum[:])
	return t, nil
}

// Matches tells whether the token's secret is the one whose hash was kept, in a time
// that tells nothing.
func (t Token) Matches(hash string) bool {
	return t.Hash != "" && subtle.ConstantTimeCompare([]byte(t.Hash), []byte(hash)) == 1
}

// lowerHex tells whether s is n bytes, written in the one way there is.
func lowerHex(s string, n int) bool {
	return len(s) == 2*n && strings.Trim(s, "0123456789abcdef") == ""
}
