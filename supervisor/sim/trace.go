package sim

import (
	"fmt"
	"strings"
)

// Violation is a property that did not hold, with how to see it again.
type Violation struct {
	Property string
	Message  string
	Seed     uint64
	Step     int
	Trace    []string
}

func (v *Violation) Error() string {
	return fmt.Sprintf("%s broken at step %d: %s\nreplay: go test ./supervisor/sim -run 'TestWalk$' -seed=%d -v\n%s",
		v.Property, v.Step, v.Message, v.Seed, strings.Join(v.Trace, "\n"))
}

// traceSteps is how many of the last steps a violation shows.
const traceSteps = 60

// trace keeps what happened in the last steps.
type trace struct{ lines []traceLine }

type traceLine struct {
	step int
	text string
}

func (t *trace) add(w *World, format string, args ...any) {
	t.lines = append(t.lines, traceLine{w.step, fmt.Sprintf("%4d %8.2fs ", w.step, w.now.Seconds()) + fmt.Sprintf(format, args...)})
	if len(t.lines) > 4000 {
		t.lines = append(t.lines[:0:0], t.lines[2000:]...)
	}
}

// last returns the lines of the last steps.
func (t *trace) last(now int) (out []string) {
	for _, l := range t.lines {
		if l.step > now-traceSteps {
			out = append(out, l.text)
		}
	}
	return out
}
