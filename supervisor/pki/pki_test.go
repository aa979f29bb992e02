package pki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func seedOf(t testing.TB, secret string) Seed {
	t.Helper()
	s, err := SeedFrom(secret)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func caOf(t testing.TB, s Seed) *CA {
	t.Helper()
	ca, err := s.CA()
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

const (
	secretA = "the first secret, of 32 characters or more"
	secretB = "another secret, of 32 characters or more"
)

// What derives from a seed can never change: nodes of two versions would be of two clusters.
func TestSeedMakesTheSameForEver(t *testing.T) {
	t.Parallel()
	s := seedOf(t, secretA)
	ca := caOf(t, s)
	got := fmt.Sprintf("seed %s\ngossip 1 %x\ngossip 2 %x\npin %s\n%s", s.Text(), s.GossipKey(1), s.GossipKey(2), ca.Pin(), ca.Certificate())
	path := filepath.Join("testdata", "derived.golden")
	if *update {
		if err := errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile(path, []byte(got), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("derived:\n%s\nwant:\n%s", got, want)
	}
	if again := caOf(t, s); !bytes.Equal(again.Certificate(), ca.Certificate()) {
		t.Error("the same seed made two CAs")
	}
	if spaced := seedOf(t, "  "+secretA+"\n"); spaced != s {
		t.Error("white space around the secret counts")
	}
	if other := caOf(t, seedOf(t, secretB)); other.Pin() == ca.Pin() {
		t.Error("two secrets made one CA")
	}
}

func TestSeedNeverPrints(t *testing.T) {
	t.Parallel()
	s := seedOf(t, secretA)
	j, err := json.Marshal(map[string]any{"seed": s})
	if err != nil {
		t.Fatal(err)
	}
	for _, printed := range []string{fmt.Sprint(s), fmt.Sprintf("%v %+v %#v %s", s, s, s, s), string(j), s.LogValue().String()} {
		if strings.Contains(printed, s.Text()[:8]) {
			t.Errorf("the seed prints: %s", printed)
		}
	}
}

func TestShortSecretsAreRefused(t *testing.T) {
	t.Parallel()
	_, err := SeedFrom("hunter2")
	if err == nil || !strings.Contains(err.Error(), "supd secret") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("err = %v; want one that says how to make a secret, and not the secret", err)
	}
	if _, err := ParseSeed("abc"); err == nil {
		t.Error("a seed of 3 digits was taken")
	}
}

func TestTokenText(t *testing.T) {
	t.Parallel()
	pin := caOf(t, seedOf(t, secretA)).Pin()
	for _, kind := range []TokenKind{JoinToken, AuthToken} {
		text, made, err := NewToken(kind, pin)
		if err != nil {
			t.Fatal(err)
		}
		read, err := ParseToken(text + "\n")
		if err != nil || read != made || read.Kind != kind || read.Pin != pin || !read.Matches(made.Hash) {
			t.Errorf("ParseToken = %+v, %v; want %+v", read, err, made)
		}
		for name, bad := range map[string]string{
			"cut":            text[:len(text)-1],
			"longer":         text + "0",
			"capitals":       strings.ToUpper(text),
			"another prefix": strings.Replace(text, "v1", "v2", 1),
			"no secret":      text[:strings.LastIndex(text, ".")],
			"empty":          "",
		} {
			secret := text[strings.LastIndex(text, ".")+1:]
			if _, err := ParseToken(bad); err == nil || strings.Contains(err.Error(), secret[:16]) {
				t.Errorf("%s: err = %v; want a refusal that holds nothing of the secret", name, err)
			}
		}
		if read.Matches("") || (Token{}).Matches("") {
			t.Error("a token matches no hash at all")
		}
	}
}

func FuzzParseToken(f *testing.F) {
	text, _, err := NewToken(JoinToken, caOf(f, seedOf(f, secretA)).Pin())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add("supd-auth-v1...")
	f.Fuzz(func(t *testing.T, text string) {
		tok, err := ParseToken(text)
		if err != nil {
			return
		}
		if tok.Kind == "" || len(tok.Pin) != 2*pinBytes || len(tok.ID) != 2*idBytes || !tok.Matches(tok.Hash) {
			t.Errorf("%q gave %+v", text, tok)
		}
	})
}

func TestRequestProvesTheKey(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	req, err := NewRequest(key)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := ParseRequest(req)
	if err != nil || !key.PublicKey.Equal(pub) {
		t.Errorf("ParseRequest = %v, %v; want the key that signed", pub, err)
	}
	der, err := decode(typeRequest, req)
	if err != nil {
		t.Fatal(err)
	}
	der[len(der)-1] ^= 1
	if _, err := ParseRequest(encode(typeRequest, der)); err == nil {
		t.Error("a request with a wrong signature was taken")
	}
}

func TestStoreKeepsItsCredentials(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "pki")
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	changed := s.Changed()
	seed := seedOf(t, secretA)
	if err := errors.Join(s.SaveSeed(seed), s.Sign("n1.00000001", NodeValidity(time.Now()))); err != nil {
		t.Fatal(err)
	}
	select {
	case <-changed:
	default:
		t.Error("Changed was not closed")
	}
	again, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if again.Seed() != seed || again.Pin() != caOf(t, seed).Pin() || !again.Public().Equal(s.Public()) ||
		again.Certificate() == nil || again.Certificate().Subject.CommonName != "n1.00000001" {
		t.Errorf("opened again: pin %s, certificate %v", again.Pin(), again.Certificate())
	}
	if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("directory: %v %v", st, err)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if st, err := f.Info(); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v; want 0600", f.Name(), st.Mode(), err)
		}
	}
	if len(files) != 4 {
		t.Errorf("%d files, want 4", len(files))
	}
	if err := again.SaveSeed(seedOf(t, secretB)); !errors.Is(err, ErrOtherCA) {
		t.Errorf("a seed of another cluster: %v", err)
	}
	if err := again.DropSeed(); err != nil || !again.Seed().IsZero() || again.Sign("n1.00000001", NodeValidity(time.Now())) == nil {
		t.Errorf("DropSeed: %v; it must not sign after", err)
	}
}

