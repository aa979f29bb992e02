package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"supd/supervisor/client"
	"supd/supervisor/server/servertest"
	"supd/supervisor/spec"
)

// definition is a small set in native YAML.
const definition = `apiVersion: supd/v1
kind: StatefulSet
metadata:
  name: kv
spec:
  replicas: 2
  processes:
  - name: main
    command: [sleep, infinity]
`

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestExitStatus: one line on standard error, and the status that cli.md says.
func TestExitStatus(t *testing.T) {
	t.Parallel()
	n := servertest.Story()
	addr := serve(t, n)
	good, bad := write(t, "kv.yaml", definition), write(t, "bad.yaml", strings.Replace(definition, "replicas", "replicsa", 1))
	for _, c := range []struct {
		args   string
		status int
		says   string
	}{
		{"get sts", exitOK, ""},
		{"get", exitUsage, "at least 1 arg"},
		{"get flowers", exitUsage, "flowers"},
		{"get sts -o xml", exitUsage, "xml"},
		{"get sts -o jsonpath", exitUsage, "jsonpath"},
		{"get sts -o jsonpath={.items[", exitUsage, "not closed"},
		{"get sts --reason x", exitUsage, "--reason"},
		{"get sts web --if-version 3", exitUsage, "--if-version"},
		{"get sts web -A", exitUsage, "-A"},
		{"nonsense", exitUsage, "nonsense"},
		{"volume nonsense", exitUsage, "nonsense"},
		{"completion nosh", exitUsage, "nosh"},
		{"explain svc/web", exitUsage, "service"},
		{"node cordon nope", exitNotFound, "there is no node nope"},
		{"rollout", exitUsage, "rollout"},
		{"rollout nonsense web", exitUsage, "nonsense"},
		{"rollout status nope", exitNotFound, "nope"},
		{"rollout status web --timeout 500ms", exitTimeout, "web-1"},
		{"rollout status web --wait=false", exitFailed, "web-1"},
		{"rollout history nope", exitNotFound, "nope"},
		{"rollout history web --revision 7", exitNotFound, "7"},
		{"rollout undo nope", exitNotFound, "nope"},
		{"rollout undo web", exitRefused, "no other revision"},
		{"rollout undo db --to-revision 9", exitNotFound, "it has 2, 1"},
		{"rollout undo db --to-revision 0", exitUsage, "--to-revision"},
		{"rollout undo db --to-revision 1 --if-version 1", exitRefused, "resourceVersion"},
		{"rollout pause db --if-version 1", exitRefused, "resourceVersion"},
		{"rollout resume db --timeout 3s", exitUsage, "--wait"},
		{"scale web", exitUsage, "--replicas"},
		{"scale web --replicas=-1", exitUsage, "--replicas"},
		{"wait sts/web --for=ready --timeout 10", exitUsage, "timeout"},
		{"wait sts/web --for=cake", exitUsage, "cake"},
		{"wait sts/web", exitUsage, "--for"},
		{"wait sts/web --for=condition=Cake", exitUsage, "Cake"},
		{"get sts nope", exitNotFound, "nope"},
		{"get m web-9", exitNotFound, "web-9"},
		{"describe sts nope", exitNotFound, "nope"},
		{"explain nope", exitNotFound, "nope"},
		{"logs nope", exitNotFound, "nope"},
		{"restart nope", exitNotFound, "nope"},
		{"wait sts/nope --for=ready", exitNotFound, "nope"},
		{"delete sts nope", exitNotFound, "nope"},
		{"delete vol data-web-2", exitUsage, "volume release"},
		{"delete node node-1", exitUsage, "node"},
		{"scale web --replicas 1", exitRefused, "web-1"},
		{"scale web --replicas 3 --current-replicas 5", exitRefused, "5"},
		{"scale web --replicas 3 --if-version 1", exitRefused, "resourceVersion"},
		{"volume release data-web-0", exitRefused, "data-web-0"},
		{"volume release data-web-2 --now", exitRefused, "--confirm"},
		{"volume release data-web-2 --now --confirm data-web-1", exitRefused, "data-web-1"},
		{"volume release data-web-2 --confirm data-web-2", exitUsage, "--now"},
		{"volume undo-release data-web-2", exitRefused, "data-web-2"},
		{"delete svc web", exitRefused, "web"},
		{"apply", exitUsage, "-f"},
		{"apply -f /nowhere/x.yaml", exitUsage, "/nowhere"},
		{"apply -f " + bad, exitUsage, "replicsa"},
		{"apply -f " + good + " -n other --if-version 7", exitRefused, "kv"},
		{"validate -f " + good, exitOK, ""},
		{"validate -f " + bad, exitUsage, "replicsa"},
		{"convert -f " + good, exitUsage, "-o"},
		{"apply -f " + good + " --timeout 3s", exitUsage, "--wait"},
		{"wait sts/web --for=ready --timeout 500ms", exitTimeout, "web-1"},
		{"wait sts/web --for=available --timeout 500ms", exitTimeout, "available"},
		{"wait m/web-1 --for=ready --timeout 500ms", exitTimeout, "exit status 1"},
		{"wait m/web-9 --for=deleted", exitOK, ""},
		{"wait sts/web --for=condition=scaledownblocked", exitOK, ""},
	} {
		r := call(t, t.Context(), n, "", append(strings.Fields(c.args), "--addr", addr)...)
		if r.status != c.status || !strings.Contains(r.stderr, c.says) {
			t.Errorf("supctl %s = %d, want %d; stderr, which should say %q: %s", c.args, r.status, c.status, c.says, r.stderr)
		}
		last := r.stderr[strings.LastIndex(strings.TrimSuffix(r.stderr, "\n"), "\n")+1:]
		if r.status != exitOK && !strings.HasPrefix(last, "supctl: ") {
			t.Errorf("supctl %s ends with %q on standard error, want the error", c.args, last)
		}
	}
}

