package servertest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"

	"supd/supervisor/client"
	"supd/supervisor/server"
	"supd/supervisor/spec"
)

// session pretends a command: "cat" copies, "exit N" ends with N, "hang" reads nothing and ends when it is hung up, others
// print themselves, "to stderr" and what they are given.
type session struct {
	theirs, ours [3]*os.File
	o            client.ExecOptions
	hung         chan struct{}
	once         sync.Once
	done         chan client.ExecResult

	mu   sync.Mutex
	size string // guarded by mu
}

// Exec pretends a command in a member; "missing" can't be found.
func (n *Node) Exec(_ context.Context, ns, member string, o client.ExecOptions) (server.Session, error) {
	if o.Command[0] == "missing" {
		return nil, &spec.Error{Code: spec.CodeInvalid, Reason: client.ReasonNoCommand, Message: "cannot run missing in member " + member + ": it is not in PATH"}
	}
	s := &session{o: o, hung: make(chan struct{}), done: make(chan client.ExecResult, 1)}
	for i := range s.ours {
		r, w, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		s.theirs[i], s.ours[i] = w, r
		if i == 0 {
			s.theirs[i], s.ours[i] = r, w
		}
	}
	if !o.Stdin { // it reads the end at once, as of /dev/null
		_ = s.ours[0].Close()
	}
	go func() { // ends with the pretended command, or when it is hung up
		res := s.run(ns + "/" + member)
		for _, f := range s.theirs {
			_ = f.Close()
		}
		s.done <- res
	}()
	return s, nil
}

func (s *session) run(member string) client.ExecResult {
	switch s.o.Command[0] {
	case "cat":
		_, _ = io.Copy(s.theirs[1], s.theirs[0]) // ends when either side does
	case "exit":
		code, err := strconv.Atoi(s.o.Command[1])
		if err != nil {
			return client.ExecResult{Code: -1, Signal: s.o.Command[1]}
		}
		return client.ExecResult{Code: code}
	case "hang":
		<-s.hung
	default:
		fmt.Fprintf(s.theirs[1], "%s %s: %s\n", member, s.o.Process, strings.Join(s.o.Command, " "))
		fmt.Fprintln(s.theirs[2], "to stderr")
	}
	return client.ExecResult{}
}

func (s *session) Files() (stdin, stdout, stderr *os.File) {
	if !s.o.Stdin {
		return nil, s.ours[1], s.ours[2]
	}
	return s.ours[0], s.ours[1], s.ours[2]
}

func (s *session) Resize(rows, cols uint16) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.size = fmt.Sprint(rows, cols)
	return nil
}

func (s *session) Wait() (client.ExecResult, error) {
	select {
	case res := <-s.done:
		return res, nil
	case <-s.hung:
		_ = s.theirs[0].Close() // ends a pretended cat
		<-s.done
		return client.ExecResult{}, errors.New("hung up")
	}
}

func (s *session) Hangup() { s.once.Do(func() { close(s.hung) }) }

func (s *session) Close() {
	s.Hangup()
	for _, f := range s.ours {
		_ = f.Close()
	}
}
