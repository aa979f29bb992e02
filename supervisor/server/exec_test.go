package server_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"

	"supd/supervisor/client"
	"supd/supervisor/server"
	"supd/supervisor/server/servertest"
	"supd/supervisor/spec"
)

// execute runs a command to its end.
func execute(t *testing.T, c *client.Client, member, stdin string, o client.ExecOptions) (out, errs string, res client.ExecResult, err error) {
	t.Helper()
	s, err := c.Exec(t.Context(), "default", member, o)
	if err != nil {
		return "", "", res, err
	}
	defer s.Close()
	sent := make(chan error, 1)
	go func() {
		if !o.Stdin {
			sent <- nil
			return
		}
		err := s.Stdin([]byte(stdin))
		sent <- errors.Join(err, s.Resize(24, 80), s.CloseStdin())
	}()
	var o1, o2 bytes.Buffer
	res, err = s.Copy(&o1, &o2)
	if serr := <-sent; serr != nil {
		t.Errorf("send: %v", serr)
	}
	return o1.String(), o2.String(), res, err
}

func command(argv ...string) client.ExecOptions { return client.ExecOptions{Command: argv} }

// twoNodes are a node without members of its own, as good as, and the owner of web-0.
func twoNodes(t *testing.T) (here, owner *client.Client, other *servertest.Node) {
	t.Helper()
	n := servertest.Story()
	m := n.View().MemberNamed("default", "web-0")
	n.Name = m.Node
	owner, hs := serve(t, n)
	other = servertest.Story()
	other.Name = "node-9"
	other.SetAPI(m.Node, strings.TrimPrefix(hs.URL, "http://"))
	here, _ = serve(t, other)
	return here, owner, other
}

func TestExec(t *testing.T) {
	t.Parallel()
	here, owner, other := twoNodes(t)
	big := strings.Repeat("0123456789abcdef", 200_000)
	for what, c := range map[string]*client.Client{"at the owner": owner, "forwarded": here} {
		out, errs, res, err := execute(t, c, "web-0", "", command("say", "hello"))
		if err != nil || out != "default/web-0 main: say hello\n" || errs != "to stderr\n" || res.Code != 0 {
			t.Errorf("%s: %q %q %+v %v", what, out, errs, res, err)
		}
		if _, _, res, err := execute(t, c, "web-0", "", command("exit", "7")); err != nil || res.Code != 7 {
			t.Errorf("%s: %+v, %v, want 7", what, res, err)
		}
		if _, _, res, err := execute(t, c, "web-0", "", command("exit", "SIGKILL")); err != nil || res.Code != -1 || res.Signal != "SIGKILL" {
			t.Errorf("%s: %+v, %v, want a signal", what, res, err)
		}
		o := command("cat")
		o.Stdin = true
		if out, _, _, err := execute(t, c, "web-0", big, o); err != nil || out != big {
			t.Errorf("%s: %d bytes of %d came back, %v", what, len(out), len(big), err)
		}
		var e *spec.Error
		if _, err := c.Exec(t.Context(), "default", "web-0", command("missing")); !errors.As(err, &e) || e.Reason != client.ReasonNoCommand {
			t.Errorf("%s: a missing command: %v", what, err)
		}
		for _, c2 := range []struct {
			member string
			o      client.ExecOptions
			want   spec.Code
		}{
			{"web-99", command("true"), spec.CodeNotFound},
			{"web-0", client.ExecOptions{Process: "other", Command: []string{"true"}}, spec.CodeNotFound},
			{"web-0", command(), spec.CodeInvalid},
			{"web-0", client.ExecOptions{Copy: true, Command: []string{"run"}}, spec.CodeInvalid},
		} {
			if _, err := c.Exec(t.Context(), "default", c2.member, c2.o); spec.CodeOf(err) != c2.want {
				t.Errorf("%s: %+v: %v, want %s", what, c2, err, c2.want)
			}
		}
	}
	other.SetAPI(other.View().MemberNamed("default", "web-0").Node, "127.0.0.1:1")
	if _, err := here.Exec(t.Context(), "default", "web-0", command("true")); spec.CodeOf(err) != spec.CodeNoLeader || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("with its node down: %v", err)
	}
	if _, err := owner.Exec(t.Context(), "default", "web-1", command("true")); err == nil {
		t.Error("a member of a node whose address is not known: no error")
	}
}

