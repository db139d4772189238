// Package httpretries shows what a lost SYN does to an HTTP client that gives up on a request and tries again.
//
//	tcplab run ./httpretries
package httpretries

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/bounds"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/impair/rules"
	"github.com/tcplab/tcplab/peers"
)

func TestMain(m *testing.M)        { harness.Main(m) } // a peer is this program once more
func TestHTTPRetries(t *testing.T) { harness.RunSpecs(t, "httpretries") }

// serve is the service: an HTTP server as in any program. Its value is how many requests came.
var serve = peers.Func("serve", func(t *peers.Task, address string) (requests int, err error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return 0, err
	}
	server := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		requests++
		_, _ = io.WriteString(w, "hello\n")
	})}
	stop := context.AfterFunc(t.Context(), func() { _ = server.Close() })
	defer stop()
	if err := t.Ready(listener.Addr()); err != nil {
		return 0, err
	}
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return requests, err
	}
	return requests, nil
})

// A request is what the client is asked for, and an answer what came of it.
type request struct {
	URL     string
	Timeout time.Duration // of one try
	Tries   int
	Pause   time.Duration // before the next
}

type answer struct {
	Tries int
	Took  time.Duration
}

// fetch is the client: it gives up on a try after a time-out, and tries again.
var fetch = peers.Func("fetch", func(t *peers.Task, r request) (a answer, err error) {
	if err := t.Ready(nil); err != nil {
		return a, err
	}
	client := http.Client{Timeout: r.Timeout}
	began := time.Now()
	for a.Tries < r.Tries {
		a.Tries++
		var response *http.Response
		if response, err = client.Get(r.URL); err == nil {
			_, err = io.Copy(io.Discard, response.Body)
			response.Body.Close()
		}
		if err == nil {
			break
		}
		time.Sleep(r.Pause)
	}
	a.Took = time.Since(began)
	return a, err
})

const (
	rtt       = 40 * time.Millisecond
	hostDelay = 5 * time.Millisecond // what net/http and two hosts may add
)

// lostSYN has one client fetch once, on a path that loses the first SYN.
func lostSYN(lab *harness.Lab, r request) (answer, oracle.Kernel) {
	net := lab.Path(rtt)                                       // client - router - server
	loss := net.ToServer.Rule(rules.Drop(rules.SYN).AtMost(1)) // each try is a new connection
	address := net.Server().Addr(80).String()
	r.URL = "http://" + address + "/"

	server := lab.Start(net.Server(), serve.With(address))
	got, err := fetch.Value(lab.Start(net.Client(), fetch.With(r)).Wait())
	Expect(err).NotTo(HaveOccurred())
	requests, err := serve.Value(server.Stop())
	Expect(err).NotTo(HaveOccurred())
	lab.Check("requests that came", requests, bounds.Exactly(1), "a SYN has no request in it")

	// Two witnesses: the link's own account of what it dropped, and how often the kernel retransmitted. A try that was
	// given up has taken its SYN's timer along.
	Expect(loss.Hits()).To(HaveLen(1))
	Expect(net.Client().Counters()).To(HaveGrown("TcpRetransSegs", 2-got.Tries))
	return got, net.Client().Oracle()
}

var _ = It("retries once after a lost SYN if its timeout is shorter than TCP's RTO", func(ctx SpecContext) {
	lab := harness.NewLab(ctx)
	const timeout, pause = 300 * time.Millisecond, 100 * time.Millisecond
	got, _ := lostSYN(lab, request{Timeout: timeout, Tries: 3, Pause: pause})
	Expect(got.Tries).To(Equal(2))
	// A time-out, a pause, and then one round trip for the handshake and one for the request.
	lab.Measure("took", got.Took, oracle.Exactly(timeout+pause+2*rtt).LateBy(hostDelay), "time-out, pause, two round trips")
})

var _ = It("waits 1 s for TCP to retransmit a lost SYN if its timeout is longer", func(ctx SpecContext) {
	lab := harness.NewLab(ctx)
	got, kernel := lostSYN(lab, request{Timeout: 3 * time.Second, Tries: 3})
	Expect(got.Tries).To(Equal(1))
	// RFC 6298, 2.1: the first RTO is 1 s. The oracle knows how late the kernel's timer may be. Then as above.
	lab.Measure("took", got.Took, kernel.Connect(oracle.ConnectOptions{}).Gaps[0].Plus(oracle.Exactly(2*rtt).LateBy(hostDelay)),
		"RFC 6298, 2.1: 1 s; two round trips")
})
