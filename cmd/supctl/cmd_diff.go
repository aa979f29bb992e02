package main

import (
	"context"
	"encoding/json"

	"github.com/spf13/cobra"

	"supd/supervisor/client"
	"supd/supervisor/spec"
)

func (a *app) diffCommand() *cobra.Command {
	var files []string
	cmd := &cobra.Command{
		Use:   "diff -f FILE",
		Short: "Show the change that applying would make to the objects",
		Long: `diff compares each object as it is stored with what applying the definitions would
store, defaults included. Nothing is changed.

Exit status: 0 done, whether there are differences or not; 2 wrong definition; 4 it
would be refused; 5 no leader.`,
		Example: "  supctl diff -f web.hcl",
		Args:    cobra.NoArgs,
	}
	filesFlag(cmd, &files)
	cmd.RunE = a.do(func(cmd *cobra.Command, _ []string) error {
		ctx := cmd.Context()
		c, err := a.client()
		if err != nil {
			return err
		}
		defer c.Close()
		return a.previewAll(ctx, files, func(p previewed) error { return a.tellDiff(ctx, c, p) })
	})
	return cmd
}

func (a *app) tellDiff(ctx context.Context, c *client.Client, p previewed) error {
	k, err := parseKind(p.word)
	if err != nil {
		return err
	}
	before := ""
	raw, _, err := c.GetRaw(ctx, k.resource, p.meta.Namespace, p.meta.Name, client.ReadOptions{})
	switch {
	case err == nil:
		if before, err = definitionText(raw); err != nil {
			return err
		}
	case spec.CodeOf(err) != spec.CodeNotFound:
		return err
	}
	b, err := json.Marshal(p.object)
	if err != nil {
		return spec.Errorf(spec.CodeInternal, "cannot encode the object: %v", err)
	}
	after, err := definitionText(b)
	if err != nil {
		return err
	}
	name := p.word + "/" + p.meta.Name
	a.printf("%s", unifiedDiff(name+" (now)", name+" (applied)", before, after))
	return nil
}

// definitionText is an object as YAML without what the cluster keeps for itself.
func definitionText(raw []byte) (string, error) {
	var o struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Metadata   struct {
			Namespace   string            `json:"namespace,omitempty"`
			Name        string            `json:"name"`
			Labels      map[string]string `json:"labels,omitempty"`
			Annotations map[string]string `json:"annotations,omitempty"`
		} `json:"metadata"`
		Spec json.RawMessage `json:"spec"`
	}
	if err := json.Unmarshal(raw, &o); err != nil {
		return "", spec.Errorf(spec.CodeInternal, "cannot read an object of the answer: %v", err)
	}
	b, err := json.Marshal(o)
	if err != nil {
		return "", spec.Errorf(spec.CodeInternal, "cannot encode the object: %v", err)
	}
	return toYAML(b)
}
