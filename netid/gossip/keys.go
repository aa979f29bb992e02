package gossip

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/hashicorp/memberlist"
)

// keySize is that of a key: AES-256.
const keySize = 32

// What memberlist v0.6.0 sends with a keyring. A packet is the version, a nonce and the
// sealed rest; a stream begins with kindEncrypted and the length of the same, which are
// sealed along with it. Version 0 pads, in a way that makes the library panic: it is
// refused.
const (
	sealVersion   = 1
	kindEncrypted = 10
	streamHead    = 5
)

// keys are gossip's keys: the library's keyring, which seals and opens, and the same keys
// for the filter, which must see what is in a message before the library does. The
// library is given the bytes that the filter has opened, as they came, so what it opens
// with these keys is what was checked; nobody without a key gets a byte to it.
type keys struct {
	ring *memberlist.Keyring
	have chan struct{} // closed once there is a key

	mu    sync.RWMutex // guards aeads; held for writing while ring is changed
	aeads []cipher.AEAD
}

func newKeys() (*keys, error) {
	ring, err := memberlist.NewKeyring(nil, nil)
	if err != nil {
		return nil, fmt.Errorf("cannot keep gossip's keys: %w", err)
	}
	return &keys{ring: ring, have: make(chan struct{})}, nil
}

// set replaces all keys. The first seals what is sent, all open what comes.
func (k *keys) set(all [][]byte) error {
	if len(all) == 0 {
		return errors.New("cannot gossip without a key")
	}
	var aeads []cipher.AEAD
	for _, key := range all {
		if len(key) != keySize {
			return fmt.Errorf("cannot use a gossip key of %d bytes: %d are needed", len(key), keySize)
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			return fmt.Errorf("cannot use a gossip key: %w", err)
		}
		aead, err := cipher.NewGCM(block)
		if err != nil {
			return fmt.Errorf("cannot use a gossip key: %w", err)
		}
		aeads = append(aeads, aead)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, key := range all {
		if err := k.ring.AddKey(bytes.Clone(key)); err != nil {
			return fmt.Errorf("cannot use a gossip key: %w", err)
		}
	}
	if err := k.ring.UseKey(all[0]); err != nil {
		return fmt.Errorf("cannot use a gossip key: %w", err)
	}
	for _, old := range k.ring.GetKeys() {
		if !has(all, old) {
			if err := k.ring.RemoveKey(old); err != nil {
				return fmt.Errorf("cannot drop a gossip key: %w", err)
			}
		}
	}
	if len(k.aeads) == 0 {
		close(k.have)
	}
	k.aeads = aeads
	return nil
}

func has(all [][]byte, key []byte) bool {
	for _, k := range all {
		if bytes.Equal(k, key) {
			return true
		}
	}
	return false
}

var errUnsealed = errors.New("it is not sealed with a key of this cluster")

// open gives what is in b if one of the keys sealed it, with head.
func (k *keys) open(b, head []byte) ([]byte, error) {
	const nonce = 12
	if len(b) < 1+nonce || b[0] != sealVersion {
		return nil, errUnsealed
	}
	k.mu.RLock()
	aeads := k.aeads
	k.mu.RUnlock()
	for _, a := range aeads {
		if plain, err := a.Open(nil, b[1:1+nonce], b[1+nonce:], head); err == nil {
			return plain, nil
		}
	}
	return nil, errUnsealed
}

// sealedStream reads the one sealed message of a stream: as it came, and what is in it.
func (k *keys) sealedStream(r io.Reader) (raw, plain []byte, err error) {
	var seen bytes.Buffer
	if n, err := io.CopyN(&seen, r, streamHead); err != nil {
		if n > 0 && seen.Bytes()[0] != kindEncrypted {
			return nil, nil, errUnsealed
		}
		return nil, nil, err
	}
	head := seen.Bytes()
	size := binary.BigEndian.Uint32(head[1:])
	if head[0] != kindEncrypted || size > maxState {
		return nil, nil, errUnsealed
	}
	if _, err := io.CopyN(&seen, r, int64(size)); err != nil {
		return nil, nil, err
	}
	raw = seen.Bytes()
	plain, err = k.open(raw[streamHead:], raw[:streamHead])
	return raw, plain, err
}
