package server

import (
	"context"
	"errors"
	"net/http"

	"supd/raftstore/state"
	"supd/supervisor/client"
	"supd/supervisor/spec"
)

// httpStatus is the only place where a code becomes an HTTP status. Refusals for who asks have their own by reason.
func httpStatus(e *spec.Error) int {
	if e.Code == spec.CodeRefused {
		switch e.Reason {
		case reasonUnauthenticated, state.NodeForgotten:
			return http.StatusUnauthorized
		case reasonForbidden:
			return http.StatusForbidden
		case reasonTooMany:
			return http.StatusTooManyRequests
		}
	}
	switch e.Code {
	case spec.CodeInvalid:
		return http.StatusBadRequest
	case spec.CodeNotFound:
		return http.StatusNotFound
	case spec.CodeRefused, spec.CodeConflict:
		return http.StatusConflict
	case spec.CodeNoLeader:
		return http.StatusServiceUnavailable
	case spec.CodeTimeout:
		return http.StatusGatewayTimeout
	case spec.CodeInternal:
		return http.StatusInternalServerError
	}
	return http.StatusInternalServerError
}

// asError gives any error its code. Unknown means internal.
func asError(err error) *spec.Error {
	var e *spec.Error
	if errors.As(err, &e) {
		if e.Message != "" && err.Error() != e.Message {
			c := *e
			c.Message = err.Error()
			return &c
		}
		return e
	}
	var tooBig *http.MaxBytesError
	switch {
	case errors.As(err, &tooBig):
		return spec.Errorf(spec.CodeInvalid, "the request is larger than %d bytes", tooBig.Limit)
	case errors.Is(err, context.DeadlineExceeded):
		return spec.Errorf(spec.CodeTimeout, "no answer in time: %v", err)
	}
	return spec.Errorf(spec.CodeInternal, "%v", err)
}

// fail answers with an error.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	if ended := accessEnded(r.Context()); ended != nil {
		err = ended
	}
	if errors.Is(err, context.Canceled) && r.Context().Err() != nil {
		return // nobody is there to be told
	}
	e := asError(err)
	s.counts.errors.Add(1)
	if e.Code == spec.CodeInternal {
		s.log.Error("request failed", "method", r.Method, "path", pathForLog(r.URL.Path), "err", err)
	}
	w.Header().Set("Content-Type", "application/json")
	switch e.Reason {
	case reasonUnauthenticated:
		w.Header().Set("WWW-Authenticate", "Bearer")
	case reasonTooMany:
		w.Header().Set("Retry-After", retryAfter(e))
	}
	w.WriteHeader(httpStatus(e))
	_, _ = w.Write(client.MarshalError(e)) // a client that is gone needs no answer
}

func noLeader(what string) *spec.Error {
	e := spec.Errorf(spec.CodeNoLeader, "%s: the cluster has no leader now (a majority of its voters is needed); members run on as they are; look with supctl cluster status", what)
	e.Reason = client.ReasonNoLeader
	return e
}
