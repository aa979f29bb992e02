package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	"supd/configs"
	"supd/supervisor/client"
	"supd/supervisor/spec"
)

// BenchmarkRollEtcd restarts the etcd of configs/examples/etcd on three nodes, member by member, while clients write: for each
// member two that know no other, and six that go to the next member when one fails, as etcd's own client does. Every write
// makes a key of its own, on the condition that there is none, so it may be repeated when its fate is not known. Each that
// was acknowledged is read back at the end: one that is lost fails the benchmark.
func BenchmarkRollEtcd(b *testing.B) {
	const rollouts = 3
	if etcdBinary(b) == "" {
		b.Skip("NO FIGURES: etcd is not installed (apt-get install etcd-server)")
	}
	c := startCluster(b, 3)
	s := example(b, "../../configs/examples/etcd/etcd.hcl")
	c.rolls(b, s, nil)
	kinds := map[string]*etcdClients{"one member": {}, "all members": {}}
	var conns []*grpc.ClientConn
	for o := range *s.Spec.Replicas {
		conns = append(conns, c.memberConn(b, s, o))
	}
	for n := range 2 * len(conns) {
		kinds["one member"].add(fmt.Sprintf("one%d/", n), conns[n%3:n%3+1])
		kinds["all members"].add(fmt.Sprintf("all%d/", n), slices.Concat(conns[n%3:], conns[:n%3]))
	}
	rest := writing(b, kinds, func() { <-time.After(5 * time.Second) })
	var took time.Duration
	during := writing(b, kinds, func() {
		for range rollouts {
			took += c.rolls(b, s, c.restart(b, s))
		}
	})
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(took.Seconds()/rollouts, "s/rollout")
	lost := 0
	for _, name := range []string{"one member", "all members"} {
		k, word := kinds[name], map[string]string{"one member": "one", "all members": "all"}[name]
		n := k.lost(b, conns[0])
		lost += n
		quiet, roll := rest[name], during[name]
		b.ReportMetric(float64(n), word+"-lost")
		b.ReportMetric(float64(roll.failed), word+"-failed-requests")
		b.ReportMetric(roll.longest.Seconds(), word+"-longest-write-s")
		b.ReportMetric(roll.rate()/quiet.rate(), word+"-writes-roll/rest")
		b.Logf("clients of %s: %d writes acknowledged in %d rollouts, LOST %d; %d requests, %d failed (%.2f%%), %d writes were tried again, %d had been done by a request that failed; "+
			"the longest took %.2f s; %.0f writes/s, at rest %.0f (%.2f; %d of %d requests failed, the longest took %.2f s)",
			name, roll.acked, rollouts, n, roll.requests, roll.failed, 100*float64(roll.failed)/float64(roll.requests), roll.again, roll.done,
			roll.longest.Seconds(), roll.rate(), quiet.rate(), roll.rate()/quiet.rate(), quiet.failed, quiet.requests, quiet.longest.Seconds())
	}
	b.Logf("a rollout of three members took %.1f s", took.Seconds()/rollouts)
	if lost > 0 {
		b.Fatalf("%d acknowledged writes are LOST", lost)
	}
}

// example is the set that a file defines.
func example(b *testing.B, file string) *spec.StatefulSet {
	b.Helper()
	sources, err := configs.Load([]string{file}, nil)
	if err != nil {
		b.Fatal(err)
	}
	objects, diags := configs.Decode(sources)
	for _, o := range objects {
		if s, ok := o.(*spec.StatefulSet); ok && !configs.HasErrors(diags) {
			spec.Default(s)
			return s
		}
	}
	b.Fatalf("%s defines no set: %v", file, diags)
	return nil
}

// memberConn connects to the client port of a set's member. It comes back soon after the member does.
func (c *cluster) memberConn(b *testing.B, s *spec.StatefulSet, ordinal int) *grpc.ClientConn {
	b.Helper()
	m, _, err := client.Get[spec.Member](b.Context(), c.apis[0], client.Members, spec.DefaultNS, spec.MemberName(s.Metadata.Name, ordinal), client.ReadOptions{})
	if err != nil {
		b.Fatal(err)
	}
	addr := net.JoinHostPort(m.Spec.IP, strconv.Itoa(m.Spec.Ports["client"]))
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(bytesCodec{}), grpc.MaxCallRecvMsgSize(64<<20)),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.5, MaxDelay: 200 * time.Millisecond}, MinConnectTimeout: time.Second,
		}))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = conn.Close() })
	return conn
}

// etcdClients are clients of one kind.
type etcdClients struct{ clients []*etcdClient }

func (k *etcdClients) add(prefix string, to []*grpc.ClientConn) {
	k.clients = append(k.clients, &etcdClient{prefix: prefix, to: to})
}

// etcdClient writes keys prefix + number, one after the other.
type etcdClient struct {
	prefix string
	to     []*grpc.ClientConn // the members it knows; the first is asked until it fails
	next   int
	acked  []string
}

