package raftstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
)

// bbolt believes what it reads: a page that names itself as its child makes it run for ever, two that name the same one a
// panic in a goroutine of its own, a wrong count loses the entries behind it. So the pages are looked through before it
// opens them. The format is version 2 of bbolt's files, which has not changed since it was boltdb's.

// The two first pages each say where all else is; bbolt takes the newer one that has a right sum. A write of one
// is within a sector, so power cuts tear none: where one is wrong, the newer state may be the one that is lost.
const (
	metaAt   = 16 // in the page; there, in bytes:
	metaRoot = 16 // the page of the root bucket
	metaHigh = 40 // the first page that is not used
	metaTx   = 48 // which of the two is newer
	metaSum  = 56 // the sum of all before it
)

// Pages and their elements.
const (
	pageHead   = 16 // id, flags, count, overflow
	pageBranch = 1
	pageLeaf   = 2
	elementLen = 16
	isBucket   = 1  // flag of a leaf's element
	bucketHead = 16 // root and sequence; a small bucket's page follows, its root is 0
)

// pages looks through a file.
type pages struct {
	f    io.ReaderAt
	size int64 // of a page
	high uint64
	seen map[uint64]bool
}

// checkPages makes sure that every page that can be reached is one, once, and in order.
func checkPages(path string, pageSize int) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	p := pages{f: f, size: int64(pageSize), seen: map[uint64]bool{0: true, 1: true}}
	var root, newest uint64
	for page := range int64(2) {
		var meta [metaSum + 8]byte
		if _, err := f.ReadAt(meta[:], page*p.size+metaAt); err != nil {
			return fmt.Errorf("page %d: %w", page, err)
		}
		h := fnv.New64a()
		_, _ = h.Write(meta[:metaSum]) // a hash takes all
		if h.Sum64() != binary.NativeEndian.Uint64(meta[metaSum:]) {
			return fmt.Errorf("page %d is not as it was written", page)
		}
		if tx := binary.NativeEndian.Uint64(meta[metaTx:]); tx >= newest {
			newest, root, p.high = tx, binary.NativeEndian.Uint64(meta[metaRoot:]), binary.NativeEndian.Uint64(meta[metaHigh:])
		}
	}
	_, err = p.walk(root, nil, nil)
	return err
}

// walk looks through a page and all below it, whose keys are from least up to before most
// (nil: any), and returns the last of them.
func (p *pages) walk(id uint64, least, most []byte) (last []byte, err error) {
	var head [pageHead]byte
	if id >= p.high || p.seen[id] {
		return nil, fmt.Errorf("page %d is named twice, or not in use", id)
	}
	if _, err := p.f.ReadAt(head[:], int64(id)*p.size); err != nil {
		return nil, fmt.Errorf("page %d: %w", id, err)
	}
	more := uint64(binary.NativeEndian.Uint32(head[12:]))
	if binary.NativeEndian.Uint64(head[:]) != id || id+more >= p.high {
		return nil, fmt.Errorf("page %d is not as it was written", id)
	}
	for i := id; i <= id+more; i++ {
		if p.seen[i] {
			return nil, fmt.Errorf("page %d is used twice", i)
		}
		p.seen[i] = true
	}
	b := make([]byte, int64(1+more)*p.size)
	if _, err := p.f.ReadAt(b, int64(id)*p.size); err != nil {
		return nil, fmt.Errorf("page %d: %w", id, err)
	}
	if last, err = p.elements(b, least, most); err != nil {
		return nil, fmt.Errorf("page %d: %w", id, err)
	}
	return last, nil
}

// elements looks through what is on a page and below it. They stand one behind the other.
func (p *pages) elements(b, least, most []byte) (last []byte, err error) {
	if len(b) < pageHead {
		return nil, errors.New("it is cut short")
	}
	kind, count := binary.NativeEndian.Uint16(b[8:]), int(binary.NativeEndian.Uint16(b[10:]))
	if kind != pageBranch && kind != pageLeaf || kind == pageBranch && count == 0 {
		return nil, errors.New("it is of no kind that there is")
	}
	next := pageHead + count*elementLen
	last = least
	for i := range count {
		at := pageHead + i*elementLen
		if at+elementLen > len(b) {
			return nil, errors.New("it is cut short")
		}
		word := func(n int) int { return int(binary.NativeEndian.Uint32(b[at+4*n:])) }
		flags, pos, keyLen, valueLen := word(0), word(1), word(2), word(3)
		if kind == pageBranch {
			flags, pos, keyLen, valueLen = 0, word(0), word(1), 0
		}
		if at+pos != next || flags > isBucket || next+keyLen+valueLen > len(b) {
			return nil, fmt.Errorf("element %d is out of place", i)
		}
		key, value := b[next:next+keyLen], b[next+keyLen:next+keyLen+valueLen]
		next += keyLen + valueLen
		if order := bytes.Compare(key, last); order < 0 || order == 0 && i > 0 || most != nil && bytes.Compare(key, most) >= 0 {
			return nil, fmt.Errorf("element %d is out of order", i)
		}
		last = key
		switch {
		case kind == pageBranch:
			end := most
			if i < count-1 {
				if end, err = p.keyOf(b, at+elementLen); err != nil {
					return nil, err
				}
			}
			if last, err = p.walk(binary.NativeEndian.Uint64(b[at+8:]), key, end); err != nil {
				return nil, err
			}
		case flags == isBucket:
			if err := p.bucket(value); err != nil {
				return nil, err
			}
		}
	}
	return last, nil
}

// keyOf is the key of a branch's element at an offset.
func (p *pages) keyOf(b []byte, at int) ([]byte, error) {
	from := at + int(binary.NativeEndian.Uint32(b[at:]))
	to := from + int(binary.NativeEndian.Uint32(b[at+4:]))
	if from > len(b) || to > len(b) {
		return nil, errors.New("an element is out of place")
	}
	return b[from:to], nil
}

// bucket looks through a bucket: pages of its own, or one within its value.
func (p *pages) bucket(value []byte) error {
	if len(value) < bucketHead {
		return errors.New("a bucket is cut short")
	}
	root := binary.NativeEndian.Uint64(value)
	if root == 0 {
		_, err := p.elements(value[bucketHead:], nil, nil)
		return err
	}
	_, err := p.walk(root, nil, nil)
	return err
}
