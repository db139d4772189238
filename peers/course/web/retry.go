package web

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"slices"
	"sync/atomic"
	"time"
)

// ErrUnknown is the error of a request that may have been carried out, although no answer came.
var ErrUnknown = errors.New("it may have been carried out")

// A Retry is a [http.RoundTripper] that sends a request again, where that is safe. How long an attempt may take is its Transport's to say:
// see [http.Transport].ResponseHeaderTimeout. All attempts together end with the request's context.
type Retry struct {
	Transport http.RoundTripper // nil: http.DefaultTransport
	Attempts  int               // at most, 0: three
	Pause     time.Duration     // before the second attempt, and doubled before each further one; 0: 100 ms
}

// RoundTrip implements [http.RoundTripper].
func (r Retry) RoundTrip(request *http.Request) (*http.Response, error) {
	return r.roundTrip(request, func(sent bool) bool { return !sent || repeatable(request) })
}

// roundTrip tries until there is an answer, or may tells that another attempt may not be made.
func (r Retry) roundTrip(request *http.Request, may func(sent bool) bool) (*http.Response, error) {
	transport := r.Transport
	if transport == nil {
		transport = http.DefaultTransport
	}
	pause := cmp.Or(r.Pause, 100*time.Millisecond)
	for attempt := 1; ; attempt++ {
		var sent atomic.Bool // the transport's goroutines tell
		trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { sent.Store(true) }}
		again, err := fresh(request.WithContext(httptrace.WithClientTrace(request.Context(), trace)), attempt)
		if err != nil {
			return nil, err
		}
		response, err := transport.RoundTrip(again)
		if err == nil {
			return response, nil
		}
		switch {
		case request.Context().Err() != nil:
			return nil, err
		case !may(sent.Load()):
			return nil, fmt.Errorf("%s: %w: %w", request.Method, ErrUnknown, err)
		case attempt >= cmp.Or(r.Attempts, 3), !hasNewBody(request):
			return nil, err
		}
		select {
		case <-time.After(pause):
		case <-request.Context().Done():
			return nil, err
		}
		pause *= 2
	}
}

// repeatable tells whether it does not matter how often a request is carried out.
func repeatable(request *http.Request) bool {
	idempotent := []string{"", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete}
	return slices.Contains(idempotent, request.Method) || request.Header.Get("Idempotency-Key") != ""
}

// hasNewBody tells whether a request's body can be sent once more.
func hasNewBody(request *http.Request) bool {
	return request.Body == nil || request.Body == http.NoBody || request.GetBody != nil
}

// fresh is a request with a body that nobody has read.
func fresh(request *http.Request, attempt int) (*http.Request, error) {
	if attempt == 1 || request.Body == nil || request.Body == http.NoBody {
		return request, nil
	}
	body, err := request.GetBody()
	if err != nil {
		return nil, fmt.Errorf("%s once more: %w", request.Method, err)
	}
	again := request.Clone(request.Context())
	again.Body = body
	return again, nil
}

// RetryAll is the wrong [Retry]: it sends everything again. It is here to be seen failing.
type RetryAll struct{ Retry }

// RoundTrip implements [http.RoundTripper], wrongly.
func (r RetryAll) RoundTrip(request *http.Request) (*http.Response, error) {
	return r.roundTrip(request, func(bool) bool { return true }) // WRONG: it may have been carried out
}
