package web

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/internal/testenv"
)

func serveHTTP(t *testing.T, handler http.HandlerFunc) (address string) {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func document(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", "1000")
	_, _ = w.Write(make([]byte, 1000))
}

func TestHead(t *testing.T) {
	g := NewWithT(t)
	address := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		g.Expect(r.Method).To(Equal("HEAD"))
		g.Expect(r.Host).To(Equal("example.com"))
		g.Expect(r.URL.Path).To(Equal("/a"))
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints) // is passed over
		document(w, r)
	})
	answer, err := Head(t.Context(), Request{Address: address, Host: "example.com", Path: "/a"})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(answer.Status).To(Equal(200))
	g.Expect(answer.Header.Get("Content-Length")).To(Equal("1000"))
}

func TestHeadAndBodyWaits(t *testing.T) {
	g := NewWithT(t)
	address := serveHTTP(t, document)
	request := Request{Address: address, Timeout: 200 * time.Millisecond}
	_, err := HeadAndBody(t.Context(), request)
	g.Expect(err).To(MatchError(os.ErrDeadlineExceeded))
	request.Timeout = testenv.Patience
	answer, err := Head(t.Context(), request)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(answer.Status).To(Equal(200))
}

// serveRaw answers each connection by a text.
func serveRaw(t *testing.T, text string, closes bool) (address string) {
	t.Helper()
	return testenv.Listen(t, func(conn net.Conn) {
		_, _ = http.ReadRequest(bufio.NewReader(conn))
		_, _ = io.WriteString(conn, text)
		if !closes {
			<-t.Context().Done()
		}
	})
}

func TestHeadRefusesWhatIsNoAnswer(t *testing.T) {
	for name, c := range map[string]struct {
		answer string
		want   error
	}{
		"nothing":               {"", io.ErrUnexpectedEOF},
		"half of it":            {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n", io.ErrUnexpectedEOF},
		"half of a line":        {"HTTP/1.1 200 OK\r\nContent-", ErrAnswer},
		"another protocol":      {"SSH-2.0-OpenSSH\r\n\r\n", ErrAnswer},
		"no number":             {"HTTP/1.1 OK\r\n\r\n", ErrAnswer},
		"a number of two":       {"HTTP/1.1 20 OK\r\n\r\n", ErrAnswer},
		"a line without end":    {"HTTP/1.1 200 " + strings.Repeat("x", 2*maxHead), ErrAnswer},
		"a head without end":    {"HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", maxHead), ErrAnswer},
		"interim ones for ever": {strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", maxHead/20), ErrAnswer},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Head(t.Context(), Request{Address: serveRaw(t, c.answer, true)})
			NewWithT(t).Expect(err).To(MatchError(c.want))
		})
	}
	g := NewWithT(t)
	for _, r := range []Request{{Path: "/ HTTP/1.1\r\nX: y"}, {Host: "a b"}} {
		_, err := Head(t.Context(), r)
		g.Expect(err).To(MatchError(ContainSubstring("end of line")))
	}
}

func TestHeadEndsWithItsContext(t *testing.T) {
	g := NewWithT(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	address := serveRaw(t, "", false)
	time.AfterFunc(20*time.Millisecond, func() { cancel(why) })
	_, err := Head(ctx, Request{Address: address})
	g.Expect(err).To(MatchError(why))
}

// What readHead takes for an answer, package net/http does, too, and finds the same in it.
func FuzzReadHead(f *testing.F) {
	f.Add("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n")
	f.Add("HTTP/1.0 404 \r\nA: b\r\n c\r\n\r\nbody")
	f.Add("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		limited := &io.LimitedReader{R: strings.NewReader(text), N: maxHead}
		answer, err := readHead(bufio.NewReader(limited), limited)
		if err != nil {
			return
		}
		if answer.Status < 100 || answer.Status > 999 {
			t.Errorf("status %d", answer.Status)
		}
		theirs, err := http.ReadResponse(bufio.NewReader(strings.NewReader(text)), &http.Request{Method: http.MethodHead})
		if err != nil {
			return // it looks at Content-Length and Transfer-Encoding, too
		}
		theirs.Body.Close()
		if theirs.StatusCode/100 != 1 && theirs.StatusCode != answer.Status { // it does not pass over those
			t.Errorf("%q: status %d, net/http says %d", text, answer.Status, theirs.StatusCode)
		}
	})
}

