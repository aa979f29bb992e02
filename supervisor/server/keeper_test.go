package server_test

import (
	"strings"
	"testing"

	"supd/supervisor/client"
	"supd/supervisor/server/servertest"
	"supd/supervisor/spec"
)

// A node's keeper is asked and upgraded from any node, by way of its own.
func TestUpgradeKeeper(t *testing.T) {
	t.Parallel()
	owner := servertest.Story()
	ownerClient, ownerHS := serve(t, owner)
	other := servertest.Story()
	other.Name = "node-2"
	otherClient, _ := serve(t, other)
	other.SetAPI(owner.Name, strings.TrimPrefix(ownerHS.URL, "http://"))

	for _, c := range []*client.Client{ownerClient, otherClient} {
		n, _, err := client.Get[spec.Node](t.Context(), c, client.Nodes, "", owner.Name, client.ReadOptions{})
		if err != nil || n.Status.Keeper == nil || n.Status.Keeper.PID != 77 || !n.Status.Keeper.Upgrade.Possible {
			t.Fatalf("the node's keeper: %+v, %v", n, err)
		}
	}
	all, _, err := client.List[spec.Node](t.Context(), ownerClient, client.Nodes, client.ReadOptions{})
	if err != nil || all[0].Status.Keeper != nil || !strings.HasPrefix(all[0].Status.KeeperReason, "NotAsked") {
		t.Errorf("in a list: %+v, %v", all, err)
	}
	done, err := otherClient.UpgradeKeeper(t.Context(), owner.Name)
	if err != nil || done != (client.KeeperUpgrade{Node: owner.Name, From: "v1", Version: "v2", PID: 77}) {
		t.Fatalf("upgrade: %+v, %v", done, err)
	}
	for _, c := range []*client.Client{ownerClient, otherClient} {
		if _, err := c.UpgradeKeeper(t.Context(), owner.Name); spec.CodeOf(err) != spec.CodeRefused || !strings.Contains(err.Error(), "under way") {
			t.Errorf("one that refuses: %v", err)
		}
	}
	if _, err := ownerClient.UpgradeKeeper(t.Context(), "node-9"); spec.CodeOf(err) != spec.CodeNotFound {
		t.Errorf("an unknown node: %v", err)
	}
	ownerHS.Close()
	if _, err := otherClient.UpgradeKeeper(t.Context(), owner.Name); spec.CodeOf(err) != spec.CodeNoLeader || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("a node that is away: %v", err)
	}
	n, _, err := client.Get[spec.Node](t.Context(), otherClient, client.Nodes, "", owner.Name, client.ReadOptions{})
	if err != nil || n.Status.Keeper != nil || n.Status.KeeperReason == "" {
		t.Errorf("the keeper of a node that is away: %+v, %v", n, err)
	}
}
