package netid

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
)

// MachineID tells this machine from others, the same for every daemon and user on
// it and stable over reboots. It is a hash of /etc/machine-id; where there is
// none, of the host name.
func MachineID() (string, error) {
	for _, path := range []string{"/etc/machine-id", "/var/lib/dbus/machine-id"} {
		b, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("cannot tell this machine from others: %w", err)
		}
		if id := strings.TrimSpace(string(b)); id != "" && id != "uninitialized" {
			return hashID(id), nil
		}
	}
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("cannot tell this machine from others: %w", err)
	}
	return hashID("host " + host), nil
}

// hashID keeps the machine's own id, which others may use as a secret, out of
// the log.
func hashID(id string) string {
	sum := sha256.Sum256([]byte("supd machine " + id))
	return hex.EncodeToString(sum[:16])
}

// CheckMachine refuses a node on another machine when the plan is loopback: its
// members could not be reached from there. known are the machines of the nodes
// there are.
func CheckMachine(plan string, known map[string]string, node, machine string) error {
	if plan != "loopback" {
		return nil
	}
	for _, other := range slices.Sorted(maps.Keys(known)) {
		if other != node && known[other] != machine {
			return fmt.Errorf("node %s cannot join: it is on another machine than node %s, and this cluster's address plan "+
				"is loopback, whose addresses end at the machine; form a cluster with address_plan none for several machines", node, other)
		}
	}
	return nil
}
