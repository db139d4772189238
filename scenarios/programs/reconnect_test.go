package programs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/bounds"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/impair/rules"
	"github.com/tcplab/tcplab/peers"
	"github.com/tcplab/tcplab/peers/course/reconnect"
)

// A reconnectServer is how a server of messages is started. It restarts whenever the spec continues it: all connections are closed, and it
// listens again at once.
type reconnectServer struct {
	Address  string
	Restarts int
	Forgets  bool // it comes back with an empty ledger
}

// reconnectServe is the server. Its value are the messages that each of its lives has processed, in that order.
var reconnectServe = peers.Func("reconnect-server", func(t *peers.Task, c reconnectServer) (lives [][]uint64, err error) {
	ledger := reconnect.NewLedger()
	for life := range c.Restarts + 1 {
		if life > 0 && c.Forgets {
			ledger = reconnect.NewLedger()
		}
		listener, err := listening(t, c.Address)
		if err != nil {
			return lives, err
		}
		var processed, numbers []uint64 // there is one client, whose messages come one after the other
		server := reconnect.Server{Ledger: ledger, Timeout: patience, Handle: func(_, number uint64, payload []byte) {
			processed, numbers = append(processed, binary.BigEndian.Uint64(payload)), append(numbers, number)
		}}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- server.Serve(ctx, listener) }()
		if life < c.Restarts {
			err = t.Await()
			cancel()
		}
		serveErr := <-ended
		cancel()
		lives = append(lives, processed)
		if !slices.IsSorted(numbers) {
			return lives, fmt.Errorf("not in the order of their numbers: %v", numbers)
		}
		if err != nil || t.Context().Err() != nil {
			return lives, nil
		}
		if serveErr != nil {
			return lives, serveErr
		}
	}
	return lives, nil
})

// A reconnectClient says what a client sends: numbered messages, one each Gap.
type reconnectClient struct {
	Address  string
	Trusting bool // the wrong one
	Messages int
	Gap      time.Duration
	GiveUp   time.Duration // of each message; 0: never
	Timeout  time.Duration // of the program
	Seed     uint64        // of its waits
}

// A reconnectReport is what the client knows of its messages.
type reconnectReport struct {
	Acknowledged, Unknown, NotSent []uint64
	Connections                    int
	Slowest                        time.Duration // of what was acknowledged
	Last                           time.Duration // when the last one was settled, since the first
}

var reconnectSend = peers.Func("reconnect-client", func(t *peers.Task, c reconnectClient) (report reconnectReport, err error) {
	dial := func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", c.Address)
	}
	if err := t.Ready(nil); err != nil {
		return report, err
	}
	if c.Trusting {
		return sendTrusting(t.Context(), c, &reconnect.Trusting{ID: 1, Dial: dial, Timeout: c.Timeout})
	}
	random := rand.New(rand.NewPCG(c.Seed, 1)) //nolint:gosec // no secret
	client := reconnect.New(reconnect.Config{ID: 1, Dial: dial, Timeout: c.Timeout,
		Between: func(bound time.Duration) time.Duration { return time.Duration(random.Int64N(int64(bound) + 1)) }})
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- client.Run(ctx) }()

	var lock sync.Mutex
	var senders sync.WaitGroup
	began := time.Now()
	for i := range uint64(c.Messages) { //nolint:gosec // a few hundred
		senders.Go(func() {
			time.Sleep(time.Duration(i) * c.Gap) //nolint:gosec // as above
			sending, cancel := ctx, context.CancelFunc(func() {})
			if c.GiveUp != 0 {
				sending, cancel = context.WithTimeout(ctx, c.GiveUp)
			}
			defer cancel()
			sent := time.Now()
			err := client.Send(sending, binary.BigEndian.AppendUint64(nil, i))
			lock.Lock()
			defer lock.Unlock()
			report.Last = time.Since(began)
			switch {
			case err == nil:
				report.Acknowledged = append(report.Acknowledged, i)
				report.Slowest = max(report.Slowest, time.Since(sent))
			case errors.Is(err, reconnect.ErrNotSent):
				report.NotSent = append(report.NotSent, i)
			case errors.Is(err, reconnect.ErrUnknown):
				report.Unknown = append(report.Unknown, i)
			}
		})
	}
	senders.Wait()
	report.Connections = client.Connections()
	cancel()
	<-ran
	return report, nil
})

// sendTrusting sends the same with the client that takes a successful write for a delivery.
func sendTrusting(ctx context.Context, c reconnectClient, client *reconnect.Trusting) (report reconnectReport, err error) {
	defer client.Close()
	began := time.Now()
	for i := range uint64(c.Messages) { //nolint:gosec // a few hundred
		time.Sleep(time.Until(began.Add(time.Duration(i) * c.Gap))) //nolint:gosec // as above
		if err := client.Send(ctx, binary.BigEndian.AppendUint64(nil, i)); err != nil {
			return report, err
		}
		report.Acknowledged = append(report.Acknowledged, i)
	}
	time.Sleep(time.Second) // for the last ones to arrive: the bug is not that it closes too early
	return report, nil
}

