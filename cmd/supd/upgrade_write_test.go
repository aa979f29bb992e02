package main

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"supd/supervisor/client"
	"supd/supervisor/spec"
)

// counter is a number in the cluster that one writer raises without end, by way of any
// node that answers, each time only if it is as the last acknowledged write left it. So
// a write that is lost, or done twice, is seen at the next.
type counter struct {
	t    *testing.T
	apis []*client.Client
	stop context.CancelFunc
	done sync.WaitGroup

	mu      sync.Mutex // guards what follows
	last    int        // acknowledged
	version uint64
	at      time.Time     // of the last acknowledgement
	longest time.Duration // between two
}

// count begins with 0.
func count(t *testing.T, apis []*client.Client) *counter {
	t.Helper()
	c := &counter{t: t, apis: apis, at: time.Now()}
	p, _, err := apis[0].PutProgram(t.Context(), c.number(0), client.WriteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.version = p.Metadata.ResourceVersion
	ctx, stop := context.WithCancel(t.Context())
	c.stop = stop
	c.done.Go(func() { c.run(ctx) })
	return c
}

func (c *counter) number(n int) *spec.Program {
	return &spec.Program{
		APIVersion: spec.APIVersion, Kind: spec.KindProgram,
		Metadata: spec.Meta{Namespace: spec.DefaultNS, Name: "counter"},
		Spec:     spec.ProgramSpec{Command: []string{"/bin/true", strconv.Itoa(n)}},
	}
}

func (c *counter) run(ctx context.Context) {
	pace := time.NewTicker(20 * time.Millisecond)
	defer pace.Stop()
	sure := true // the last write's fate is known
	for i := 0; ctx.Err() == nil; {
		err := c.step(ctx, c.apis[i%len(c.apis)], sure)
		if sure = err == nil; !sure {
			i++ // by way of another node
		}
		select {
		case <-pace.C:
		case <-ctx.Done():
		}
	}
}

// step writes the next number, or finds out what became of the last one.
func (c *counter) step(ctx context.Context, api *client.Client, sure bool) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if sure {
		p, _, err := api.PutProgram(ctx, c.number(c.last+1), client.WriteOptions{IfVersion: c.version})
		if err == nil {
			c.acknowledged(c.last+1, p.Metadata.ResourceVersion)
		}
		return err
	}
	p, _, err := client.Get[spec.Program](ctx, api, client.Programs, spec.DefaultNS, "counter", client.ReadOptions{Consistent: true})
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(p.Spec.Command[1])
	switch {
	case err != nil:
		return err
	case n == c.last+1:
		c.acknowledged(n, p.Metadata.ResourceVersion)
	case n != c.last || p.Metadata.ResourceVersion != c.version:
		c.t.Errorf("the counter is %d (version %d) after %d (version %d) was acknowledged", n, p.Metadata.ResourceVersion, c.last, c.version)
		c.stop()
	}
	return nil
}

func (c *counter) acknowledged(n int, version uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last, c.version = n, version
	c.longest, c.at = max(c.longest, time.Since(c.at)), time.Now()
}

// moves waits until so many more were acknowledged.
func (c *counter) moves(more int) {
	c.t.Helper()
	read := func() int {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.last
	}
	from := read()
	until(c.t, "writes go on", func() error {
		if n := read(); n < from+more {
			return fmt.Errorf("%d writes since %d", n-from, from)
		}
		return nil
	})
}

// end stops writing, and tells how many writes were acknowledged and how long nobody
// could write at most.
func (c *counter) end() (writes int, longest time.Duration) {
	c.t.Helper()
	c.stop()
	c.done.Wait()
	ctx := context.WithoutCancel(c.t.Context())
	until(c.t, "the counter is what was acknowledged last", func() error {
		p, _, err := client.Get[spec.Program](ctx, c.apis[0], client.Programs, spec.DefaultNS, "counter", client.ReadOptions{Consistent: true})
		if err != nil {
			return err
		}
		// The write that was under way at the end may be there.
		if n, err := strconv.Atoi(p.Spec.Command[1]); err != nil || n != c.last && n != c.last+1 {
			c.t.Fatalf("the counter is %q after %d was acknowledged", p.Spec.Command, c.last)
		}
		return nil
	})
	return c.last, c.longest
}
