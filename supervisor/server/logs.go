package server

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/client"
	"supd/supervisor/spec"
)

func logOptions(r *http.Request) (client.LogOptions, error) {
	q := r.URL.Query()
	o := client.LogOptions{Process: q.Get("process"), Previous: flag(r, "previous"), Follow: flag(r, "follow"), Tail: -1}
	if t := q.Get("tail"); t != "" {
		n, err := strconv.Atoi(t)
		if err != nil || n < 0 {
			return o, spec.Errorf(spec.CodeInvalid, "cannot read tail=%q: want a number of lines", t)
		}
		o.Tail = n
	}
	if s := q.Get("since"); s != "" {
		d, err := time.ParseDuration(s)
		if err != nil || d <= 0 {
			return o, spec.Errorf(spec.CodeInvalid, "cannot read since=%q: want a time more than 0, such as 10m", s)
		}
		o.Since = d
	}
	if s := q.Get("sinceTime"); s != "" {
		t, err := time.Parse(time.RFC3339, s)
		if err != nil {
			return o, spec.Errorf(spec.CodeInvalid, "cannot read sinceTime=%q: want a time such as 2006-01-02T15:04:05Z", s)
		}
		o.SinceTime = t
	}
	if o.Since > 0 && !o.SinceTime.IsZero() {
		return o, spec.Errorf(spec.CodeInvalid, "since and sinceTime don't go together")
	}
	if o.Follow && o.Previous {
		return o, spec.Errorf(spec.CodeInvalid, "cannot follow the log of an earlier start: it does not grow")
	}
	return o, nil
}

// logs serves a member's log from any node: its own, or by way of the owner.
func (s *Server) logs(w http.ResponseWriter, r *http.Request) error {
	o, err := logOptions(r)
	if err != nil {
		return err
	}
	ns, name := r.PathValue("ns"), r.PathValue("name")
	m, err := s.memberOf(ns, name, &o.Process)
	if err != nil {
		return err
	}
	if m.Node == s.o.Node {
		return s.serveLogs(w, r, ns, name, o)
	}
	c, err := s.nodeClient(m.Node)
	if err != nil {
		return err
	}
	body, err := c.NodeLogs(r.Context(), ns, name, o)
	if err != nil {
		if e := asError(err); e.Code == spec.CodeNoLeader {
			return spec.Errorf(spec.CodeNoLeader, "cannot read the log of member %s: its node %s does not answer: %v", name, m.Node, err)
		}
		return err
	}
	defer body.Close()
	startStream(w)
	copyStream(w, body)
	return nil
}

// memberOf finds a member and checks the process that is asked for, filling in the main one.
func (s *Server) memberOf(ns, name string, process *string) (*state.Member, error) {
	v := s.o.Store.View()
	m := v.MemberNamed(ns, name)
	if m == nil {
		return nil, spec.Errorf(spec.CodeNotFound, "there is no member %s in namespace %s", name, ns)
	}
	var err error
	*process, err = processOf(v, m, *process)
	return m, err
}

// processOf checks a process's name; "" means the main one. Init steps and hooks have logs too.
func processOf(v *state.View, m *state.Member, process string) (string, error) {
	rev := v.Revision(m.Namespace, m.Set, m.Revision)
	if rev == nil || len(rev.Template.Processes) == 0 {
		return process, nil
	}
	if process == "" {
		return rev.Template.Processes[0].Name, nil
	}
	names := rev.Template.LogNames()
	if !slices.Contains(names, process) {
		return "", spec.Errorf(spec.CodeNotFound, "member %s has no process %s; there is: %s", m.Name(), process, strings.Join(names, ", "))
	}
	return process, nil
}

// nodeLogs serves the log of a member of this node.
func (s *Server) nodeLogs(w http.ResponseWriter, r *http.Request) error {
	o, err := logOptions(r)
	if err != nil {
		return err
	}
	q := r.URL.Query()
	return s.serveLogs(w, r, q.Get("namespace"), q.Get("member"), o)
}

func (s *Server) serveLogs(w http.ResponseWriter, r *http.Request, ns, member string, o client.LogOptions) error {
	body, err := s.o.Agent.Logs(r.Context(), ns, member, o)
	if err != nil {
		return err
	}
	// A follower blocks in Read: closing ends it when the reader leaves, the member is
	// gone or the server ends.
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.untilGone(r.Context(), ns, member, stop)
		_ = body.Close()
	}()
	startStream(w)
	copyStream(w, body)
	close(stop)
	<-done
	return nil
}

// lastLines is how long a follower of a member that is gone gets for its last lines.
const lastLines = 500 * time.Millisecond

// untilGone waits until the member is no more, or nobody reads its log any more.
func (s *Server) untilGone(ctx context.Context, ns, member string, stop <-chan struct{}) {
	var gone <-chan time.Time
	first := s.o.Store.View().MemberNamed(ns, member)
	for {
		ch := s.o.Store.Changed()
		m := s.o.Store.View().MemberNamed(ns, member)
		if gone == nil && first != nil && (m == nil || m.UID != first.UID) {
			t := time.NewTimer(lastLines)
			defer t.Stop()
			gone = t.C
		}
		select {
		case <-ctx.Done():
			return
		case <-s.ending:
			return
		case <-stop:
			return
		case <-gone:
			return
		case <-ch:
		}
	}
}

func startStream(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(w).Flush() // a recorder of tests cannot; nothing is lost
}

// nodeUsage tells how much a volume of this node holds.
func (s *Server) nodeUsage(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	n, err := s.o.Agent.Usage(r.Context(), q.Get("namespace"), q.Get("volume"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, client.Usage{UsedBytes: n})
}
