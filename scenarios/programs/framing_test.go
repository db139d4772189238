package programs

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/bounds"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/peers"
	"github.com/tcplab/tcplab/peers/course/framing"
)

// messageLength is the length of all messages, since those of a fixed length are among them. With a prefix it is 105, which has no
// common factor with 76, what a small segment carries: so its ends fall everywhere in a message.
const messageLength = 101

// A framingKind is a framing, by name: an interface does not travel to a peer.
type framingKind string

var framings = map[framingKind]framing.Framing{
	"fixed":          framing.Fixed{Length: messageLength},
	"delimited":      framing.Delimited{Delimiter: '\n'},
	"prefixed":       framing.Prefixed{},
	"naive prefixed": framing.NaivePrefixed{},
	"one Read":       framing.OneRead{},
	"trusting":       framing.TrustingPrefixed{},
}

// right and naive are the kinds, in the order in which they are tried.
var (
	rightKinds = []framingKind{"fixed", "delimited", "prefixed"}
	naiveKinds = []framingKind{"naive prefixed", "one Read"}
)

// message is message number i: its number, and bytes that are all possible ones but the delimiter.
func message(i int) []byte {
	m := fmt.Appendf(nil, "%06d ", i)
	for len(m) < messageLength {
		b := byte(i + len(m))
		if b == '\n' {
			b = 0
		}
		m = append(m, b)
	}
	return m
}

type framingServer struct {
	Address string
	Framing framingKind
	Answer  bool
}

// A framingSession is what a server of messages made of one connection.
type framingSession struct {
	Right     int // messages that were the next one that was sent, from the first
	Wrong     int // that were not
	Err       string
	Allocated int64 // bytes, since the session before
}

// serveFraming is the server. Its value is how each connection ended, in that order.
var serveFraming = peers.Func("framing-server", func(t *peers.Task, c framingServer) (sessions []framingSession, err error) {
	listener, err := listening(t, c.Address)
	if err != nil {
		return nil, err
	}
	var lock sync.Mutex
	counts := map[string]*framingSession{}
	session := func(client net.Addr) *framingSession {
		if counts[client.String()] == nil {
			counts[client.String()] = &framingSession{}
		}
		return counts[client.String()]
	}
	var before, now runtime.MemStats
	runtime.ReadMemStats(&before)
	server := framing.Server{
		Framing:  framings[c.Framing],
		Timeouts: framing.Timeouts{Idle: patience, Message: patience},
		Handle: func(client net.Addr, m []byte) ([]byte, error) {
			lock.Lock()
			defer lock.Unlock()
			if s := session(client); bytes.Equal(m, message(s.Right)) {
				s.Right++
			} else {
				s.Wrong++
			}
			if c.Answer {
				return m, nil
			}
			return nil, nil
		},
		Closed: func(closed framing.Session) {
			lock.Lock()
			defer lock.Unlock()
			s := session(closed.Remote)
			s.Err = errorText(closed.Err)
			runtime.ReadMemStats(&now)
			s.Allocated = int64(now.TotalAlloc - before.TotalAlloc)
			before = now
			sessions = append(sessions, *s)
		},
	}
	err = server.Serve(t.Context(), listener)
	return sessions, err
})

// A framingClient says what a client of messages does.
type framingClient struct {
	Address  string
	Framing  framingKind
	Tuning   tuning
	Messages int
	Slices   []int         // the stream is written in pieces of these lengths, in turn; none: each message in one write
	Pause    time.Duration // after each piece
	Answers  bool          // wait for the answer to each message
}

// A framingOutcome is what it saw.
type framingOutcome struct {
	Took []time.Duration // of each message and its answer
	End  string          // what ended the stream of answers: EOF is in order
}

