package probe

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"supd/supervisor/spec"
)

// grpcCheck calls grpc.health.v1.Health/Check, as Kubernetes' probes do: without TLS,
// over a connection of its own. The call is two messages of one field each over
// HTTP/2, which the standard library speaks: gRPC's own library would make the daemon a
// third larger.
type grpcCheck struct {
	addr, service string
	client        *http.Client
}

func newGRPC(g *spec.GRPCCall, r Resolve) (Check, error) {
	port, host, err := target(g.Port, "", r)
	if err != nil {
		return nil, err
	}
	service, err := r.Text(g.Service)
	if err != nil {
		return nil, fmt.Errorf("service: %w", err)
	}
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	return &grpcCheck{
		addr: hostPort(host, port), service: service,
		client: &http.Client{Transport: &http.Transport{Proxy: nil, Protocols: protocols, DisableKeepAlives: true}},
	}, nil
}

// Statuses of a service, by their numbers in the protocol.
var servingStatus = []string{"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"}

const serving = 1

// Codes of a call that failed, as far as they tell what is wrong with a probe.
var grpcCodes = map[string]string{
	"3": "InvalidArgument", "4": "DeadlineExceeded", "5": "NotFound: it does not know the service", "7": "PermissionDenied",
	"12": "Unimplemented: it has no health service", "13": "Internal", "14": "Unavailable", "16": "Unauthenticated",
}

// Check asks once. Only SERVING passes.
func (c *grpcCheck) Check(ctx context.Context) Result {
	// HealthCheckRequest{service = 1}, behind a byte for no compression and its length.
	var msg []byte
	if c.service != "" {
		msg = append(binary.AppendUvarint([]byte{1<<3 | 2}, uint64(len(c.service))), c.service...)
	}
	body := append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(msg))), msg...)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+c.addr+"/grpc.health.v1.Health/Check", bytes.NewReader(body))
	if err != nil {
		return Result{Message: "cannot ask " + c.addr + ": " + brief([]byte(err.Error()))}
	}
	req.Header = http.Header{"Content-Type": {"application/grpc"}, "Te": {"trailers"}, "User-Agent": {"supd-probe"}}
	resp, err := c.client.Do(req)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err
		}
		return Result{Message: dialMessage("grpc "+c.addr, err)}
	}
	answer, readErr := io.ReadAll(io.LimitReader(resp.Body, MaxBody))
	closeErr := resp.Body.Close()
	switch {
	case resp.StatusCode != http.StatusOK:
		return Result{Message: fmt.Sprintf("grpc %s answered HTTP status %d", c.addr, resp.StatusCode)}
	case readErr != nil || closeErr != nil:
		return Result{Message: dialMessage("grpc "+c.addr, errors.Join(readErr, closeErr))}
	}
	return c.result(resp, answer)
}

// result reads the answer: the call's own status stands in the trailer, or in the head
// when there is no message.
func (c *grpcCheck) result(resp *http.Response, answer []byte) Result {
	code, text := resp.Trailer.Get("Grpc-Status"), resp.Trailer.Get("Grpc-Message")
	if code == "" {
		code, text = resp.Header.Get("Grpc-Status"), resp.Header.Get("Grpc-Message")
	}
	if code != "0" {
		name := grpcCodes[code]
		if name == "" {
			name = "code " + strconv.Quote(code)
		}
		if t, err := url.PathUnescape(text); err == nil {
			text = t
		}
		if text != "" {
			name += ": " + brief([]byte(text))
		}
		return Result{Message: "grpc " + c.addr + " answered " + name}
	}
	status, err := healthStatus(answer)
	if err != nil {
		return Result{Message: "grpc " + c.addr + " answered what is no health status: " + err.Error()}
	}
	name := strconv.FormatUint(status, 10)
	if status < uint64(len(servingStatus)) {
		name = servingStatus[status]
	}
	if status != serving {
		return Result{Message: "grpc " + c.addr + " answered " + name, Output: name}
	}
	return Result{OK: true, Output: name}
}

var errNoMessage = errors.New("it is cut off, compressed or of another kind")

// healthStatus reads HealthCheckResponse{status = 1} of a length-prefixed message.
func healthStatus(b []byte) (status uint64, err error) {
	const head = 5
	if len(b) < head || b[0] != 0 || uint64(binary.BigEndian.Uint32(b[1:head])) != uint64(len(b)-head) {
		return 0, errNoMessage
	}
	for b = b[head:]; len(b) > 0; {
		key, n := binary.Uvarint(b)
		if n <= 0 {
			return 0, errNoMessage
		}
		b = b[n:]
		value, n := binary.Uvarint(b)
		if n <= 0 {
			return 0, errNoMessage
		}
		b = b[n:]
		switch { // fields of a later version are passed over
		case key == 1<<3:
			status = value
		case key&7 == 0:
		case key&7 == 2 && value <= uint64(len(b)):
			b = b[value:]
		default:
			return 0, errNoMessage
		}
	}
	return status, nil
}
