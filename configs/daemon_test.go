package configs

import (
	"errors"
	"fmt"
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
		"datadir: /x\n":         `did you mean "data_dir"`,
		"lease: 10\n":           "a duration needs a unit",
		"lease: 3s\n":           "lease: 3s is too short: with heartbeat 500ms it must be at least 3.5s",
		"api: 0.0.0.0:7950\n":   "set advertise",
		"raft: example.org:1\n": "does not begin with an IP address",
		"advertise: 0.0.0.0\n":  "advertise: must be the IP address",
		"bootstrap_secret: x\nbootstrap_secret_file: /x\n": "not together",
		"bootstrap_secret_file: x\n":                       "must be an absolute path",
		"address_plan: pool\n":                             "must be one of none, loopback",
		"data_dir: here\n":                                 "must be an absolute path",
		"bootstrap_expect: many\n":                         "want a number",
		"join: 7\n":                                        "join",
		"name: Node\n":                                     "not a DNS label",
		"name: a\nname: b\n":                               "already defined",
		"log_level: loud\nlog_format: binary\n":            "log_level",
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

func TestSecretIsKeptSecret(t *testing.T) {
	t.Parallel()
	const secret = "0123456789abcdef0123456789abcdef"
	inline := writeDaemonFile(t, "a.yaml", "bootstrap_secret: "+secret+"\n")
	file := writeDaemonFile(t, "secret", secret+"\n")
	named := writeDaemonFile(t, "b.yaml", "bootstrap_secret_file: "+file+"\n")
	for _, path := range []string{inline, named} {
		d, err := LoadDaemon(DaemonSources{File: path})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := d.Secret(); got != secret || err != nil {
			t.Errorf("Secret = %q, %v", got, err)
		}
		text, err := d.YAML()
		if err != nil {
			t.Fatal(err)
		}
		for _, printed := range []string{text, fmt.Sprintf("%v %+v %#v", d, d, d)} {
			if strings.Contains(printed, secret) {
				t.Errorf("the secret prints: %s", printed)
			}
		}
	}
	if err := errors.Join(os.Chmod(inline, 0o644), os.Chmod(file, 0o604)); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadDaemon(DaemonSources{File: inline}); err == nil || !strings.Contains(err.Error(), "chmod 600") || strings.Contains(err.Error(), secret) {
		t.Errorf("a file with a secret that all may read: %v", err)
	}
	d, err := LoadDaemon(DaemonSources{File: named})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Secret(); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a secret file that all may read: %v", err)
	}
}

func TestAdvertiseFor(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct{ advertise, host, addr, want string }{
		"bound":             {"", "127.0.0.1", "10.0.0.1:7951", "10.0.0.1"},
		"said":              {"192.0.2.1", "127.0.0.1", "10.0.0.1:7951", "192.0.2.1"},
		"all, by host_ip":   {"", "10.0.0.1", "0.0.0.0:7951", "10.0.0.1"},
		"all, nothing said": {"", "127.0.0.1", "0.0.0.0:7951", ""},
	} {
		got, err := Daemon{Advertise: x.advertise, HostIP: x.host}.AdvertiseFor(x.addr)
		if got != x.want || (err != nil) != (x.want == "") {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}
