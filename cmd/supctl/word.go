package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return oneLine(s)
}

// cut shortens s to n characters.
func cut(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:n-3]) + "..."
}

func labelsWord(labels map[string]string) string {
	out := make([]string, 0, len(labels))
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		out = append(out, k+"="+labels[k])
	}
	return strings.Join(out, ",")
}

// age says how long ago t was, in the two units that matter.
func age(t *time.Time, now time.Time) string {
	if t == nil || t.IsZero() {
		return "-"
	}
	return span(now.Sub(*t))
}

func span(d time.Duration) string {
	d = max(d, 0)
	s, m, h := int(d.Seconds()), int(d.Minutes()), int(d.Hours())
	switch {
	case s < 120:
		return fmt.Sprintf("%ds", s)
	case m < 10 && s%60 != 0:
		return fmt.Sprintf("%dm%ds", m, s%60)
	case m < 180:
		return fmt.Sprintf("%dm", m)
	case h < 8 && m%60 != 0:
		return fmt.Sprintf("%dh%dm", h, m%60)
	case h < 48:
		return fmt.Sprintf("%dh", h)
	case h < 8*24 && h%24 != 0:
		return fmt.Sprintf("%dd%dh", h/24, h%24)
	}
	return fmt.Sprintf("%dd", h/24)
}

func bytesWord(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	f, units := float64(n), []string{"KiB", "MiB", "GiB", "TiB", "PiB"}
	i := -1
	for f >= 1024 && i < len(units)-1 {
		f /= 1024
		i++
	}
	return fmt.Sprintf("%.1f %s", f, units[i])
}

func timeWord(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

// orWord is s, or what stands for it.
func orWord(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func because(s string) string {
	if s == "" {
		return ""
	}
	return ": " + oneLine(s)
}
