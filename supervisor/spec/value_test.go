package spec

import "testing"

func TestCPUMilli(t *testing.T) {
	for text, want := range map[string]int64{
		"": 0, "1": 1000, "0.5": 500, "1.5": 1500, "500m": 500, "0.1": 100, "0.0001": 1, "1m": 1, "64": 64000, "0.57": 570,
	} {
		if got, err := CPUMilli(text); err != nil || got != want {
			t.Errorf("%q: got %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"0", "-1", "x", "1 ", "500M", "m", "NaN", "Inf", "1e99"} {
		if got, err := CPUMilli(text); err == nil {
			t.Errorf("%q: got %d, want an error", text, got)
		}
	}
}
