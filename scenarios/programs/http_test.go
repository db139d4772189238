package programs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
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
	"github.com/tcplab/tcplab/peers/course/web"
)

const (
	documentLength = 5000 // bytes: less than an initial window

	noLoss, someLoss impair.Percent = 0, 5

	chunks     = 50 // of a stream
	chunkGap   = 10 * time.Millisecond
	chunkBytes = 100

	// settled is after how many chunks nothing waits for a congestion window any more. Six streams have 24 segments under way, and one
	// connection may begin with ten, six with sixty (RFC 6928); it grows by a segment for each that is acknowledged.
	settled = 10
)

// A webServer is how a server of HTTP/1.1 and HTTP/2 without TLS is started.
type webServer struct {
	Address   string
	HoldFirst bool // the first order is carried out, and answered when the spec continues the server
}

// A webOffice takes orders, and carries out each of them, or each with a key once.
type webOffice struct {
	lock       sync.Mutex
	carriedOut int
	keys       map[string]bool
}

func (o *webOffice) order(key string) (first bool) {
	o.lock.Lock()
	defer o.lock.Unlock()
	if key != "" && o.keys[key] {
		return false
	}
	o.keys[key] = true
	o.carriedOut++
	return o.carriedOut == 1
}

// serveWeb is the server. Its value is how many orders it has carried out.
var serveWeb = peers.Func("web-server", func(t *peers.Task, c webServer) (carriedOut int, err error) {
	office := webOffice{keys: map[string]bool{}}
	mux := http.NewServeMux()
	mux.HandleFunc("/document", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(documentLength))
		_, _ = w.Write(make([]byte, documentLength)) // or the client has gone
	})
	mux.HandleFunc("/order", func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
		if office.order(r.Header.Get("Idempotency-Key")) && c.HoldFirst {
			_ = t.Await() // the server's end is its end, too
		}
		_, _ = io.WriteString(w, "done")
	})
	mux.HandleFunc("/stream", func(w http.ResponseWriter, r *http.Request) {
		ticker := time.NewTicker(chunkGap)
		defer ticker.Stop()
		for range chunks {
			if _, err := fmt.Fprintf(w, "%-*d\n", chunkBytes-1, time.Now().UnixNano()); err != nil {
				return
			}
			if err := http.NewResponseController(w).Flush(); err != nil {
				return
			}
			select {
			case <-ticker.C:
			case <-r.Context().Done():
				return
			}
		}
	})
	listener, err := listening(t, c.Address)
	if err != nil {
		return 0, err
	}
	server := http.Server{Handler: mux, Protocols: new(http.Protocols), ReadHeaderTimeout: patience, IdleTimeout: patience}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	context.AfterFunc(t.Context(), func() { server.Close() })
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return 0, err
	}
	office.lock.Lock()
	defer office.lock.Unlock()
	return office.carriedOut, nil
})

// startWeb starts the server.
func startWeb(lab *harness.Lab, path *harness.Network, c webServer) *harness.Peer {
	GinkgoHelper()
	c.Address = path.Server().Addr(port).String()
	return lab.Start(path.Server(), serveWeb.With(c))
}

// A headClient asks for a head.
type headClient struct {
	Request web.Request
	Wrong   bool
}

type headOutcome struct {
	Answer web.Answer
	Took   time.Duration
	End    string // "": there was an answer
}

var askHead = peers.Func("head-client", func(t *peers.Task, c headClient) (o headOutcome, err error) {
	if err := t.Ready(nil); err != nil {
		return o, err
	}
	head := web.Head
	if c.Wrong {
		head = web.HeadAndBody
	}
	began := time.Now()
	o.Answer, err = head(t.Context(), c.Request)
	o.Took = time.Since(began)
	if err != nil {
		o.End = ending(err)
	}
	return o, nil
})

