package keeper

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var update = flag.Bool("update-handover", false, "write testdata/handover-1.json anew")

// What a keeper knows of something, and how it goes over to the binary that replaces it. "": it does not, and why is said.
var handedFields = map[reflect.Type]map[string]string{
	reflect.TypeFor[process](): {
		"k": "- the new keeper", "m": "- its member", "key": "Start",
		"start": "Start", "want": "Want", "bad": "Bad", "status": "Status", "why": "Why", "trouble": "Trouble",
		"logNote": "- found again at the first look at the log",
		"main":    "Pidfd Own", "streak": "Streak Pause", "killed": "Killed", "again": "Again", "killAt": "KillIn", "killMax": "KillMaxIn", "place": "Place",
		"last": "PID Ticks", "lastOwn": "LastOwn", "grace": "Grace", "ear": "Ear", "output": "Output",
		"noted": "Output", "handed": "Output", "endHook": "- an upgrade is refused while one runs",
		"seq": "- carryOn waits anew", "timers": "StartIn KillIn", "unhook": "- carryOn watches anew", "poll": "- begins anew",
	},
	reflect.TypeFor[mainProc](): {"stat": "PID Ticks", "pidfd": "Pidfd", "own": "Own"},
	reflect.TypeFor[backoff]():  {"streak": "Streak", "pause": "Pause"},
	reflect.TypeFor[ear](): {
		"fd": "FD", "name": "Name", "cancel": "- watched anew", "told": "Told",
		"pinged": "PingedAgo", "dog": "Watching", "extend": "Extend", "more": "Extend",
	},
	reflect.TypeFor[output](): {
		"p": "-", "path": "- computed", "mu": "-", "closed": "-", "most": "- computed",
		"file": "- opened again", "fileID": "LogDev LogIno", "regular": "- looked up", "block": "- looked up", "size": "- looked up", "seen": "- looked up",
		"head": "- looked up", "noHoles": "- tried again", "gone": "- found again", "trimmed": "- done again", "index": "- read again",
		"timer": "- looks at once", "pause": "- begins anew", "looked": "- begins anew", "watched": "- watched anew",
		"pipe": "Pipe", "pipeID": "PipeDev PipeIno", "hear": "- watched anew", "waits": "- looks at once",
		"dropped": "Dropped", "dropping": "Dropping", "tried": "- begins anew", "news": "- found again", "told": "- found again",
	},
	reflect.TypeFor[member](): {
		"name": "Name", "mu": "-", "floor": "- of disk", "floorErr": "- of disk", "procs": "Processes", "runs": "Runs",
	},
	reflect.TypeFor[fence](): {
		"since": "Since", "stop": "- Status.Fenced", "noted": "- Status.Fenced", "killed": "- done again",
		"cgroup": "- computed", "lock": "- computed", "own": "- of the process", "stat": "- of the process",
	},
	reflect.TypeFor[term](): {"deadline": "Deadline", "length": "Length", "since": "Since", "lapsed": "Lapsed", "dead": "Dead"},
	reflect.TypeFor[lease](): {
		"path": "- computed", "boot": "- of the kernel", "clock": "-", "log": "-", "timer": "- made anew",
		"began": "- what is handed over has its own since", "writing": "-", "mu": "-", "term": "- handedLease", "fences": "- handedFence", "runs": "- handedFence",
	},
	reflect.TypeFor[runFence](): {"since": "Since", "start": "Start", "stopped": "- done again", "cancel": "- made anew"},
	reflect.TypeFor[beside](): {
		"k": "-", "key": "Member Process", "dir": "Dir", "lock": "Lock", "number": "Number", "until": "Left", "fence": "Fence",
		"child": "PID Pidfd", "exited": "Ended", "output": "Output", "most": "Most", "have": "Got Truncated", "got": "- read anew",
	},
	reflect.TypeFor[Keeper](): {
		"opts": "Dir Binary", "log": "-", "files": "Dir", "boot": "Boot", "cg": "Cgroup", "noCgroups": "- found anew", "launch": "NoCloneInto",
		"watch": "- made anew", "logs": "- made anew", "table": "Table", "ready": "-",
		"sessions": "- an upgrade is refused while one is open",
		"lease":    "Lease", "fencers": "-", "gate": "Conns", "given": "-", "home": "Socket DirLock", "failed": "-", "hup": "- SIGHUP is ignored meanwhile",
		"upgrading": "-", "busy": "- a hint only: rests after the next start", "mu": "-", "members": "Members", "draining": "- carryOn waits anew", "aux": "Aux", "upgrades": "Upgrades",
	},
}

// Whoever gives a keeper's memory a field says here how it survives an upgrade.
func TestEveryFieldIsHandedOver(t *testing.T) {
	t.Parallel()
	handed := map[reflect.Type]reflect.Type{
		reflect.TypeFor[process](): reflect.TypeFor[handedProcess](), reflect.TypeFor[mainProc](): reflect.TypeFor[handedProcess](),
		reflect.TypeFor[backoff](): reflect.TypeFor[handedProcess](), reflect.TypeFor[ear](): reflect.TypeFor[handedEar](),
		reflect.TypeFor[member](): reflect.TypeFor[handedMember](), reflect.TypeFor[fence](): reflect.TypeFor[handedFence](),
		reflect.TypeFor[term](): reflect.TypeFor[handedLease](), reflect.TypeFor[lease](): reflect.TypeFor[handover](),
		reflect.TypeFor[runFence](): reflect.TypeFor[handedFence](), reflect.TypeFor[beside](): reflect.TypeFor[handedRun](),
		reflect.TypeFor[Keeper](): reflect.TypeFor[handover](), reflect.TypeFor[output](): reflect.TypeFor[handedOutput](),
	}
	for typ, fields := range handedFields {
		var names []string
		for f := range typ.Fields() {
			names = append(names, f.Name)
			how, ok := fields[f.Name]
			if !ok {
				t.Errorf("%s.%s: say in handedFields how it goes over to the next keeper", typ, f.Name)
			}
			if strings.HasPrefix(how, "-") {
				continue
			}
			for _, to := range strings.Fields(how) {
				if _, ok := handed[typ].FieldByName(to); !ok {
					t.Errorf("%s.%s goes over as %s.%s, which isn't there", typ, f.Name, handed[typ], to)
				}
			}
		}
		for name := range fields {
			if !slices.Contains(names, name) {
				t.Errorf("%s has no field %s any more", typ, name)
			}
		}
	}
}

