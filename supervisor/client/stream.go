package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"supd/supervisor/spec"
)

// LogOptions say which lines of a member's log are wanted.
type LogOptions struct {
	Process  string // "": the main one
	Previous bool   // of the start before the present one
	Follow   bool   // go on until the context ends
	Tail     int    // the last so many lines; negative: all
	// Since and SinceTime: only what was written so long ago or less, by the clock of the member's node, or from then on;
	// also by earlier starts. One of them, or neither: what the present start has written.
	Since     time.Duration
	SinceTime time.Time
}

// From is the time from which on lines are wanted, zero if all are.
func (o LogOptions) From(now time.Time) time.Time {
	if o.Since > 0 {
		return now.Add(-o.Since)
	}
	return o.SinceTime
}

// Query writes the options as the API's query.
func (o LogOptions) Query() url.Values {
	q := url.Values{}
	if o.Process != "" {
		q.Set("process", o.Process)
	}
	if o.Previous {
		q.Set("previous", "1")
	}
	if o.Follow {
		q.Set("follow", "1")
	}
	if o.Tail >= 0 {
		q.Set("tail", strconv.Itoa(o.Tail))
	}
	if o.Since > 0 {
		q.Set("since", o.Since.String())
	}
	if !o.SinceTime.IsZero() {
		q.Set("sinceTime", o.SinceTime.Format(time.RFC3339Nano))
	}
	return q
}

// Logs opens a member's log. The caller closes it; ctx bounds the whole reading. A log that is followed ends with a
// *spec.Error if the reader may not read it any more.
func (c *Client) Logs(ctx context.Context, ns, member string, o LogOptions) (io.ReadCloser, error) {
	return c.stream(ctx, Members.ObjectPath(ns, member)+"/logs", o.Query())
}

func (c *Client) stream(ctx context.Context, path string, q url.Values) (io.ReadCloser, error) {
	resp, err := c.send(ctx, call{method: http.MethodGet, path: path, query: q})
	if err != nil {
		return nil, err
	}
	if resp.StatusCode < 300 {
		return &streamBody{ReadCloser: resp.Body, resp: resp, addr: c.addr}, nil
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, c.transportError(call{method: http.MethodGet, path: path}, err)
	}
	return nil, decodeError(c.addr, resp.StatusCode, b)
}

// streamBody is the body of a stream; instead of io.EOF it gives the error for which the daemon has ended it, if it told one.
type streamBody struct {
	io.ReadCloser
	resp *http.Response
	addr string
}

func (b *streamBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		if why := b.resp.Trailer.Get(HeaderError); why != "" {
			err = decodeError(b.addr, http.StatusOK, []byte(why))
		}
	}
	return n, err
}

// Watcher is an open watch stream.
type Watcher struct {
	body io.ReadCloser
	r    *bufio.Reader
}

// Watch opens a stream of what changes in a collection after the given index (0:
// from what is now, which comes first as ADDED). A BOOKMARK follows what the stream
// begins with. name narrows it to one object.
func (c *Client) Watch(ctx context.Context, r Resource, name string, after uint64, o ReadOptions) (*Watcher, error) {
	q := o.query()
	q.Set("watch", "1")
	q.Set("after", strconv.FormatUint(after, 10))
	path := r.Path(o.Namespace)
	if name != "" {
		path = r.ObjectPath(o.Namespace, name)
	}
	body, err := c.stream(ctx, path, q)
	if err != nil {
		return nil, err
	}
	return &Watcher{body: body, r: bufio.NewReader(body)}, nil
}

// Next waits for the next event. io.EOF: the server ended the stream; open a new
// one after the last index seen. A *spec.Error says why there is no use in that.
func (w *Watcher) Next() (WatchEvent, error) {
	var ev WatchEvent
	line, err := w.r.ReadBytes('\n')
	if err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = io.EOF
		}
		return ev, err
	}
	if err := json.Unmarshal(line, &ev); err != nil {
		return ev, spec.Errorf(spec.CodeInternal, "cannot read a line of a watch stream: %v", err)
	}
	return ev, nil
}

// Close ends the stream.
func (w *Watcher) Close() { _ = w.body.Close() }
