package main

import (
	"bytes"
	"context"
	"flag"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"supd/supervisor/client"
	"supd/supervisor/server"
	"supd/supervisor/server/servertest"
)

var update = flag.Bool("update", false, "rewrite golden files")

// TestMain lets more scripts than cores run beside each other, unless -parallel says otherwise: they wait more than they work.
func TestMain(m *testing.M) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		if err := flag.Set("test.parallel", strconv.Itoa(2*runtime.GOMAXPROCS(0))); err != nil {
			panic(err)
		}
	}
	goleak.VerifyTestMain(m)
}

// serve starts a server on a pretended node and returns its address.
func serve(t *testing.T, n *servertest.Node) string {
	t.Helper()
	s := server.New(n.Options())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	hs := httptest.NewUnstartedServer(servertest.Trusting(s.Handler()))
	path := filepath.Join(t.TempDir(), "supd.sock")
	short, named, err := client.ShortSocketPath(path)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", short)
	named()
	if err != nil {
		t.Fatal(err)
	}
	if err := hs.Listener.Close(); err != nil {
		t.Fatal(err)
	}
	hs.Listener = l
	hs.Config.ConnContext = server.ConnContext
	hs.Start()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
		hs.Close()
	})
	return "unix://" + path
}

// result is what one call of supctl did.
type result struct {
	status         int
	stdout, stderr string
}

// call runs supctl at the pretended time of n (nil: no daemon is needed).
func call(t *testing.T, ctx context.Context, n *servertest.Node, stdin string, args ...string) result {
	t.Helper()
	var out, errs bytes.Buffer
	a := &app{stdin: strings.NewReader(stdin), stdout: &out, stderr: &errs, now: servertest.Epoch.UTC}
	if n != nil {
		a.now = n.Now
	}
	status := a.run(ctx, args)
	return result{status, out.String(), errs.String()}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (go test -update rewrites it); got:\n%s\nwant:\n%s", path, got, want)
	}
}

var viewHash = regexp.MustCompile(`[0-9a-f]{64}`)

// TestGoldenOutput pins every table and form of output.
func TestGoldenOutput(t *testing.T) {
	t.Parallel()
	n := servertest.Story()
	addr := serve(t, n)
	other := httptest.NewServer(servertest.Trusting(server.New(n.Options()).Handler())) // nodes reach each other by TCP
	t.Cleanup(other.Close)
	n.SetAPI("node-2", strings.TrimPrefix(other.URL, "http://"))
	for name, args := range map[string]string{
		"get-sts":          "get sts",
		"get-sts-wide":     "get statefulsets -o wide",
		"get-sts-all":      "get sts -A",
		"get-sts-name":     "get sts -o name",
		"get-sts-json":     "get sts web -o json",
		"get-sts-yaml":     "get sts web -o yaml",
		"get-sts-label":    "get sts -l app=db",
		"get-none":         "get sts -n nowhere",
		"get-members":      "get members",
		"get-members-wide": "get pods -o wide",
		"get-members-all":  "get m -A",
		"get-member-path":  "get m web-1 -o jsonpath={.status.reason}",
		"get-names-path":   "get m -o jsonpath={.items[*].metadata.name}",
		"get-two":          "get m web-0 db-0",
		"get-volumes":      "get pvc",
		"get-volumes-wide": "get vol -o wide",
		"get-services":     "get svc",
		"get-programs":     "get prog",
		"get-revisions":    "get rev",
		"rollout-history":  "rollout history db",
		"get-nodes":        "get no",
		"get-nodes-wide":   "get nodes -o wide",
		"get-events":       "get ev",
		"get-slash":        "get sts/web",
		"volume-list":      "volume list",
		"node-list":        "node list",
		"events-for":       "events --for m/web-1",
		"events-wide":      "events --for no/node-3 -o wide",
		"describe-sts":     "describe sts web",
		"describe-rollout": "describe sts db",
		"describe-member":  "describe m web-1",
		"describe-volume":  "volume describe data-web-2",
		"describe-node":    "describe node node-3",
		"describe-service": "describe svc db",
		"describe-program": "describe prog mysql:5.7",
		"explain-set":      "explain web",
		"explain-member":   "explain web-1",
		"explain-volume":   "explain data-web-2",
		"explain-node":     "explain node-3",
		"explain-json":     "explain web-1 -o json",
		"cluster-status":   "cluster status",
		"cluster-json":     "cluster status -o json",
		"logs":             "logs web-0 --tail 2",
		"logs-all":         "logs web --all-members --prefix --tail 1",
		"wait":             "wait sts/web --for=replicas=2",
	} {
		r := call(t, t.Context(), n, "", append(strings.Fields(args), "--addr", addr)...)
		if r.status != exitOK {
			t.Errorf("supctl %s = %d, %s", args, r.status, r.stderr)
		}
		golden(t, "output/"+name+".txt", "$ supctl "+args+"\n"+viewHash.ReplaceAllString(r.stdout, "#")+r.stderr)
	}
}

// TestHelp pins the whole reference: the help of every command.
func TestHelp(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	var walk func(args []string)
	a := &app{}
	walk = func(args []string) {
		r := call(t, t.Context(), nil, "", append(args, "--help")...)
		if r.status != exitOK || r.stderr != "" {
			t.Errorf("supctl %v --help = %d, %s", args, r.status, r.stderr)
		}
		out.WriteString("$ supctl " + strings.Join(append(args, "--help"), " ") + "\n" + r.stdout + "\n")
		cmd, _, err := a.root().Find(args)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range cmd.Commands() {
			if c.Name() != "completion" && c.Name() != "help" {
				walk(append(append([]string{}, args...), c.Name()))
			}
		}
	}
	walk(nil)
	golden(t, "reference.txt", out.String())
}