// goldenHandover has every field set, so the file shows all that a keeper of this version writes.
func goldenHandover() *handover {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	d := func(s time.Duration) *time.Duration { s *= time.Second; return &s }
	ws := unix.WaitStatus(7 << 8)
	fence := &handedFence{Since: 5 * time.Second, Start: true}
	start := Start{Member: "d/web-0", Process: "main", Epoch: 3, Exec: Exec{Argv: []string{"/bin/true"}, Umask: -1}, LogDir: "/l", Output: OutputPipe}
	start.Settings = Settings{StopSignal: "SIGINT", StopTimeout: 5 * time.Second, Fence: true}
	return &handover{
		Version: handoverVersion, From: "v1", Protocol: 2, Dir: "/d", Boot: "b", Cgroup: "/c", Binary: "/b/supd-keeper", Table: 9, Aux: 4,
		NoCloneInto: true, Upgrades: Upgrades{Done: 1, From: "v0", At: at, Refused: "no"}, DirLock: 5, Socket: 6,
		Lease: &handedLease{Deadline: 10 * time.Second, Length: 9 * time.Second, Since: 2, Dead: 1, Lapsed: true},
		Members: []handedMember{{Name: "d/web-0", Runs: map[string]uint64{"/d/lock": 2}, Processes: []handedProcess{{
			Start: start, Want: wantRun, Bad: "bad", Status: Status{Member: "d/web-0", Process: "main", Epoch: 3, State: Running, PID: 11, StartedAt: at},
			Why: "why", Trouble: "trouble", Streak: 2, Pause: time.Second, Killed: true, Again: true, KillIn: d(1), StartIn: d(2), KillMaxIn: d(3),
			Ear:    &handedEar{FD: 7, Name: "/n", Told: true, Watching: true, PingedAgo: time.Second, Extend: time.Minute},
			Output: &handedOutput{outputNote: outputNote{LogDev: 1, LogIno: 2, PipeDev: 3, PipeIno: 4}, Pipe: 8, Dropped: 6, Dropping: "full"},
			PID:    11, Ticks: 12, LastOwn: true, Pidfd: 9, Own: true, Grace: 15, Fence: fence, Place: "/c/y",
		}}}},
		Conns: []handedConn{{FD: 10, Unread: []byte("x"), Files: []int{11}, Upgrade: true, Run: &handedRun{
			Member: "d/web-0", Process: "main", Dir: "/c/x", Lock: "/d/lock", Number: 2, Left: time.Second, PID: 13, Pidfd: 12, Ended: &ws,
			Output: 13, Got: []byte("got"), Truncated: true, Most: 100, Fence: fence,
		}}},
		Keep: []int{5, 6, 7, 8, 9, 10, 11, 12, 13},
	}
}

// A state that a keeper of version 1 has handed over is read as it was meant, by this keeper and by all after it.
func TestReadsFirstHandover(t *testing.T) {
	t.Parallel()
	want := goldenHandover()
	path := "testdata/handover-1.json"
	if *update {
		b, err := json.MarshalIndent(want, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, append(b, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, err := readHandover(f)
	if err != nil {
		t.Fatal(err)
	}
	text := func(h *handover) string {
		b, err := json.Marshal(h)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if text(got) != text(want) {
		t.Errorf("read as\n%s\nwant\n%s", text(got), text(want))
	}
	for _, v := range []reflect.Value{
		reflect.ValueOf(*want), reflect.ValueOf(want.Members[0]), reflect.ValueOf(want.Members[0].Processes[0]), reflect.ValueOf(*want.Members[0].Processes[0].Ear),
		reflect.ValueOf(*want.Members[0].Processes[0].Output), reflect.ValueOf(want.Members[0].Processes[0].Output.outputNote),
		reflect.ValueOf(*want.Lease), reflect.ValueOf(want.Conns[0]), reflect.ValueOf(*want.Conns[0].Run), reflect.ValueOf(*want.Members[0].Processes[0].Fence),
	} {
		for i := range v.NumField() {
			if f := v.Type().Field(i); v.Field(i).IsZero() && f.IsExported() {
				t.Errorf("the golden state leaves %s.%s out", v.Type(), f.Name)
			}
		}
	}
}

// What a later version adds harmlessly is passed over; a state of a later version is refused before it is read.
func TestHandoverOfLaterKeepers(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("testdata/handover-1.json")
	if err != nil {
		t.Fatal(err)
	}
	more := bytes.Replace(b, []byte(`"from": "v1"`), []byte(`"from": "v1", "later": {"a": 1}`), 1)
	if h, err := readHandover(bytes.NewReader(more)); err != nil || h.From != "v1" {
		t.Errorf("with a field more: %v", err)
	}
	newer := bytes.Replace(b, []byte(`"version": 1`), []byte(`"version": 2`), 1)
	if _, err := readHandover(bytes.NewReader(newer)); err == nil || !strings.Contains(err.Error(), "knows up to 1") {
		t.Errorf("of a later version: %v", err)
	}
}