var _ = DescribeTable("HTTP: HEAD on a bare connection", Label("quick", "netem", "rfc9112"), func(ctx SpecContext, wrong bool, loss impair.Percent) {
	const timeout = 5 * time.Second
	lab := harness.NewLab(ctx)
	path := lab.Routed()
	link := impair.Netem{Delay: rtt / 2}
	count := 1
	if loss > 0 {
		link.Loss, count = impair.RandomLoss{Percent: loss}, 30
	}
	path.Impair(link)
	wire := lab.Capture(path.Client(), path.Server())
	serving := startWeb(lab, path, webServer{})
	request := web.Request{Address: path.Server().Addr(port).String(), Path: "/document", Timeout: patience}
	if wrong {
		request.Timeout = timeout
	}
	for range count {
		o, err := askHead.Value(lab.Start(path.Client(), askHead.With(headClient{Request: request, Wrong: wrong})).Wait())
		Expect(err).NotTo(HaveOccurred())
		Expect(o.Answer.Status).To(Equal(http.StatusOK))
		Expect(o.Answer.Header.Get("Content-Length")).To(Equal(strconv.Itoa(documentLength)))
		switch {
		case wrong:
			Expect(o.End).To(Equal("time-out"))
			lab.Measure("waits for a body until", o.Took, oracle.PollTimeout(timeout).Plus(rtts(1)), "its time-out, which is set after the handshake")
		case loss == 0:
			Expect(o.End).To(BeEmpty())
			lab.Measure("answered after", o.Took, rtts(2), "handshake, and request with answer")
		default:
			Expect(o.End).To(BeEmpty())
		}
	}
	if loss > 0 {
		serving.Stop()
		repaired(lab, path, wire)
		return
	}
	bytes := 0
	for _, s := range wire.Stop().DataFrom(path.Server(), analysis.On(path.Server().End("eth0").String())) {
		bytes += s.Length
	}
	lab.Measure("sent by the server", bounds.In(bytes, "bytes"), bounds.Between(1, 500).In("bytes"), "RFC 9112, 6.3: a head, and no body")
},
	Entry("is answered in two RTTs, and no body follows", false, noLoss),
	Entry("is answered over a link that loses 5 %", false, someLoss),
	Entry("wrong: who takes Content-Length for what follows waits until the time-out", true, noLoss),
)

// A webClient gets documents.
type webClient struct {
	Address  string
	Rounds   int // one after the other
	Together int // in each round; 0: one
	// No connection is used twice, by "Connection: close".
	NoKeepAlive bool
	MaxIdle     int  // MaxIdleConnsPerHost; 0: net/http's default
	LeaveBody   bool // wrong: bodies are neither read nor closed
}

// A patientConn is closed once the other side has closed it.
type patientConn struct{ net.Conn }

func (c patientConn) Close() error {
	if err := c.SetReadDeadline(time.Now().Add(patience)); err == nil {
		_, _ = io.Copy(io.Discard, c.Conn) // until its FIN, or there will be none
	}
	return c.Conn.Close()
}

func dialPatient(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return patientConn{conn}, nil
}

// getDocuments is the client. Its value is how long each took. It closes its idle connections when the spec continues it, and ends when the
// spec does so once more.
var getDocuments = peers.Func("web-client", func(t *peers.Task, c webClient) (took []time.Duration, err error) {
	if err := t.Ready(nil); err != nil {
		return nil, err
	}
	transport := &http.Transport{DisableKeepAlives: c.NoKeepAlive, MaxIdleConnsPerHost: c.MaxIdle}
	if c.NoKeepAlive {
		// Both close then: the server when it has written the answer, and net/http when it has read it, which may be some 100 us before the FIN comes.
		transport.DialContext = dialPatient
	}
	client := http.Client{Transport: transport, Timeout: patience}
	get := func() error {
		response, err := client.Get("http://" + c.Address + "/document")
		if err != nil || c.LeaveBody {
			return err
		}
		defer response.Body.Close()
		n, err := io.Copy(io.Discard, response.Body)
		if err == nil && n != documentLength {
			err = fmt.Errorf("the document has %d bytes", n)
		}
		return err
	}
	var lock sync.Mutex
	for range c.Rounds {
		var round sync.WaitGroup
		for range max(1, c.Together) {
			round.Go(func() {
				began := time.Now()
				failed := get()
				lock.Lock()
				defer lock.Unlock()
				took, err = append(took, time.Since(began)), errors.Join(err, failed)
			})
		}
		round.Wait()
		time.Sleep(chunkGap) // net/http's goroutines have put the connections back, or closed them
	}
	if err != nil {
		return took, err
	}
	if err := t.Await(); err != nil {
		return took, err
	}
	transport.CloseIdleConnections()
	return took, t.Await()
})

// together is the time of n round trips where ten programs' worth of work is to be done meanwhile, by one processor.
func together(n time.Duration) oracle.Span {
	return oracle.Between(n*rtt, n*(rtt+10*programDelay)).From(fmt.Sprintf("%d RTT, ten at a time", n))
}

