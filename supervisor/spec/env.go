package spec

import (
	"encoding/json"
	"fmt"
	"sort"
)

// Env is an ordered list of variables. JSON takes a list of {name, value} or
// {name, fromFile}, or an object (in the order of its sorted keys).
type Env []EnvVar

// UnmarshalJSON takes both forms.
func (e *Env) UnmarshalJSON(b []byte) error {
	var list []EnvVar
	listErr := json.Unmarshal(b, &list)
	if listErr == nil {
		*e = list
		return nil
	}
	var obj map[string]string
	if err := json.Unmarshal(b, &obj); err != nil {
		return fmt.Errorf("want a list of {name, value} or an object of strings: %v", listErr)
	}
	names := make([]string, 0, len(obj))
	for n := range obj {
		names = append(names, n)
	}
	sort.Strings(names)
	*e = nil
	for _, n := range names {
		*e = append(*e, EnvVar{Name: n, Value: obj[n]})
	}
	return nil
}
