package pki

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"
)

// fileGossip holds the keys of gossip, at nodes that vote too: one that has lost its log
// still knows what the others gossip with.
const fileGossip = "gossip"

// GossipKeySize is the length of a key.
const GossipKeySize = 32

// GossipKeys are the keys that gossip uses in a generation: that one's and, past the
// first, the one's before. They print as a placeholder.
type GossipKeys struct {
	Generation uint64
	// At is when the log changed to the generation; zero for the first.
	At   time.Time
	keys [][]byte // the generation's first
}

// GossipKeys derives the keys of a generation, which began at a time.
func (s Seed) GossipKeys(generation uint64, at time.Time) GossipKeys {
	k := GossipKeys{Generation: generation, At: at.UTC(), keys: [][]byte{s.GossipKey(generation)}}
	if generation > 0 {
		k.keys = append(k.keys, s.GossipKey(generation-1))
	}
	return k
}

// IsZero tells whether there are none.
func (k GossipKeys) IsZero() bool { return len(k.keys) == 0 }

// RotationPause is how long the nodes have to take a new key before any uses it.
const RotationPause = time.Minute

// Ring is the keys in the order of their use: the first seals. That is the one before
// until a pause has passed since the log changed to the generation, or since this node
// saw it if its clock is behind. Wait is when to ask again; 0: nothing will change.
func (k GossipKeys) Ring(seen, now time.Time, pause time.Duration) (keys [][]byte, wait time.Duration) {
	if len(k.keys) < 2 {
		return k.keys, 0
	}
	if since := max(now.Sub(k.At), now.Sub(seen)); since < pause {
		return [][]byte{k.keys[1], k.keys[0]}, pause - since
	}
	return k.keys, 0
}

// String hides the keys.
func (k GossipKeys) String() string { return "(secret)" }

// GoString hides the keys.
func (k GossipKeys) GoString() string { return "(secret)" }

// LogValue hides the keys.
func (k GossipKeys) LogValue() slog.Value { return slog.StringValue("(secret)") }

// MarshalText hides the keys.
func (k GossipKeys) MarshalText() ([]byte, error) { return []byte("(secret)"), nil }

type gossipText struct {
	Generation uint64    `json:"generation"`
	At         time.Time `json:"at,omitzero"`
	Keys       []string  `json:"keys"`
}

// Text is the keys as their file and the way to another node carry them. It is secret.
func (k GossipKeys) Text() string {
	t := gossipText{Generation: k.Generation, At: k.At}
	for _, key := range k.keys {
		t.Keys = append(t.Keys, hex.EncodeToString(key))
	}
	b, err := json.Marshal(t)
	if err != nil {
		panic("pki: numbers and texts do not become JSON: " + err.Error())
	}
	return string(b)
}

// ParseGossipKeys reads keys as Text writes them.
func ParseGossipKeys(text string) (GossipKeys, error) {
	bad := errors.New("cannot use gossip's keys: they are not a generation and its one or two keys") // nothing of them in an error
	var t gossipText
	if err := json.Unmarshal([]byte(text), &t); err != nil {
		return GossipKeys{}, bad
	}
	k := GossipKeys{Generation: t.Generation, At: t.At.UTC()}
	for _, s := range t.Keys {
		key, err := hex.DecodeString(s)
		if err != nil || len(key) != GossipKeySize {
			return GossipKeys{}, bad
		}
		k.keys = append(k.keys, key)
	}
	if want := 1 + int(min(t.Generation, 1)); len(k.keys) != want {
		return GossipKeys{}, bad
	}
	return k, nil
}

// GossipKeys are the keys that were kept last; none before the first.
func (s *Store) GossipKeys() GossipKeys {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gossip
}

// SaveGossipKeys keeps gossip's keys, for good once it returns.
func (s *Store) SaveGossipKeys(k GossipKeys) error {
	if k.IsZero() {
		return errors.New("cannot keep gossip's keys: there are none")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	text := k.Text()
	if s.gossip.Text() == text {
		return nil
	}
	if err := s.write(fileGossip, []byte(text+"\n")); err != nil {
		return err
	}
	s.gossip = k
	s.tellLocked()
	return nil
}

// takeGossip reads the keys' file. They can be fetched or derived anew, so a file that is
// no good is put away rather than in the node's way.
func (s *Store) takeGossip(b []byte) error {
	k, err := ParseGossipKeys(string(b))
	if err == nil {
		s.gossip = k
		return nil
	}
	path := filepath.Join(s.dir, fileGossip)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("it is damaged, and cannot be removed: %w", err)
	}
	return nil
}