func TestStoreRefusesWhatIsDamagedOrOpen(t *testing.T) {
	t.Parallel()
	for name, hurt := range map[string]func(dir string) error{
		"seed readable":     func(d string) error { return os.Chmod(filepath.Join(d, fileSeed), 0o644) },
		"key readable":      func(d string) error { return os.Chmod(filepath.Join(d, fileKey), 0o640) },
		"seed cut":          func(d string) error { return os.Truncate(filepath.Join(d, fileSeed), 10) },
		"key cut":           func(d string) error { return os.Truncate(filepath.Join(d, fileKey), 10) },
		"certificate empty": func(d string) error { return os.Truncate(filepath.Join(d, fileCertificate), 0) },
		"no CA":             func(d string) error { return os.Remove(filepath.Join(d, fileCA)) },
		"key gone":          func(d string) error { return os.Remove(filepath.Join(d, fileKey)) },
		"CA of another seed": func(d string) error {
			return os.WriteFile(filepath.Join(d, fileCA), caOf(t, seedOf(t, secretB)).Certificate(), 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s, err := Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(s.SaveSeed(seedOf(t, secretA)), s.Sign("n1.00000001", NodeValidity(time.Now())), hurt(dir)); err != nil {
				t.Fatal(err)
			}
			if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), dir) {
				t.Errorf("Open: %v; want an error that names the file", err)
			}
		})
	}
}

func TestDue(t *testing.T) {
	t.Parallel()
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	v := NodeValidity(now)
	if err := errors.Join(s.SaveSeed(seedOf(t, secretA)), s.Sign("n1.00000001", v)); err != nil {
		t.Fatal(err)
	}
	c := s.Certificate()
	for name, x := range map[string]struct {
		id   string
		now  time.Time
		want bool
	}{
		"new":                {"n1.00000001", now, false},
		"before a third":     {"n1.00000001", RenewAt(c).Add(-time.Second), false},
		"after a third":      {"n1.00000001", RenewAt(c), true},
		"run out":            {"n1.00000001", v.Until.Add(time.Hour), true},
		"clock jumped back":  {"n1.00000001", v.From.Add(-time.Hour), true},
		"of another node id": {"n1.00000002", now, true},
	} {
		if got := Due(c, x.id, x.now); got != x.want {
			t.Errorf("%s: Due = %t", name, got)
		}
	}
	if !Due(nil, "n1.00000001", now) {
		t.Error("no certificate, and none due")
	}
}