const gap = 4 * time.Millisecond // between two messages

// reconnecting runs a client and a server, and what happens to them meanwhile. It returns what the client reported and what the server's
// lives have processed.
func reconnecting(lab *harness.Lab, path *harness.Network, server reconnectServer, client reconnectClient, meanwhile func(*harness.Peer)) (reconnectReport, [][]uint64) {
	GinkgoHelper()
	server.Address = path.Server().Addr(port).String()
	client.Address, client.Gap, client.Seed = server.Address, gap, lab.Seed()
	if client.Timeout == 0 {
		client.Timeout = patience
	}
	serving := lab.Start(path.Server(), reconnectServe.With(server))
	sending := lab.Start(path.Client(), reconnectSend.With(client))
	if meanwhile != nil {
		meanwhile(serving)
	}
	report, err := reconnectSend.Value(sending.Wait())
	Expect(err).NotTo(HaveOccurred())
	lives, err := reconnectServe.Value(serving.Stop())
	Expect(err).NotTo(HaveOccurred())
	return report, lives
}

// missing are the messages that no life of the server has processed.
func missing(sent []uint64, lives [][]uint64) (lost []uint64) {
	processed := slices.Concat(lives...)
	for _, n := range sent {
		if !slices.Contains(processed, n) {
			lost = append(lost, n)
		}
	}
	return lost
}

