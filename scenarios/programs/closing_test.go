package programs

import (
	"errors"
	"io"
	"net"
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
	"github.com/tcplab/tcplab/impair/rules"
	"github.com/tcplab/tcplab/peers"
	"github.com/tcplab/tcplab/peers/course/closing"
)

// An uploadServer is how a server of uploads is started.
type uploadServer struct {
	Address             string
	Limit               int64
	CloseUnread, Forget bool // the wrong ones
}

var uploadServe = peers.Func("upload-server", func(t *peers.Task, c uploadServer) (none struct{}, err error) {
	listener, err := listening(t, c.Address)
	if err != nil {
		return none, err
	}
	server := closing.Server{Limit: c.Limit, Timeout: patience, CloseUnread: c.CloseUnread, Forget: c.Forget}
	return none, server.Serve(t.Context(), listener)
})

// An upload is what a client does.
type upload struct {
	Address                           string
	Size                              int64
	CloseAtOnce, Linger0, StopOnError bool // the wrong ones
	Count                             int  // one after the other; 0: one
	Timeout                           time.Duration
}

// An uploaded is what came of the last upload.
type uploaded struct {
	Received int64  // by the server, as it says
	End      string // "answered", "too large", "no answer", "reset", "time-out"
	Took     time.Duration
}

var uploadSend = peers.Func("upload-client", func(t *peers.Task, c upload) (u uploaded, err error) {
	if err := t.Ready(nil); err != nil {
		return u, err
	}
	if c.Timeout == 0 {
		c.Timeout = patience
	}
	client := closing.Client{Timeout: c.Timeout, CloseAtOnce: c.CloseAtOnce, Linger0: c.Linger0, StopOnError: c.StopOnError}
	for range max(1, c.Count) {
		began := time.Now()
		conn, err := net.Dial("tcp", c.Address)
		if err != nil {
			return u, err
		}
		u.Received, err = client.Upload(conn.(*net.TCPConn), io.LimitReader(zeros{}, c.Size))
		u.Took = time.Since(began)
		var timeout net.Error
		switch {
		case err == nil:
			u.End = "answered"
		case errors.Is(err, closing.ErrTooLarge):
			u.End = "too large"
		case errors.Is(err, closing.ErrNoAnswer):
			u.End = "no answer"
		case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
			u.End = "reset"
		case errors.As(err, &timeout) && timeout.Timeout():
			u.End = "time-out"
		default:
			return u, err
		}
	}
	return u, nil
})

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

