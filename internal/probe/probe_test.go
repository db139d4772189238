package probe

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/internal/testenv"
)

// serve handles each connection, until the test ends.
func serve(t *testing.T, handle func(net.Conn)) Options {
	t.Helper()
	return at(t, testenv.Listen(t, handle))
}

func at(t *testing.T, address string) Options {
	t.Helper()
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		t.Fatal(err)
	}
	return Options{Host: a.Addr().String(), Port: a.Port(), Count: 8, Timeout: 5 * time.Second}
}

func run(t *testing.T, o Options) *Report {
	t.Helper()
	report, err := Run(t.Context(), o, nil)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func phases(r *Report) map[string]int {
	counts := map[string]int{}
	for _, p := range r.Phases {
		counts[p.Name] = p.Count
	}
	return counts
}

func TestPhases(t *testing.T) {
	greeting := func(conn net.Conn) { _, _ = io.WriteString(conn, "hello"); _, _ = io.Copy(io.Discard, conn) }
	echo := func(conn net.Conn) { _, _ = io.Copy(conn, conn) }
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 100_000)) })
	web := httptest.NewServer(handler)
	defer web.Close()
	secure := httptest.NewTLSServer(handler)
	defer secure.Close()
	once := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Connection", "close") }))
	defer once.Close()
	for name, c := range map[string]struct {
		options Options
		change  func(*Options)
		want    map[string]int
	}{
		"connect":  {options: serve(t, greeting), want: map[string]int{"connect": 8}},
		"a name":   {options: serve(t, greeting), change: func(o *Options) { o.Host = "localhost"; o.Family = 4 }, want: map[string]int{"resolve": 8, "connect": 8}},
		"greeting": {options: serve(t, greeting), change: func(o *Options) { o.Wait = true }, want: map[string]int{"connect": 8, "first byte": 8}},
		"send":     {options: serve(t, echo), change: func(o *Options) { o.Send = []byte("x") }, want: map[string]int{"connect": 8, "first byte": 8}},
		"HTTP": {options: at(t, web.Listener.Addr().String()), change: func(o *Options) { o.HTTP = "/"; o.Concurrency = 3 },
			want: map[string]int{"connect": 8, "first byte": 8, "transfer": 8}},
		"HTTP, warm": {options: at(t, web.Listener.Addr().String()), change: func(o *Options) { o.HTTP = "/"; o.Warm = true },
			want: map[string]int{"connect": 1, "first byte": 1, "transfer": 1, "first byte, warm": 7, "transfer, warm": 7}},
		"HTTP, warm, but the server closes": {options: at(t, once.Listener.Addr().String()), change: func(o *Options) { o.HTTP = "/"; o.Warm = true },
			want: map[string]int{"connect": 8, "first byte": 8, "transfer": 8}},
		"TLS": {options: at(t, secure.Listener.Addr().String()), change: func(o *Options) { o.HTTP = "/"; o.TLS, o.Insecure = true, true },
			want: map[string]int{"connect": 8, "TLS": 8, "first byte": 8, "transfer": 8}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			if c.change != nil {
				c.change(&c.options)
			}
			report := run(t, c.options)
			g.Expect(report.Errors).To(BeEmpty())
			g.Expect(phases(report)).To(Equal(c.want))
			g.Expect(report.Samples).To(HaveLen(8))
			g.Expect(report.Path.BaseRTT).To(And(BeNumerically(">", 0), BeNumerically("<", time.Second)))
			g.Expect(report.Path.RTT).To(BeNumerically(">=", report.Path.BaseRTT))
			g.Expect(report.Path.Segments).To(BeNumerically(">=", 2*c.want["connect"]), "SYN and ACK at least")
			g.Expect(report.Overhead.Count).To(Equal(50))
			for _, s := range report.Samples {
				if strings.HasPrefix(name, "HTTP") && !strings.Contains(name, "closes") {
					g.Expect(s.Bytes).To(BeEquivalentTo(100_000))
					g.Expect(s.Status).To(Equal(200))
				}
			}
			var text strings.Builder
			g.Expect(report.Text(&text, 80)).To(Succeed())
			g.Expect(text.String()).To(And(ContainSubstring("8 of 8 samples, 0 failed"), ContainSubstring("\nconnect "), ContainSubstring("\nRTT: "),
				ContainSubstring("\nRetransmits: ")))
			for line := range strings.Lines(text.String()) {
				g.Expect(len(line)).To(BeNumerically("<=", 110), line) // the table of percentiles is the widest
			}
			_, err := json.Marshal(report)
			g.Expect(err).NotTo(HaveOccurred())
		})
	}
}

