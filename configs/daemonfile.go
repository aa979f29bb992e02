package configs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"sort"
	"strings"

	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/pelletier/go-toml/v2"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"
	"go.yaml.in/yaml/v3"
)

// readDaemonFile reads a daemon's file as its format says. The file is decoded
// here and not by viper, which spells every key, those of labels too, in lower case.
func readDaemonFile(path string) (raw map[string]any, from string, err error) {
	from = path
	if path == "" {
		from = DefaultDaemonFile
	}
	b, err := os.ReadFile(from)
	if path == "" && errors.Is(err, fs.ErrNotExist) {
		return map[string]any{}, "the defaults", nil
	}
	if err != nil {
		return nil, from, fmt.Errorf("cannot read the configuration: %w", err)
	}
	raw = map[string]any{}
	switch ext := filepath.Ext(from); ext {
	case ".yaml", ".yml", ".json":
		err = decodeYAMLMap(b, &raw)
	case ".toml":
		err = toml.Unmarshal(b, &raw)
	case ".hcl":
		err = decodeHCLMap(b, from, &raw)
	default:
		err = fmt.Errorf("its name must end in .yaml, .json, .toml or .hcl, not %q", ext)
	}
	if err != nil {
		return nil, from, fmt.Errorf("cannot read the configuration %s: %w", from, err)
	}
	if err := flattenLabels(raw); err != nil {
		return nil, from, fmt.Errorf("cannot read the configuration %s: %w", from, err)
	}
	return raw, from, nil
}

// decodeYAMLMap reads YAML, and JSON, which is YAML. A repeated key is an error.
func decodeYAMLMap(b []byte, into *map[string]any) error {
	if len(bytes.TrimSpace(b)) == 0 {
		return nil
	}
	return yaml.Unmarshal(b, into)
}

// decodeHCLMap reads attributes; there are no blocks.
func decodeHCLMap(b []byte, name string, into *map[string]any) error {
	f, diags := hclparse.NewParser().ParseHCL(b, name)
	if diags.HasErrors() {
		return diags
	}
	attrs, diags := f.Body.JustAttributes()
	if diags.HasErrors() {
		return diags
	}
	obj := map[string]cty.Value{}
	for k, a := range attrs {
		val, diags := a.Expr.Value(nil)
		if diags.HasErrors() {
			return diags
		}
		obj[k] = val
	}
	val := cty.ObjectVal(obj)
	j, err := ctyjson.Marshal(val, val.Type())
	if err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(j))
	d.UseNumber()
	if err := d.Decode(into); err != nil {
		return err
	}
	for k, v := range *into {
		if n, ok := v.(json.Number); ok {
			i, err := n.Int64()
			if err != nil {
				return fmt.Errorf("%s: want a whole number, not %s", k, n)
			}
			(*into)[k] = i
		}
	}
	return nil
}

// flattenLabels turns the object of labels into key=value texts, which keep their
// capitals in viper.
func flattenLabels(raw map[string]any) error {
	obj, ok := raw["labels"].(map[string]any)
	if !ok {
		return nil
	}
	list := []string{}
	for k, v := range obj {
		s, ok := v.(string)
		if !ok {
			return fmt.Errorf("labels: the value of %s must be text, not %v; put it in quotes", k, v)
		}
		list = append(list, k+"="+s)
	}
	sort.Strings(list)
	raw["labels"] = list
	return nil
}

// YAML writes the configuration as a file that gives it again.
func (d Daemon) YAML() (string, error) {
	v := reflect.ValueOf(d)
	var b strings.Builder
	for i, k := range DaemonKeys() {
		x := v.Field(i).Interface()
		if k == "labels" {
			x = d.LabelMap()
		}
		if s, ok := x.(fmt.Stringer); ok {
			x = s.String()
		}
		line, err := yaml.Marshal(map[string]any{k: x})
		if err != nil {
			return "", err
		}
		b.Write(line)
	}
	return b.String(), nil
}
