package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"supd/configs"
	"supd/supervisor/client"
	"supd/supervisor/pki"
	"supd/supervisor/spec"
)

// canary is a secret, in every form in which it might be seen.
type canary struct {
	name  string
	forms [][]byte
}

// canaries are looked for in whatever a cluster shows and writes.
type canaries []canary

// add takes a text, and what it means if it is hexadecimal.
func (c *canaries) add(t *testing.T, name, text string) {
	t.Helper()
	if text = strings.TrimSpace(text); len(text) < 16 {
		t.Fatalf("%s is too short to be looked for: %q", name, text)
	}
	k := canary{name: name, forms: [][]byte{[]byte(text), []byte(base64.StdEncoding.EncodeToString([]byte(text))[:20])}}
	if raw, err := hex.DecodeString(text); err == nil {
		k.forms = append(k.forms, raw, []byte(strings.ToUpper(text)), []byte(base64.StdEncoding.EncodeToString(raw)[:20]))
	}
	*c = append(*c, k)
}

// addFile takes each line of a file that holds a secret: all of a key, or what stands behind a name.
func (c *canaries) addFile(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if p, _ := pem.Decode(b); p != nil {
		key := p.Bytes[len(p.Bytes)-ed25519.SeedSize:]
		c.add(t, path, hex.EncodeToString(key))
		c.add(t, path, base64.StdEncoding.EncodeToString(p.Bytes)[24:])
		return
	}
	n := 0
	for _, word := range strings.FieldsFunc(string(b), func(r rune) bool { return strings.ContainsRune(" \n\t\":,{}[]", r) }) {
		if len(word) >= 32 {
			c.add(t, path, word)
			n++
		}
	}
	if n == 0 {
		t.Fatalf("%s holds nothing to look for: its form has changed", path)
	}
}

// in tells which secrets stand in b.
func (c canaries) in(b []byte) (found []string) {
	for _, k := range c {
		for _, f := range k.forms {
			if bytes.Contains(b, f) {
				found = append(found, k.name)
				break
			}
		}
	}
	return found
}

// secretsOf are all that a cluster in dir holds.
func secretsOf(t *testing.T, dir string, nodes int) (c canaries) {
	t.Helper()
	c.addFile(t, filepath.Join(dir, "secret"))
	for k := 1; k <= nodes; k++ {
		for _, f := range []string{"seed", "node.key", "gossip"} {
			c.addFile(t, filepath.Join(dir, nodeName(k), "pki", f))
		}
	}
	return c
}

