package supervisor

import (
	"context"
	"fmt"
	"time"

	"supd/supervisor/client"
	"supd/supervisor/pki"
)

// seedAgain is the pause between two attempts to get the cluster's secret.
const seedAgain = time.Second

// fetchSeeds gets the cluster's secret from the leader when that wants this node to vote,
// until ctx ends. A node keeps it when it votes no more: what was known can't be unknown.
func (d *Daemon) fetchSeeds(ctx context.Context) error {
	for {
		select {
		case <-d.leader.seedWanted:
		case <-ctx.Done():
			return nil
		}
		if !d.pki.Seed().IsZero() {
			continue
		}
		if err := d.fetchSeed(ctx); err != nil {
			d.log.Warn("cannot get the cluster's secret, so this node cannot vote yet", "err", err)
			select {
			case <-time.After(seedAgain):
			case <-ctx.Done():
				return nil
			}
			continue
		}
		d.log.Info("cluster's secret received; this node may vote")
	}
}

func (d *Daemon) fetchSeed(ctx context.Context) error {
	return d.leader.ask(ctx, func(ctx context.Context, c *client.Client) error {
		if c == nil {
			return fmt.Errorf("this node leads without the cluster's secret")
		}
		text, err := c.Seed(ctx)
		if err != nil {
			return err
		}
		seed, err := pki.ParseSeed(text)
		if err != nil {
			return err
		}
		return d.pki.SaveSeed(seed) // it must be that of the CA that is here
	})
}