var sendFraming = peers.Func("framing-client", func(t *peers.Task, c framingClient) (o framingOutcome, err error) {
	if err := t.Ready(nil); err != nil {
		return o, err
	}
	conn, err := c.Tuning.dial(c.Address)
	if err != nil {
		return o, err
	}
	messages := framing.NewConn(conn, framings[c.Framing], framing.Timeouts{Idle: patience, Message: patience})
	defer messages.Close()
	err = c.send(conn, messages, &o)
	if err == nil {
		err = messages.CloseWrite()
	}
	if err == nil {
		_, err = messages.Receive() // until the server has closed
	}
	o.End = fmt.Sprint(err)
	return o, nil
})

// send sends the messages, and waits for the answers if that is asked.
func (c framingClient) send(conn net.Conn, messages *framing.Conn, o *framingOutcome) error {
	if len(c.Slices) > 0 {
		var stream []byte
		for i := range c.Messages {
			stream, _ = framings[c.Framing].Append(stream, message(i))
		}
		return writeSlices(conn, stream, c.Slices, c.Pause)
	}
	for i := range c.Messages {
		began := time.Now()
		if err := messages.Send(message(i)); err != nil {
			return err
		}
		if !c.Answers {
			continue
		}
		answer, err := messages.Receive()
		if err != nil {
			return fmt.Errorf("message %d: %w", i, err)
		}
		if !bytes.Equal(answer, message(i)) {
			return fmt.Errorf("message %d: the answer is %q", i, answer)
		}
		o.Took = append(o.Took, time.Since(began))
	}
	return nil
}

// writeSlices writes a stream in pieces of some lengths, in turn.
func writeSlices(conn net.Conn, stream []byte, lengths []int, pause time.Duration) error {
	if err := conn.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	for i := 0; len(stream) > 0; i++ {
		n := min(lengths[i%len(lengths)], len(stream))
		if _, err := conn.Write(stream[:n]); err != nil {
			return err
		}
		stream = stream[n:]
		time.Sleep(pause)
	}
	return nil
}

// exchangeFraming has one client send messages to one server, at a port of their own.
func exchangeFraming(lab *harness.Lab, net *harness.Network, at uint16, c framingClient) (framingOutcome, framingSession) {
	GinkgoHelper()
	c.Address = net.Server().Addr(at).String()
	server := lab.Start(net.Server(), serveFraming.With(framingServer{c.Address, c.Framing, c.Answers}))
	outcome, err := sendFraming.Value(lab.Start(net.Client(), sendFraming.With(c)).Wait())
	Expect(err).NotTo(HaveOccurred())
	sessions, err := serveFraming.Value(server.Stop())
	Expect(err).NotTo(HaveOccurred())
	Expect(sessions).To(HaveLen(1))
	return outcome, sessions[0]
}

var _ = DescribeTable("framing: messages one at a time over a good link, each answered in one RTT,", Label("quick", "netem", "rfc9293"),
	func(ctx SpecContext, kinds []framingKind) {
		const count = 10
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt)
		for i, kind := range kinds {
			outcome, session := exchangeFraming(lab, net, port+uint16(i), framingClient{Framing: kind, Messages: count, Answers: true})
			Expect(outcome.End).To(Equal(io.EOF.Error()))
			Expect(session.Err).To(BeEmpty())
			lab.Measure(string(kind)+": messages", session.Right, bounds.Exactly(count), "the contract")
			for _, took := range outcome.Took {
				lab.Measure(string(kind)+": answered after", took, rtts(1))
			}
		}
	},
	Entry("arrive by each framing", rightKinds),
	Entry("arrive even at the naive readers, by chance", naiveKinds),
)

// sliced is a way in which a stream comes: how it is written, and on what link.
type sliced struct {
	slices []int // written, in turn; none: a message in each write
	pause  time.Duration
	tuning tuning
	link   impair.Netem // to the server

	messages int
	// whole: each segment has whole messages, which a naive reader of a prefix finds in its buffer, one after the other.
	whole bool
	// What of the wire must hold, so that the spec shows what it says. Of the messages with a prefix:
	segments bounds.Range // how many
	largest  bounds.Range // how many bytes the largest has
	cut      bounds.Range // how many prefixes have a segment's end within
}

