package state

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// A snapshot file is what an operator saves and restores:
//
//	supd-snapshot/1\n                  what it is
//	{"clusterID":...}\n                SnapshotMeta, one line of JSON
//	gzip of what WriteSnapshot writes  the View
//	\n64 hex digits\n                  SHA-256 of all bytes before this line
//
// It holds no secret of the cluster: neither its seed nor a key or token, only hashes.
// Definitions are in it as they were applied, with the values of env that stand in them.
const fileMagic = "supd-snapshot/1\n"

// ErrBadFile is returned for a file that is no snapshot, or is not as it was written.
var ErrBadFile = errors.New("it is no whole snapshot file")

// SnapshotMeta says what a snapshot file holds.
type SnapshotMeta struct {
	ClusterID   string    `json:"clusterID"`
	Incarnation string    `json:"incarnation"`
	Index       uint64    `json:"index"`
	Term        uint64    `json:"term"`
	Time        time.Time `json:"time"`
	// Version of the supd that wrote it, and Node where.
	Version string `json:"version"`
	Node    string `json:"node"`
	// Hash is the View's.
	Hash string `json:"hash"`
}

// WriteFile writes a snapshot file of v. Time, Term, Version and Node of meta are the
// caller's; the rest is taken from v.
func (v *View) WriteFile(w io.Writer, meta SnapshotMeta) error {
	meta.ClusterID, meta.Incarnation, meta.Index = v.Cluster.ID, v.Cluster.Incarnation, v.Index
	payload, hash, err := v.pack()
	if err != nil {
		return err
	}
	meta.Hash = hash
	head, err := json.Marshal(meta)
	if err != nil {
		return fmt.Errorf("cannot write snapshot: %w", err)
	}
	sum := sha256.New()
	out := io.MultiWriter(w, sum)
	for _, b := range [][]byte{[]byte(fileMagic), head, []byte("\n"), payload} {
		if _, err := out.Write(b); err != nil {
			return fmt.Errorf("cannot write snapshot: %w", err)
		}
	}
	_, err = fmt.Fprintf(w, "\n%s\n", hex.EncodeToString(sum.Sum(nil)))
	return err
}

// ReadFile reads a snapshot file and checks that it is whole and as it was written.
func ReadFile(r io.Reader) (*View, SnapshotMeta, error) {
	var meta SnapshotMeta
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, meta, fmt.Errorf("cannot read snapshot: %w", err)
	}
	const tail = 1 + 2*sha256.Size + 1
	if !bytes.HasPrefix(b, []byte(fileMagic)) {
		if bytes.HasPrefix(b, []byte("supd-snapshot/")) {
			return nil, meta, fmt.Errorf("%w: it was written by a newer supd", ErrBadFile)
		}
		return nil, meta, fmt.Errorf("%w: it does not begin with %q", ErrBadFile, strings.TrimSpace(fileMagic))
	}
	if len(b) < len(fileMagic)+tail {
		return nil, meta, fmt.Errorf("%w: it is cut off", ErrBadFile)
	}
	body, end := b[:len(b)-tail], b[len(b)-tail:]
	sum := sha256.Sum256(body)
	if string(end) != "\n"+hex.EncodeToString(sum[:])+"\n" {
		return nil, meta, fmt.Errorf("%w: its checksum does not fit", ErrBadFile)
	}
	head, payload, ok := bytes.Cut(body[len(fileMagic):], []byte("\n"))
	if !ok {
		return nil, meta, fmt.Errorf("%w: it has no head", ErrBadFile)
	}
	if err := json.Unmarshal(head, &meta); err != nil {
		return nil, meta, fmt.Errorf("%w: its head cannot be read: %v", ErrBadFile, err)
	}
	v, err := unpack(payload)
	if err != nil {
		return nil, meta, fmt.Errorf("%w: %w", ErrBadFile, err)
	}
	if got := v.Hash(); got != meta.Hash {
		return nil, meta, fmt.Errorf("%w: its state has hash %.12s, its head says %.12s", ErrBadFile, got, meta.Hash)
	}
	return v, meta, nil
}

// pack writes a View small, and gives its hash.
func (v *View) pack() (payload []byte, hash string, err error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	sum := sha256.New()
	if err := v.WriteSnapshot(io.MultiWriter(z, sum)); err != nil {
		return nil, "", err
	}
	if err := z.Close(); err != nil {
		return nil, "", fmt.Errorf("cannot write snapshot: %w", err)
	}
	return b.Bytes(), hex.EncodeToString(sum.Sum(nil)), nil
}

// maxUnpacked bounds what a packed View may unfold to.
const maxUnpacked = 1 << 30

func unpack(payload []byte) (*View, error) {
	z, err := gzip.NewReader(bytes.NewReader(payload))
	if err != nil {
		return nil, err
	}
	in := bufio.NewReader(io.LimitReader(z, maxUnpacked))
	v, err := ReadSnapshot(in)
	if err != nil {
		return nil, err
	}
	// To the end: only there gzip compares its checksum.
	if _, err := io.Copy(io.Discard, z); err != nil {
		return nil, err
	}
	return v, nil
}

// Counts are how many objects of each kind a View has.
func (v *View) Counts() map[string]int {
	return map[string]int{
		"nodes": v.nodes.Len(), "statefulsets": v.sets.Len(), "members": v.members.Len(), "volumes": v.volumes.Len(),
		"services": v.services.Len(), "programs": v.programs.Len(), "revisions": v.revisions.Len(), "events": v.events.Len(),
	}
}
