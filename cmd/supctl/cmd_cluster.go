package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"supd/supervisor/client"
	"supd/supervisor/spec"
)

func (a *app) clusterCommand() *cobra.Command {
	cmd := group(&cobra.Command{Use: "cluster", Short: "Show the state of the cluster"})
	status := &cobra.Command{
		Use:   "status",
		Short: "Show leader, voters, nodes, and how many voters may still be lost",
		Long: `status shows the cluster as the daemon that is asked knows it. Without a leader
everything is frozen as it is: members run on, nothing else happens.

Exit status: 0 done; 5 no daemon.`,
		Args:        cobra.NoArgs,
		Annotations: map[string]string{outputs: "wide json yaml jsonpath"},
	}
	status.RunE = a.do(func(cmd *cobra.Command, _ []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		defer c.Close()
		st, err := c.Cluster(cmd.Context())
		if err != nil {
			return err
		}
		if a.isData() {
			return a.writeValue(st)
		}
		return a.tellCluster(st)
	})
	cmd.AddCommand(status, a.snapshotCommand())
	return cmd
}

func (a *app) tellCluster(st *spec.ClusterStatus) error {
	d := &describer{a: a}
	leader := st.Leader
	if leader == "" {
		leader = "none"
	}
	d.field("Cluster", "%s", dash(st.ClusterID))
	d.field("Leader", "%s (term %d)", leader, st.Term)
	d.field("Index", "%d", st.Index)
	d.field("Voters", "%s", dash(strings.Join(st.Voters, ", ")))
	d.field("Can lose", "%s", canLoseWord(st))
	d.field("Frozen", "%t", st.Frozen)
	d.field("DNS", "%s", dash(st.DNS))
	d.field("Address plan", "%s", dash(st.AddressPlan))
	var items []json.RawMessage
	for _, n := range st.Nodes {
		b, err := json.Marshal(n)
		if err != nil {
			return spec.Errorf(spec.CodeInternal, "cannot encode the output: %v", err)
		}
		items = append(items, b)
	}
	return d.objects("Nodes", client.Nodes, items)
}

func canLoseWord(st *spec.ClusterStatus) string {
	if st.Frozen {
		return "no leader is known: everything is frozen as it is, members run on"
	}
	return fmt.Sprintf("%d more of %d voters before everything freezes", st.CanLose, len(st.Voters))
}
