package programs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/bounds"
	"github.com/tcplab/tcplab/harness/kernel"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/impair/rules"
	"github.com/tcplab/tcplab/peers"
	"github.com/tcplab/tcplab/peers/course/framing"
	"github.com/tcplab/tcplab/peers/course/servers"
)

// An architecture is the name of a server.
type architecture string

const (
	goroutines     architecture = "a goroutine for each connection"
	workers        architecture = "a pool of workers"
	levelTriggered architecture = "level-triggered epoll"
	edgeTriggered  architecture = "edge-triggered epoll"
	oneRead        architecture = "one read for each edge" // the wrong one
)

// A serviceConfig is how a server is started.
type serviceConfig struct {
	Address        string
	Architecture   architecture
	MaxClients     int
	Workers, Queue int           // of a pool; 0: 4 and 1000
	Takes          time.Duration // to handle a request
	Timeout        time.Duration // for a request to come and for an answer to be taken; 0: patience
	ReadSize       int           // of one read
}

// A service is one of the servers.
func (c serviceConfig) serve(t *peers.Task, listener net.Listener, config servers.Config) error {
	config.MaxClients = c.MaxClients
	config.Timeouts = framing.Timeouts{Idle: 10 * patience, Message: c.Timeout}
	if c.Timeout == 0 {
		config.Timeouts.Message = patience
	}
	if c.Workers == 0 {
		c.Workers, c.Queue = 4, 1000
	}
	switch c.Architecture {
	case goroutines:
		return servers.Goroutines{Config: config}.Serve(t.Context(), listener)
	case workers:
		return servers.Pool{Config: config, Workers: c.Workers, Queue: c.Queue}.Serve(t.Context(), listener)
	case levelTriggered:
		return servers.LevelTriggered{Config: config}.Serve(t.Context(), listener)
	case edgeTriggered:
		return servers.EdgeTriggered{Config: config}.Serve(t.Context(), listener)
	default:
		return servers.OneRead{Config: config, Size: c.ReadSize}.Serve(t.Context(), listener)
	}
}

// A serviceSession is servers.Session, for JSON.
type serviceSession struct {
	Remote   string
	Requests int
	Err      string
}

// serveService is the server. Its value is how each connection ended.
var serveService = peers.Func("service", func(t *peers.Task, c serviceConfig) (sessions []serviceSession, err error) {
	listener, err := listening(t, c.Address)
	if err != nil {
		return nil, err
	}
	var lock sync.Mutex
	err = c.serve(t, listener, servers.Config{
		Handle: func(request []byte) ([]byte, error) {
			time.Sleep(c.Takes)
			return request, nil
		},
		Closed: func(s servers.Session) {
			lock.Lock()
			defer lock.Unlock()
			sessions = append(sessions, serviceSession{s.Remote.String(), s.Requests, errorText(s.Err)})
		},
	})
	return sessions, err
})

// A serviceClient says what a client asks.
type serviceClient struct {
	Address  string
	Tuning   tuning
	Requests int
	Size     int           // of a request, in bytes
	Ahead    bool          // all are sent in one write, and then the answers are read
	Deaf     bool          // it sends requests until that fails, and reads no answer; it ends when the spec continues it
	Stay     bool          // it closes when the spec continues it
	Together bool          // it connects when the spec continues it, and ends when it does so once more
	Timeout  time.Duration // for an answer; 0: patience
}

// A serviceOutcome is what it saw.
type serviceOutcome struct {
	Local    string
	Answered int             // requests that were answered right
	Took     []time.Duration // each since it was sent
	Refused  string          // what the server said
	End      string          // what came after the last answer: "EOF", "time-out", "reset"
	EndAfter time.Duration   // since the first request
}

// A serviceRequest is one of many that differ.
func serviceRequest(i, size int) []byte {
	return bytes.Repeat(fmt.Appendf(nil, "%06d ", i), size/7+1)[:size]
}

