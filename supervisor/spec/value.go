package spec

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// IntOrString is a number or a name, as ports of probes and maxUnavailable are
// ("2379", "client", "25%"). It is kept as text.
type IntOrString string

// MarshalJSON writes a number where the text is one.
func (v IntOrString) MarshalJSON() ([]byte, error) {
	if n, err := strconv.Atoi(string(v)); err == nil && strconv.Itoa(n) == string(v) {
		return []byte(v), nil
	}
	return json.Marshal(string(v))
}

// UnmarshalJSON takes a JSON number or string.
func (v *IntOrString) UnmarshalJSON(b []byte) error {
	var n int
	if err := json.Unmarshal(b, &n); err == nil {
		*v = IntOrString(strconv.Itoa(n))
		return nil
	}
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("want a number or a string")
	}
	*v = IntOrString(s)
	return nil
}

// Int returns the number, if it is one.
func (v IntOrString) Int() (int, bool) {
	n, err := strconv.Atoi(string(v))
	return n, err == nil
}

// Of resolves a number or percentage of total, rounded up to at least one when
// it is a percentage (rounding down to none stranded rollouts of a peer).
func (v IntOrString) Of(total int) (int, error) {
	if n, ok := v.Int(); ok {
		return n, nil
	}
	p, found := strings.CutSuffix(string(v), "%")
	n, err := strconv.Atoi(p)
	if !found || err != nil || n < 0 || n > 100 {
		return 0, fmt.Errorf("%q is neither a number nor a percentage such as %q", string(v), "25%")
	}
	return max(1, (n*total+99)/100), nil
}

// CPUMilli reads a number of CPUs as Kubernetes writes it ("1.5", "500m"), in thousandths, rounded up; "" is zero.
func CPUMilli(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	const most = 1e6 // CPUs
	num, milli := strings.CutSuffix(s, "m")
	f, err := strconv.ParseFloat(num, 64)
	if !milli {
		f *= 1000
	}
	if err != nil || math.IsNaN(f) || f <= 0 || f > most*1000 {
		return 0, fmt.Errorf("%q is not a number of CPUs; write for example %q or %q", s, "1.5", "500m")
	}
	return int64(math.Ceil(f - 1e-6)), nil
}

// Quantity is a number of bytes written as Kubernetes does ("10Gi", "500M").
type Quantity string

var quantityUnits = []struct {
	suffix string
	factor float64
}{
	{"Ki", 1 << 10},
	{"Mi", 1 << 20},
	{"Gi", 1 << 30},
	{"Ti", 1 << 40},
	{"Pi", 1 << 50},
	{"k", 1e3},
	{"M", 1e6},
	{"G", 1e9},
	{"T", 1e12},
	{"P", 1e15},
	{"", 1},
}

// Bytes returns the number of bytes; "" is zero.
func (q Quantity) Bytes() (int64, error) {
	if q == "" {
		return 0, nil
	}
	for _, u := range quantityUnits {
		num, ok := strings.CutSuffix(string(q), u.suffix)
		if !ok {
			continue
		}
		f, err := strconv.ParseFloat(num, 64)
		if err != nil || f < 0 || f*u.factor > math.MaxInt64/2 {
			break
		}
		return int64(f * u.factor), nil
	}
	return 0, fmt.Errorf("%q is not a size; write for example %q", string(q), "10Gi")
}
