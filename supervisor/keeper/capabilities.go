package keeper

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// capabilityNames are the kernel's, by number, without CAP_.
var capabilityNames = strings.Fields(`CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP
	LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT
	SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE
	AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF
	CHECKPOINT_RESTORE`)

// CapabilityNames are all that Exec.Capabilities may name, in the kernel's order.
func CapabilityNames() []string { return slices.Clone(capabilityNames) }

// capabilitySet is the set of names.
func capabilitySet(names []string) (uint64, error) {
	var set uint64
	for _, n := range names {
		i := slices.Index(capabilityNames, n)
		if i < 0 {
			return 0, invalid("%q is not a capability", n)
		}
		set |= 1 << i
	}
	return set, nil
}

// stageBounding takes away what the program and all that it becomes may never have. It comes before the user is changed,
// which would take the right to do it. The capabilities that are to be left for another user are kept over that change.
func stageBounding(e *Exec) error {
	if !e.SetCapabilities {
		return nil
	}
	want, err := capabilitySet(e.Capabilities)
	if err != nil {
		return err
	}
	for c := range uintptr(64) { // the kernel may know more than this list
		has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, c, 0, 0, 0)
		if err != nil {
			break // EINVAL: beyond its last
		}
		if has == 1 && want&(1<<c) == 0 {
			if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil {
				return fmt.Errorf("drop %s: %w", capabilityName(c), err)
			}
		}
	}
	permitted, err := getCapabilities()
	if err != nil {
		return err
	}
	if lack := want &^ permitted; lack != 0 {
		return fmt.Errorf("the keeper itself has no %s: %w", strings.Join(namesOf(lack), ", "), unix.EPERM)
	}
	inheritable := uint64(0)
	if otherUser(e) {
		inheritable = want
	}
	return setCapabilities(permitted, inheritable)
}

// otherUser tells whether the program runs as somebody else than root, to whom exec gives what the bounding set allows.
func otherUser(e *Exec) bool { return e.SetUser && e.UID != 0 }

// ambient are the capabilities, by number, that a program of another user than root is to have at once.
func ambient(e *Exec) []uintptr {
	if !e.SetCapabilities || !otherUser(e) {
		return nil
	}
	set, _ := capabilitySet(e.Capabilities) // was checked
	var caps []uintptr
	for c := range uintptr(64) {
		if set&(1<<c) != 0 {
			caps = append(caps, c)
		}
	}
	return caps
}

// stageKeepCaps lets this thread keep its capabilities over the change of its user.
func stageKeepCaps(e *Exec) error {
	if len(ambient(e)) == 0 {
		return nil
	}
	return unix.Prctl(unix.PR_SET_KEEPCAPS, 1, 0, 0, 0)
}

// stageAmbient gives the capabilities to this thread, which is another user's by now. The fork of a thread that stays
// root's does it by itself: SysProcAttr.AmbientCaps.
func stageAmbient(e *Exec) error {
	caps := ambient(e)
	if len(caps) == 0 {
		return nil
	}
	want, err := capabilitySet(e.Capabilities)
	if err != nil {
		return err
	}
	if err := setCapabilities(want, want); err != nil {
		return err
	}
	for _, c := range caps {
		if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, c, 0, 0); err != nil {
			return fmt.Errorf("give %s: %w", capabilityName(c), err)
		}
	}
	return nil
}

func capabilityName(c uintptr) string {
	if c < uintptr(len(capabilityNames)) {
		return "CAP_" + capabilityNames[c]
	}
	return fmt.Sprintf("capability %d", c)
}

func namesOf(set uint64) []string {
	var names []string
	for c := range uintptr(64) {
		if set&(1<<c) != 0 {
			names = append(names, capabilityName(c))
		}
	}
	return names
}

func getCapabilities() (permitted uint64, err error) {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return 0, os.NewSyscallError("capget", err)
	}
	return uint64(data[1].Permitted)<<32 | uint64(data[0].Permitted), nil
}

// setCapabilities sets this thread's; what is permitted is effective.
func setCapabilities(permitted, inheritable uint64) error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := [2]unix.CapUserData{
		{Effective: uint32(permitted), Permitted: uint32(permitted), Inheritable: uint32(inheritable)},
		{Effective: uint32(permitted >> 32), Permitted: uint32(permitted >> 32), Inheritable: uint32(inheritable >> 32)},
	}
	return os.NewSyscallError("capset", unix.Capset(&hdr, &data[0]))
}
