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

// resolves DNS NAME [IP...]: what the server at host:port DNS answers, in any order;
// no IP: there is no such name.
func cmdResolves(ts *testscript.TestScript, neg bool, args []string) {
	lookUp(ts, "resolves to", args, func(ctx context.Context, r *net.Resolver, name string) ([]string, error) {
		return r.LookupHost(ctx, name)
	})
}

// srv DNS NAME [PORT/TARGET...]: the SRV records that the server at host:port DNS has for the name, in any order; none: there is
// no such name.
func cmdSRV(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: srv DNS NAME [PORT/TARGET...]")
	}
	lookUp(ts, "has SRV", args, func(ctx context.Context, r *net.Resolver, name string) (got []string, err error) {
		_, list, err := r.LookupSRV(ctx, "", "", name)
		for _, s := range list {
			got = append(got, fmt.Sprintf("%d/%s", s.Port, s.Target))
		}
		return got, err
	})
}

// lookUp asks the server at args[0] for the name args[1] until it answers the rest.
func lookUp(ts *testscript.TestScript, verb string, args []string, ask func(context.Context, *net.Resolver, string) ([]string, error)) {
	r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, args[0])
	}}
	want := slices.Sorted(slices.Values(args[2:]))
	ts.Check(until(eventually, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		got, err := ask(ctx, r, args[1]+".")
		var dns *net.DNSError
		if err != nil && (!errors.As(err, &dns) || !dns.IsNotFound) {
			return err
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			return fmt.Errorf("%s %s %v, want %v", args[1], verb, got, want)
		}
		return nil
	}))
}
