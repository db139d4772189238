package findings

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/bounds"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/impair/inject"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/peers"
)

const (
	webPort, tlsPort, scriptPort, idlePort, windowsPort, shortPort = 80, 443, 81, 82, 83, 84

	largeBody = 150_000          // bytes
	longPoll  = 25 * time.Second // RFC 6202, section 5.5: up to 30 s is safe
)

// web serves HTTP/1.1 and HTTP/2 with and without TLS. Its value is how many requests came.
var web = peers.Func("web", func(t *peers.Task, host string) (requests int64, err error) {
	var count atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("/small", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello\n") })
	mux.HandleFunc("/empty", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("/large", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, largeBody)) })
	mux.HandleFunc("/upload", func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprintln(w, n)
	})
	mux.HandleFunc("/poll", func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(longPoll)
		_, _ = io.WriteString(w, "nothing new\n")
	})
	certificate, err := selfSigned()
	if err != nil {
		return 0, err
	}
	server := http.Server{
		Protocols: new(http.Protocols), ErrorLog: log.New(io.Discard, "", 0),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			count.Add(1)
			mux.ServeHTTP(w, r)
		}),
	}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetHTTP2(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	stop := context.AfterFunc(t.Context(), func() { _ = server.Close() })
	defer stop()
	plain, err := net.Listen("tcp", net.JoinHostPort(host, fmt.Sprint(webPort)))
	if err != nil {
		return 0, err
	}
	secret, err := net.Listen("tcp", net.JoinHostPort(host, fmt.Sprint(tlsPort)))
	if err != nil {
		return 0, err
	}
	if err := t.Ready(plain.Addr()); err != nil {
		return 0, err
	}
	ended := make(chan error, 2)
	go func() { ended <- server.Serve(plain) }()
	go func() { ended <- server.ServeTLS(secret, "", "") }()
	for range 2 {
		if e := <-ended; !errors.Is(e, http.ErrServerClosed) {
			err = errors.Join(err, e)
		}
	}
	return count.Load(), err
})

func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// visited is what a browser has done.
type visited struct {
	Connections int64
	Requests    int64
}

// An orderly connection is closed after the server's end of it. With TLS the server answers the end (close_notify), and who closes
// with that unread resets the connection (RFC 2525, section 2.17): on a path without delay it may have come by then.
type orderly struct{ *net.TCPConn }

func (c orderly) Close() error {
	if c.CloseWrite() == nil {
		_, _ = io.Copy(io.Discard, c.TCPConn)
	}
	return c.TCPConn.Close()
}

// A visitor makes connections of an HTTP client, and counts them.
type visitor struct {
	host        string
	connections atomic.Int64
	requests    atomic.Int64
}

// client is a new one, with connections of its own.
func (v *visitor) client(http2 bool) *http.Client {
	transport := &http.Transport{
		Protocols: new(http.Protocols), TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // the certificate is made for this
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			v.connections.Add(1)
			connection, err := new(net.Dialer).DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return orderly{connection.(*net.TCPConn)}, nil
		},
	}
	transport.Protocols.SetHTTP1(!http2)
	transport.Protocols.SetHTTP2(http2)
	transport.Protocols.SetUnencryptedHTTP2(http2)
	return &http.Client{Transport: transport}
}

// get asks for a path, and closes the connection where that is asked for.
func (v *visitor) get(c *http.Client, scheme, path string, body int) error {
	v.requests.Add(1)
	port := webPort
	if scheme == "https" {
		port = tlsPort
	}
	var content io.Reader
	method := http.MethodGet
	if body > 0 {
		method, content = http.MethodPost, bytes.NewReader(make([]byte, body))
	}
	request, err := http.NewRequest(method, scheme+"://"+net.JoinHostPort(v.host, fmt.Sprint(port))+path, content)
	if err != nil {
		return err
	}
	response, err := c.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err = io.Copy(io.Discard, response.Body); err == nil && response.StatusCode/100 != 2 {
		err = fmt.Errorf("%s: %s", path, response.Status)
	}
	return err
}

// A tour is where to go.
type tour struct {
	Host     string
	Together bool // large answers, on connections of their own
}

