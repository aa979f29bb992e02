package agent

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
)

// account is who a process runs as.
type account struct {
	Set      bool // it is to be set; else the process keeps the daemon's
	UID, GID uint32
	Groups   []uint32
	Name     string
	Home     string
}

// accounts looks users and groups up in the host's data bases.
type accounts struct {
	root bool
}

// find resolves the user, group and supplementary groups of a definition; all may
// be names or numbers. Without root only the daemon's own are possible.
func (a accounts) find(userName, groupName string, more []string) (account, error) {
	own, err := daemonAccount()
	if err != nil {
		return account{}, err
	}
	acc := own
	if userName != "" {
		if acc, err = lookupUser(userName); err != nil {
			return account{}, err
		}
	}
	if groupName != "" {
		if acc.GID, err = lookupGroup(groupName); err != nil {
			return account{}, err
		}
	}
	for _, g := range more {
		id, err := lookupGroup(g)
		if err != nil {
			return account{}, err
		}
		acc.Groups = append(acc.Groups, id)
	}
	if acc.UID == own.UID && acc.GID == own.GID && len(more) == 0 {
		acc.Set = false
		return acc, nil
	}
	acc.Set = true
	if !a.root {
		return account{}, failf(NeedsRoot, "it is to run as user %q group %q, which only root may set; this node's daemon runs as %s",
			orWord(userName, own.Name), orWord(groupName, strconv.Itoa(int(acc.GID))), own.Name)
	}
	return acc, nil
}

func daemonAccount() (account, error) {
	uid, gid := os.Geteuid(), os.Getegid()
	acc := account{UID: uint32(uid), GID: uint32(gid), Name: strconv.Itoa(uid), Home: "/"}
	u, err := user.LookupId(strconv.Itoa(uid))
	var unknown user.UnknownUserIdError
	switch {
	case err == nil:
		acc.Name, acc.Home = u.Username, u.HomeDir
	case !errors.As(err, &unknown):
		return account{}, failf(UserUnknown, "cannot look up the daemon's user %d: %v", uid, err)
	}
	return acc, nil
}

func lookupUser(name string) (account, error) {
	u, err := user.Lookup(name)
	number, numErr := strconv.ParseUint(name, 10, 32)
	if err != nil && numErr == nil {
		u, err = user.LookupId(name)
		var unknown user.UnknownUserIdError
		if errors.As(err, &unknown) {
			// A number without an entry is good enough. Its group is of the same
			// number, never root's.
			id := uint32(number)
			return account{UID: id, GID: id, Name: name, Home: "/"}, nil
		}
	}
	if err != nil {
		return account{}, failf(UserUnknown, "there is no user %q on this node", name)
	}
	acc := account{Name: u.Username, Home: u.HomeDir}
	if acc.UID, err = parseID(u.Uid); err == nil {
		acc.GID, err = parseID(u.Gid)
	}
	if err != nil {
		return account{}, failf(UserUnknown, "the entry of user %q cannot be read: %v", name, err)
	}
	ids, err := u.GroupIds()
	if err != nil {
		return account{}, failf(UserUnknown, "cannot look up the groups of user %q: %v", name, err)
	}
	for _, s := range ids {
		id, err := parseID(s)
		if err != nil {
			return account{}, failf(UserUnknown, "the groups of user %q cannot be read: %v", name, err)
		}
		if id != acc.GID {
			acc.Groups = append(acc.Groups, id)
		}
	}
	return acc, nil
}

func lookupGroup(name string) (uint32, error) {
	g, err := user.LookupGroup(name)
	if err == nil {
		return parseID(g.Gid)
	}
	if id, numErr := parseID(name); numErr == nil {
		return id, nil
	}
	return 0, failf(UserUnknown, "there is no group %q on this node", name)
}

func parseID(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("%q is not a user or group number", s)
	}
	return uint32(n), nil
}

func orWord(s, otherwise string) string {
	if s != "" {
		return s
	}
	return otherwise
}
