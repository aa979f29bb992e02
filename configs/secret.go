package configs

import (
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// Secret is a text that is never printed, whatever prints it.
type Secret string

// hidden stands for a secret.
const hidden = "(hidden)"

// String hides the secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return hidden
}

// GoString hides the secret.
func (s Secret) GoString() string { return s.String() }

// MarshalText hides the secret.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Secret is the secret that the first nodes of a cluster share, from the configuration or
// the file it names; "" when there is none. A file that everybody may read is refused.
func (d Daemon) Secret() (string, error) {
	if d.SecretFile == "" {
		return strings.TrimSpace(string(d.BootstrapSecret)), nil
	}
	st, err := os.Stat(d.SecretFile)
	if err != nil {
		return "", fmt.Errorf("bootstrap_secret_file: %w", err)
	}
	if err := notForAll(d.SecretFile, st.Mode()); err != nil {
		return "", fmt.Errorf("bootstrap_secret_file: %w", err)
	}
	b, err := os.ReadFile(d.SecretFile)
	if err != nil {
		return "", fmt.Errorf("bootstrap_secret_file: %w", err)
	}
	text := strings.TrimSpace(string(b))
	if text == "" {
		return "", fmt.Errorf("bootstrap_secret_file: %s is empty; make a secret with: supd secret > %s", d.SecretFile, d.SecretFile)
	}
	return text, nil
}

// notForAll refuses a file with a secret in it that everybody on this host may read.
func notForAll(path string, mode fs.FileMode) error {
	if mode.Perm()&0o007 != 0 {
		return fmt.Errorf("%s holds a secret and everybody may read it (mode %04o); make it private with: chmod 600 %s", path, mode.Perm(), path)
	}
	return nil
}

// checkSecretIn refuses a configuration with a secret in it that everybody may read.
func checkSecretIn(raw map[string]any, from string) error {
	if v, ok := raw["bootstrap_secret"]; !ok || v == "" {
		return nil
	}
	st, err := os.Stat(from)
	if err != nil {
		return fmt.Errorf("cannot read the configuration: %w", err)
	}
	return notForAll(from, st.Mode())
}
