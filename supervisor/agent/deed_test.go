package agent

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"supd/supervisor/keeper"
	"supd/supervisor/spec"
	"supd/supervisor/template"
)

// TestHookByHTTP: a hook's request is rendered as a probe's is, and passes with the same.
func TestHookByHTTP(t *testing.T) {
	t.Parallel()
	hang := make(chan struct{})
	var asked string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.URL.String() + " " + r.Header.Get("X-Set")
		switch r.URL.Path {
		case "/no":
			http.Error(w, "not now", http.StatusConflict)
		case "/hang":
			<-hang
		}
	}))
	t.Cleanup(srv.Close)
	t.Cleanup(func() { close(hang) })
	at := netip.MustParseAddrPort(srv.Listener.Addr().String())
	f := &template.Facts{Member: template.Member{Name: "web-0", IP: at.Addr().String(), Ports: map[string]int{"admin": int(at.Port())}}, Set: template.Set{Name: "web"}}
	j := job{part: Part{Template: &spec.Template{Processes: []spec.Process{{Name: "main"}}}}}
	hook := func(path string, port spec.IntOrString) spec.Hook {
		return spec.Hook{HTTP: &spec.HTTPGet{Path: path, Port: port, Scheme: "http", Headers: map[string]string{"X-Set": "${set.name}"}}}
	}
	for _, c := range []struct {
		name string
		hook spec.Hook
		says string // "": it succeeds
	}{
		{"well", hook("/bye?who=${member.name}", "admin"), ""},
		{"refused", hook("/no", "admin"), "answered 409: not now"},
		{"too slow", hook("/hang", "admin"), "did not answer in time"},
		{"nobody there", hook("/", "1"), "connection refused"},
		{"no such port", hook("/", "admim"), `did you mean "admin"`},
		{"a template that is wrong", hook("/${nope}", "admin"), "nope"},
	} {
		do, err := j.deedOf(call{hook: spec.HookPreStop, process: "main"}, c.hook, keeper.Exec{}, f)
		if err == nil {
			within := time.Minute
			if c.hook.HTTP.Path == "/hang" {
				within = 200 * time.Millisecond
			}
			err = do.get(t.Context(), spec.HookPreStop, within)
		}
		if (err == nil) != (c.says == "") || err != nil && (!strings.Contains(err.Error(), c.says) || !failedHook(err)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.says)
		}
		if c.says == "" && asked != "/bye?who=web-0 web" {
			t.Errorf("%s: it was asked %q", c.name, asked)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	do, err := j.deedOf(call{hook: spec.HookPreStop, process: "main"}, hook("/", "admin"), keeper.Exec{}, f)
	if err != nil {
		t.Fatal(err)
	}
	if err := do.get(ended, spec.HookPreStop, time.Second); !errors.Is(err, context.Canceled) {
		t.Errorf("cut off: %v, which says nothing of the hook", err)
	}

	// The keeper gets it as bytes, but for https.
	proc := spec.Process{Name: "main", Hooks: spec.Hooks{spec.HookPreStop: hook("/bye", "admin")}}
	h := keeperPreStop(proc, f)
	if h == nil || h.Get == nil || h.Get.To != at.String() || !strings.HasPrefix(string(h.Get.Request), "GET /bye HTTP/1.1\r\n") || !strings.Contains(string(h.Get.Request), "X-Set: web\r\n") {
		t.Errorf("the keeper is told %+v", h)
	}
	proc.Hooks[spec.HookPreStop].HTTP.Scheme = "https"
	if h := keeperPreStop(proc, f); h != nil {
		t.Errorf("the keeper is told %+v of a request by https", h)
	}
}
