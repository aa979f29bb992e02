package keeper

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Limits bound what a process, all it forks and what runs beside it may use together. They are its cgroup's, written
// before the program is forked into that; where that can't be done nothing is started (*ErrExec, step "limits"). Zero
// means no bound.
type Limits struct {
	MemoryMax int64 `json:"memoryMax,omitempty"` // bytes; none of it is swapped out. Who needs more is killed, all of it
	CPUMilli  int64 `json:"cpuMilli,omitempty"`  // thousandths of a CPU
	PidsMax   int64 `json:"pidsMax,omitempty"`   // processes and threads
	IOWeight  int   `json:"ioWeight,omitempty"`  // share of a busy disk, 1 to 10000; who has none has 100
}

// The weights that cgroups take.
const (
	minIOWeight = 1
	maxIOWeight = 10000
)

func (l *Limits) check() error {
	switch {
	case l == nil:
		return nil
	case l.MemoryMax < 0, l.CPUMilli < 0, l.PidsMax < 0:
		return invalid("a limit is negative")
	case l.IOWeight != 0 && (l.IOWeight < minIOWeight || l.IOWeight > maxIOWeight):
		return invalid("the io weight %d is not between %d and %d", l.IOWeight, minIOWeight, maxIOWeight)
	}
	return nil
}

// knob is one value to be written.
type knob struct {
	controller string
	file       string
	value      string
	spare      bool // a kernel without the file has nothing to be limited there
}

// knobs are the values to be written, in this order.
func (l *Limits) knobs() []knob {
	if l == nil {
		return nil
	}
	var out []knob
	if l.MemoryMax > 0 {
		out = append(out,
			knob{"memory", "memory.oom.group", "1", false}, // a member with half of its processes gone is no member
			knob{"memory", "memory.swap.max", "0", true},   // else a limit only makes it slow
			knob{"memory", "memory.max", strconv.FormatInt(l.MemoryMax, 10), false})
	}
	if l.CPUMilli > 0 {
		out = append(out, knob{"cpu", "cpu.max", cpuMax(l.CPUMilli), false})
	}
	if l.PidsMax > 0 {
		out = append(out, knob{"pids", "pids.max", strconv.FormatInt(l.PidsMax, 10), false})
	}
	if l.IOWeight > 0 {
		out = append(out,
			knob{"io", "io.weight", "default " + strconv.Itoa(l.IOWeight), false},
			knob{"io", "io.bfq.weight", "default " + strconv.Itoa(bfqWeight(l.IOWeight)), true})
	}
	return out
}

// cpuMax is a quota and its period in microseconds. The kernel takes no quota below a millisecond, and no period above a
// second.
func cpuMax(milli int64) string {
	const shortest, usual, longest = 1_000, 100_000, 1_000_000
	period := int64(usual)
	if milli*usual/1000 < shortest {
		period = longest
	}
	return fmt.Sprintf("%d %d", max(milli*period/1000, shortest), period)
}

// bfqWeight maps a weight to the range of the BFQ scheduler, which has the same middle.
func bfqWeight(w int) int {
	if w <= 100 {
		return w
	}
	return 100 + (w-100)*900/(maxIOWeight-100)
}

func (l *Limits) controllers() []string {
	var out []string
	for _, k := range l.knobs() {
		if !slices.Contains(out, k.controller) {
			out = append(out, k.controller)
		}
	}
	return out
}

// limit writes limits to a process's cgroup, which is there, after making the controllers available down to it.
func (c *cgroups) limit(dir string, l *Limits) error {
	if err := c.enable(filepath.Dir(dir), l.controllers()); err != nil {
		return err
	}
	for _, k := range l.knobs() {
		err := writeControl(filepath.Join(dir, k.file), k.value)
		if k.spare && errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("%s cannot be limited: %w", k.controller, err)
		}
	}
	return nil
}

// enable makes controllers available to the cgroups below dir, from the top of what is ours.
func (c *cgroups) enable(dir string, want []string) error {
	if len(want) == 0 {
		return nil
	}
	for _, d := range c.chain(dir) {
		if err := enableIn(d, want); err != nil {
			return err
		}
	}
	return nil
}