// dropping is a server that carries out a request, and drops the connection in place of the first answers.
func dropping(t *testing.T, drop int32) (address string, carriedOut *atomic.Int32) {
	t.Helper()
	carriedOut = new(atomic.Int32)
	return serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.ContentLength > 0 && string(body) != "order" {
			t.Errorf("body %q, %v", body, err)
		}
		if carriedOut.Add(1) <= drop {
			panic(http.ErrAbortHandler) // closes the connection
		}
	}), carriedOut
}

func TestRetry(t *testing.T) {
	for name, c := range map[string]struct {
		method     string
		key        string
		transport  func(Retry) http.RoundTripper
		drop       int32
		carriedOut int32
		want       error
	}{
		"an idempotent method is sent again": {"PUT", "", safe, 1, 2, nil},
		"and once more":                      {"GET", "", safe, 2, 3, nil},
		"but not for ever":                   {"GET", "", safe, 9, 3, io.EOF},
		"a POST is not":                      {"POST", "", safe, 1, 1, ErrUnknown},
		"a POST with a key is":               {"POST", "order 1", safe, 1, 2, nil},
		"an answer is an answer":             {"POST", "", safe, 0, 1, nil},
		"wrong: a POST is carried out twice": {"POST", "", all, 1, 2, nil},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			address, carriedOut := dropping(t, c.drop)
			// Without keep-alive: net/http has retries of its own on a connection that it has used before.
			client := http.Client{Transport: c.transport(Retry{Transport: &http.Transport{DisableKeepAlives: true}, Pause: time.Millisecond})}
			request, err := http.NewRequestWithContext(t.Context(), c.method, "http://"+address, strings.NewReader("order"))
			g.Expect(err).NotTo(HaveOccurred())
			if c.key != "" {
				request.Header.Set("Idempotency-Key", c.key)
			}
			response, err := client.Do(request)
			if c.want != nil {
				g.Expect(err).To(MatchError(c.want))
			} else {
				g.Expect(err).NotTo(HaveOccurred())
				response.Body.Close()
			}
			g.Expect(carriedOut.Load()).To(Equal(c.carriedOut))
		})
	}
}

func safe(r Retry) http.RoundTripper { return r }
func all(r Retry) http.RoundTripper  { return RetryAll{r} }

// A request that has had no connection was not carried out, whatever its method is.
func TestRetryOfWhatWasNotSent(t *testing.T) {
	g := NewWithT(t)
	address, carriedOut := dropping(t, 0)
	attempts := 0
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		if attempts++; attempts < 3 {
			return nil, errors.New("refused")
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	}}
	client := http.Client{Transport: Retry{Transport: transport, Pause: time.Millisecond}}
	response, err := client.Post("http://"+address, "text/plain", strings.NewReader("order"))
	g.Expect(err).NotTo(HaveOccurred())
	response.Body.Close()
	g.Expect(carriedOut.Load()).To(BeEquivalentTo(1))

	attempts = -9                                                                                     // a body that can be read once cannot be sent twice
	_, err = client.Post("http://"+address, "text/plain", io.MultiReader(strings.NewReader("order"))) //nolint:bodyclose // there is none with an error
	g.Expect(err).To(MatchError(ContainSubstring("refused")))
	g.Expect(attempts).To(Equal(-8))

	over, cancel := context.WithCancel(t.Context())
	cancel()
	request, err := http.NewRequestWithContext(over, http.MethodGet, "http://"+address, http.NoBody)
	g.Expect(err).NotTo(HaveOccurred())
	_, err = client.Do(request) //nolint:bodyclose // there is none with an error
	g.Expect(err).To(MatchError(context.Canceled))
}
