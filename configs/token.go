package configs

import (
	"fmt"
	"os"
	"strings"
)

// JoinToken is the token by which this node is let into a cluster, from the configuration
// or the file it names; "" when there is none. A file that everybody may read is refused.
func (d Daemon) JoinToken() (string, error) {
	if d.TokenFile == "" {
		return strings.TrimSpace(string(d.Token)), nil
	}
	st, err := os.Stat(d.TokenFile)
	if err != nil {
		return "", fmt.Errorf("token_file: %w", err)
	}
	if err := notForAll(d.TokenFile, st.Mode()); err != nil {
		return "", fmt.Errorf("token_file: %w", err)
	}
	b, err := os.ReadFile(d.TokenFile)
	if err != nil {
		return "", fmt.Errorf("token_file: %w", err)
	}
	text := strings.TrimSpace(string(b))
	if text == "" {
		return "", fmt.Errorf("token_file: %s is empty; make a token on a node of the cluster: supctl cluster join-token", d.TokenFile)
	}
	return text, nil
}
