// Package archive packs a file or a directory into a stream, and unpacks one. It is how supctl cp moves files: one end is
// supctl, the other the keeper's own binary in the member's user and view, so no host needs a tar.
//
// The stream is a tar archive in which the root is called "." and all else is below it, with an entry of our own at its end:
// without that it was cut short, and is no success. Modes and symbolic links are kept; owners, times and hard links are not.
// There are no goroutines.
package archive

import (
	"errors"
	"fmt"
	"io"
	"os/signal"
	"strconv"
	"syscall"
)

// Report is what went over.
type Report struct {
	Files   int      // directories and links included
	Bytes   int64    // of the files' contents
	Skipped []string // sockets, pipes and devices, which hold no data
	Failed  []error  // what could not be read; all else went over
}

// endName is the record of the last entry; its value is the number of entries before it.
const endName = "SUPD.end"

// ErrCutShort: the stream ended before its end.
var ErrCutShort = errors.New("the stream was cut short")

const usage = "usage: pack PATH | unpack [--name NAME] PATH"

// Main is a command of the keeper's binary: "pack PATH" writes the stream to stdout, "unpack [--name NAME] PATH" reads it
// from stdin. It returns the exit status: 0 all went over, 1 not all, 2 wrong usage. It is for a process of its own.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if len(args) > 0 && args[0] == "unpack" {
		// A session whose client has gone gets SIGHUP. The stream ends then too, and what is half written is removed, for
		// which there is a second.
		signal.Ignore(syscall.SIGHUP)
	}
	r, err := command(args, stdin, stdout)
	for _, s := range r.Skipped {
		fmt.Fprintf(stderr, "skipped %s: no file, directory or link\n", s)
	}
	for _, e := range r.Failed {
		fmt.Fprintln(stderr, e)
	}
	switch {
	case errors.Is(err, errUsage):
		fmt.Fprintln(stderr, err)
		return 2
	case err != nil:
		fmt.Fprintln(stderr, err)
		return 1
	case len(r.Failed) > 0:
		return 1
	}
	return 0
}

var errUsage = errors.New(usage)

func command(args []string, stdin io.Reader, stdout io.Writer) (Report, error) {
	switch {
	case len(args) == 2 && args[0] == "pack":
		return Pack(stdout, args[1])
	case len(args) == 2 && args[0] == "unpack":
		return Unpack(stdin, args[1], "")
	case len(args) == 4 && args[0] == "unpack" && args[1] == "--name":
		return Unpack(stdin, args[3], args[2])
	}
	return Report{}, errUsage
}

func endRecord(entries int) map[string]string {
	return map[string]string{endName: strconv.Itoa(entries)}
}