// visit does what browsers and programs do on the web.
var visit = peers.Func("visit", func(t *peers.Task, where tour) (got visited, err error) {
	if err := t.Ready(nil); err != nil {
		return got, err
	}
	v := &visitor{host: where.Host}
	var (
		mutex sync.Mutex
		all   error
		busy  sync.WaitGroup
	)
	note := func(what string, err error) {
		if err != nil {
			mutex.Lock()
			defer mutex.Unlock()
			all = errors.Join(all, fmt.Errorf("%s: %w", what, err))
		}
	}
	together := func(n int, do func()) {
		for range n {
			busy.Go(do)
		}
	}
	// One connection, used again.
	keep := v.client(false)
	for range 8 {
		note("again", v.get(keep, "http", "/small", 0))
	}
	note("no content", v.get(keep, "http", "/empty", 0))
	note("upload", v.get(keep, "http", "/upload", 40_000))
	keep.CloseIdleConnections()
	// Many short ones.
	for range 8 {
		short := v.client(false)
		note("short", v.get(short, "http", "/small", 0))
		short.CloseIdleConnections()
	}
	// Large answers.
	for range 4 {
		together(1, func() {
			c := v.client(false)
			defer c.CloseIdleConnections()
			note("large", v.get(c, "http", "/large", 0))
		})
		if !where.Together {
			busy.Wait()
		}
	}
	busy.Wait()
	// HTTP/2: all on one connection.
	for _, scheme := range []string{"http", "https"} {
		two := v.client(true)
		note("HTTP/2", v.get(two, scheme, "/small", 0))
		together(6, func() { note("HTTP/2, at once", v.get(two, scheme, "/small", 0)) })
		busy.Wait()
		note("HTTP/2, large", v.get(two, scheme, "/large", 0))
		two.CloseIdleConnections()
	}
	// TLS, HTTP/1.1.
	for range 3 {
		c := v.client(false)
		note("TLS", v.get(c, "https", "/small", 0))
		note("TLS, large", v.get(c, "https", "/large", 0))
		c.CloseIdleConnections()
	}
	poll := v.client(false)
	note("long polling", v.get(poll, "http", "/poll", 0))
	poll.CloseIdleConnections()
	return visited{v.connections.Load(), v.requests.Load()}, all
})

// pipelined asks for n answers at once (RFC 9112, section 9.3.2), and reads them all.
func pipelined(n int) peers.Script {
	request := bytes.Repeat([]byte("GET /small HTTP/1.1\r\nHost: a\r\n\r\n"), n-1)
	request = append(request, "GET /small HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"...)
	return peers.Script{Steps: peers.Steps(peers.WriteBytes(request), peers.ReadAll())}
}

// expectHealthy asserts that analyze finds nothing, and how many connections there were. The message has the first finding, with its
// conversation.
func expectHealthy(lab *harness.Lab, report *analysis.Report, connections int) {
	GinkgoHelper()
	seen := map[[2]netip.AddrPort]bool{}
	for i := range report.Conversations {
		c := &report.Conversations[i]
		seen[[2]netip.AddrPort{c.Client.Addr, c.Server.Addr}] = true
		if len(c.Findings) > 0 {
			one := &analysis.Report{File: report.File, Conversations: []analysis.Conversation{*c}}
			Fail(fmt.Sprintf("%s on %s: %s\n%s", c.Findings[0].Kind, c.Interface, c.Findings[0].Seen, text(one)))
		}
	}
	Expect(report.Notes).To(BeEmpty())
	lab.Measure("conversations", len(seen), bounds.Exactly(connections), "as many as the programs have made")
	lab.Note("seen at", len(report.Conversations))
}

// A cleanLink loses nothing. Without delay a guest's one CPU may be what is slow: a program that waits for it longer than two round trips and
// two ticks to read, and so to acknowledge, makes its peer send a tail loss probe (tcp_schedule_loss_probe; RFC 8985, section 7.2). It is not needed,
// and no finding. Large answers come one after the other all the same, for such waits to be rare.
type cleanLink struct {
	Delay   time.Duration // each way
	Rate    int64         // bit/s; 0 is none
	Offload bool
}

func (l cleanLink) build(lab *harness.Lab) *harness.Network {
	GinkgoHelper()
	net := lab.Routed(netns.Config{Offload: l.Offload})
	if l.Delay > 0 {
		net.Impair(impair.Netem{Delay: l.Delay, Rate: impair.Rate{BitsPerSecond: l.Rate}, Limit: 100_000})
	}
	return net
}

// windowsKeepAlives sends what Windows does on a connection that is idle: the last byte once more, though another one, each second (KeepAliveInterval).
func windowsKeepAlives(net *harness.Network, wire *harness.Capture, connection harness.Pair, n int) {
	GinkgoHelper()
	fromClient := func(s analysis.Segment) bool { return s.Src == connection.Local && s.Interface == "client/eth0" }
	sent := wire.SoFar(fromClient)
	keepAlive := inject.After(sent[len(sent)-1])
	keepAlive.Seq--
	keepAlive.Flags = analysis.FlagACK
	keepAlive.Payload = []byte{0}
	for range n {
		net.Client().End("eth0").Inject(keepAlive)
		time.Sleep(time.Second)
	}
}

