package supervisor

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"supd/supervisor/keeper"
)

// What is on disk is asked for its version, and again only when it is another file.
func TestKeeperOnDisk(t *testing.T) {
	t.Parallel()
	binary := filepath.Join(t.TempDir(), KeeperName)
	put := func(version string) {
		script := "#!/bin/sh\necho x >> " + binary + ".asked\necho supd-keeper " + version + " protocol 2\n"
		if err := os.WriteFile(binary+".new", []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(binary+".new", binary); err != nil {
			t.Fatal(err)
		}
	}
	var log bytes.Buffer
	k := &keeperWatch{node: "n1", binary: binary, log: slog.New(slog.NewTextHandler(&log, nil))}
	put("v1")
	for range 3 {
		k.compare(t.Context(), keeper.Info{Version: "v1"})
	}
	if log.Len() > 0 {
		t.Errorf("of the same version the log says %s", &log)
	}
	put("v20")
	k.compare(t.Context(), keeper.Info{Version: "v1"})
	if u := k.status(t.Context(), keeper.Info{Version: "v1"}).Upgrade; !u.Possible || u.OnDisk == nil || *u.OnDisk != "v20" || u.Binary != binary {
		t.Errorf("got %+v", u)
	}
	if got := log.String(); !strings.Contains(got, "an upgrade is possible: supctl node upgrade-keeper NODE") || !strings.Contains(got, "node=n1") {
		t.Errorf("the log says %s", got)
	}
	if b, err := os.ReadFile(binary + ".asked"); err != nil || string(b) != "x\nx\n" {
		t.Errorf("asked %q, %v", b, err)
	}
	put("") // no version in its answer
	if u := k.status(t.Context(), keeper.Info{Version: "v1"}).Upgrade; u.Possible || u.OnDisk != nil || u.OnDiskReason == "" {
		t.Errorf("got %+v", u)
	}
}
