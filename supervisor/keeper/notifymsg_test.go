package keeper

import (
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

func TestParseNotice(t *testing.T) {
	text := func(s string) *string { return &s }
	for _, c := range []struct {
		in   string
		want notice
	}{
		{"", notice{}},
		{"READY=1", notice{ready: true}},
		{"READY=0\nREADY", notice{}},
		{"READY=1\x00", notice{ready: true}},
		{"READY=1\x00STOPPING=1", notice{}},
		{"READY=1\nSTATUS=a=b \t c\nX=Y", notice{ready: true, text: text("a=b   c")}},
		{"STATUS=", notice{text: text("")}},
		{"WATCHDOG=1", notice{ping: true}},
		{"WATCHDOG=trigger", notice{trigger: true}},
		{"RELOADING=1\nMONOTONIC_USEC=5", notice{reloading: true}},
		{"STOPPING=1\nERRNO=13", notice{stopping: true, errno: 13}},
		{"ERRNO=-1", notice{}},
		{"EXTEND_TIMEOUT_USEC=1500000", notice{extend: 1500 * time.Millisecond}},
		{"EXTEND_TIMEOUT_USEC=18446744073709551615", notice{extend: time.Hour}},
		{"EXTEND_TIMEOUT_USEC=-1", notice{}},
		{"MAINPID=1\nFDSTORE=1\nBARRIER=1", notice{}},
	} {
		got := parseNotice([]byte(c.in))
		if (got.text == nil) != (c.want.text == nil) || got.text != nil && *got.text != *c.want.text {
			t.Errorf("%q: text %v, want %v", c.in, got.text, c.want.text)
		}
		got.text, c.want.text = nil, nil
		if got != c.want {
			t.Errorf("%q: got %+v, want %+v", c.in, got, c.want)
		}
	}
}

func TestMissedPings(t *testing.T) {
	for _, c := range []struct {
		since time.Duration
		n     int
		again time.Duration
	}{
		{0, 0, time.Second},
		{900 * time.Millisecond, 0, 100 * time.Millisecond},
		{time.Second, 1, time.Second},
		{3500 * time.Millisecond, 3, 500 * time.Millisecond},
		{99 * time.Second, 99, time.Second},
		{100 * time.Second, 100, 0},
		{1 << 62, 100, 0},
	} {
		if n, again := missed(c.since, time.Second); n != c.n || again != c.again {
			t.Errorf("%s: got %d, %s; want %d, %s", c.since, n, again, c.n, c.again)
		}
	}
}

func FuzzParseNotice(f *testing.F) {
	f.Add([]byte("READY=1\nSTATUS=x\nEXTEND_TIMEOUT_USEC=99999999999999999999"))
	f.Add([]byte("STATUS=\xff\u202e\x1b[2J" + string(make([]byte, 300))))
	f.Fuzz(func(t *testing.T, b []byte) {
		n := parseNotice(b)
		if n.extend < 0 || n.extend > maxExtend || n.errno < 0 {
			t.Errorf("%q: %+v", b, n)
		}
		if n.text == nil {
			return
		}
		if len(*n.text) > maxText || !utf8.ValidString(*n.text) {
			t.Errorf("%q: %q", b, *n.text)
		}
		for _, r := range *n.text {
			if !unicode.IsPrint(r) {
				t.Errorf("%q: %q", b, *n.text)
			}
		}
	})
}