var askService = peers.Func("service-client", func(t *peers.Task, c serviceClient) (o serviceOutcome, err error) {
	if err := t.Ready(nil); err != nil {
		return o, err
	}
	if c.Together {
		if err := t.Await(); err != nil {
			return o, err
		}
	}
	began := time.Now()
	conn, err := c.Tuning.dial(c.Address)
	if err != nil {
		return o, err
	}
	defer conn.Close()
	if c.Timeout == 0 {
		c.Timeout = patience
	}
	o.Local = conn.LocalAddr().String()
	client := servers.NewClient(conn, 0, framing.Timeouts{Idle: c.Timeout, Message: c.Timeout})
	err = c.ask(conn, client, &o)
	if c.Deaf {
		// A process that ends takes the guest's one CPU for some milliseconds, of which another one's answer would be late.
		o.End, o.EndAfter = ending(err), time.Since(began)
		return o, t.Await()
	}
	t.Started(conn)
	if err == nil && c.Stay {
		if err := t.Await(); err != nil {
			return o, err
		}
	}
	var refused *servers.RefusedError
	if errors.As(err, &refused) {
		o.Refused, err = refused.Reason, nil
	}
	if err == nil {
		if err = client.CloseWrite(); err == nil {
			_, err = client.Receive()
		}
	}
	o.End, o.EndAfter = ending(err), time.Since(began)
	if c.Together {
		return o, t.Await()
	}
	return o, nil
})

// ending is how a stream ended.
func ending(err error) string {
	var timeout net.Error
	switch {
	case errors.Is(err, io.EOF):
		return "EOF"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "time-out"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "reset"
	default:
		return errorText(err)
	}
}

func (c serviceClient) ask(conn net.Conn, client *servers.Client, o *serviceOutcome) error {
	var began []time.Time
	send := func(i int) error {
		began = append(began, time.Now())
		return client.Send(serviceRequest(i, c.Size))
	}
	if c.Ahead {
		var stream []byte
		for i := range c.Requests {
			stream, _ = framing.Prefixed{}.Append(stream, serviceRequest(i, c.Size)) // its length is in order
		}
		now := time.Now()
		began = slices.Repeat([]time.Time{now}, c.Requests)
		writing := make(chan error, 1)
		go func() { _, err := conn.Write(stream); writing <- err }()
		defer func() { conn.SetWriteDeadline(now); <-writing }()
	}
	for i := 0; i < c.Requests || c.Deaf; i++ {
		if !c.Ahead {
			if err := send(i); err != nil {
				return err
			}
		}
		if c.Deaf {
			continue
		}
		answer, err := client.Receive()
		if err != nil {
			return err
		}
		if !bytes.Equal(answer, serviceRequest(i, c.Size)) {
			return fmt.Errorf("request %d is answered by %.20q", i, answer)
		}
		o.Answered++
		o.Took = append(o.Took, time.Since(began[i]))
	}
	return nil
}

// startService starts a server, and the clients in turn. The value's order is that of the clients.
func startService(lab *harness.Lab, path *harness.Network, c serviceConfig, clients ...serviceClient) (serving *harness.Peer, asking []*harness.Peer) {
	GinkgoHelper()
	c.Address = path.Server().Addr(port).String()
	if c.MaxClients == 0 {
		c.MaxClients = 100
	}
	serving = lab.Start(path.Server(), serveService.With(c))
	for _, client := range clients {
		client.Address = c.Address
		asking = append(asking, lab.Start(path.Client(), askService.With(client)))
	}
	return serving, asking
}

func serviceResult(client *harness.Peer) serviceOutcome {
	GinkgoHelper()
	o, err := askService.Value(client.Wait())
	Expect(err).NotTo(HaveOccurred())
	return o
}

func serviceSessions(serving *harness.Peer) []serviceSession {
	GinkgoHelper()
	sessions, err := serveService.Value(serving.Stop())
	Expect(err).NotTo(HaveOccurred())
	return sessions
}

// each is a table with an entry for each of the four.
func eachServer(text string, labels Labels, body func(ctx SpecContext, a architecture)) bool {
	return DescribeTable("servers: "+text, labels, body,
		Entry(string(goroutines), goroutines), Entry(string(workers), workers),
		Entry(string(levelTriggered), levelTriggered), Entry(string(edgeTriggered), edgeTriggered))
}

