package keeper

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// peers is the environment of a member of a set of n.
func peers(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("web-%d.web.default.svc.cluster.local", i)
	}
	return []string{"PATH=/usr/bin:/bin", "EMPTY=", "SUP_PEERS=" + strings.Join(names, ","), "LINES=a\nb", ""}
}

func TestPackedEnvironment(t *testing.T) {
	t.Parallel()
	for name, env := range map[string][]string{
		"none": nil, "small": peers(3), "large": peers(1000), "larger": peers(20_000),
		"empty at the end": {strings.Repeat("x", 3000), "", ""}, "zero byte": {strings.Repeat("x", 3000), "A=\x00"},
	} {
		a := ask(Start{Member: "default/web-0", Epoch: 7, Exec: Exec{Argv: []string{"/bin/true"}, Env: env}})
		got := a.whole()
		if !slices.Equal(got.Env, env) || got.Member != "default/web-0" || got.Epoch != 7 || len(got.Argv) != 1 {
			t.Errorf("%s: it is another start after it was packed: %.200v", name, got)
		}
		if a.Start.Env != nil {
			t.Errorf("%s: the environment is held twice", name)
		}
	}
}

// What is held of a member of a large set is next to nothing of its environment.
func TestPackedEnvironmentIsSmall(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ members, most int }{{100, 1 << 10}, {1000, 5 << 10}} {
		env := peers(c.members)
		p := packEnv(env)
		if n := cap(p.packed); p.plain != nil || n == 0 || n > c.most {
			t.Errorf("the environment of a member of %d takes %d bytes packed, %d as it is; at most %d are right", c.members, n, len(strings.Join(env, "")), c.most)
		} else {
			t.Logf("the environment of a member of %d takes %d bytes packed, %d as it is", c.members, n, len(strings.Join(env, "")))
		}
	}
}
