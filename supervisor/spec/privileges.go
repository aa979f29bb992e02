package spec

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// NoCapabilities is the word for a list of none.
const NoCapabilities = "NONE"

// capabilities are the kernel's, without CAP_.
var capabilities = strings.Fields(`CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP
	LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT
	SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE
	AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF
	CHECKPOINT_RESTORE`)

// CapabilityNames are all capabilities, in the kernel's order.
func CapabilityNames() []string { return slices.Clone(capabilities) }

// CapabilityName is the plain name ("NET_RAW") of a capability written as
// "NET_RAW", "CAP_NET_RAW" or "cap_net_raw"; false when there is none of that name.
func CapabilityName(s string) (string, bool) {
	name := strings.TrimPrefix(strings.ToUpper(s), "CAP_")
	return name, slices.Contains(capabilities, name)
}

// CapabilityList is a list that Validate has passed: plain names, each once, and
// whether there is a list at all.
func (p Privileges) CapabilityList() (names []string, given bool) {
	for _, c := range p.Capabilities {
		if name, ok := CapabilityName(c); ok && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names, len(p.Capabilities) > 0
}

func (v *validator) privileges(at string, p *Privileges) {
	for i, c := range p.Capabilities {
		at := fmt.Sprintf("%s.capabilities[%d]", at, i)
		name, ok := CapabilityName(c)
		switch {
		case ok:
		case name == NoCapabilities:
			if len(p.Capabilities) > 1 {
				v.bad(at, "%s stands alone", NoCapabilities)
			}
		case name == "ALL":
			v.bad(at, "all capabilities are what root has: name those that are needed")
		default:
			v.bad(at, "%q is no capability%s", c, DidYouMean(name, append(CapabilityNames(), NoCapabilities)))
		}
	}
	seen := map[string]bool{}
	for i, path := range p.ReadOnly {
		at := fmt.Sprintf("%s.readOnlyPaths[%d]", at, i)
		v.err(at, checkAbsolute(path))
		if seen[path] {
			v.bad(at, "%s is there twice", path)
		}
		seen[path] = true
	}
}

// rlimitNames are the limits that Limits.Rlimits may set.
var rlimitNames = []string{
	"as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio",
	"rttime", "sigpending", "stack",
}

// RlimitNames are all limits that the kernel knows for a process.
func RlimitNames() []string { return slices.Clone(rlimitNames) }

// ParseRlimit reads the value of a limit; no limit is the largest number.
func ParseRlimit(v IntOrString) (uint64, error) {
	switch strings.ToLower(string(v)) {
	case "unlimited", "infinity":
		return math.MaxUint64, nil
	}
	n, err := Quantity(v).Bytes()
	if err != nil || v == "" {
		return 0, fmt.Errorf("%q is neither a number, a size such as %q, nor %q", string(v), "8Mi", "unlimited")
	}
	return uint64(n), nil
}

func (v *validator) rlimits(at string, l *Limits) {
	for _, name := range slices.Sorted(maps.Keys(l.Rlimits)) {
		at := at + ".rlimits." + name
		if !slices.Contains(rlimitNames, name) {
			v.bad(at, "%q is no limit%s; known are %s", name, DidYouMean(name, rlimitNames), strings.Join(rlimitNames, ", "))
			continue
		}
		n, err := ParseRlimit(l.Rlimits[name])
		switch {
		case err != nil:
			v.err(at, err)
		case name == "nofile" && l.Nofile > 0, name == "core" && l.Core != nil:
			v.bad(at, "limits.%s says the same already", name)
		case name == "nofile" && n == math.MaxUint64:
			v.bad(at, "the kernel always limits open files (fs.nr_open): give a number")
		}
	}
}