// chain lists the cgroups from the top to dir.
func (c *cgroups) chain(dir string) []string {
	chain := []string{dir}
	for dir != c.top && dir != "/" {
		dir = filepath.Dir(dir)
		chain = append(chain, dir)
	}
	slices.Reverse(chain)
	return chain
}

// enableIn makes controllers available to the children of one cgroup. What is there already is not written again.
func enableIn(dir string, want []string) error {
	on, err := readControl(filepath.Join(dir, "cgroup.subtree_control"))
	if err != nil {
		return err
	}
	missing := slices.DeleteFunc(slices.Clone(want), func(s string) bool { return slices.Contains(on, s) })
	if len(missing) == 0 {
		return nil
	}
	offered, err := readControl(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return err
	}
	for _, s := range missing {
		if !slices.Contains(offered, s) {
			return fmt.Errorf("%s cannot be limited: the cgroup %s is not offered the controller %s%s", s, dir, s, elsewhere(s))
		}
	}
	text := "+" + strings.Join(missing, " +")
	err = writeControl(filepath.Join(dir, "cgroup.subtree_control"), text)
	if errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("%s cannot be limited: processes live in the cgroup %s itself: %w", strings.Join(missing, ", "), dir, err)
	}
	if err != nil {
		return fmt.Errorf("%s cannot be limited: %w", strings.Join(missing, ", "), err)
	}
	return nil
}

// elsewhere says where a controller is that the v2 hierarchy lacks.
func elsewhere(controller string) string {
	b, err := os.ReadFile("/proc/cgroups")
	if err != nil { // a kernel without v1 has no such file
		return ""
	}
	return controllerAt(string(b), controller)
}

// controllerAt finds a controller in /proc/cgroups: name, hierarchy, cgroups, enabled. Hierarchy 0 is v2's.
func controllerAt(procCgroups, controller string) string {
	if controller == "io" {
		controller = "blkio"
	}
	for line := range strings.Lines(procCgroups) {
		f := strings.Fields(line)
		switch {
		case len(f) != 4 || f[0] != controller:
		case f[3] == "0":
			return ": it is switched off on the kernel's command line"
		case f[1] != "0":
			return ": cgroup v1 has it; boot with systemd.unified_cgroup_hierarchy=1 cgroup_no_v1=all"
		}
	}
	return ""
}

// readControl reads the words of a control file.
func readControl(path string) ([]string, error) {
	b, err := os.ReadFile(path)
	return strings.Fields(string(b)), err
}

// writeControl writes a control file with one write, and makes none.
func writeControl(path, value string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

// memoryEvents are those of a cgroup since it was made: how often its limit made the kernel kill, and how many of its
// processes were killed for want of memory, the host's included.
type memoryEvents struct{ limit, kills int }

// readMemoryEvents gives zeros where the kernel doesn't count.
func readMemoryEvents(dir string) memoryEvents {
	b, err := os.ReadFile(filepath.Join(dir, "memory.events"))
	if err != nil {
		return memoryEvents{}
	}
	return parseMemoryEvents(string(b))
}

func parseMemoryEvents(text string) memoryEvents {
	var e memoryEvents
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		n, err := strconv.Atoi(value)
		switch {
		case err != nil:
		case name == "oom":
			e.limit = n
		case name == "oom_kill":
			e.kills = n
		}
	}
	return e
}

// endedBy tells whether want of memory has ended a process, and says what it has done otherwise.
func (e memoryEvents) endedBy(x Exit, l *Limits, weKilled bool) (oom bool, text string) {
	if e.kills == 0 || weKilled {
		return false, ""
	}
	whose := "the host had no memory left"
	if e.limit > 0 && l != nil && l.MemoryMax > 0 {
		whose = fmt.Sprintf("its memory limit is %d bytes", l.MemoryMax)
	}
	if x.Unknown || x.Signal == unix.SignalName(unix.SIGKILL) {
		return true, "out of memory: " + whose
	}
	return false, fmt.Sprintf("the kernel has killed %d of its processes, out of memory: %s", e.kills, whose)
}
