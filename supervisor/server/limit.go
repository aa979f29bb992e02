package server

import (
	"math"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"supd/supervisor/client"
	"supd/supervisor/spec"
)

// Limits bound what callers may ask of one daemon. Nodes, root and the daemon's own user on the socket are outside of them:
// nobody's flood delays a heartbeat, or keeps the operator out.
type Limits struct {
	// Rate is how many requests a second each account, local user, or address without an account may make; five seconds'
	// worth may come at once. Default 500.
	Rate int
	// Streams is how many logs, watches and commands in members each may have open; ten times as many all together.
	// Default 100.
	Streams int
	// Connections is how many TCP connections are open at once, a quarter of them from one address; and the same on the
	// socket, by user. Default 1000.
	Connections int
}

func (l *Limits) setDefaults() {
	for _, d := range []struct {
		of    *int
		value int
	}{{&l.Rate, 500}, {&l.Streams, 100}, {&l.Connections, 1000}} {
		if *d.of <= 0 {
			*d.of = d.value
		}
	}
}

// Failed attempts to be let in: how many an address may make at once, and how many more a second, before it is told to
// wait. Good credentials are not held up.
const (
	failureBurst = 20
	failureRate  = 1
)

// maxBuckets bounds what is remembered of callers.
const maxBuckets = 10_000

// buckets are token buckets by key. What has filled up again is forgotten: it is as good as new.
type buckets struct {
	rate, burst float64

	mu sync.Mutex
	by map[string]*bucket // guarded by mu
}

type bucket struct {
	left float64
	at   time.Time
}

func newBuckets(rate, burst float64) *buckets {
	return &buckets{rate: rate, burst: burst, by: map[string]*bucket{}}
}

// take takes one from key's bucket. When it is empty, wait is how long until the next.
func (bs *buckets) take(key string, now time.Time) (ok bool, wait time.Duration) {
	bs.mu.Lock()
	defer bs.mu.Unlock()
	b := bs.by[key]
	if b == nil {
		if len(bs.by) >= maxBuckets {
			bs.forgetLocked(now)
		}
		b = &bucket{left: bs.burst, at: now}
		bs.by[key] = b
	}
	b.left, b.at = bs.level(b, now), now
	if b.left < 1 {
		return false, time.Duration((1 - b.left) / bs.rate * float64(time.Second))
	}
	b.left--
	return true, 0
}

// level is how full a bucket is now. A clock that was set back fills nothing.
func (bs *buckets) level(b *bucket, now time.Time) float64 {
	passed := max(0, now.Sub(b.at).Seconds())
	return math.Min(bs.burst, b.left+passed*bs.rate)
}

// forgetLocked forgets the full ones; and all if none is: a flood of so many keys must not grow for ever.
func (bs *buckets) forgetLocked(now time.Time) {
	for k, b := range bs.by {
		if bs.level(b, now) >= bs.burst {
			delete(bs.by, k)
		}
	}
	if len(bs.by) >= maxBuckets {
		clear(bs.by)
	}
}

// limitKey is whose limits a request falls under.
func limitKey(r *http.Request, c Caller) string {
	switch {
	case c.Account != "":
		return "account:" + c.Account
	case onSocket(r):
		return c.Who
	}
	return "tcp:" + remoteHost(r)
}

// unlimited tells whom no limit holds.
func (c Caller) unlimited() bool { return c.Node != "" || c.local }

// checkRate refuses a caller who asks too often.
func (s *Server) checkRate(r *http.Request, c Caller) *spec.Error {
	if c.unlimited() {
		return nil
	}
	ok, wait := s.rates.take(limitKey(r, c), time.Now())
	if ok {
		return nil
	}
	s.counts.refusedRate.Add(1)
	return tooMany(wait, "%s asks more than %d times a second: wait and try again", c.Who, s.o.Limits.Rate)
}

// unidentified answers for credentials that are no good: with why, until too many have come from one address.
func (s *Server) unidentified(r *http.Request, c Caller, why *spec.Error) *spec.Error {
	s.counts.refusedUnknown.Add(1)
	from := limitKey(r, c)
	now := time.Now()
	if ok, _ := s.said.take(from, now); ok {
		s.log.Warn("request refused", "from", from, "who", c.Who, "path", pathForLog(r.URL.Path), "err", why.Message)
	}
	if ok, wait := s.failures.take(from, now); !ok {
		return tooMany(wait, "too many attempts from %s with credentials that are not good: wait and try again; the last: %s", from, why.Message)
	}
	return why
}

// tokenText is what a token looks like; somebody may have put one where it does not belong.
var tokenText = regexp.MustCompile(`(?i)supd-(join|auth)-v[0-9]+[^/]*`)

// pathForLog bounds what a stranger can put into a log, and keeps tokens out of it.
func pathForLog(path string) string {
	path = tokenText.ReplaceAllString(path, "(hidden)")
	if len(path) > 100 {
		path = path[:100] + "..."
	}
	return strconv.QuoteToASCII(path)
}

// tooMany refuses for now; wait goes into Retry-After.
func tooMany(wait time.Duration, format string, args ...any) *spec.Error {
	e := refused(reasonTooMany, format, args...)
	e.Details = []string{client.RetryAfter + strconv.Itoa(int(math.Ceil(max(wait, time.Second).Seconds())))}
	return e
}

// retryAfter is what the header of that name says.
func retryAfter(e *spec.Error) string {
	for _, d := range e.Details {
		if n, ok := strings.CutPrefix(d, client.RetryAfter); ok {
			return n
		}
	}
	return "1"
}

// streams counts what is open, by caller and in all.
type streams struct {
	each, all int

	mu    sync.Mutex
	by    map[string]int // guarded by mu
	total int            // guarded by mu
}

// enter announces one more stream; leave takes it off.
func (ss *streams) enter(key string) (leave func(), ok bool) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.by[key] >= ss.each || ss.total >= ss.all {
		return nil, false
	}
	ss.by[key]++
	ss.total++
	return func() {
		ss.mu.Lock()
		defer ss.mu.Unlock()
		ss.total--
		if ss.by[key]--; ss.by[key] == 0 {
			delete(ss.by, key)
		}
	}, true
}

// isStream tells whether a request stays open for as long as its caller likes.
func isStream(rt Route, r *http.Request) bool {
	return flag(r, "watch") || strings.HasSuffix(rt.Pattern, "/logs") || strings.HasSuffix(rt.Pattern, "/exec")
}
