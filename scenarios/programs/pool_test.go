package programs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/bounds"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/impair/middlebox"
	"github.com/tcplab/tcplab/peers"
	"github.com/tcplab/tcplab/peers/course/pool"
)

// A requestServer is how a server is started that answers each line with the same line.
type requestServer struct {
	Address     string
	IdleTimeout time.Duration // after which it closes a connection; 0: never
	Restarts    int           // whenever the spec continues it, it closes all connections and listens again at once
}

// requestServe is the server. Its value is how many requests it has answered.
var requestServe = peers.Func("request-server", func(t *peers.Task, c requestServer) (answered int, err error) {
	var lock sync.Mutex
	serve := func(conn net.Conn) {
		defer conn.Close()
		for lines := bufio.NewReader(conn); ; {
			if c.IdleTimeout != 0 {
				_ = conn.SetReadDeadline(time.Now().Add(c.IdleTimeout))
			}
			line, err := lines.ReadString('\n')
			if err != nil {
				return
			}
			if _, err := io.WriteString(conn, line); err != nil {
				return
			}
			lock.Lock()
			answered++
			lock.Unlock()
		}
	}
	for life := range c.Restarts + 1 {
		listener, err := listening(t, c.Address)
		if err != nil {
			return answered, err
		}
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				stop := context.AfterFunc(ctx, func() { conn.Close() })
				all.Go(func() { defer stop(); serve(conn) })
			}
		})
		if life < c.Restarts {
			err = t.Await()
		} else {
			<-ctx.Done()
		}
		cancel()
		listener.Close()
		all.Wait()
		if err != nil {
			break
		}
	}
	return answered, nil
})

// A requestClient says what a client does: Together requests at the same time, then nothing for a while, then as many again.
type requestClient struct {
	Address     string
	Naive       bool // the wrong one
	Together    int
	Max         int // connections
	Idle        time.Duration
	AwaitIdle   bool // the spec says when the idle time is over
	Timeout     time.Duration
	IdleTimeout time.Duration // of the pool
	PingAfter   time.Duration // 0: no ping
}

// A requestReport is what the client saw.
type requestReport struct {
	Failed  int             // requests of the second round
	Errors  map[string]int  // why
	Took    []time.Duration // each of the second round that was answered
	Stats   pool.Stats
	Slowest time.Duration // of the first round
}

var errWrongAnswer = errors.New("wrong answer")

// request sends a line and reads it again.
func request(conn net.Conn, text string, timeout time.Duration) error {
	_ = conn.SetDeadline(time.Now().Add(timeout))
	if _, err := fmt.Fprintln(conn, text); err != nil {
		return err
	}
	answer := make([]byte, len(text)+1)
	if _, err := io.ReadFull(conn, answer); err != nil {
		return err
	}
	if string(answer) != text+"\n" {
		return errWrongAnswer
	}
	return nil
}

var requestSend = peers.Func("request-client", func(t *peers.Task, c requestClient) (report requestReport, err error) {
	dial := func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{Timeout: c.Timeout}).DialContext(ctx, "tcp", c.Address)
	}
	if err := t.Ready(nil); err != nil {
		return report, err
	}
	config := pool.Config{Dial: dial, Max: c.Max, IdleTimeout: c.IdleTimeout}
	if c.PingAfter != 0 {
		config.PingAfter = c.PingAfter
		config.Ping = func(_ context.Context, conn net.Conn) error { return request(conn, "ping", config.PingTimeout) }
		config.PingTimeout = time.Second
	}
	connections := pool.New(config)
	naive := pool.Naive{Dial: dial, Idle: make(chan net.Conn, c.Max)}
	one := func(text string) error {
		if c.Naive {
			conn, err := naive.Get(t.Context())
			if err != nil {
				return err
			}
			if err := request(conn, text, c.Timeout); err != nil {
				conn.Close()
				return err
			}
			naive.Put(conn)
			return nil
		}
		conn, err := connections.Get(t.Context())
		if err != nil {
			return err
		}
		defer conn.Release()
		return request(conn, text, c.Timeout)
	}
	round := func(done func(took time.Duration, err error)) {
		var all sync.WaitGroup
		var lock sync.Mutex
		for i := range c.Together {
			all.Go(func() {
				began := time.Now()
				err := one(fmt.Sprint("request ", i))
				lock.Lock()
				defer lock.Unlock()
				done(time.Since(began), err)
			})
		}
		all.Wait()
	}
	var first error
	round(func(took time.Duration, err error) {
		report.Slowest = max(report.Slowest, took)
		first = errors.Join(first, err)
	})
	if first != nil {
		return report, first
	}
	if c.AwaitIdle {
		if err := t.Await(); err != nil {
			return report, err
		}
	}
	time.Sleep(c.Idle)
	report.Errors = map[string]int{}
	round(func(took time.Duration, err error) {
		if err == nil {
			report.Took = append(report.Took, took)
			return
		}
		report.Failed++
		var timeout net.Error
		switch {
		case errors.Is(err, io.EOF):
			report.Errors["EOF"]++
		case errors.As(err, &timeout) && timeout.Timeout():
			report.Errors["time-out"]++
		default:
			report.Errors["other"]++
		}
	})
	report.Stats = connections.Stats()
	return report, connections.Shutdown(t.Context())
})

