package supervisor

import (
	"strings"
	"testing"
)

func TestMakeSeed(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		has   lacks
		makes bool
		err   string
	}{
		"new, alone":                         {lacks{expect: 1}, true, ""},
		"new, with others":                   {lacks{expect: 3}, false, "supd secret"},
		"new, with others, by the secret":    {lacks{expect: 3, ca: true}, false, ""},
		"new, waits":                         {lacks{}, false, ""},
		"member":                             {lacks{ca: true, member: true, others: 2}, false, ""},
		"member of before TLS, alone":        {lacks{member: true, expect: 1}, true, ""},
		"member of before TLS, with others":  {lacks{member: true, others: 2, expect: 3}, false, "bootstrap_secret_file"},
		"first of before TLS, others joined": {lacks{member: true, others: 2, expect: 1}, false, "bootstrap_secret_file"},
	} {
		makes, err := makeSeed(x.has)
		if makes != x.makes || (err == nil) != (x.err == "") || err != nil && !strings.Contains(err.Error(), x.err) {
			t.Errorf("%s: %t, %v", name, makes, err)
		}
	}
}