// A client that goes ends its command, also when the command does not take what was sent.
func TestExecHangup(t *testing.T) {
	t.Parallel()
	here, owner, _ := twoNodes(t)
	for what, c := range map[string]*client.Client{"at the owner": owner, "forwarded": here} {
		ctx, cancel := context.WithCancel(t.Context())
		o := command("hang")
		o.Stdin = true
		s, err := c.Exec(ctx, "default", "web-0", o)
		if err != nil {
			t.Fatal(err)
		}
		stuck := make(chan error, 1)
		go func() {
			for {
				if err := s.Stdin(make([]byte, 64<<10)); err != nil {
					stuck <- err
					return
				}
			}
		}()
		cancel()
		<-stuck
		if _, err := s.Copy(nil, nil); err == nil {
			t.Errorf("%s: no error", what)
		}
		_ = s.Close()
	} // that it has ended the test's cleanup waits for
}

// Run doesn't end before its sessions, and ends them.
func TestExecEndsWithServer(t *testing.T) {
	t.Parallel()
	n := servertest.Story()
	n.Name = n.View().MemberNamed("default", "web-0").Node
	s := server.New(n.Options())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	c, err := client.New(newHTTP(t, s), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	x, err := c.Exec(t.Context(), "default", "web-0", command("hang"))
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := x.Copy(nil, nil); err == nil {
		t.Error("the session went on")
	}
	if _, err := c.Exec(t.Context(), "default", "web-0", command("hang")); spec.CodeOf(err) != spec.CodeNoLeader {
		t.Errorf("a session after the end: %v", err)
	}
}

// Strangers and web pages run nothing.
func TestExecIsGuarded(t *testing.T) {
	t.Parallel()
	n := servertest.Story()
	n.Name = n.View().MemberNamed("default", "web-0").Node
	s := server.New(n.Options())
	for _, path := range []string{"/v1/namespaces/default/members/web-0/exec", "/v1/internal/exec?namespace=default&member=web-0"} {
		for what, c := range map[string]struct {
			stranger bool
			header   map[string]string
			want     int
		}{
			"a stranger":        {true, nil, http.StatusUnauthorized},
			"a page":            {false, map[string]string{"Origin": "SELF"}, http.StatusBadRequest},
			"a foreign page":    {false, map[string]string{"Origin": "https://evil.example"}, http.StatusBadRequest},
			"no upgrade":        {false, map[string]string{"Upgrade": ""}, http.StatusBadRequest},
			"all in good order": {false, nil, http.StatusSwitchingProtocols},
		} {
			h := servertest.Trusting(s.Handler())
			if c.stranger {
				h = s.Handler()
			}
			hs := server.NewHTTPServer(h)
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			served := make(chan error, 1)
			go func() { served <- hs.Serve(l) }()
			url := "http://" + l.Addr().String()
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+path, strings.NewReader(`{"command":["exit","0"]}`))
			if err != nil {
				t.Fatal(err)
			}
			for k, v := range map[string]string{"Content-Type": "application/json", "Connection": "Upgrade", "Upgrade": client.ExecProtocol} {
				req.Header.Set(k, v)
			}
			for k, v := range c.header {
				if v == "SELF" {
					v = url
				}
				req.Header.Set(k, v)
			}
			tr := &http.Transport{DisableKeepAlives: true}
			res, err := tr.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			if res.StatusCode != c.want {
				t.Errorf("%s at %s: status %d, want %d", what, path, res.StatusCode, c.want)
			}
			_ = res.Body.Close()
			if err := hs.Shutdown(context.WithoutCancel(t.Context())); err != nil {
				t.Error(err)
			}
			<-served
		}
	}
}
