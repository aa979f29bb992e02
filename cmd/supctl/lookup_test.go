package main_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// srv DNS NAME [PORT/TARGET...]: the SRV records that the server at host:port DNS has for the name, in any order; none: there is
// no such name.
func cmdSRV(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: srv DNS NAME [PORT/TARGET...]")
	}
	r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, args[0])
	}}
	want := slices.Sorted(slices.Values(args[2:]))
	ts.Check(until(eventually, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_, list, err := r.LookupSRV(ctx, "", "", args[1]+".")
		var dns *net.DNSError
		if err != nil && (!errors.As(err, &dns) || !dns.IsNotFound) {
			return err
		}
		var got []string
		for _, s := range list {
			got = append(got, fmt.Sprintf("%d/%s", s.Port, s.Target))
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			return fmt.Errorf("%s has SRV %v, want %v", args[1], got, want)
		}
		return nil
	}))
}
