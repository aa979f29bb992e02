package servertest

import (
	"context"

	"supd/supervisor/client"
	"supd/supervisor/spec"
)

// keeperOf pretends a node's keeper: it is upgraded once from v1 to v2, then refuses.
type keeperOf struct{ n *Node }

func (k keeperOf) Status(context.Context) (spec.KeeperStatus, error) {
	v2 := "v2"
	return spec.KeeperStatus{
		Version: "v1", Protocol: 2, PID: 77, Controllers: []string{},
		Upgrade: spec.KeeperUpgrades{Binary: "/usr/bin/supd-keeper", OnDisk: &v2, Possible: true},
	}, nil
}

func (k keeperOf) Upgrade(context.Context) (client.KeeperUpgrade, error) {
	k.n.mu.Lock()
	defer k.n.mu.Unlock()
	k.n.keeperUpgrades++
	if k.n.keeperUpgrades > 1 {
		return client.KeeperUpgrade{}, spec.Errorf(spec.CodeRefused, "busy: an upgrade is under way")
	}
	return client.KeeperUpgrade{From: "v1", Version: "v2", PID: 77}, nil
}
