package agent

import (
	"context"
	"strconv"

	"supd/supervisor/spec"
)

// tellPosition runs the position hook of a member whose start is held, as part of that start:
// under its lock, for this epoch. What it prints last is a whole number.
func (j job) tellPosition(ctx context.Context) (*int64, spec.HookStatus, error) {
	r, _, err := j.furnish(ctx)
	if err != nil {
		return nil, spec.HookStatus{}, err
	}
	t := j.part.Template
	if !t.Hooked(spec.HookPosition) { // taken out of the definition meanwhile
		none := int64(0)
		return &none, spec.HookStatus{}, nil
	}
	var output []byte
	main := t.Processes[0].Name
	j.progress(1, "hook %s runs", spec.HookPosition)
	status, err := j.runHook(ctx, call{hook: spec.HookPosition, process: main, output: &output}, r.starts[main], r.facts[main])
	if err != nil {
		return nil, status, err
	}
	n, perr := strconv.ParseInt(lastLine(output), 10, 64)
	if status.State == spec.HookSucceeded && perr != nil {
		status.State, status.Message = spec.HookFailed, oneLine("it printed "+strconv.Quote(lastLine(output))+", which is no whole number")
	}
	if status.State == spec.HookFailed {
		return nil, status, failf(PositionFailed, "%s", status.Message)
	}
	return &n, status, nil
}
