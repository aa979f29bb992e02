// Package sim is for tests only: a whole cluster in one goroutine, driven by a seed.
package sim
