package server_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"supd/supervisor/server/servertest"
)

var update = flag.Bool("update", false, "rewrite golden files")

// golden compares got with testdata/NAME.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (go test -update rewrites it); got:\n%s", path, got)
	}
}

func httpGet(t *testing.T, url string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return httpDo(t, req)
}

func httpDo(t *testing.T, req *http.Request) (*http.Response, []byte) {
	t.Helper()
	tr := &http.Transport{DisableKeepAlives: true}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, b
}

// TestGoldenJSON pins every object and answer that programs read.
func TestGoldenJSON(t *testing.T) {
	t.Parallel()
	_, hs := serve(t, servertest.Story())
	const ns = "/v1/namespaces/default"
	for name, path := range map[string]string{
		"statefulset.json":         ns + "/statefulsets/web",
		"statefulset-rollout.json": ns + "/statefulsets/db",
		"statefulsets.json":        "/v1/statefulsets?labelSelector=app%3Dweb",
		"member.json":              ns + "/members/web-0",
		"member-sick.json":         ns + "/members/web-1",
		"members.json":             ns + "/members",
		"volume.json":              ns + "/volumes/data-web-0",
		"volume-retained.json":     ns + "/volumes/data-web-2",
		"volumes.json":             ns + "/volumes",
		"service.json":             ns + "/services/db",
		"services.json":            ns + "/services",
		"program.json":             ns + "/programs/mysql:5.7",
		"programs.json":            ns + "/programs",
		"revisions.json":           ns + "/revisions",
		"node.json":                "/v1/nodes/node-3",
		"nodes.json":               "/v1/nodes",
		"rollout.json":             ns + "/statefulsets/db/rollout",
		"events.json":              ns + "/events?for=member/web-1",
		"cluster.json":             "/v1/cluster",
		"scale.json":               ns + "/statefulsets/web/scale",
		"explain-set.json":         ns + "/statefulsets/web/explain",
		"explain-rollout.json":     ns + "/statefulsets/db/explain",
		"explain-member.json":      ns + "/members/web-1/explain",
		"explain-healthy.json":     ns + "/members/web-0/explain",
		"explain-volume.json":      ns + "/volumes/data-web-2/explain",
		"explain-node.json":        "/v1/nodes/node-3/explain",
		"not-found.json":           ns + "/statefulsets/nope",
		"version.json":             "/v1/version",
		"healthz.json":             "/healthz",
		"readyz.json":              "/readyz",
	} {
		_, b := httpGet(t, hs.URL+path)
		var out bytes.Buffer
		if err := json.Indent(&out, bytes.TrimSpace(b), "", "  "); err != nil {
			t.Fatalf("GET %s = %s: %v", path, b, err)
		}
		out.WriteByte('\n')
		golden(t, name, viewHash.ReplaceAll(out.Bytes(), []byte(`"hash": "#"`)))
	}
	_, b := httpGet(t, hs.URL+"/metrics")
	golden(t, "metrics.txt", maskRequests(b))
}

// viewHash changes with every new field of the View; what it covers is not this
// package's.
var viewHash = regexp.MustCompile(`"hash": "[0-9a-f]{64}"`)

// maskRequests hides the counter that depends on the order of requests.
func maskRequests(b []byte) []byte {
	var out [][]byte
	for _, line := range bytes.Split(b, []byte("\n")) {
		if bytes.HasPrefix(line, []byte("supd_api_requests_total ")) || bytes.HasPrefix(line, []byte("supd_api_errors_total ")) {
			line = append(line[:bytes.IndexByte(line, ' ')+1:bytes.IndexByte(line, ' ')+1], '#')
		}
		out = append(out, line)
	}
	return bytes.Join(out, []byte("\n"))
}