func TestFailures(t *testing.T) {
	silent := serve(t, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
	silent.Wait, silent.Timeout = true, 50*time.Millisecond
	closes := serve(t, func(net.Conn) {})
	closes.Wait = true
	refused := serve(t, func(net.Conn) {})
	refused.Port = 1
	cut := serve(t, func(conn net.Conn) {
		_, _ = http.ReadRequest(bufio.NewReader(conn)) // all of it: a close with unread data would be a reset
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
	})
	cut.HTTP = "/"
	garbage := serve(t, func(conn net.Conn) { _, _ = io.WriteString(conn, "SSH-2.0\r\n"); _, _ = io.Copy(io.Discard, conn) })
	garbage.HTTP = "/"
	unknown := silent
	unknown.Host = "no-such-name.invalid"
	for want, o := range map[string]Options{
		"first byte: time-out":                         silent,
		"connect: connection refused (ECONNREFUSED)":   refused,
		"transfer: the server closed the connection":   cut,
		`transfer: malformed HTTP response "SSH-2.0"`:  garbage,
		"first byte: the server closed the connection": closes,
	} {
		o.Count = 2
		report := run(t, o)
		g := NewWithT(t)
		g.Expect(report.Errors).To(Equal([]Count{{want, 2}}))
		var text strings.Builder
		g.Expect(report.Text(&text, 80)).To(Succeed())
		g.Expect(text.String()).To(ContainSubstring("\n   2  " + want + "\n"))
	}
	unknown.Count = 1
	g := NewWithT(t)
	g.Expect(run(t, unknown).Errors).To(HaveEach(HaveField("What", HavePrefix("resolve: "))))
}

// Of several warm connections, whose samples alternate, each counts once.
func TestConnectionsCountOnce(t *testing.T) {
	g := NewWithT(t)
	a, b := new(net.TCPConn), new(net.TCPConn)
	report := summarise(Options{}, []Sample{
		{At: 1, Segments: 3, conn: a}, {At: 2, Segments: 4, Retransmits: 1, conn: b}, {At: 3, Segments: 5, Warm: true, conn: a},
		{At: 4, Segments: 7, Retransmits: 2, Warm: true, conn: b}, {At: 5, Err: "refused"},
	})
	g.Expect(report.Path.Segments).To(Equal(5 + 7))
	g.Expect(report.Path.Retransmits).To(Equal(2))
}

// A context's end keeps what there is.
func TestEnds(t *testing.T) {
	g := NewWithT(t)
	var answered atomic.Int32
	ctx, cancel := context.WithCancel(t.Context())
	o := serve(t, func(conn net.Conn) {
		if answered.Add(1) == 3 {
			cancel() // and no answer
			_, _ = io.Copy(io.Discard, conn)
			return
		}
		_, _ = io.WriteString(conn, "x")
		_, _ = io.Copy(io.Discard, conn)
	})
	o.Wait, o.Count, o.Timeout = true, 100, time.Hour
	report, err := Run(ctx, o, nil)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(report.Samples).To(HaveLen(2))
	g.Expect(report.Ended).To(BeTrue())
	g.Expect(report.Errors).To(BeEmpty())
	var text strings.Builder
	g.Expect(report.Text(&text, 80)).To(Succeed())
	g.Expect(text.String()).To(ContainSubstring("2 of 100 samples, 0 failed"))
}

func TestValidate(t *testing.T) {
	g := NewWithT(t)
	_, err := Run(t.Context(), Options{Count: -1, Concurrency: -1, Interval: -1, Timeout: -1, Family: 5, Send: []byte("x"), HTTP: "x\r\n", Warm: true}, nil)
	for _, field := range []string{"Host", "Port", "Count", "Concurrency", "Interval", "Timeout", "Family", "HTTP"} {
		g.Expect(err).To(MatchError(ContainSubstring("Options." + field)))
	}
	_, err = Run(t.Context(), Options{Host: "a", Port: 1, Warm: true}, nil)
	g.Expect(err).To(MatchError(ContainSubstring("Options.Warm")))
}

func TestSpread(t *testing.T) {
	g := NewWithT(t)
	var took []time.Duration
	for i := range 100 {
		took = append(took, time.Duration(100-i))
	}
	g.Expect(spreadOf(took)).To(Equal(Spread{Count: 100, Least: 1, Median: 50, P90: 90, P99: 99, Most: 100, Interval: &[2]time.Duration{40, 61}}))
	g.Expect(spreadOf(took[:5]).Interval).To(BeNil())
	g.Expect(spreadOf(nil)).To(Equal(Spread{}))

	random := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		took := make([]time.Duration, 2+random.IntN(50))
		for i := range took {
			took[i] = time.Duration(1 + random.Int64N(int64(time.Second)))
		}
		sum := 0
		for i, bar := range bin(took) {
			sum += bar.count
			g.Expect(bar.to).To(BeNumerically(">=", bar.from), "%d", i)
		}
		g.Expect(sum).To(Equal(len(took)))
	}
	g.Expect([]string{Short(0), Short(1500), Short(123456789), Short(12345 * time.Millisecond)}).To(Equal([]string{"0", "1.5 us", "123 ms", "12.3 s"}))
	g.Expect(fmt.Sprint(Options{Host: "h", Port: 80, HTTP: "/x", TLS: true})).To(Equal("h port 80, GET /x over TLS"))
}

