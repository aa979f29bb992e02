package spec

import "strings"

// EscapeTemplate is template text that means the literal s: "${" becomes "$${" and "%{"
// becomes "%%{". Where more of the same character stand before one, they are put into a
// sequence of their own, or "$$${" would be read as something else.
func EscapeTemplate(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		c := s[i]
		if c != '$' && c != '%' {
			b.WriteByte(c)
			i++
			continue
		}
		end := i
		for end < len(s) && s[end] == c {
			end++
		}
		run := s[i:end]
		if i = end; i == len(s) || s[i] != '{' {
			b.WriteString(run)
			continue
		}
		if more := run[1:]; more != "" {
			b.WriteString(`${"` + more + `"}`)
		}
		b.WriteByte(c)
		b.WriteByte(c)
	}
	return b.String()
}