// kept is what a way to use connections costs.
type kept struct {
	client      webClient
	first, next oracle.Span // to answer: of the first request, and of the others
	opened      bounds.Range
	established int // before the idle ones are closed, at the client
	clientWaits int // in TIME_WAIT, after that
	serverWaits int
}

var _ = DescribeTable("HTTP: ten documents, one after the other,", Label("quick", "netem", "rfc9112"), func(ctx SpecContext, k kept) {
	lab := harness.NewLab(ctx)
	path := lab.Path(rtt)
	lab.Capture(path.Client())
	serving := startWeb(lab, path, webServer{})
	k.client.Address = path.Server().Addr(port).String()
	client := lab.Start(path.Client(), getDocuments.With(k.client))
	client.Waiting()
	time.Sleep(2 * rtt) // the last FINs
	lab.Check("established", len(path.Client().Sockets(kernel.SocketFilter{States: []kernel.State{kernel.Established}}).List()), bounds.Exactly(k.established))
	client.Continue()
	client.Waiting()
	time.Sleep(2 * rtt)
	waits := kernel.SocketFilter{States: []kernel.State{kernel.TimeWait}}
	lab.Measure("in TIME_WAIT at the client", len(path.Client().Sockets(waits).List()), bounds.Exactly(k.clientWaits), "RFC 9293, 3.6: of whoever closes first")
	lab.Measure("in TIME_WAIT at the server", len(path.Server().Sockets(waits).List()), bounds.Exactly(k.serverWaits), "RFC 9112, 9.6: the server closes if the client says close")
	client.Continue()
	took, err := getDocuments.Value(client.Wait())
	Expect(err).NotTo(HaveOccurred())
	serving.Stop()
	lab.Measure("ports of the client", int(path.Client().Counters()["TcpActiveOpens"]), k.opened)
	for i, t := range took {
		if i < max(1, k.client.Together) {
			lab.Measure("the first", t, k.first, "handshake, and request with answer")
		} else {
			lab.Measure("each other one", t, k.next)
		}
	}
	Expect(path.Client().Counters()).To(HaveCounters{"TcpRetransSegs": 0})
},
	Entry("take one connection and one RTT each with keep-alive", kept{
		client: webClient{Rounds: 10}, first: rtts(2), next: rtts(1), opened: bounds.Exactly(1).From("all on one"), established: 1, clientWaits: 1,
	}),
	Entry("take a connection and two RTTs each without keep-alive", kept{
		client: webClient{Rounds: 10, NoKeepAlive: true}, first: rtts(2), next: rtts(2), opened: bounds.Exactly(10).From("one each"), serverWaits: 10,
	}),
	Entry("wrong: a client that leaves the bodies open has a connection more for each, and keeps all", kept{
		client: webClient{Rounds: 10, LeaveBody: true}, first: rtts(2), next: rtts(2), opened: bounds.Exactly(10).From("none is free again"), established: 10,
	}),
	Entry("ten at a time, take ten connections, which all are kept, with MaxIdleConnsPerHost 10", kept{
		client: webClient{Rounds: 3, Together: 10, MaxIdle: 10}, first: together(2), next: together(1), opened: bounds.Exactly(10).From("ten at a time"), established: 10, clientWaits: 10,
	}),
	Entry("wrong: ten at a time, take eight new connections in each round with MaxIdleConnsPerHost 2, the default", kept{
		client: webClient{Rounds: 3, Together: 10}, first: together(2), next: oracle.Between(rtt, together(2).Latest).From("1 or 2 RTT, ten at a time"), opened: bounds.Exactly(10 + 8 + 8).From("net/http: DefaultMaxIdleConnsPerHost"),
		established: 2, clientWaits: 10 + 8 + 8,
	}),
)

var _ = DescribeTable("HTTP: documents come whole over a link that loses 5 %,", Label("quick", "netem", "rfc9112"), func(ctx SpecContext, noKeepAlive bool) {
	const count = 50
	lab := harness.NewLab(ctx)
	path := losing(lab)
	wire := lab.Capture(path.Client(), path.Server())
	serving := startWeb(lab, path, webServer{})
	client := lab.Start(path.Client(), getDocuments.With(webClient{Address: path.Server().Addr(port).String(), Rounds: count, NoKeepAlive: noKeepAlive}))
	for range 2 {
		client.Waiting()
		client.Continue()
	}
	took, err := getDocuments.Value(client.Wait())
	Expect(err).NotTo(HaveOccurred())
	lab.Measure("documents", len(took), bounds.Exactly(count), "what is lost is sent again")
	serving.Stop()
	repaired(lab, path, wire)
},
	Entry("with keep-alive", false),
	Entry("without", true),
)

