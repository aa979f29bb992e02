package keeper

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// startedFrom is the file this process was started from, by the name used then: a link may lead to a newer one by now.
func startedFrom() (string, error) {
	if name, err := execName(); err == nil && !strings.HasPrefix(name, "/proc/") {
		if path, err := filepath.Abs(name); err == nil && unix.Access(path, unix.X_OK) == nil {
			return path, nil
		}
	}
	path, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("cannot tell the keeper's own file: %w", err)
	}
	return path, nil
}

// execName is what the kernel was told to execute. It leaves the address of it in the process's memory.
func execName() (string, error) {
	const execFN, longest = 31, 4096 // AT_EXECFN, PATH_MAX
	pairs, err := unix.Auxv()
	if err != nil {
		return "", err
	}
	for _, kv := range pairs {
		if kv[0] != execFN {
			continue
		}
		mem, err := os.Open("/proc/self/mem")
		if err != nil {
			return "", err
		}
		defer mem.Close()
		b := make([]byte, longest)
		n, err := mem.ReadAt(b, int64(kv[1])) // short: the stack ends soon after it
		if name, _, ok := bytes.Cut(b[:n], []byte{0}); ok {
			return string(name), nil
		}
		return "", errors.Join(errors.New("no end of the name"), err)
	}
	return "", errors.New("the kernel has not told it")
}