var _ = eachServer("a request is answered in one RTT, and so are ten that are sent ahead, by", Label("quick", "netem", "rfc9293"),
	func(ctx SpecContext, a architecture) {
		const count = 10
		lab := harness.NewLab(ctx)
		path := lab.Path(rtt)
		wire := lab.Capture(path.Client())
		serving, asking := startService(lab, path, serviceConfig{Architecture: a},
			serviceClient{Requests: count, Size: 100}, serviceClient{Requests: count, Size: 100, Ahead: true})
		for i, name := range []string{"one at a time", "sent ahead"} {
			o := serviceResult(asking[i])
			Expect(o.End).To(Equal("EOF"))
			lab.Check("answered, "+name, o.Answered, bounds.Exactly(count))
			for _, took := range o.Took {
				lab.Measure("answered after, "+name, took, rtts(1))
			}
		}
		Expect(serviceSessions(serving)).To(HaveExactElements(
			And(HaveField("Requests", count), HaveField("Err", "")), And(HaveField("Requests", count), HaveField("Err", ""))))
		Expect(wire.Stop()).NotTo(Contain(Reset()))
	})

var _ = eachServer("the same answers come over a link that loses 5 % and reorders 5 %, in segments of 76 bytes, from", Label("quick", "netem", "rfc9293"),
	func(ctx SpecContext, a architecture) {
		const count = 200
		lab := harness.NewLab(ctx)
		path := lab.Routed()
		path.Impair(lossy)
		wire := lab.Capture(path.Client(), path.Server())
		serving, asking := startService(lab, path, serviceConfig{Architecture: a},
			serviceClient{Tuning: tuning{MSS: smallMSS}, Requests: count, Size: 150, Ahead: true})
		o := serviceResult(asking[0])
		lab.Measure("answered right", o.Answered, bounds.Exactly(count), "the contract")
		Expect(o.End).To(Equal("EOF"))
		Expect(serviceSessions(serving)).To(HaveExactElements(And(HaveField("Requests", count), HaveField("Err", ""))))
		repaired(lab, path, wire)
	})

// Two are served and stay; the others are told that there is no place, and get a FIN, whatever they have sent meanwhile.
var _ = eachServer("whoever comes when all places are taken is told so within two RTTs, and gets a FIN, from", Label("quick", "netem", "rfc9293"),
	func(ctx SpecContext, a architecture) {
		const places, others = 2, 5
		lab := harness.NewLab(ctx)
		path := lab.Path(rtt)
		wire := lab.Capture(path.Client())
		serving, staying := startService(lab, path, serviceConfig{Architecture: a, MaxClients: places},
			slices.Repeat([]serviceClient{{Requests: 1, Size: 100, Stay: true}}, places)...)
		for _, client := range staying {
			client.Waiting()
		}
		// The second one asks with more than the server reads before it closes: a reset in place of the FIN would take the answer with it.
		for i := range others {
			client := serviceClient{Address: path.Server().Addr(port).String(), Requests: 1 + i, Size: 10_000, Ahead: true}
			o := serviceResult(lab.Start(path.Client(), askService.With(client)))
			Expect(o).To(And(HaveField("Answered", 0), HaveField("Refused", "busy"), HaveField("End", "EOF")))
			lab.Measure("told and closed after", o.EndAfter, rtts(2), "handshake, refusal, FIN")
		}
		for _, client := range staying {
			client.Continue()
			Expect(serviceResult(client)).To(And(HaveField("Answered", 1), HaveField("End", "EOF")))
		}
		var busy, served int
		for _, s := range serviceSessions(serving) {
			if s.Err == servers.ErrBusy.Error() {
				busy++
			} else if s.Err == "" {
				served++
			}
		}
		lab.Measure("refused", busy, bounds.Exactly(others), "all but those that have a place")
		lab.Measure("served", served, bounds.Exactly(places), "MaxClients")
		Expect(wire.Stop()).NotTo(Contain(Reset()))
		Expect(path.Server().Counters()).To(HaveCounters{"TcpExtTCPAbortOnClose": 0, "TcpExtListenOverflows": 0})
	})