var _ = Describe("reconnecting client:", func() {
	It("has each message acknowledged in one RTT, on one connection, on a clean link", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		path := lab.Path(rtt)
		report, lives := reconnecting(lab, path, reconnectServer{}, reconnectClient{Messages: 100}, nil)
		Expect(lives).To(HaveExactElements(ConsistOf(upTo(uint64(100)))), "all, once")
		Expect(report.Acknowledged).To(ConsistOf(upTo(uint64(100))))
		Expect(report.Connections).To(Equal(1))
		// The first waits for the handshake and the welcome as well.
		lab.Measure("slowest acknowledgement", report.Slowest, rtts(3), "handshake, welcome, message: a round trip each")
		Expect(path.Client().Counters()).To(HaveCounters{"TcpActiveOpens": 1, "TcpRetransSegs": 0})
	})

	It("has each message acknowledged, once and in order, with 5 % loss", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		path := losing(lab)
		// One is lost for certain: the first message, which is in the second segment with data. There is one, however many messages later ones hold.
		drop := path.ToServer.Rule(rules.Drop(rules.Data.Number(2)))
		report, lives := reconnecting(lab, path, reconnectServer{}, reconnectClient{Messages: 200}, nil)
		Expect(drop.Hits()).To(HaveLen(1))
		Expect(lives).To(HaveExactElements(ConsistOf(upTo(uint64(200)))), "TCP repairs what the link loses: nothing comes twice")
		Expect(report.Acknowledged).To(ConsistOf(upTo(uint64(200))))
		Expect(report.Connections).To(Equal(1))
		lab.Check("retransmitted segments", path.Client().Counters()["TcpRetransSegs"], bounds.AtLeast(1), "the one that a rule dropped")
	})

	// Each of the two has 0.5 s to send messages before the server restarts.
	const messages, alive = 250, 500 * time.Millisecond
	restart := func(serving *harness.Peer) {
		time.Sleep(alive)
		serving.Continue()
	}

	It("loses nothing when the server restarts with its ledger: what was under way is sent again under its number", Label("quick", "netem", "rfc9293"),
		func(ctx SpecContext) {
			lab := harness.NewLab(ctx)
			path := lab.Path(rtt)
			report, lives := reconnecting(lab, path, reconnectServer{Restarts: 1}, reconnectClient{Messages: messages}, restart)
			Expect(report.Acknowledged).To(ConsistOf(upTo(uint64(messages))))
			Expect(slices.Concat(lives...)).To(ConsistOf(upTo(uint64(messages))), "all, once")
			lab.Check("connections", report.Connections, bounds.Exactly(2), "one before the restart, one after it")
			lab.Note("processed before the restart", len(lives[0]))
		})

	It("reports as unknown what was under way when the server restarts without its ledger, and loses nothing else", Label("quick", "netem", "rfc9293"),
		func(ctx SpecContext) {
			lab := harness.NewLab(ctx)
			path := lab.Path(rtt)
			report, lives := reconnecting(lab, path, reconnectServer{Restarts: 1, Forgets: true}, reconnectClient{Messages: messages}, restart)
			Expect(missing(report.Acknowledged, lives)).To(BeEmpty(), "acknowledged is processed")
			Expect(slices.Concat(report.Acknowledged, report.Unknown)).To(ConsistOf(upTo(uint64(messages))), "each message has one fate")
			processed := slices.Concat(lives...)
			Expect(slices.Compact(slices.Sorted(slices.Values(processed)))).To(HaveLen(len(processed)), "nothing is processed twice")
			// Under way are those whose acknowledgement had not arrived: of a round trip.
			lab.Measure("unknown", len(report.Unknown), perRTT(1), "those of one round trip")
		})

	It("wrong: a client that trusts a successful write loses the messages of up to two RTTs when the server restarts, and reports them as sent", Label("quick", "netem", "rfc9293"),
		func(ctx SpecContext) {
			lab := harness.NewLab(ctx)
			path := lab.Path(rtt)
			wire := lab.Capture(path.Client())
			report, lives := reconnecting(lab, path, reconnectServer{Restarts: 1}, reconnectClient{Messages: messages, Trusting: true}, restart)
			Expect(report.Acknowledged).To(Equal(upTo(uint64(messages))), "it says that it has sent all of them")
			// Those that were on their way, and those that follow until a reset counts. A reset has the sequence number that
			// the segment acknowledges which it answers (RFC 9293, 3.10.7.1). So each that answers a segment of before the
			// client has seen the FIN is too old, and ignored: only what leaves after the FIN has come is answered by one that
			// counts, a round trip later. But where a message had come that the server had not read yet, its close is a reset at once
			// (RFC 9293, 3.10.4; RFC 2525, 2.17), and a round trip is spared.
			trips, why := time.Duration(2), "those of two round trips"
			if path.Server().Counters()["TcpExtTCPAbortOnClose"] > 0 {
				trips, why = 1, "those of one round trip: the server has closed with a message unread"
			}
			lab.Measure("lost without a word", len(missing(report.Acknowledged, lives)), perRTT(trips), why)
			resets := wire.Stop().From(path.Server(), analysis.RSTs)
			lab.Check("resets", len(resets), bounds.AtLeast(2), "one for each segment")
			Expect(path.Server().Counters()).To(HaveGrown("TcpOutRsts", BeNumerically(">=", len(resets))))
		})

	It("survives a link that is dark for 30 s: it reconnects within the cap of its back-off, and loses nothing", Label("quick", "netem", "rfc9293"),
		func(ctx SpecContext) {
			const dark, timeout = 30 * time.Second, 5 * time.Second
			const most = 10 * time.Second // reconnect.Config.Cap
			lab := harness.NewLab(ctx)
			path := lab.Path(rtt)
			var began, lit time.Time
			report, lives := reconnecting(lab, path, reconnectServer{}, reconnectClient{Messages: messages, Timeout: timeout}, func(*harness.Peer) {
				began = time.Now()
				time.Sleep(alive)
				there, back := path.ToServer.Blackhole(), path.ToClient.Blackhole()
				time.Sleep(dark)
				lit = time.Now()
				there.Stop()
				back.Stop()
			})
			Expect(report.Acknowledged).To(ConsistOf(upTo(uint64(messages))))
			Expect(slices.Concat(lives...)).To(ConsistOf(upTo(uint64(messages))), "all, once")
			lab.Check("connections", report.Connections, bounds.Exactly(2), "one before the darkness, one after it")
			// At best a SYN comes by when it becomes light. Or the attempt just before that has failed: then it waits, and connects. The program's time
			// began a little before or after the spec's; and the harness takes up to twice 12 ms (mostJitter) to make light.
			recovered := report.Last - lit.Sub(began)
			lab.Measure("recovered after", recovered, oracle.Between(3*rtt-programDelay, most+timeout+4*(rtt+programDelay)),
				"an attempt's time-out, the cap of the back-off, handshake, welcome, messages")
		})

	It("says that nothing was sent when a server accepts and never answers", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
		const giveUp, timeout = 9 * time.Second, 2 * time.Second
		lab := harness.NewLab(ctx)
		path := lab.Path(rtt)
		server := lab.Start(path.Server(), peers.Accept{Listen: path.Server().Addr(port)})
		client := lab.Start(path.Client(), reconnectSend.With(reconnectClient{
			Address: path.Server().Addr(port).String(), Messages: 1, GiveUp: giveUp, Timeout: timeout, Seed: lab.Seed()}))
		report, err := reconnectSend.Value(client.Wait())
		Expect(err).NotTo(HaveOccurred())
		Expect(report.NotSent).To(Equal([]uint64{0}))
		Expect(report.Connections).To(BeZero(), "none was welcomed")
		lab.Measure("gave up after", report.Last, oracle.PollTimeout(giveUp).LateBy(programDelay), "the context of Send")
		// Each attempt takes the time-out, and the first waits are up to 0.1, 0.2, 0.4 and 0.8 s.
		lab.Measure("attempts", path.Client().Counters()["TcpActiveOpens"], bounds.Between(4, 5), "9 s, 2 s each, waits of up to 1.5 s in all")
		server.Stop()
	})
})

// perRTT is how many messages leave in n round trips, and one at either end; hosts and programs may add to them.
func perRTT(n time.Duration) bounds.Range {
	return bounds.Between(int(n*rtt/gap)-1, int(n*(rtt+programDelay)/gap)+2).From(fmt.Sprintf("one each %v", gap))
}
