package main

import (
	"time"

	"supd/supervisor/spec"
)

// stopTimeout is how long a process may take to stop.
func stopTimeout(p spec.Process) time.Duration {
	if p.Stop.Timeout == nil {
		return spec.DefaultStopTimeout.D()
	}
	return p.Stop.Timeout.D()
}