// spy notes what it is told of sockets.
type spy struct{ opened, connected int }

func (s *spy) Opened(int) error { s.opened++; return nil }
func (s *spy) Connected(int)    { s.connected++ }

func TestTake(t *testing.T) {
	g := NewWithT(t)
	var uploaded atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		uploaded.Store(n)
		_, _ = io.WriteString(w, r.Method+" "+r.Host)
	}))
	o := at(t, server.Listener.Addr().String())
	o.Host, o.Address = "example.org", netip.MustParseAddr(o.Host) // it is not resolved
	o.HTTP, o.Upload = "/", 300_000
	watch := &spy{}
	o.Watch = watch
	s := Take(t.Context(), o)
	g.Expect(s.Err).To(BeEmpty())
	g.Expect(uploaded.Load()).To(Equal(o.Upload))
	g.Expect(s.Bytes).To(BeEquivalentTo(len("POST example.org:") + len(fmt.Sprint(o.Port))))
	g.Expect(s.Upload).To(BeNumerically(">", 0))
	g.Expect(s.Resolve).To(BeZero())
	g.Expect(*watch).To(Equal(spy{1, 1}))

	server.Close()
	s = Take(t.Context(), o)
	g.Expect(s.Cause).To(MatchError(syscall.ECONNREFUSED))
	g.Expect(s.Phase).To(Equal("connect"))
	g.Expect(*watch).To(Equal(spy{2, 1}))
}

// What is uploaded to a server that only reads has a rate once all is acknowledged, and so has an answer of some size.
func TestRates(t *testing.T) {
	g := NewWithT(t)
	o := serve(t, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
	o.Count, o.Upload, o.Drain = 3, 1_000_000, true
	report, err := Run(t.Context(), o, nil)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(report.Errors).To(BeEmpty())
	g.Expect(report.Upload).To(HaveField("Count", 3))
	g.Expect(report.Upload.Bytes).To(BeEquivalentTo(3_000_000))
	for _, s := range report.Samples {
		g.Expect(s.Delivered).To(BeNumerically(">=", s.Upload))
	}
	var out strings.Builder
	g.Expect(report.Text(&out, 100)).To(Succeed())
	g.Expect(out.String()).To(MatchRegexp(`Upload: [\d.]+ [MG]bit/s as a median of 3, .* \(1\.0 MB of payload each\)`))

	// A server that does not read: not all is acknowledged, and the sample ends with its time.
	deaf, err := net.Listen("tcp", "127.0.0.1:0")
	g.Expect(err).NotTo(HaveOccurred())
	defer deaf.Close()
	o = at(t, deaf.Addr().String())
	o.Count, o.Upload, o.Drain, o.Timeout = 1, 1<<20, true, 300*time.Millisecond
	report, err = Run(t.Context(), o, nil)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(report.Errors).To(HaveLen(1))
	g.Expect(report.Errors[0].What).To(Equal("upload: time-out"))
	g.Expect(report.Upload).To(BeNil())

	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write(make([]byte, 1<<20)) }))
	defer server.Close()
	o = at(t, server.Listener.Addr().String())
	o.Count, o.HTTP = 2, "/"
	report, err = Run(t.Context(), o, nil)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(report.Download).To(And(HaveField("Count", 2), HaveField("Bytes", int64(2<<20))))
	g.Expect(report.Upload).To(BeNil())
}
