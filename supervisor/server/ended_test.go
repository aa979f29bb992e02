package server_test

import (
	"context"
	"errors"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"supd/raftstore/state"
	"supd/supervisor/client"
	"supd/supervisor/server"
	"supd/supervisor/server/servertest"
	"supd/supervisor/spec"
)

// serveAs serves n to whoever asks as an operator's account, which it makes.
func serveAs(t *testing.T, n *servertest.Node, expires time.Time) *client.Client {
	t.Helper()
	n.Do(&state.PutAccount{Name: "ci", UID: "uid-ci", Role: spec.RoleOperator, Kind: spec.AccountToken, Token: "0123456789ab", Hash: strings.Repeat("0", 64), Expires: expires})
	s := server.New(n.Options())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	hs := httptest.NewServer(servertest.As(server.Caller{Who: "account:ci", Role: spec.RoleOperator, Account: "ci"}, s.Handler()))
	tr := client.NewTransport(nil)
	c, err := client.New(hs.URL, client.Options{Transport: tr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
		c.Close()
		tr.CloseIdleConnections()
		hs.Close()
	})
	return c
}

// followed is what an account has open: each ends with the error that its holder is told.
func followed(t *testing.T, c *client.Client) map[string]func() error {
	t.Helper()
	log, err := c.Logs(t.Context(), "default", "web-0", client.LogOptions{Follow: true, Tail: -1})
	if err != nil {
		t.Fatal(err)
	}
	w, err := c.Watch(t.Context(), client.Events, "", 0, client.ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	exec := func(argv ...string) func() error {
		o := command(argv...)
		o.Stdin = true
		s, err := c.Exec(t.Context(), "default", "web-0", o)
		if err != nil {
			t.Fatal(err)
		}
		return func() error {
			defer s.Close()
			_ = s.Stdin(make([]byte, 200_000)) // what nobody has read must not cost the client the last words
			_, err := s.Copy(io.Discard, io.Discard)
			return err
		}
	}
	return map[string]func() error{
		"a log": func() error {
			defer log.Close()
			_, err := io.Copy(io.Discard, log)
			return err
		},
		"a watch": func() error {
			defer w.Close()
			for {
				if _, err := w.Next(); err != nil {
					return err
				}
			}
		},
		"a command":             exec("cat"),
		"a command that hangs":  exec("hang"),
		"a command that is new": exec("cat"),
	}
}

// Whoever follows something when his access ends is told, wherever the member is: an end by itself would look like the end of
// what he follows.
func TestStreamsTellThatAccessEnded(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"was revoked", "expired"} {
		for _, where := range []string{"at the owner", "by way of another node"} {
			t.Run(how+" "+where, func(t *testing.T) {
				t.Parallel()
				n := servertest.Story()
				owner := n.View().MemberNamed("default", "web-0").Node
				n.Name = owner
				if where != "at the owner" {
					_, hs := serve(t, n)
					n = servertest.Story()
					n.Name = "node-9"
					n.SetAPI(owner, strings.TrimPrefix(hs.URL, "http://"))
				}
				var expires time.Time
				if how == "expired" {
					expires = n.Now().Add(2 * time.Second)
				}
				c := serveAs(t, n, expires)
				open := followed(t, c)
				ends := make(chan error, len(open))
				for what, end := range open {
					go func() {
						err := end()
						var e *spec.Error
						if !errors.As(err, &e) || e.Code != spec.CodeRefused || e.Reason != client.ReasonAccessEnded || !strings.Contains(e.Message, "account ci "+how) {
							t.Errorf("%s ended with %v, want that access has ended", what, err)
						}
						ends <- nil
					}()
				}
				if how == "was revoked" {
					n.Do(&state.RevokeAccount{Name: "ci"})
				}
				for range open {
					<-ends
				}
			})
		}
	}
}

// A watch that the leader answers for another node passes on why it ended.
func TestForwardedStreamTellsItsEnd(t *testing.T) {
	t.Parallel()
	leader := servertest.Story()
	leader.Do(&state.PutAccount{Name: "ci", UID: "uid-ci", Role: spec.RoleOperator, Kind: spec.AccountToken, Token: "0123456789ab", Hash: strings.Repeat("0", 64)})
	_, hs := serve(t, leader)
	n := servertest.Story()
	n.Name = "node-2"
	n.SetStatus(func(st *server.RaftStatus) {
		st.Leading, st.Leader, st.LeaderAPI = false, "node-1", strings.TrimPrefix(hs.URL, "http://")
	})
	w, err := serveAs(t, n, time.Time{}).Watch(t.Context(), client.Nodes, "", 0, client.ReadOptions{Consistent: true})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	n.Do(&state.RevokeAccount{Name: "ci"})
	for err == nil {
		_, err = w.Next()
	}
	if e := asSpec(t, err); e.Reason != client.ReasonAccessEnded {
		t.Errorf("it ended with %v", err)
	}
}