var _ = DescribeTable("nothing is found in healthy conversations", Label("long", "netem", "rfc9293"),
	func(ctx SpecContext, link cleanLink) {
		const short, empty, requests, windows = 4, 4, 10, 5
		lab := harness.NewLab(ctx)
		lab.AllowBusy() // large answers at once
		net := link.build(lab)
		wire := everywhere(lab, net)
		server := lab.Start(net.Server(), web.With(net.Server().IP().String()))
		browser := lab.Start(net.Client(), visit.With(tour{net.Server().IP().String(), link.Delay > 0}))
		got, err := visit.Value(browser.Wait())
		Expect(err).NotTo(HaveOccurred())

		// Pipelining.
		pipeline := pipelined(requests)
		pipeline.Connect = net.Server().Addr(webPort)
		lab.Start(net.Client(), pipeline).Wait()
		served, err := web.Value(server.Stop())
		Expect(err).NotTo(HaveOccurred())
		Expect(served).To(Equal(got.Requests + requests))

		// Half-close: a request, its end, and an answer.
		run(lab, net,
			peers.Script{Connect: net.Server().Addr(scriptPort), Steps: peers.Steps(peers.Write(bytesEach), peers.CloseWrite(), peers.ReadAll())},
			peers.Script{Listen: net.Server().Addr(scriptPort), Steps: peers.Steps(peers.ReadAll(), peers.Write(20*bytesEach))})
		// Transfers of no bytes, and short connections.
		nothing := peers.Steps(peers.CloseWrite(), peers.ReadAll())
		run(lab, net,
			peers.Script{Connect: net.Server().Addr(shortPort), Connections: empty, Steps: nothing},
			peers.Script{Listen: net.Server().Addr(shortPort), Connections: empty, Steps: peers.Steps(peers.ReadAll())})
		run(lab, net,
			peers.Script{Connect: net.Server().Addr(shortPort + 10), Connections: short, Steps: peers.Steps(peers.Write(1), peers.Read(1))},
			peers.Script{Listen: net.Server().Addr(shortPort + 10), Connections: short, Steps: peers.Steps(peers.Read(1), peers.Write(1), peers.ReadAll())})
		// Keep-alives of Linux, and of Windows.
		keeping := peers.Socket{KeepAlive: true, KeepIdle: 2 * time.Second, KeepInterval: time.Second, KeepProbes: 3}
		client, answers := exchange(2)
		client.Socket, client.Connect, answers.Listen = keeping, net.Server().Addr(idlePort), net.Server().Addr(idlePort)
		client.Steps = append(client.Steps, peers.Sleep(9*time.Second), peers.Write(bytesEach))
		run(lab, net, client, answers)
		client, answers = exchange(2)
		client.Connect, answers.Listen = net.Server().Addr(windowsPort), net.Server().Addr(windowsPort)
		client.Steps = append(client.Steps, peers.Await(), peers.Write(bytesEach))
		pair := lab.Connect(net.Client(), net.Server(), client, answers)
		pair.Client.Waiting()
		time.Sleep(harness.Settle)
		windowsKeepAlives(net, wire, pair, windows)
		pair.Client.Continue()
		pair.Client.Wait()
		pair.Server.Wait()
		time.Sleep(harness.Settle) // until the end is acknowledged

		wire.Stop()
		expectHealthy(lab, wire.Report(), int(got.Connections)+1+1+empty+short+1+1)
		for _, host := range net.Hosts() {
			counters := host.Counters()
			needless := int64(0)
			if link.Delay == 0 {
				needless = counters["TcpExtTCPLossProbes"] // at most: a probe may be new data
			}
			Expect(counters).To(HaveCounters{"TcpRetransSegs": BeNumerically("<=", needless), "TcpExtTCPTimeouts": 0})
		}
		if link.Delay > 0 {
			Expect(net.ToServer.Queue().Drops + net.ToClient.Queue().Drops).To(BeZero())
		}
	},
	Entry("without delay", cleanLink{}),
	Entry("without delay, with offload", cleanLink{Offload: true}),
	Entry("over 20 ms", cleanLink{Delay: 10 * time.Millisecond}),
	Entry("over 20 ms, with offload", cleanLink{Delay: 10 * time.Millisecond, Offload: true}),
	Entry("over 150 ms", cleanLink{Delay: 75 * time.Millisecond}),
	Entry("over 150 ms, with offload", cleanLink{Delay: 75 * time.Millisecond, Offload: true}),
	Entry("over 20 ms at 20 Mbit/s", cleanLink{Delay: 10 * time.Millisecond, Rate: 20 * impair.Mbit}),
	Entry("over 20 ms at 20 Mbit/s, with offload", cleanLink{Delay: 10 * time.Millisecond, Rate: 20 * impair.Mbit, Offload: true}),
)