var _ = eachServer("the refusal arrives although the link has lost it once, from", Label("quick", "netem", "rfc6298"),
	func(ctx SpecContext, a architecture) {
		lab := harness.NewLab(ctx)
		path := lab.Path(rtt)
		drop := path.ToClient.Rule(rules.Drop(rules.Data.Number(1)))
		wire := lab.Capture(path.Client())
		serving, clients := startService(lab, path, serviceConfig{Architecture: a, MaxClients: 1}, serviceClient{Stay: true})
		clients[0].Waiting()
		refused := serviceClient{Address: path.Server().Addr(port).String(), Requests: 5, Size: 10_000, Ahead: true}
		o := serviceResult(lab.Start(path.Client(), askService.With(refused)))
		Expect(drop.Hits()).To(HaveLen(1))
		Expect(o).To(And(HaveField("Answered", 0), HaveField("Refused", "busy"), HaveField("End", "EOF")))
		clients[0].Continue()
		serviceResult(clients[0])
		Expect(serviceSessions(serving)).To(ConsistOf(HaveField("Err", servers.ErrBusy.Error()), HaveField("Err", "")))
		lab.Measure("retransmits of the server", int(path.Server().Counters()["TcpRetransSegs"]), bounds.AtLeast(1), "what is lost is sent again")
		Expect(wire.Stop()).NotTo(Contain(Reset()))
	})

// The pool's other bound: requests that wait for a worker.
var _ = It("servers: a pool whose queue is full refuses the request at once, and answers those that it has taken", Label("quick", "netem", "rfc9293"),
	func(ctx SpecContext) {
		const poolWorkers, queue, clients, takes = 2, 3, 9, time.Second
		lab := harness.NewLab(ctx)
		path := lab.Path(rtt)
		wire := lab.Capture(path.Client())
		serving, asking := startService(lab, path, serviceConfig{Architecture: workers, Workers: poolWorkers, Queue: queue, Takes: takes},
			slices.Repeat([]serviceClient{{Requests: 1, Size: 100, Together: true}}, clients)...)
		// Nine processes take about half a second of the guest's one CPU to start. So they are there before the first one asks, and after
		// the last answer: all have asked within nine actions of the harness, of 12 ms each (mostJitter), and not when a worker is free again.
		for _, client := range asking {
			client.Waiting()
		}
		for _, client := range asking {
			client.Continue()
		}
		for _, client := range asking {
			client.Waiting()
		}
		for _, client := range asking {
			client.Continue()
		}
		var busy, answered int
		for _, client := range asking {
			o := serviceResult(client)
			Expect(o.End).To(Equal("EOF"))
			if o.Refused == "busy" {
				busy++
				lab.Measure("refused after", o.EndAfter, rtts(2), "handshake, request with refusal")
				continue
			}
			answered += o.Answered
			rounds := (poolWorkers + queue + poolWorkers - 1) / poolWorkers
			lab.Measure("answered after", o.Took[0], oracle.Between(takes, time.Duration(rounds)*takes).Plus(rtts(1)), "in turn, by two workers")
		}
		lab.Measure("answered", answered, bounds.Exactly(poolWorkers+queue), "workers and places in the queue")
		lab.Measure("refused", busy, bounds.Exactly(clients-poolWorkers-queue), "all others")
		serving.Stop()
		Expect(wire.Stop()).NotTo(Contain(Reset()))
	})