// tally is what clients have met in one time of writing.
type tally struct {
	acked, requests, failed int
	again                   int // writes that took more than one request
	done                    int // of them those that a request that failed had done
	longest, during         time.Duration
}

func (t tally) rate() float64 { return float64(t.acked) / t.during.Seconds() }

// writing has all write while f runs.
func writing(b *testing.B, kinds map[string]*etcdClients, f func()) map[string]tally {
	b.Helper()
	const pause = 20 * time.Millisecond // between two writes of a client: constant, and not all that the machine can do
	out := map[string]tally{}
	var mu sync.Mutex // guards out
	var wg sync.WaitGroup
	end := make(chan struct{})
	began := time.Now()
	for name, k := range kinds {
		for _, c := range k.clients {
			wg.Go(func() {
				t := tally{}
				for {
					select {
					case <-end:
						mu.Lock()
						defer mu.Unlock()
						sum := out[name]
						sum.acked, sum.requests, sum.failed = sum.acked+t.acked, sum.requests+t.requests, sum.failed+t.failed
						sum.again, sum.done = sum.again+t.again, sum.done+t.done
						sum.longest, sum.during = max(sum.longest, t.longest), time.Since(began)
						out[name] = sum
						return
					case <-time.After(pause):
					}
					if err := c.write(b.Context(), &t); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
	}
	f()
	close(end)
	wg.Wait()
	if b.Failed() {
		b.FailNow()
	}
	return out
}

// write makes the next key, with as many requests as that takes.
func (c *etcdClient) write(ctx context.Context, t *tally) error {
	const patience, one = time.Minute, 5 * time.Second
	key := fmt.Sprintf("%s%08d", c.prefix, c.next)
	c.next++
	// If key has version 0 (no field is 0 already), put it.
	txn := append(field(1, string(field(3, key))), field(2, string(field(2, string(append(field(1, key), field(2, key)...)))))...)
	began := time.Now()
	for tries := 1; ; tries++ {
		rctx, cancel := context.WithTimeout(ctx, one)
		var answer []byte
		err := c.to[0].Invoke(rctx, "/etcdserverpb.KV/Txn", &txn, &answer)
		cancel()
		t.requests++
		if err == nil {
			if tries > 1 {
				t.again++
			}
			switch done, perr := protoFields(answer, 2); {
			case perr != nil:
				return perr
			case len(done) > 0:
			case tries == 1:
				return fmt.Errorf("%s was there before it was written", key)
			default:
				t.done++
			}
			t.acked++
			t.longest = max(t.longest, time.Since(began))
			c.acked = append(c.acked, key)
			return nil
		}
		t.failed++
		if time.Since(began) > patience {
			return fmt.Errorf("%s could not be written for %s: %w", key, patience, err)
		}
		if len(c.to) > 1 {
			c.to = append(c.to[1:len(c.to):len(c.to)], c.to[0])
		}
		if tries%len(c.to) == 0 { // all have been asked
			<-time.After(10 * time.Millisecond)
		}
	}
}

// lost reads all back and counts the acknowledged that are not there.
func (k *etcdClients) lost(b *testing.B, conn *grpc.ClientConn) (lost int) {
	b.Helper()
	for _, c := range k.clients {
		after := c.prefix[:len(c.prefix)-1] + "0" // what follows the slash
		request := append(field(1, c.prefix), field(2, after)...)
		var answer []byte
		until(b, "the keys are read", func() error { return conn.Invoke(b.Context(), "/etcdserverpb.KV/Range", &request, &answer) })
		there := map[string]bool{}
		kvs, err := protoFields(answer, 2)
		for _, kv := range kvs {
			key, kerr := protoFields(kv, 1)
			value, verr := protoFields(kv, 5)
			if err = errors.Join(err, kerr, verr); err == nil && len(key) == 1 && len(value) == 1 {
				there[string(key[0])] = string(key[0]) == string(value[0])
			}
		}
		if err != nil {
			b.Fatal(err)
		}
		for _, key := range c.acked {
			if !there[key] {
				lost++
				b.Errorf("LOST: %s was acknowledged", key)
			}
		}
	}
	return lost
}

// protoFields are the values of a field in an encoded message: bytes as they are, numbers as eight of them.
func protoFields(message []byte, number uint64) (out [][]byte, err error) {
	bad := errors.New("the answer cannot be decoded")
	for len(message) > 0 {
		tag, n := binary.Uvarint(message)
		if n <= 0 || tag&7 != 0 && tag&7 != 2 {
			return nil, bad
		}
		message = message[n:]
		v, n := binary.Uvarint(message)
		if n <= 0 {
			return nil, bad
		}
		message = message[n:]
		value := binary.BigEndian.AppendUint64(nil, v)
		if tag&7 == 2 {
			if v > uint64(len(message)) {
				return nil, bad
			}
			value, message = message[:v], message[v:]
		}
		if tag>>3 == number {
			out = append(out, value)
		}
	}
	return out, nil
}