// sendRequests runs a client and a server. Between the client's two rounds something can happen.
func sendRequests(lab *harness.Lab, path *harness.Network, server requestServer, client requestClient, meanwhile func(server *harness.Peer)) requestReport {
	GinkgoHelper()
	server.Address = path.Server().Addr(port).String()
	client.Address = server.Address
	if client.Timeout == 0 {
		client.Timeout = patience
	}
	client.AwaitIdle = meanwhile != nil
	serving := lab.Start(path.Server(), requestServe.With(server))
	sending := lab.Start(path.Client(), requestSend.With(client))
	if meanwhile != nil {
		sending.Waiting()
		meanwhile(serving)
		sending.Continue()
	}
	report, err := requestSend.Value(sending.Wait())
	Expect(err).NotTo(HaveOccurred())
	answered, err := requestServe.Value(serving.Stop())
	Expect(err).NotTo(HaveOccurred())
	lab.Check("answered of the second round", len(report.Took), bounds.Exactly(client.Together-report.Failed), "each is answered or fails")
	lab.Note("answered by the server, pings too", answered)
	return report
}

var _ = Describe("connection pool:", func() {
	const together = 10 // requests at a time
	slowest := func(report requestReport) (most time.Duration) {
		for _, took := range report.Took {
			most = max(most, took)
		}
		return most
	}

	It("spares the handshake's RTT of each request that finds a connection", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		path := lab.Path(rtt)
		report := sendRequests(lab, path, requestServer{}, requestClient{Together: together, Max: together, Idle: time.Second}, nil)
		lab.Measure("slowest request, new connection", report.Slowest, rtts(2), "handshake, and request with answer")
		lab.Measure("slowest request, pooled connection", slowest(report), rtts(1), "request with answer")
		Expect(report.Stats).To(Equal(pool.Stats{Dialed: together, Reused: together}))
		Expect(path.Client().Counters()).To(HaveCounters{"TcpActiveOpens": together, "TcpRetransSegs": 0})
	})

	It("has at most Max connections: other requests wait for one", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		path := lab.Path(rtt)
		const most = 2
		report := sendRequests(lab, path, requestServer{}, requestClient{Together: together, Max: most, Idle: time.Second}, nil)
		lab.Measure("slowest request, two connections", slowest(report), rtts(together/most), "one after the other on each")
		Expect(path.Client().Counters()).To(HaveCounters{"TcpActiveOpens": most})
	})

	It("answers all requests with 5 % loss, on the connections that it has", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		path := losing(lab)
		report := sendRequests(lab, path, requestServer{}, requestClient{Together: together, Max: together, Idle: time.Second}, nil)
		Expect(report.Failed).To(BeZero())
		Expect(report.Stats).To(Equal(pool.Stats{Dialed: together, Reused: together}), "a loss is TCP's concern")
	})

	restart := func(server *harness.Peer) {
		server.Continue()
		time.Sleep(time.Second) // the FINs arrive
	}
	It("fails no request after the server has restarted", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		path := lab.Path(rtt)
		report := sendRequests(lab, path, requestServer{Restarts: 1}, requestClient{Together: together, Max: together}, restart)
		Expect(report.Failed).To(BeZero(), "%v", report.Errors)
		Expect(report.Stats).To(Equal(pool.Stats{Dialed: 2 * together, Closed: together}))
		lab.Measure("slowest request", slowest(report), rtts(2), "handshake, and request with answer")
		Expect(path.Client().Counters()).To(HaveCounters{"TcpActiveOpens": 2 * together})
	})

	It("wrong: a pool without a check fails one request for each idle connection after the server has restarted", Label("quick", "netem", "rfc9293"),
		func(ctx SpecContext) {
			lab := harness.NewLab(ctx)
			path := lab.Path(rtt)
			report := sendRequests(lab, path, requestServer{Restarts: 1}, requestClient{Together: together, Max: together, Naive: true}, restart)
			lab.Measure("failed requests", report.Failed, bounds.Exactly(together), "one for each connection that the server closed")
			Expect(report.Errors).To(Equal(map[string]int{"EOF": together}), "the FIN was there all the time")
			Expect(path.Client().Counters()).To(HaveCounters{"TcpActiveOpens": together})
		})

	const serverIdle = 10 * time.Second
	It("fails no request when the server's idle time-out is shorter than the pool's", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		path := lab.Path(rtt)
		report := sendRequests(lab, path, requestServer{IdleTimeout: serverIdle},
			requestClient{Together: together, Max: together, Idle: serverIdle + time.Second, IdleTimeout: time.Minute}, nil)
		Expect(report.Failed).To(BeZero(), "%v", report.Errors)
		Expect(report.Stats).To(Equal(pool.Stats{Dialed: 2 * together, Closed: together}))
	})

	It("wrong: a pool without a check fails one request for each idle connection when the server's idle time-out is shorter", Label("quick", "netem", "rfc9293"),
		func(ctx SpecContext) {
			lab := harness.NewLab(ctx)
			path := lab.Path(rtt)
			report := sendRequests(lab, path, requestServer{IdleTimeout: serverIdle},
				requestClient{Together: together, Max: together, Idle: serverIdle + time.Second, Naive: true}, nil)
			lab.Measure("failed requests", report.Failed, bounds.Exactly(together), "one for each connection that the server closed")
		})

	// For a connection that a silent middlebox has forgotten the path is a blackhole, and nothing tells. It forgets before package net's
	// first TCP keepalive, which comes after 15 s (net.KeepAliveConfig).
	const boxIdle, idle = 10 * time.Second, time.Minute
	// What it forgets it drops: at least a request or a ping of each connection.
	oneEach := bounds.AtLeast(together).From("one of each connection")
	forgotten := func(lab *harness.Lab, boxIdle time.Duration, client requestClient, dropped bounds.Range) requestReport {
		GinkgoHelper()
		path := lab.Path(rtt)
		box := path.Routers[0].Middlebox(middlebox.Box{NAT: true, Outside: path.ToServer.Name(), IdleTimeout: boxIdle})
		client.Together, client.Max, client.Idle, client.Timeout = together, together, idle, 3*time.Second
		report := sendRequests(lab, path, requestServer{}, client, nil)
		lab.Measure("packets of connections that the middlebox does not know", box.Packets("drop"), dropped)
		return report
	}
	It("fails no request after a middlebox has forgotten the flows, if it pings idle connections", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		report := forgotten(lab, boxIdle, requestClient{PingAfter: boxIdle}, oneEach)
		Expect(report.Failed).To(BeZero(), "%v", report.Errors)
		Expect(report.Stats).To(Equal(pool.Stats{Dialed: 2 * together, Mute: together}))
		lab.Measure("slowest request", slowest(report), oracle.PollTimeout(time.Second).Plus(rtts(2)), "a ping's time-out, handshake, request")
	})

	It("fails no request after a middlebox has forgotten the flows, if its own idle time-out is shorter", Label("quick", "netem", "rfc9293"),
		func(ctx SpecContext) {
			lab := harness.NewLab(ctx)
			report := forgotten(lab, boxIdle, requestClient{IdleTimeout: boxIdle - time.Second},
				bounds.Exactly(0).From("they are closed before that"))
			Expect(report.Failed).To(BeZero(), "%v", report.Errors)
			Expect(report.Stats).To(Equal(pool.Stats{Dialed: 2 * together, Expired: together}))
			lab.Measure("slowest request", slowest(report), rtts(2), "handshake, and request with answer")
		})

	It("fails no request behind a middlebox that forgets after more than 15 s: package net's TCP keepalive keeps the flows", Label("quick", "netem", "rfc9293"),
		func(ctx SpecContext) {
			lab := harness.NewLab(ctx)
			report := forgotten(lab, 20*time.Second, requestClient{}, bounds.Exactly(0).From("a keepalive each 15 s"))
			Expect(report.Failed).To(BeZero(), "%v", report.Errors)
			Expect(report.Stats).To(Equal(pool.Stats{Dialed: together, Reused: together}))
			lab.Measure("slowest request", slowest(report), rtts(1), "request with answer")
		})

	It("wrong: without a ping a pool waits for the answer to each request until its time-out after a middlebox has forgotten the flows", Label("quick", "netem", "rfc9293"),
		func(ctx SpecContext) {
			lab := harness.NewLab(ctx)
			report := forgotten(lab, boxIdle, requestClient{}, oneEach)
			lab.Measure("failed requests", report.Failed, bounds.Exactly(together), "one for each connection that is forgotten")
			Expect(report.Errors).To(Equal(map[string]int{"time-out": together}))
			Expect(report.Stats).To(Equal(pool.Stats{Dialed: together, Reused: together}), "the kernel knew nothing")
		})
})
