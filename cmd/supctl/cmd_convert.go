package main

import (
	"github.com/spf13/cobra"

	"supd/configs"
)

func (a *app) convertCommand() *cobra.Command {
	var files []string
	cmd := &cobra.Command{
		Use:   "convert -f FILE -o hcl|yaml",
		Short: "Print definitions in another form, without a cluster",
		Long: `convert reads definitions in any of the three forms (HCL, native YAML, Kubernetes
YAML) and prints them as HCL or native YAML.

Exit status: 0 done; 2 wrong definition.`,
		Example:     "  supctl convert -f statefulset.yaml -o hcl",
		Args:        cobra.NoArgs,
		Annotations: map[string]string{outputs: "hcl yaml"},
	}
	filesFlag(cmd, &files)
	cmd.RunE = a.do(func(_ *cobra.Command, _ []string) error {
		if a.output == "" {
			return usagef("say which form: -o hcl or -o yaml")
		}
		sources, err := configs.Load(files, a.stdin)
		if err != nil {
			return usagef("%v", err)
		}
		defs, diags := configs.Parse(sources)
		if err := a.tell(diags); err != nil {
			return err
		}
		if len(defs) == 0 {
			return usagef("there is no definition to convert: -f FILE")
		}
		for i, d := range defs {
			text, between, err := []byte(nil), "---\n", error(nil)
			if a.output == "hcl" {
				between = "\n"
				text, err = configs.EncodeHCL(d.Object)
			} else {
				text, err = configs.EncodeYAML(d.Object)
			}
			if err != nil {
				m, word := metaPtr(d.Object)
				return usagef("cannot convert %s/%s: %v", word, m.Name, err)
			}
			if i > 0 {
				a.printf("%s", between)
			}
			a.printf("%s", text)
		}
		return nil
	})
	return cmd
}
