package configs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"supd/supervisor/spec"
)

func writeDaemonFile(t *testing.T, name, text string) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestSampleFileNamesEveryKeyWithItsDefault(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("supd.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range DaemonKeys() {
		if !regexp.MustCompile(`(?m)^(# )?` + k + `:`).Match(b) {
			t.Errorf("supd.yaml does not document %s", k)
		}
	}
	got, err := LoadDaemon(DaemonSources{File: "supd.yaml", Flags: map[string]string{"name": "node-1"}})
	if err != nil {
		t.Fatal(err)
	}
	want := DefaultDaemon()
	want.Name, want.Join, want.Labels = "node-1", []string{}, []string{}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("supd.yaml and the defaults differ (-default +sample):\n%s", d)
	}
}

func TestDaemonFormatsAndPrecedence(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		"a.yaml": "name: file\nlease: 20s\nbootstrap_expect: 3\njoin: [\"127.0.0.1:1\", \"127.0.0.1:2\"]\nlabels: {Disk: SSD}\n",
		"a.json": `{"name":"file","lease":"20s","bootstrap_expect":3,"join":["127.0.0.1:1","127.0.0.1:2"],"labels":{"Disk":"SSD"}}`,
		"a.toml": "name = \"file\"\nlease = \"20s\"\nbootstrap_expect = 3\njoin = [\"127.0.0.1:1\", \"127.0.0.1:2\"]\n[labels]\nDisk = \"SSD\"\n",
		"a.hcl":  "name = \"file\"\nlease = \"20s\"\nbootstrap_expect = 3\njoin = [\"127.0.0.1:1\", \"127.0.0.1:2\"]\nlabels = { Disk = \"SSD\" }\n",
	}
	for name, text := range files {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := LoadDaemon(DaemonSources{
				File:  writeDaemonFile(t, name, text),
				Env:   []string{"SUPD_NAME=env", "SUPD_LOG_LEVEL=debug", "SUPD_BOOTSTRAP_EXPECT=5", "SUPD_UNRELATED=1"},
				Flags: map[string]string{"name": "flag"},
			})
			if err != nil {
				t.Fatal(err)
			}
			want := DefaultDaemon()
			want.Name, want.Lease, want.BootstrapExpect, want.LogLevel = "flag", spec.Duration(20*time.Second), 5, "debug"
			want.Join, want.Labels = []string{"127.0.0.1:1", "127.0.0.1:2"}, []string{"Disk=SSD"}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			if got.LabelMap()["Disk"] != "SSD" {
				t.Errorf("labels %v", got.LabelMap())
			}
		})
	}
}

func TestDaemonRefusals(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"datadir: /x\n":                         `did you mean "data_dir"`,
		"lease: 10\n":                           "a duration needs a unit",
		"lease: 3s\n":                           "lease: 3s is too short: with heartbeat 500ms it must be at least 3.5s",
		"api: 0.0.0.0:7950\n":                   "not a loopback address",
		"raft: example.org:1\n":                 "not a loopback address",
		"address_plan: pool\n":                  "must be one of none, loopback",
		"data_dir: here\n":                      "must be an absolute path",
		"bootstrap_expect: many\n":              "want a number",
		"join: 7\n":                             "join",
		"name: Node\n":                          "not a DNS label",
		"name: a\nname: b\n":                    "already defined",
		"log_level: loud\nlog_format: binary\n": "log_level",
	} {
		_, err := LoadDaemon(DaemonSources{File: writeDaemonFile(t, "x.yaml", text), Env: []string{"SUPD_ZONE=cluster.local"}})
		if err == nil || !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(want)) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
	if _, err := LoadDaemon(DaemonSources{File: "missing.yaml"}); err == nil {
		t.Error("a missing file that was named is no error")
	}
}