var _ = Describe("closing:", func() {
	// run uploads, and returns what came of it; the server still runs.
	run := func(lab *harness.Lab, path *harness.Network, s uploadServer, c upload) (uploaded, *harness.Peer) {
		GinkgoHelper()
		s.Address = path.Server().Addr(port).String()
		c.Address = s.Address
		serving := lab.Start(path.Server(), uploadServe.With(s))
		got, err := uploadSend.Value(lab.Start(path.Client(), uploadSend.With(c)).Wait())
		Expect(err).NotTo(HaveOccurred())
		return got, serving
	}
	const document, limit = 10_000, 1 << 20 // a document fits into the initial window

	It("the answer comes over a half-closed connection", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		path := lab.Path(rtt)
		wire := lab.Capture(path.Client())
		got, serving := run(lab, path, uploadServer{Limit: limit}, upload{Size: document})
		Expect(got.End).To(Equal("answered"))
		Expect(got.Received).To(BeEquivalentTo(document))
		lab.Measure("upload with answer", got.Took, rtts(2), "handshake; document, FIN and answer")
		serving.Stop()
		// RFC 9293, 3.6: the client's FIN is acknowledged, and then the server still sends data.
		wire.Stop()
		fin := wire.From(path.Client(), analysis.FINs)
		answer := wire.DataFrom(path.Server())
		Expect(fin).To(HaveLen(1))
		Expect(answer).To(HaveLen(1))
		Expect(answer[0].Frame).To(BeNumerically(">", fin[0].Frame), "data after the other side's FIN")
		Expect(wire.From(path.Server(), analysis.RSTs)).To(BeEmpty())
		Expect(wire.From(path.Client(), analysis.RSTs)).To(BeEmpty())
	})

	It("the answer comes over a link that loses 5 %", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		path := losing(lab)
		got, _ := run(lab, path, uploadServer{Limit: limit}, upload{Size: 500_000})
		Expect(got.End).To(Equal("answered"))
		Expect(got.Received).To(BeEquivalentTo(500_000))
	})

	It("wrong: a client that closes where it should half-close gets no answer, and resets the server", Label("quick", "netem", "rfc9293"),
		func(ctx SpecContext) {
			lab := harness.NewLab(ctx)
			path := lab.Path(rtt)
			wire := lab.Capture(path.Client())
			got, serving := run(lab, path, uploadServer{Limit: limit}, upload{Size: document, CloseAtOnce: true})
			Expect(got.End).To(Equal("no answer"))
			time.Sleep(2 * rtt)
			serving.Stop()
			wire.Stop()
			Expect(wire.From(path.Client(), analysis.FINs)).To(HaveLen(1))
			Expect(wire.DataFrom(path.Server())).To(HaveLen(1), "the answer, which nobody reads")
			Expect(wire.From(path.Client(), analysis.RSTs)).NotTo(BeEmpty(), "RFC 9293, 3.10.7.1: data for a closed connection")
			Expect(path.Client().Counters()).To(HaveCounters{"TcpExtTCPAbortOnData": 1})
		})

	It("wrong: with linger 0 close throws away what was not sent, and the server gets ECONNRESET in place of the end", Label("quick", "netem", "rfc9293"),
		func(ctx SpecContext) {
			lab := harness.NewLab(ctx)
			path := lab.Path(rtt)
			wire := lab.Capture(path.Client())
			const large = 30_000 // it fits into the send buffer: the write returns at once, and only the initial window leaves
			got, serving := run(lab, path, uploadServer{Limit: limit}, upload{Size: large, Linger0: true})
			Expect(got.End).To(Equal("no answer"))
			time.Sleep(2 * rtt)
			serving.Stop()
			wire.Stop()
			sent := 0
			for _, s := range wire.DataFrom(path.Client()) {
				sent += s.Length
			}
			window := path.Client().Oracle().InitialWindow(0) * int(harness.MSS())
			lab.Measure("bytes sent", sent, bounds.Exactly(window), "RFC 6928: the initial window")
			Expect(wire.From(path.Client(), analysis.FINs)).To(BeEmpty())
			Expect(wire.From(path.Client(), analysis.RSTs)).NotTo(BeEmpty(), "one at once, and one for each ACK that comes")
			Expect(wire.DataFrom(path.Server())).To(BeEmpty(), "no answer to half a document")
			Expect(path.Server().Counters()).To(HaveGrown("TcpEstabResets", 1))
		})

	// A document that is much larger than what the server takes is still coming when it answers.
	const refused, small = 4 << 20, 1000
	DescribeTable("a refusal while the document is still coming,", Label("quick", "netem", "rfc9293"),
		func(ctx SpecContext, s uploadServer, c upload, lost bool, end string) {
			lab := harness.NewLab(ctx)
			path := lab.Path(rtt)
			wire := lab.Capture(path.Client())
			var drop *harness.Rule
			if lost {
				drop = path.ToClient.Rule(rules.Drop(rules.Data.Number(1)))
			}
			s.Limit, c.Size = small, refused
			got, serving := run(lab, path, s, c)
			// What the client has written is still on its way when it has its answer: a server that is stopped now would reset it.
			path.Server().AwaitSockets(0, kernel.SocketFilter{States: []kernel.State{
				kernel.Established, kernel.FinWait1, kernel.FinWait2, kernel.Closing, kernel.CloseWait, kernel.LastAck,
			}})
			serving.Stop()
			wire.Stop()
			Expect(got.End).To(Equal(end))
			resets := wire.From(path.Server(), analysis.RSTs)
			Expect(len(resets) > 0).To(Equal(s.CloseUnread), "%d resets", len(resets))
			if lost {
				Expect(drop.Hits()).NotTo(BeEmpty())
			}
		},
		Entry("is read where the server lingers", uploadServer{}, upload{}, false, "too large"),
		Entry("is read where the server lingers, although the link has lost it once", uploadServer{}, upload{}, true, "too large"),
		Entry("is read in spite of the reset where the server closes with unread data and the client looks for the answer",
			uploadServer{CloseUnread: true}, upload{}, false, "too large"),
		Entry("wrong: is not read where the server closes with unread data and the link has lost the answer once",
			uploadServer{CloseUnread: true}, upload{}, true, "reset"),
		Entry("wrong: is not read where the server closes with unread data and the client stops at the failed write",
			uploadServer{CloseUnread: true}, upload{StopOnError: true}, false, "reset"),
	)

	It("wrong: a server that forgets to close has each connection in CLOSE_WAIT, and its client waits until its time-out", Label("quick", "netem", "rfc9293"),
		func(ctx SpecContext) {
			lab := harness.NewLab(ctx)
			path := lab.Path(rtt)
			const count, timeout = 5, 3 * time.Second
			got, serving := run(lab, path, uploadServer{Limit: limit, Forget: true}, upload{Size: document, Count: count, Timeout: timeout})
			Expect(got.End).To(Equal("time-out"))
			lab.Measure("gave up after", got.Took, oracle.PollTimeout(timeout).LateBy(rtt+programDelay), "the deadline, which is set after the handshake")
			left := path.Server().Sockets(kernel.SocketFilter{States: []kernel.State{kernel.CloseWait}})
			lab.Measure("connections in CLOSE_WAIT", len(left.List()), bounds.Exactly(count), "one for each upload")
			serving.Stop()
		})
})