// TestNoDaemon: status 5, by socket and by TCP.
func TestNoDaemon(t *testing.T) {
	t.Parallel()
	token := writeFile(t, "supd-auth-v1."+strings.Repeat("0", 32)+"."+strings.Repeat("0", 12)+"."+strings.Repeat("0", 64))
	for _, addr := range []string{"unix://" + t.TempDir() + "/none.sock", "127.0.0.1:1"} {
		for _, args := range []string{"get sts", "node cordon node-1", "wait sts/web --for=ready"} {
			r := call(t, t.Context(), nil, "", append(strings.Fields(args), "--addr", addr, "--token-file", token, "--request-timeout", "1s")...)
			if r.status != exitNoLeader || !strings.Contains(r.stderr, "cannot reach supd") {
				t.Errorf("supctl %s at %s = %d %s, want 5", args, addr, r.status, r.stderr)
			}
		}
	}
	for _, addr := range []string{"nonsense", "ftp://127.0.0.1:1", "127.0.0.1:1/x", "http://127.0.0.1:1"} {
		if r := call(t, t.Context(), nil, "", "get", "sts", "--addr", addr, "--token-file", token); r.status != exitUsage || !strings.Contains(r.stderr, "https://HOST:PORT") {
			t.Errorf("the wrong address %s = %d %s, want 2 and what is right", addr, r.status, r.stderr)
		}
	}
}

// TestNoLeader: a write waits for the request timeout, then status 5; reads go on.
func TestNoLeader(t *testing.T) {
	t.Parallel()
	n := servertest.Story()
	n.FailWith(&spec.Error{Code: spec.CodeNoLeader, Reason: client.ReasonNoLeader, Message: "the cluster has no leader now"})
	addr := serve(t, n)
	r := call(t, t.Context(), n, "", "scale", "web", "--replicas", "3", "--addr", addr, "--request-timeout", "2s")
	if r.status != exitNoLeader || !strings.Contains(r.stderr, "no leader") {
		t.Errorf("a write = %d %s, want 5", r.status, r.stderr)
	}
	if r := call(t, t.Context(), n, "", "get", "sts", "--addr", addr); r.status != exitOK {
		t.Errorf("a read = %d %s, want it answered", r.status, r.stderr)
	}
}

func TestExitStatusOfCodes(t *testing.T) {
	t.Parallel()
	for code, want := range map[spec.Code]int{
		spec.CodeInvalid: 2, spec.CodeNotFound: 3, spec.CodeRefused: 4, spec.CodeConflict: 4,
		spec.CodeNoLeader: 5, spec.CodeTimeout: 6, spec.CodeInternal: 1, "Nonsense": 1,
	} {
		if got := exitStatus(spec.Errorf(code, "x")); got != want {
			t.Errorf("exit status of %s = %d, want %d", code, got, want)
		}
	}
	if exitStatus(nil) != 0 || exitStatus(errors.New("x")) != 1 {
		t.Error("no error is 0, an unknown one 1")
	}
}

// TestCtrlC only stops following.
func TestCtrlC(t *testing.T) {
	t.Parallel()
	n := servertest.Story()
	addr := serve(t, n)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := call(t, ctx, n, "", "wait", "sts/web", "--for=ready", "--addr", addr)
	if r.status != exitFailed || !strings.Contains(r.stderr, "stopped following") {
		t.Errorf("after Ctrl-C = %d %s", r.status, r.stderr)
	}
}