var _ = eachServer("a client that takes no answers holds up nobody, and is reset after the time-out, by", Label("quick", "netem", "rfc9293"),
	func(ctx SpecContext, a architecture) {
		const timeout, count = 2 * time.Second, 80
		lab := harness.NewLab(ctx)
		path := lab.Routed(smallBuffers)
		path.Impair(impair.Netem{Delay: rtt / 2})
		wire := lab.Capture(path.Client())
		serving, asking := startService(lab, path, serviceConfig{Architecture: a, Timeout: timeout},
			serviceClient{Size: 1000, Deaf: true}, serviceClient{Requests: count, Size: 100}) // for longer than the time-out
		other := serviceResult(asking[1])
		asking[0].Continue()
		deaf := serviceResult(asking[0])
		Expect(other).To(And(HaveField("Answered", count), HaveField("End", "EOF")))
		for _, took := range other.Took {
			lab.Measure("other client's answer after", took, rtts(1))
		}
		Expect(deaf.End).To(Equal("reset"))
		filled := 20 * (rtt + programDelay) // four buffers, as in plain echo
		lab.Measure("reset after", deaf.EndAfter, oracle.Between(timeout, timeout+filled), "the server's time-out, once four buffers are full")
		stuck := slices.DeleteFunc(serviceSessions(serving), func(s serviceSession) bool { return s.Remote != deaf.Local })
		Expect(stuck).To(HaveLen(1))
		Expect(stuck[0].Err).To(Or(ContainSubstring("time-out"), ContainSubstring("timeout")))
		const each = 1000 + 5 // bytes of an answer, the last of which may not be whole
		lab.Measure("answered, of which none was read", bounds.In(stuck[0].Requests*each, "bytes"),
			bounds.Between(leastWindow()-each, 3*65536).In("bytes"), "tcp_wmem, tcp_rmem; one batch of answers")
		Expect(wire.Stop().From(path.Server(), analysis.RSTs)).NotTo(BeEmpty())
		Expect(wire.From(path.Client(), func(s analysis.Segment) bool { return s.Window == 0 && s.Flags == analysis.FlagACK })).NotTo(BeEmpty())
	})

// All that the client has sent is acknowledged: it is in the server's socket, where nobody looks. The right servers get the same.
var _ = DescribeTable("servers: requests of 40 kB that are sent ahead", Label("quick", "netem", "linux"),
	func(ctx SpecContext, a architecture, hangs bool) {
		const count, size, readSize, timeout = 20, 2000, 512, 5 * time.Second
		const total = count * (size + 4)
		lab := harness.NewLab(ctx)
		path := lab.Path(rtt)
		wire := lab.Capture(path.Server())
		serving, asking := startService(lab, path, serviceConfig{Architecture: a, ReadSize: readSize},
			serviceClient{Requests: count, Size: size, Ahead: true, Timeout: timeout, Stay: !hangs})
		time.Sleep(timeout / 2)
		sockets := path.Server().Sockets(kernel.SocketFilter{States: []kernel.State{kernel.Established}}).List()
		Expect(sockets).To(HaveLen(1))
		unread := int(sockets[0].ReceiveQueue)
		if !hangs {
			lab.Measure("Recv-Q of the server", bounds.In(unread, "bytes"), bounds.Exactly(0).In("bytes"), "it reads until EAGAIN, or is told again")
			asking[0].Continue()
		}
		o := serviceResult(asking[0])
		sessions := serviceSessions(serving)
		Expect(sessions).To(HaveLen(1))

		// The network is not to blame.
		last := 0
		for _, s := range wire.Stop().From(path.Server()) {
			last = max(last, int(s.Ack-wire.DataFrom(path.Client())[0].Seq))
		}
		segments := wire.DataFrom(path.Client())
		lab.Check("acknowledged", min(last, total), bounds.Exactly(total), "all of it, and a FIN")
		Expect(path.Client().Counters()).To(HaveCounters{"TcpRetransSegs": 0})
		if !hangs {
			lab.Measure("answered", o.Answered, bounds.Exactly(count), "the contract")
			Expect(o.End).To(Equal("EOF"))
			return
		}
		// A segment is an edge at most (sock_def_readable), and there is one when the socket is registered (ep_insert).
		read := (len(segments) + 1) * readSize
		lab.Measure("Recv-Q of the server", bounds.In(unread, "bytes"), bounds.Between(total-read, total).In("bytes"), "one read of 512 bytes for each segment")
		lab.Measure("answered", o.Answered, bounds.Between(0, read/size), "what was read")
		Expect(sessions[0].Requests).To(Equal(o.Answered))
		Expect(o.End).To(Equal("time-out"))
		lab.Measure("hangs until", o.EndAfter, oracle.PollTimeout(timeout).Plus(oracle.Between(rtt, 10*(rtt+programDelay))), "the client's time-out, after the last answer")
	},
	Entry("wrong: hang in the socket of a server that reads once for each edge", oneRead, true),
	Entry("are answered by level-triggered epoll", levelTriggered, false),
	Entry("are answered by edge-triggered epoll that reads until EAGAIN", edgeTriggered, false),
	Entry("are answered by a goroutine for each connection", goroutines, false),
	Entry("are answered by a pool of workers", workers, false),
)