// slowly has segments come one after the other, so that the reader has read one before the next is there: 76 bytes take 1.1 ms.
var slowly = impair.Netem{Delay: rtt / 2, Rate: impair.Rate{BitsPerSecond: impair.Mbit}}

// smallMSS is the smallest MSS that Linux takes (TCP_MIN_MSS). A segment carries 12 bytes less, those of the timestamps.
const (
	smallMSS     = 88
	smallSegment = smallMSS - harness.TCPTimestamps
)

// All readers have the same link, one after the other.
var _ = DescribeTable("framing: the same messages arrive, and naive readers see others,", Label("quick", "netem", "rfc9293"),
	func(ctx SpecContext, s sliced) {
		lab := harness.NewLab(ctx)
		net := lab.Routed()
		net.ToServer.Impair(s.link)
		net.ToClient.Impair(impair.Netem{Delay: rtt / 2, Loss: s.link.Loss})
		wire := lab.Capture(net.Client(), net.Server())
		for i, kind := range slices.Concat(rightKinds, naiveKinds) {
			outcome, session := exchangeFraming(lab, net, port+uint16(i),
				framingClient{Framing: kind, Tuning: s.tuning, Messages: s.messages, Slices: s.slices, Pause: s.pause})
			if kind == "naive prefixed" && s.whole {
				lab.Measure(string(kind)+": right", session.Right, bounds.Exactly(s.messages), "by chance: bufio has whole messages")
				continue
			}
			if slices.Contains(naiveKinds, kind) {
				lab.Measure(string(kind)+": right", session.Right, bounds.AtMost(s.messages-1), "RFC 9293, 3.8: TCP keeps no record boundaries")
				continue
			}
			lab.Measure(string(kind)+": right", session.Right, bounds.Exactly(s.messages), "the contract")
			Expect(session).To(And(HaveField("Wrong", 0), HaveField("Err", "")))
			Expect(outcome.End).To(Equal(io.EOF.Error()))
		}
		if s.link.Loss != nil {
			repaired(lab, net, wire)
		}

		// On the wire: the messages with a prefix are at the third port.
		prefixed := port + uint16(slices.Index(rightKinds, "prefixed"))
		sent := wire.Stop().DataFrom(net.Client(), func(a analysis.Segment) bool {
			return a.Dst.Port() == prefixed && a.Interface == net.Client().End("eth0").String()
		})
		const each = messageLength + 4
		segmentEnds := ends(sent)
		cut := 0
		for _, end := range segmentEnds {
			if at := end % each; at > 0 && at < 4 {
				cut++
			}
		}
		Expect(segmentEnds[len(segmentEnds)-1]).To(Equal(each * s.messages))
		lab.Measure("segments", len(segmentEnds), s.segments)
		largest := slices.MaxFunc(sent, func(a, b analysis.Segment) int { return a.Length - b.Length }).Length
		lab.Measure("bytes of the largest", largest, s.largest)
		lab.Measure("prefixes cut by a segment's end", cut, s.cut)
	},
	Entry("one byte in each segment", sliced{
		// No more are on the way than the initial window allows, also if every other ACK is delayed by 40 ms: none is coalesced.
		slices: []int{1}, pause: 10 * time.Millisecond, link: impair.Netem{Delay: rtt / 2}, messages: 3,
		segments: bounds.Exactly(3 * 105).From("a write each, TCP_NODELAY"), largest: bounds.Exactly(1).From("a write"),
		cut: bounds.Exactly(3 * 3).From("three ends within each prefix"),
	}),
	Entry("ten messages in each segment", sliced{
		// Ten writes are the initial window: none waits, and none is coalesced with another.
		slices: []int{10 * 105}, link: slowly, messages: 100, whole: true,
		segments: bounds.Exactly(10).From("ten writes of less than an MSS"), largest: bounds.Exactly(10 * 105).From("a write"),
		cut: bounds.Exactly(0).From("whole messages"),
	}),
	Entry("a prefix in two segments", sliced{
		slices: []int{2, 103}, pause: 10 * time.Millisecond, link: impair.Netem{Delay: rtt / 2}, messages: 20,
		segments: bounds.Exactly(40).From("a write each, TCP_NODELAY"), largest: bounds.Exactly(103).From("a write"),
		cut: bounds.Exactly(20).From("each"),
	}),
	Entry("segments of 76 bytes, with TCP_NODELAY", sliced{
		tuning: tuning{MSS: smallMSS}, link: slowly, messages: 400, segments: smallSegments(400), largest: fullSegment, cut: cutPrefixes,
	}),
	Entry("segments of 76 bytes, with Nagle's algorithm", sliced{
		tuning: tuning{MSS: smallMSS, Nagle: true}, link: slowly, messages: 400, segments: nagleSegments(400), largest: fullSegment, cut: cutPrefixes,
	}),
	Entry("segments of 76 bytes, of which 5 % are lost and 5 % reordered", sliced{
		tuning: tuning{MSS: smallMSS}, link: lossy, messages: 400, segments: smallSegments(400), largest: fullSegment, cut: cutPrefixes,
	}),
)