// A webOrder is a request that does something.
type webOrder struct {
	Address  string
	Method   string
	Key      string // Idempotency-Key
	Wrong    bool
	Attempts int
}

type orderOutcome struct {
	Done    bool
	Unknown bool // it may have been carried out
	Err     string
	Took    time.Duration
}

const answerTimeout = time.Second // of each attempt, for the head of the answer

var sendOrder = peers.Func("order-client", func(t *peers.Task, c webOrder) (o orderOutcome, err error) {
	if err := t.Ready(nil); err != nil {
		return o, err
	}
	retry := web.Retry{Transport: &http.Transport{ResponseHeaderTimeout: answerTimeout, DisableKeepAlives: true}, Attempts: c.Attempts}
	client := http.Client{Transport: retry, Timeout: patience}
	if c.Wrong {
		client.Transport = web.RetryAll{Retry: retry}
	}
	request, err := http.NewRequestWithContext(t.Context(), c.Method, "http://"+c.Address+"/order", strings.NewReader("an order"))
	if err != nil {
		return o, err
	}
	if c.Key != "" {
		request.Header.Set("Idempotency-Key", c.Key)
	}
	began := time.Now()
	response, err := client.Do(request)
	o.Took, o.Unknown, o.Err = time.Since(began), errors.Is(err, web.ErrUnknown), errorText(err)
	if err != nil {
		return o, nil
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	o.Done = string(text) == "done"
	return o, err
})

// The order has reached the server, which carries it out, and the answer is lost: the link to the client is dark for longer than the
// client waits.
var _ = DescribeTable("HTTP: an order whose answer is lost", Label("quick", "netem", "rfc9110"),
	func(ctx SpecContext, order webOrder, carriedOut int, unknown bool) {
		lab := harness.NewLab(ctx)
		path := lab.Path(rtt)
		order.Address = path.Server().Addr(port).String()
		wire := lab.Capture(path.Client())
		serving := startWeb(lab, path, webServer{HoldFirst: true})
		client := lab.Start(path.Client(), sendOrder.With(order))
		serving.Waiting()
		path.ToClient.BlackholeFor(2 * answerTimeout)
		serving.Continue()
		o, err := sendOrder.Value(client.Wait())
		Expect(err).NotTo(HaveOccurred())
		Expect(o.Done).To(Equal(!unknown), o.Err)
		Expect(o.Unknown).To(Equal(unknown), o.Err)
		if unknown {
			lab.Measure("reported as unknown after", o.Took, oracle.PollTimeout(answerTimeout).Plus(rtts(1)), "handshake, and the time-out for the answer")
		}
		n, err := serveWeb.Value(serving.Stop())
		Expect(err).NotTo(HaveOccurred())
		lab.Measure("carried out", n, bounds.Exactly(carriedOut), "counted by the server")
		// On the wire: how often the order was sent, each time on a connection of its own.
		posts := map[uint16]bool{}
		for _, s := range wire.Stop().DataFrom(path.Client()) {
			posts[s.Src.Port()] = true
		}
		attempts := 2
		if unknown {
			attempts = 1
		}
		lab.Measure("sent", len(posts), bounds.Exactly(attempts), "RFC 9110, 9.2.2")
	},
	Entry("is reported as unknown if it is a POST", webOrder{Method: http.MethodPost}, 1, true),
	Entry("is sent again, and carried out once, if it is a POST with a key", webOrder{Method: http.MethodPost, Key: "order 1"}, 1, false),
	Entry("is sent again if it is a PUT, and carried out twice, which does not matter", webOrder{Method: http.MethodPut}, 2, false),
	Entry("wrong: is sent again as a POST, and carried out twice", webOrder{Method: http.MethodPost, Wrong: true}, 2, false),
)

// An orderWay is what happens to an order, a POST without a key, and to its answer.
type orderWay struct {
	refused bool                                 // at first nobody listens
	lose    func(*harness.Network) *harness.Rule // what the link loses, once; nil: nothing
	after   func(oracle.Kernel) oracle.Span      // when the answer is there; nil: not measured
}

var _ = DescribeTable("HTTP: an order is carried out once, and not twice,", Label("quick", "netem", "rfc9110"), func(ctx SpecContext, way orderWay) {
	lab := harness.NewLab(ctx)
	path := lab.Path(rtt)
	var drop *harness.Rule
	if way.lose != nil {
		drop = way.lose(path)
	}
	order := webOrder{Address: path.Server().Addr(port).String(), Method: http.MethodPost, Attempts: 10}
	var serving, client *harness.Peer
	if way.refused {
		client = lab.Start(path.Client(), sendOrder.With(order))
		Eventually(func() int64 { return path.Server().Counters()["TcpOutRsts"] }).Should(BeNumerically(">=", 1)) // nobody listens yet
		serving = startWeb(lab, path, webServer{})
	} else {
		serving = startWeb(lab, path, webServer{})
		client = lab.Start(path.Client(), sendOrder.With(order))
	}
	o, err := sendOrder.Value(client.Wait())
	Expect(err).NotTo(HaveOccurred())
	n, err := serveWeb.Value(serving.Stop())
	Expect(err).NotTo(HaveOccurred())
	Expect(o.Done).To(BeTrue(), o.Err)
	lab.Measure("carried out", n, bounds.Exactly(1), "counted by the server")
	if way.after != nil {
		lab.Measure("answered after", o.Took, way.after(path.Client().Oracle()))
	}
	lost := 0
	if drop != nil {
		lost = 1
		Expect(drop.Hits()).To(HaveLen(lost))
	}
	again := path.Client().Counters()["TcpRetransSegs"] + path.Server().Counters()["TcpRetransSegs"]
	lab.Measure("retransmits of both hosts", int(again), bounds.Exactly(lost), "RFC 9293, 3.8.1: TCP sends it again, and not the program")
},
	Entry("at the first attempt, over a clean link", orderWay{after: func(oracle.Kernel) oracle.Span {
		return rtts(2).From("2 RTT: handshake, and request with answer")
	}}),
	// Nothing follows the order: it takes the timer of a probe or of the RTO, whichever comes first.
	Entry("although the link has lost it once", orderWay{
		lose: func(path *harness.Network) *harness.Rule { return path.ToServer.Rule(rules.Drop(rules.Data.Number(1))) },
		after: func(k oracle.Kernel) oracle.Span {
			return rtts(2).Plus(k.TailLossProbe(oracle.Between(rtt, rtt+programDelay), 1))
		},
	}),
	// The server closes behind its answer. The FIN comes, and its SACK a round trip after it was sent; then the server waits for what may have been
	// overtaken, for a quarter of an RTT.
	Entry("although the link has lost its answer once", orderWay{
		lose: func(path *harness.Network) *harness.Rule { return path.ToClient.Rule(rules.Drop(rules.Data.Number(1))) },
		after: func(k oracle.Kernel) oracle.Span {
			return rtts(3).Plus(k.Timer(rtt / 4)).From("3 RTT; RFC 8985, 6.2: a quarter of an RTT")
		},
	}),
	Entry("if it was sent again as a POST because nobody listened: nothing of it was sent", orderWay{refused: true}),
)

// A streamClient gets several streams at a time.
type streamClient struct {
	Address string
	HTTP2   bool
	Streams int
}

// A streamOutcome is how long the chunks of each stream were on their way.
type streamOutcome struct {
	Delays  [][]time.Duration
	Version string
}

// getStreams is the client: one stream, and, when the spec continues it, the others.
var getStreams = peers.Func("stream-client", func(t *peers.Task, c streamClient) (o streamOutcome, err error) {
	if err := t.Ready(nil); err != nil {
		return o, err
	}
	transport := &http.Transport{Protocols: new(http.Protocols), MaxConnsPerHost: c.Streams}
	transport.Protocols.SetHTTP1(!c.HTTP2)
	transport.Protocols.SetUnencryptedHTTP2(c.HTTP2)
	defer transport.CloseIdleConnections()
	client := http.Client{Transport: transport, Timeout: patience}
	get := func() (delays []time.Duration, version string, err error) {
		response, err := client.Get("http://" + c.Address + "/stream")
		if err != nil {
			return nil, "", err
		}
		defer response.Body.Close()
		for lines := bufio.NewScanner(response.Body); lines.Scan(); {
			sent, err := strconv.ParseInt(strings.TrimSpace(lines.Text()), 10, 64)
			if err != nil {
				return delays, response.Proto, err
			}
			delays = append(delays, time.Since(time.Unix(0, sent)))
		}
		return delays, response.Proto, nil
	}
	// The first one opens the connection of HTTP/2, which the others then use: at the same time each would dial.
	if _, _, err := get(); err != nil {
		return o, err
	}
	if err := t.Await(); err != nil {
		return o, err
	}
	var all sync.WaitGroup
	var lock sync.Mutex
	for range c.Streams {
		all.Go(func() {
			delays, version, failed := get()
			lock.Lock()
			defer lock.Unlock()
			o.Delays, o.Version, err = append(o.Delays, delays), version, errors.Join(err, failed)
		})
	}
	all.Wait()
	return o, err
})

// A page is six streams over one connection of HTTP/2, or over six of HTTP/1.1: chunks come each 10 ms on each.
var _ = DescribeTable("HTTP: six streams", Label("quick", "netem", "rfc9113"),
	func(ctx SpecContext, http2 bool, loseOne bool, loss impair.Percent, late bounds.Range) {
		const streams = 6
		lab := harness.NewLab(ctx)
		path := lab.Path(rtt)
		if loss > 0 {
			path.Impair(impair.Netem{Delay: rtt / 2, Loss: impair.RandomLoss{Percent: loss}})
		}
		serving := startWeb(lab, path, webServer{})
		client := lab.Start(path.Client(), getStreams.With(streamClient{Address: path.Server().Addr(port).String(), HTTP2: http2, Streams: streams}))
		var drop *harness.Rule
		wanted := streams
		if http2 {
			wanted = 1
		}
		client.Continue() // the first stream is over
		if loss == 0 {
			// What is lost has to be one of the chunks that are looked at. On a new connection a request comes to the server after an RTT and a half, and the
			// first of them leaves so many gaps later. On the one that is there it comes after half an RTT, and the last chunk leaves after all gaps.
			first, last := rtt*3/2+settled*chunkGap, rtt/2+(chunks-1)*chunkGap
			time.Sleep((first + last) / 2)
			connections := path.Client().Sockets(kernel.SocketFilter{States: []kernel.State{kernel.Established}}).List()
			lab.Measure("connections", len(connections), bounds.Exactly(wanted), "HTTP/2 has one for all, HTTP/1.1 one for each")
			if loseOne {
				drop = path.ToClient.Rule(rules.Drop(rules.Data.DestinationPort(connections[0].Local.Port()).Number(1)))
			}
		}
		o, err := getStreams.Value(client.Wait())
		Expect(err).NotTo(HaveOccurred())
		serving.Stop()
		Expect(o.Version).To(Equal(map[bool]string{false: "HTTP/1.1", true: "HTTP/2.0"}[http2]))
		Expect(o.Delays).To(HaveLen(streams))
		var slowest time.Duration
		lateStreams, lateChunks := 0, 0
		for _, delays := range o.Delays {
			Expect(delays).To(HaveLen(chunks))
			n := 0
			for _, d := range delays[settled:] {
				slowest = max(slowest, d)
				if d > rtt/2+programDelay {
					n++
				}
			}
			lateChunks += n
			if n > 0 {
				lateStreams++
			}
		}
		if drop != nil {
			Expect(drop.Hits()).To(HaveLen(1))
		}
		lab.Note("late chunks", lateChunks)
		lab.Note("slowest chunk", slowest)
		lab.Measure("streams with late chunks", lateStreams, late)
		if loss == 0 {
			retransmits := 0
			if loseOne {
				retransmits = 1
			}
			Expect(path.Server().Counters()).To(HaveCounters{"TcpRetransSegs": retransmits})
		} else {
			lab.Measure("retransmits of the server", int(path.Server().Counters()["TcpRetransSegs"]), bounds.AtLeast(1), "what is lost is sent again")
		}
	},
	Entry("come in time on one connection of HTTP/2 over a clean link", true, false, noLoss, bounds.Exactly(0).From("half an RTT")),
	Entry("come in time on six of HTTP/1.1 over a clean link", false, false, noLoss, bounds.Exactly(0).From("half an RTT")),
	Entry("are all late on one connection of HTTP/2 when one segment is lost: head-of-line blocking", true, true, noLoss,
		bounds.Exactly(6).From("RFC 9293, 3.1: in order, of whichever stream")),
	Entry("are late on one of six connections of HTTP/1.1 when one segment is lost", false, true, noLoss,
		bounds.Exactly(1).From("each has an order of its own")),
	Entry("come whole on one connection of HTTP/2 over a link that loses 5 %", true, false, someLoss, bounds.Exactly(6).From("each loss is everybody's, and some are for certain")),
	Entry("come whole on six of HTTP/1.1 over a link that loses 5 %", false, false, someLoss, bounds.AtLeast(1).From("a loss is one stream's")),
)
