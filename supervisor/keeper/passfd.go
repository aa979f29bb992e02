package keeper

import (
	"net"

	"golang.org/x/sys/unix"
)

// maxFiles bounds the descriptors that may come with one request.
const maxFiles = 3

// fileReader reads a connection and keeps the descriptors that come along with the bytes.
type fileReader struct {
	c     *net.UnixConn
	oob   [64]byte
	files []int
}

// Read is io.Reader's.
func (r *fileReader) Read(b []byte) (int, error) {
	n, oobn, _, _, err := r.c.ReadMsgUnix(b, r.oob[:]) // close-on-exec, by package net
	if n < 0 {                                         // it says so of a deadline
		n = 0
	}
	if oobn <= 0 {
		return n, err
	}
	msgs, perr := unix.ParseSocketControlMessage(r.oob[:oobn])
	if perr != nil {
		return n, perr
	}
	for i := range msgs {
		fds, perr := unix.ParseUnixRights(&msgs[i])
		if perr != nil {
			continue // something else that came along
		}
		r.files = append(r.files, fds...)
	}
	if len(r.files) > maxFiles {
		r.drop()
	}
	return n, err
}

// take hands out what has come; the caller closes it.
func (r *fileReader) take() []int {
	files := r.files
	r.files = nil
	return files
}

// drop closes what nobody has taken.
func (r *fileReader) drop() {
	for _, fd := range r.take() {
		unix.Close(fd)
	}
}