// fullSegment is how many bytes the largest has: messages are cut there. So there are no fewer segments than full ones take.
var fullSegment = bounds.Exactly(smallSegment).From("TCP_MAXSEG 88, less 12 of timestamps")

// smallSegments is how many segments as many messages take at most: each message has its own, one of which is not full.
func smallSegments(messages int) bounds.Range {
	return bounds.AtMost(2 * messages).From("a write each, TCP_NODELAY")
}

// nagleSegments is the same with Nagle's algorithm: all are full, but for one in each round trip of the time that they take at the rate
// of the link (tcp_minshall_check: a small segment waits while another one is unacknowledged).
func nagleSegments(messages int) bounds.Range {
	const frame = smallSegment + 14 + 20 + 20 + harness.TCPTimestamps // bytes; IPv6's header takes 20 more, and makes it longer
	full := (messages*(messageLength+4) + smallSegment - 1) / smallSegment
	takes := time.Duration(full*(frame+20)*8) * time.Second / time.Duration(impair.Mbit)
	return bounds.AtMost(full + int((takes+2*rtt)/rtt)).From("RFC 9293, 3.7.4; tcp_minshall_check")
}

// cutPrefixes: ends of full segments fall on each place of a message alike, three of 105 of which are within the prefix.
var cutPrefixes = bounds.AtLeast(1).From("3 of 105 places, of full segments")

// A badPrefix is what a client sends that is no message.
type badPrefix struct {
	Address string
	Prefix  uint32
	Bytes   int  // how many of the prefix's bytes
	Body    int  // bytes that follow
	Times   int  // connections, one after the other
	Good    bool // it is a message after all
}

// sendPrefix sends it, and reads until the server closes. Its value is how many bytes came.
var sendPrefix = peers.Func("prefix-client", func(t *peers.Task, c badPrefix) (answered int, err error) {
	if err := t.Ready(nil); err != nil {
		return 0, err
	}
	for range c.Times {
		conn, err := tuning{}.dial(c.Address)
		if err != nil {
			return answered, err
		}
		n, err := c.send(conn)
		answered += n
		conn.Close()
		if err != nil {
			return answered, err
		}
	}
	return answered, nil
})

func (c badPrefix) send(conn net.Conn) (answered int, err error) {
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return 0, err
	}
	stream := slices.Concat(binary.BigEndian.AppendUint32(nil, c.Prefix)[:c.Bytes], make([]byte, c.Body))
	if _, err := conn.Write(stream); err != nil {
		return 0, err
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		return 0, err
	}
	answer, err := io.ReadAll(conn)
	return len(answer), err
}