// look looks for secrets below dir, but where they belong.
func (c canaries) look(t *testing.T, dir string, belongs func(path string) bool) (files int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() || belongs(strings.TrimPrefix(path, dir+"/")) {
			return nil //nolint:nilerr // it went away meanwhile
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return nil //nolint:nilerr // as above
		}
		files++
		if found := c.in(b); len(found) > 0 {
			t.Errorf("%s holds %v", path, found)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestNoSecretIsTold puts secrets into a cluster, uses and misuses them in every way there is, and looks for them in all that it
// writes and says.
func TestNoSecretIsTold(t *testing.T) {
	if testing.Short() {
		t.Skip("starts daemons and members")
	}
	t.Parallel()
	const nodes = 3
	dir := openDir(t)
	p := startDev(t, dir, "--nodes", fmt.Sprint(nodes))
	api := dial(t, p.ready)
	secrets := secretsOf(t, dir, nodes)

	// Secrets of members, by name.
	given := map[string]string{}
	for _, what := range []string{"env", "file"} {
		text := "canary-" + what + "-" + rand.Text()
		secrets.add(t, "the member's "+what, text)
		given[what] = filepath.Join(openDir(t), what)
		if err := os.WriteFile(given[what], []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := set(nodes)
	s.Spec.Processes[0].Env = spec.Env{{Name: "PASSWORD", FromFile: given["env"]}}
	s.Spec.Processes[0].Files = []spec.File{{Path: "/run/canary/password", FromFile: given["file"]}}
	s.Spec.Processes[0].Command = []string{"sh", "-c", `test -n "$PASSWORD" && exec sleep 3600`}
	spec.Default(s)
	if _, _, err := api.PutStatefulSet(t.Context(), s, client.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	memberPids(t, api, nodes)

	// Tokens, used as they should be.
	made, err := api.CreateAccount(t.Context(), "ci", client.AccountRequest{Role: spec.RoleAdmin}, client.WriteOptions{Reason: "a test"})
	if err != nil {
		t.Fatal(err)
	}
	join, err := api.CreateJoinToken(t.Context(), client.NewJoinToken{Uses: 1, Expires: spec.Duration(time.Hour)}, client.WriteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	gone, err := api.CreateAccount(t.Context(), "gone", client.AccountRequest{Role: spec.RoleViewer}, client.WriteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := api.RevokeAccount(t.Context(), "gone", client.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	pin, err := pki.ParseToken(made.Token)
	if err != nil {
		t.Fatal(err)
	}
	madeUp := "supd-auth-v1." + pin.Pin + ".0123456789ab." + strings.Repeat("5ec7e7", 11)[:64]
	tokens := map[string]string{"account's": made.Token, "join": join.Token, "revoked": gone.Token, "made up": madeUp}
	for what, text := range tokens {
		secrets.add(t, "the "+what+" token", text[strings.LastIndex(text, ".")+1:])
	}

	cfg := make([]configs.Daemon, nodes)
	for k := range cfg {
		if cfg[k], err = configs.LoadDaemon(configs.DaemonSources{File: filepath.Join(dir, nodeName(k+1), "supd.yaml")}); err != nil {
			t.Fatal(err)
		}
		c, err := client.New("https://"+cfg[k].API, client.Options{TLS: pki.Pinned(pin.Pin, nil), Token: made.Token, RequestTimeout: 20 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		if _, err := c.Cordon(t.Context(), nodeName(1), client.WriteOptions{Reason: "by token"}); err != nil {
			t.Error(err)
		}
		if _, err := c.Uncordon(t.Context(), nodeName(1), client.WriteOptions{}); err != nil {
			t.Error(err)
		}
		// It is open when the daemon is made to tell all it does.
		w, err := c.Watch(t.Context(), client.Events, "", 0, client.ReadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(w.Close)
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	request, err := pki.NewRequest(key)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"node-8.00000008", "node-9.00000009"} { // the second is one too many
		welcome, err := api.Join(t.Context(), client.JoinRequest{Token: join.Token, ID: id, Request: string(request)})
		if (err == nil) != (id == "node-8.00000008") {
			t.Errorf("%s joins: %v", id, err)
		}
		if err == nil && welcome.GossipKeys == "" {
			t.Error("it gets no keys of gossip")
		}
	}

	for k := range cfg {
		misuse(t, "https://"+cfg[k].API, &http.Transport{TLSClientConfig: pki.Pinned(pin.Pin, nil)}, tokens)
		misuse(t, "http://localhost", throughSocket(cfg[k].Socket), tokens)
	}

	// All that the API tells, to root.
	var told bytes.Buffer
	local := &http.Client{Transport: throughSocket(cfg[0].Socket)}
	defer local.CloseIdleConnections()
	for _, r := range []client.Resource{client.StatefulSets, client.Members, client.Volumes, client.Services, client.Programs, client.Revisions, client.Nodes, client.Events} {
		raw, _, err := api.ListRaw(t.Context(), r, client.ReadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		told.Write(raw)
	}
	for _, path := range []string{
		"/v1/cluster", "/v1/accounts", "/v1/accounts/ci", "/v1/cluster/join-tokens", "/metrics", "/readyz", "/v1/whoami", "/v1/version",
		"/v1/namespaces/default/statefulsets/web/explain", "/v1/namespaces/default/members/web-0/explain", "/v1/nodes/node-1/explain",
		"/v1/namespaces/default/members/web-0", "/v1/namespaces/default/members/web-0/logs", "/v1/namespaces/default/volumes/data-web-0",
		"/v1/namespaces/default/statefulsets/web", "/v1/nodes/node-1", "/v1/cluster/snapshot",
	} {
		resp, err := local.Get("http://localhost" + path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(&told, resp.Body); err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s = %d", path, resp.StatusCode)
		}
	}
	preview, err := api.Preview(t.Context(), client.PreviewRequest{StatefulSet: s}, client.WriteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&told, "%+v", preview)
	if found := secrets.in(told.Bytes()); len(found) > 0 {
		t.Errorf("the API tells %v", found)
	}
	for _, want := range []string{"PASSWORD", "account:ci@127.0.0.1", join.ID} { // what may be told is there
		if !strings.Contains(told.String(), want) {
			t.Errorf("the API does not even tell %s: this test looks at the wrong place", want)
		}
	}

	// A daemon that is made to tell all it does, and one whose command line was wrong.
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"config", "--config", filepath.Join(dir, nodeName(1), "supd.yaml")},
		{"run", "--config", filepath.Join(dir, nodeName(1), "supd.yaml"), "--join", "127.0.0.1:1", "--token", join.Token, "--no-such-flag"},
		{"config", "--config", filepath.Join(dir, nodeName(1), "supd.yaml"), "--join", "127.0.0.1:1", "--token", join.Token},
		{"recover", "--config", filepath.Join(dir, nodeName(1), "supd.yaml")},
	} {
		out, err := exec.CommandContext(t.Context(), filepath.Join(bin, "supd"), args...).CombinedOutput()
		if found := secrets.in(out); len(found) > 0 {
			t.Errorf("supd %s (%v) tells %v:\n%s", args[0], err, found, out)
		}
	}
	dead := p.pid(t, 1, "supd.pid")
	if err := syscall.Kill(dead, syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	until(t, "the daemon has told what it did, and is gone", func() error {
		if alive(dead) {
			return fmt.Errorf("%d lives", dead)
		}
		return nil
	})
	if len(p.logLines(t, nodeName(1), "SIGQUIT")) == 0 || len(p.logLines(t, nodeName(1), "goroutine ")) < 10 {
		t.Error("there is no crash dump in the log: this test looks at the wrong place")
	}

	if n := secrets.look(t, dir, belongs); n < 30 {
		t.Errorf("%d files were looked at: this test looks at the wrong place", n)
	}
}

// belongs tells where secrets may stand: the cluster's own, and the member's own copy of a file.
func belongs(path string) bool {
	parts := strings.Split(path, "/")
	return path == "secret" || len(parts) > 1 && parts[1] == "pki" || len(parts) > 5 && parts[1] == "run" && parts[4] == "files"
}

// throughSocket asks over a unix socket, whatever the address says.
func throughSocket(path string) *http.Transport {
	return &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		return door{network: "unix", addr: path}.dial()
	}}
}

// misuse shows tokens wherever one can stand, in requests good and bad.
func misuse(t *testing.T, base string, rt http.RoundTripper, tokens map[string]string) {
	t.Helper()
	c := &http.Client{Transport: rt}
	defer c.CloseIdleConnections()
	ask := func(method, path, body string, header map[string]string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, method, base+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range header {
			req.Header.Set(k, v)
			if k == "Host" {
				req.Host = v
			}
		}
		resp, err := c.Do(req)
		if err != nil {
			t.Errorf("%s %.60s: %v", method, path, err)
			return
		}
		_, _ = io.Copy(io.Discard, resp.Body) // whatever it says: to whom showed it
		_ = resp.Body.Close()
	}
	for _, text := range tokens {
		secret := text[strings.LastIndex(text, ".")+1:]
		for _, path := range []string{
			"/" + text, "/v1/accounts/" + text, "/v1/nodes/" + text, "/v1/namespaces/default/members/" + text, "/v1/namespaces/" + text + "/members",
			"/v1/namespaces/default/members/" + text + "/logs", "/v1/cluster/join-tokens/" + text, "/v1/nodes?token=" + text, "/v1/events?watch=no&after=" + text,
			"/v1/nodes?labelSelector=" + text, "/v1/nodes/%2e%2e/" + text,
		} {
			ask("GET", path, "", nil)
			ask("GET", path, "", map[string]string{"Authorization": "Bearer " + text})
			ask("DELETE", path, "", nil)
			ask("POST", "/v1/nodes/node-1/uncordon?reason="+text, "", nil)
		}
		for _, h := range []map[string]string{
			{"Authorization": text},
			{"Authorization": "Basic " + text},
			{"Authorization": "Bearer  " + text + " x"},
			{"Authorization": "Bearer " + text + "0"},
			{"Cookie": "token=" + text},
			{"X-Supd-Who": text},
			{"X-Supd-Forwarded": text, "X-Supd-Who": text, "X-Supd-Role": text, "X-Supd-Name": text, "X-Supd-Namespaces": text},
			{"User-Agent": text},
			{"Origin": "https://" + secret + ".example"},
			{"Host": secret},
			{"If-Match": text},
			{"Content-Type": text},
			{"Referer": "https://x/" + text},
		} {
			ask("GET", "/v1/nodes", "", h)
			ask("PUT", "/v1/namespaces/default/statefulsets/web", `{"token":"`+text+`"`, h)
			ask("POST", "/v1/nodes/node-1/uncordon", "", h)
		}
		typed := map[string]string{"Content-Type": "application/json"}
		for _, body := range []string{`{"token":"` + text + `"}`, `{"token":"` + text + `","id":"node-7.00000007","request":"` + text + `"}`, `{"token":"x","id":"` + text + `"}`, text, `"` + text + `"`, `{"` + text + `":1}`} {
			ask("POST", "/v1/join", body, typed)
			ask("PUT", "/v1/accounts/x", body, typed)
			ask("PUT", "/v1/namespaces/default/statefulsets/web", body, typed)
			ask("POST", "/v1/internal/heartbeat", body, typed)
			ask("POST", "/v1/namespaces/default/members/web-0/exec", body, typed)
		}
	}
}
