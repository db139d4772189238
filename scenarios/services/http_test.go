package services

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/bounds"
	"github.com/tcplab/tcplab/harness/kernel"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/impair/rules"
	"github.com/tcplab/tcplab/peers"
)

// serveHTTP is a server of package net/http, for HTTP/1.1 and HTTP/2 without TLS. Its value is how many requests came.
var serveHTTP = peers.Func("serve-http", func(t *peers.Task, address string) (requests int, err error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return 0, err
	}
	server := http.Server{Protocols: new(http.Protocols), Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		requests++
		_, _ = io.WriteString(w, small)
	})}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
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

// An httpClient is how a client is set up that asks again and again: each request has a time-out, and the next one begins a period after it.
type httpClient struct {
	URL             string
	HTTP2           bool
	Period, Timeout time.Duration
	SendPingTimeout time.Duration // http.HTTP2Config; x/net/http2 calls it ReadIdleTimeout
	PingTimeout     time.Duration
	UserTimeout     time.Duration // TCP_USER_TIMEOUT
}

// transport is that of the client. It has no TCP keepalive, as while data is in flight there is none either way.
func (c httpClient) transport() *http.Transport {
	dialer := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: false}, KeepAlive: -1, Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		controlErr := raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(c.UserTimeout.Milliseconds()))
		})
		return errors.Join(controlErr, err)
	}}
	transport := &http.Transport{DialContext: dialer.DialContext, Protocols: new(http.Protocols)}
	transport.Protocols.SetHTTP1(!c.HTTP2)
	transport.Protocols.SetUnencryptedHTTP2(c.HTTP2)
	transport.HTTP2 = &http.HTTP2Config{SendPingTimeout: c.SendPingTimeout, PingTimeout: c.PingTimeout}
	return transport
}

type httpOutcome struct {
	Failed int           // requests, one after the other
	After  time.Duration // when the first one began that had an answer again, since the first one that failed did
}

// askHTTP asks once, and waits to be told that its connection is dead. Then it asks until it has an answer.
var askHTTP = peers.Func("ask-http", func(t *peers.Task, c httpClient) (o httpOutcome, err error) {
	if err := t.Ready(nil); err != nil {
		return o, err
	}
	client := http.Client{Transport: c.transport(), Timeout: c.Timeout}
	defer client.CloseIdleConnections()
	ask := func() error {
		response, err := client.Get(c.URL)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		_, err = io.Copy(io.Discard, response.Body)
		return err
	}
	if err := ask(); err != nil {
		return o, err
	}
	if err := t.Await(); err != nil {
		return o, err
	}
	for began := time.Now(); ; time.Sleep(time.Until(began.Add(time.Duration(o.Failed) * c.Period))) {
		o.After = time.Since(began)
		if ask() == nil {
			return o, nil
		}
		o.Failed++
	}
})

// A connection of a client's pool is dead: a balancer has forgotten it, or its server was replaced by another one. New connections are
// fine. HTTP/1.1 gives up a connection with the request that timed out on it. HTTP/2 gives up the stream only.
var _ = DescribeTable("a net/http client on a dead connection", Label("netem", "linux"),
	func(ctx SpecContext, expected func(oracle.Kernel) oracle.Retry, c httpClient) {
		c.Period, c.Timeout = 10*time.Second, 5*time.Second
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt)
		address := net.Server().Addr(80)
		c.URL = fmt.Sprintf("http://%s/", address)
		server := lab.Start(net.Server(), serveHTTP.With(address.String()))
		client := lab.Start(net.Client(), askHTTP.With(c))
		client.Waiting()
		sockets := net.Client().AwaitSockets(1, kernel.SocketFilter{States: []kernel.State{kernel.Established}})
		port := sockets[0].Local.Port()
		lost := net.ToServer.Rule(rules.Drop(rules.AnySegment.SourcePort(port)))
		net.ToClient.Rule(rules.Drop(rules.AnySegment.DestinationPort(port))) // or the server's TCP keepalive would end it with a reset
		client.Continue()
		got, err := askHTTP.Value(client.Wait())
		Expect(err).NotTo(HaveOccurred())

		// The first request after the end of the dead connection has an answer. Each takes its period.
		end := expected(net.Client().Oracle()).End
		fewest, most := int(end.Earliest/c.Period), int(end.Latest/c.Period)+1
		lab.Measure("requests that failed", got.Failed, bounds.Between(max(1, fewest), most), end.Source)
		lab.Note("answered after", got.After)
		requests, err := serveHTTP.Value(server.Stop())
		Expect(err).NotTo(HaveOccurred())
		lab.Check("requests that came", requests, bounds.Exactly(2), "the first one and the last one")
		Expect(lost.Hits()).NotTo(BeEmpty())
		Expect(net.Client().Counters()).To(HaveCounters{"TcpActiveOpens": 2})
	},
	Entry("of HTTP/1.1 fails one request", Label("quick"), byProgram(5*time.Second, "http.Client.Timeout"), httpClient{}),
	Entry("wrong: of HTTP/2 fails all requests of a quarter of an hour", Label("long"), byKernel(0), httpClient{HTTP2: true}),
	Entry("of HTTP/2 fails one request with pings (http.HTTP2Config.SendPingTimeout)", Label("quick"),
		byProgram(7*time.Second, "SendPingTimeout and PingTimeout"), httpClient{HTTP2: true, SendPingTimeout: 5 * time.Second, PingTimeout: 2 * time.Second}),
	Entry("of HTTP/2 fails one request with TCP_USER_TIMEOUT", Label("quick"), byKernel(5*time.Second), httpClient{HTTP2: true, UserTimeout: 5 * time.Second}),
)

// byProgram is the end of a connection that its program closes after a time at most.
func byProgram(d time.Duration, source string) func(oracle.Kernel) oracle.Retry {
	return func(oracle.Kernel) oracle.Retry {
		return oracle.Retry{End: oracle.Between(0, d).LateBy(programDelay).From(source)}
	}
}

// byKernel is the end of one that gets no ACK.
func byKernel(userTimeout time.Duration) func(oracle.Kernel) oracle.Retry {
	return func(k oracle.Kernel) oracle.Retry {
		return k.Blackhole(oracle.Flow{RTT: pathRTT, UserTimeout: userTimeout})
	}
}