// Memory is what the server's own runtime has counted, of all that it did for one connection.
var _ = DescribeTable("framing: a server takes no harm from a prefix", Label("quick", "netem", "linux"),
	func(ctx SpecContext, bad badPrefix, want string) {
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt)
		bad.Address, bad.Times = net.Server().Addr(port).String(), 10
		server := lab.Start(net.Server(), serveFraming.With(framingServer{bad.Address, "prefixed", true}))
		answered, err := sendPrefix.Value(lab.Start(net.Client(), sendPrefix.With(bad)).Wait())
		Expect(err).NotTo(HaveOccurred()) // no reset: the server has read what came before it closed
		good := framingClient{Address: bad.Address, Framing: "prefixed", Messages: 5, Answers: true}
		outcome, err := sendFraming.Value(lab.Start(net.Client(), sendFraming.With(good)).Wait())
		Expect(err).NotTo(HaveOccurred())
		Expect(outcome.Took).To(HaveLen(good.Messages))
		for _, took := range outcome.Took {
			lab.Measure("next client's answer after", took, rtts(1))
		}
		Expect(outcome.End).To(Equal(io.EOF.Error()))
		sessions, err := serveFraming.Value(server.Stop())
		Expect(err).NotTo(HaveOccurred())
		Expect(sessions).To(HaveLen(bad.Times + 1))
		ended := ContainSubstring(want)
		if bad.Good {
			ended = BeEmpty()
		}
		for _, s := range sessions[:bad.Times] {
			Expect(s.Err).To(ended)
			lab.Measure("allocated for it", bounds.In(s.Allocated, "bytes"), mostAllocated)
		}
		Expect(sessions[bad.Times]).To(And(HaveField("Right", good.Messages), HaveField("Wrong", 0), HaveField("Err", "")))
		if !bad.Good {
			Expect(answered).To(BeZero())
			return
		}
		Expect(answered).To(Equal(bad.Times * (4 + bad.Body)))
	},
	Entry("of 0", badPrefix{Prefix: 0, Bytes: 4, Body: 100}, framing.ErrEmpty.Error()),
	Entry("of the maximum, which is a message", badPrefix{Prefix: framing.DefaultMax, Bytes: 4, Body: framing.DefaultMax, Good: true}, ""),
	Entry("beyond the maximum", badPrefix{Prefix: framing.DefaultMax + 1, Bytes: 4, Body: framing.DefaultMax + 1}, framing.ErrTooLong.Error()),
	Entry("of 0xffffffff", badPrefix{Prefix: 0xffffffff, Bytes: 4, Body: 100}, framing.ErrTooLong.Error()),
	Entry("that is cut off", badPrefix{Prefix: 100, Bytes: 2}, io.ErrUnexpectedEOF.Error()),
	Entry("whose message is cut off", badPrefix{Prefix: 100, Bytes: 4, Body: 50}, io.ErrUnexpectedEOF.Error()),
)

// mostAllocated is for one connection: the longest message once as it came and once to be sent, each rounded up to a size class or by
// append's growth of a quarter, bufio's 4 KiB, what package net and the runtime have for a connection and a goroutine, and what this
// server and its task do meanwhile.
var mostAllocated = bounds.AtMost(int64(2*framing.DefaultMax*5/4 + 32<<10)).In("bytes").From("the longest message, twice")

var _ = It("framing: a prefix of 0xffffffff ends a server that allocates what it says, for everybody", Label("quick", "netem", "linux"), func(ctx SpecContext) {
	lab := harness.NewLab(ctx)
	net := lab.Path(rtt)
	address := net.Server().Addr(port).String()
	server := lab.Start(net.Server(), serveFraming.With(framingServer{address, "trusting", true}), harness.MayFail)
	lab.Start(net.Client(), sendPrefix.With(badPrefix{Address: address, Prefix: 0xffffffff, Bytes: 4, Body: 100, Times: 1}), harness.MayFail)
	ended := server.Wait()
	// The runtime asks for 4 GiB, which a machine of less does not give (vm.overcommit_memory 0: __vm_enough_memory).
	Expect(ended.Err).To(MatchError(ContainSubstring("out of memory")))
})
