package programs

import (
	"cmp"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/bounds"
	"github.com/tcplab/tcplab/harness/kernel"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/peers"
	"github.com/tcplab/tcplab/peers/course/broadcast"
	"github.com/tcplab/tcplab/peers/course/framing"
)

type broadcastServer struct {
	Address      string
	Locked       bool // the wrong one
	Queue        int
	WriteTimeout time.Duration
}

// A broadcastDeparture is broadcast.Departure, for JSON. Times are since the last client joined.
type broadcastDeparture struct {
	Client string
	Err    string
	After  time.Duration
}

// serveBroadcast is the server. Its value is who left, in that order, and why.
var serveBroadcast = peers.Func("broadcast-server", func(t *peers.Task, c broadcastServer) (gone []broadcastDeparture, err error) {
	listener, err := listening(t, c.Address)
	if err != nil {
		return nil, err
	}
	var lock sync.Mutex
	var joined time.Time
	server := broadcast.Server{
		Queue: c.Queue, WriteTimeout: c.WriteTimeout,
		Joined: func(net.Addr) {
			lock.Lock()
			defer lock.Unlock()
			joined = time.Now()
		},
		Left: func(d broadcast.Departure) {
			lock.Lock()
			defer lock.Unlock()
			if t.Context().Err() != nil {
				return // the server has ended, and with it all
			}
			gone = append(gone, broadcastDeparture{Client: d.Remote.String(), Err: errorText(d.Err), After: time.Since(joined)})
		},
	}
	if c.Locked {
		err = broadcast.Locked{Server: server}.Serve(t.Context(), listener)
	} else {
		err = server.Serve(t.Context(), listener)
	}
	return gone, err
})

// said is a message: who says it, which of its messages it is, and when it was said. All hosts have one clock. It is as long as asked.
func said(sender byte, number, length int) []byte {
	m := append(make([]byte, 0, length), sender)
	m = binary.BigEndian.AppendUint32(m, uint32(number))
	m = binary.BigEndian.AppendUint64(m, uint64(time.Now().UnixNano()))
	return m[:length]
}

type talker struct {
	Address  string
	Name     byte
	Messages int
	Length   int
	Interval time.Duration // from one to the next
}

// talk joins, waits to be told, and says its messages. What others say it takes, and drops.
var talk = peers.Func("broadcast-talker", func(t *peers.Task, c talker) (sent int, err error) {
	if err := t.Ready(nil); err != nil {
		return 0, err
	}
	conn, err := broadcast.Dial(t.Context(), c.Address, 0, framing.Timeouts{Message: patience})
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	go func() {
		for {
			if _, err := conn.Receive(); err != nil {
				return
			}
		}
	}()
	if err := t.Await(); err != nil {
		return 0, err
	}
	ticks := time.NewTicker(c.Interval)
	defer ticks.Stop()
	for sent < c.Messages {
		if err := conn.Send(said(c.Name, sent, c.Length)); err != nil {
			return sent, err
		}
		sent++
		<-ticks.C
	}
	return sent, t.Await() // stays until it is told to go
})

type listener struct {
	Address  string
	Messages int           // leaves after as many; 0: stays until it is stopped, or evicted
	Pause    time.Duration // after each message
	Silent   bool          // reads nothing
	Held     bool          // joins when the spec continues it
}

// A heard is a message as it came.
type heard struct {
	Sender byte
	Number int
	Took   time.Duration
	Said   time.Duration // since the listener was connected; less than 0: before
}

// listen joins and listens. It stands at an Await once it is connected, and at another one when it has all.
var listen = peers.Func("broadcast-listener", func(t *peers.Task, c listener) (all []heard, err error) {
	if err := t.Ready(nil); err != nil {
		return nil, err
	}
	if c.Held {
		if err := t.Await(); err != nil {
			return nil, err
		}
	}
	conn, err := broadcast.Dial(t.Context(), c.Address, 0, framing.Timeouts{})
	if err != nil {
		return nil, err
	}
	connected := time.Now()
	defer conn.Close()
	if err := t.Await(); err != nil {
		return nil, err
	}
	if c.Silent {
		<-t.Context().Done()
		return nil, nil
	}
	for c.Messages == 0 || len(all) < c.Messages {
		m, err := conn.Receive()
		if c.Messages == 0 && err != nil {
			return all, nil // was stopped, or evicted
		}
		if errors.Is(err, io.EOF) {
			return all, io.ErrUnexpectedEOF
		}
		if err != nil {
			return all, err
		}
		at := time.Unix(0, int64(binary.BigEndian.Uint64(m[5:])))
		all = append(all, heard{m[0], int(binary.BigEndian.Uint32(m[1:])), time.Since(at), at.Sub(connected)})
		time.Sleep(c.Pause)
	}
	return all, t.Await()
})

// A room is a server in the middle of a star: each client is in a host of its own, a router and an RTT away.
type room struct {
	lab     *harness.Lab
	net     *harness.Network
	address string
	links   map[string]*harness.Link // A is the client's end, B the router's
}

// newRoom has clients of these names, and links that are alike.
func newRoom(lab *harness.Lab, link impair.Netem, clients ...string) room {
	GinkgoHelper()
	small := []netns.Setting{netns.IPv4("tcp_rmem", "4096 65536 65536"), netns.IPv4("tcp_wmem", "4096 65536 65536")}
	var graph netns.Graph
	router, server := graph.Router("router"), graph.Host("server", small...)
	toServer := graph.Link(router, server)
	names := map[string]string{}
	for _, client := range clients {
		names[client] = graph.Link(graph.Host(client, small...), router)
	}
	net := lab.Build(&graph)
	net.Link(toServer).A.Impair(link)
	r := room{lab, net, net.Host(server).Addr(port).String(), map[string]*harness.Link{}}
	for client, name := range names {
		r.links[client] = net.Link(name)
		r.links[client].B.Impair(link)
	}
	return r
}

func (r room) serve(c broadcastServer) *harness.Peer {
	GinkgoHelper()
	c.Address = r.address
	return r.lab.Start(r.net.Host("server"), serveBroadcast.With(c))
}

// listen has a client join, and returns once it is in the registry.
func (r room) listen(client string, l listener) *harness.Peer {
	GinkgoHelper()
	l.Address = r.address
	peer := r.lab.Start(r.net.Host(client), listen.With(l))
	peer.Continue()
	time.Sleep(2 * rtt) // the handshake's last ACK, and the server
	return peer
}

func (r room) talker(client string, c talker) *harness.Peer {
	GinkgoHelper()
	c.Address = r.address
	peer := r.lab.Start(r.net.Host(client), talk.With(c))
	peer.Waiting()
	time.Sleep(2 * rtt)
	return peer
}

// departed stops the server once the kernel has seen so many clients go, and returns what it says of them: each loss of a FIN takes
// another RTO. The server closes a socket only after it has said that its client has left.
func (r room) departed(server *harness.Peer, count int) []broadcastDeparture {
	GinkgoHelper()
	r.net.Host("server").AwaitSockets(len(r.links)-count, kernel.SocketFilter{States: []kernel.State{kernel.Established, kernel.CloseWait}})
	gone, err := serveBroadcast.Value(server.Stop())
	Expect(err).NotTo(HaveOccurred())
	Expect(gone).To(HaveLen(count))
	return gone
}

// hears waits until all listeners have all, and returns that. Only then do they report it, which takes a guest's CPU some milliseconds
// that another's last message would wait for.
func hears(listeners ...*harness.Peer) (all [][]heard) {
	GinkgoHelper()
	for _, l := range listeners {
		l.Waiting()
	}
	for _, l := range listeners {
		l.Continue()
		heard, err := listen.Value(l.Wait())
		Expect(err).NotTo(HaveOccurred())
		all = append(all, heard)
	}
	return all
}

// numbers are the numbers of one sender's messages, in the order in which they came.
func numbers(all []heard, sender byte) []int {
	var list []int
	for _, h := range all {
		if h.Sender == sender {
			list = append(list, h.Number)
		}
	}
	return list
}

// slowest is the message that took longest.
func slowest(all []heard) time.Duration {
	return slices.MaxFunc(all, func(a, b heard) int { return cmp.Compare(a.Took, b.Took) }).Took
}

var _ = It("broadcast: each message reaches all others in one RTT, in order, and late joiners get nothing old", Label("quick", "netem", "rfc9293"),
	func(ctx SpecContext) {
		const messages, interval, before = 100, 10 * time.Millisecond, 50
		lab := harness.NewLab(ctx)
		r := newRoom(lab, impair.Netem{Delay: rtt / 2}, "a", "b", "early", "late")
		server := r.serve(broadcastServer{})
		early := r.listen("early", listener{Messages: 2 * messages})
		// Its process is there before anybody talks: to start one takes the guest's one CPU for 50 ms, for which others' messages would wait.
		late := r.lab.Start(r.net.Host("late"), listen.With(listener{Address: r.address, Held: true}))
		late.Waiting()
		a := r.talker("a", talker{Name: 'a', Messages: messages, Length: 100, Interval: interval})
		b := r.talker("b", talker{Name: 'b', Messages: messages, Length: 100, Interval: interval})
		a.Continue()
		b.Continue()
		time.Sleep(before * interval)
		late.Continue() // joins
		late.Continue() // and listens
		all := hears(early)[0]
		part, err := listen.Value(late.Stop())
		Expect(err).NotTo(HaveOccurred())
		Expect(r.departed(server, 2)).To(HaveEach(HaveField("Err", ""))) // early and late
		a.Continue()
		b.Continue()

		lab.Measure("delivery at the latest", slowest(all), rtts(1))
		for _, sender := range []byte("ab") {
			Expect(numbers(all, sender)).To(Equal(upTo(messages)))
			got := numbers(part, sender)
			Expect(got).NotTo(BeEmpty())
			Expect(got).To(Equal(upTo(messages)[got[0]:]))
			// The last ACK of its handshake and a message that is said at that moment come to the server together: both take half an RTT.
			first := part[slices.IndexFunc(part, func(h heard) bool { return h.Sender == sender })]
			lab.Measure("first message to the late joiner, said after it was connected", first.Said,
				bounds.Between(-programDelay, interval+programDelay), "half an RTT each; one message each 10 ms")
		}
		lab.Check("delivery to the late joiner at the latest", slowest(part), rtts(1))
	})

var _ = It("broadcast: nothing is lost or swapped over links that lose 5 % and reorder 5 %", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
	const messages, interval = 100, 50 * time.Millisecond
	lab := harness.NewLab(ctx)
	r := newRoom(lab, lossy, "a", "b", "one", "two")
	server := r.serve(broadcastServer{Queue: 2 * messages, WriteTimeout: patience})
	listeners := []*harness.Peer{r.listen("one", listener{Messages: 2 * messages}), r.listen("two", listener{Messages: 2 * messages})}
	a := r.talker("a", talker{Name: 'a', Messages: messages, Length: 1000, Interval: interval})
	b := r.talker("b", talker{Name: 'b', Messages: messages, Length: 1000, Interval: interval})
	// A SYN, its answer or the last ACK may have been lost, even again and again: who is not in the registry when it begins gets only the rest.
	r.net.Host("server").AwaitSockets(len(r.links), kernel.SocketFilter{States: []kernel.State{kernel.Established}})
	time.Sleep(harness.Settle)
	a.Continue()
	b.Continue()
	for _, all := range hears(listeners...) {
		for _, sender := range []byte("ab") {
			lab.Measure("messages of each, in order", len(numbers(all, sender)), bounds.Exactly(messages), "the contract")
			Expect(numbers(all, sender)).To(Equal(upTo(messages)))
		}
		lab.Note("delivery at the latest", slowest(all))
	}
	Expect(r.departed(server, len(listeners))).To(HaveEach(HaveField("Err", "")))
	a.Continue()
	b.Continue()
	lab.Measure("retransmits of the server", r.net.Host("server").Counters()["TcpRetransSegs"], bounds.AtLeast(1), "RFC 9293, 3.8.1: what is lost is sent again")
})

// A sick client is one that does not take what it gets.
type sick struct {
	how  listener
	dark bool // and its link goes dark when the talking begins
}

// What a talker says in the next scenarios, and what the server has for each client.
const (
	talkLength   = 1000
	talkInterval = 10 * time.Millisecond
	talkMessages = 500
	talkQueue    = 64
	talkTimeout  = 2 * time.Second

	// startsTalking is how long the talker, the last to join, waits until its first message is at the server.
	startsTalking = 2*rtt + rtt/2 + programDelay

	// buffered is the most that the buffers of both ends of a connection hold, in messages (tcp_wmem, tcp_rmem): 128 KiB, all of it
	// payload at best.
	buffered = 2 * 65536 / talkLength
)

// party has a talker talk to two good clients and a sick one, who was there first. It returns what the good ones heard, and what the
// server said of the sick one.
func party(lab *harness.Lab, s sick, c broadcastServer) (r room, all [][]heard, evicted []broadcastDeparture) {
	GinkgoHelper()
	r = newRoom(lab, impair.Netem{Delay: rtt / 2}, "sick", "good", "better", "talker")
	server := r.serve(c)
	bad := r.listen("sick", s.how)
	good := []*harness.Peer{r.listen("good", listener{Messages: talkMessages}), r.listen("better", listener{Messages: talkMessages})}
	t := r.talker("talker", talker{Name: 't', Messages: talkMessages, Length: talkLength, Interval: talkInterval})
	if s.dark {
		r.links["sick"].A.Blackhole()
		r.links["sick"].B.Blackhole()
	}
	t.Continue()
	all = hears(good...)
	for _, heard := range all {
		Expect(numbers(heard, 't')).To(Equal(upTo(talkMessages)))
	}
	gone := r.departed(server, 1+len(good))
	t.Continue()
	bad.Stop()
	address := r.net.Host("sick").IP().String()
	for _, d := range gone {
		if host, _, err := net.SplitHostPort(d.Client); err == nil && host == address {
			evicted = append(evicted, d)
		} else {
			Expect(d.Err).To(BeEmpty())
		}
	}
	return r, all, evicted
}

// sickClients are those of the three kinds.
func sickClients(f func(name string, s sick)) {
	f("a slow one", sick{how: listener{Pause: time.Second}})
	f("a silent one", sick{how: listener{Silent: true}})
	f("a dead one", sick{dark: true})
}

var _ = Describe("broadcast: holds up nobody for", func() {
	sickClients(func(name string, s sick) {
		It(name, Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
			lab := harness.NewLab(ctx)
			r, all, evicted := party(lab, s, broadcastServer{Queue: talkQueue, WriteTimeout: talkTimeout})
			for _, heard := range all {
				lab.Measure("delivery to others at the latest", slowest(heard), rtts(1))
			}
			Expect(evicted).To(HaveExactElements(HaveField("Err", broadcast.ErrSlow.Error())))
			// The buffers and the queue fill up, one message in each interval; a slow client takes some meanwhile, one in a second.
			lab.Measure("evicted after", evicted[0].After, oracle.Between(
				talkQueue*talkInterval, startsTalking+(talkQueue+buffered+5)*talkInterval).From("queue, tcp_wmem and tcp_rmem"))
			// What the kernel had for it was dropped (tcp_close with SO_LINGER 0).
			Expect(r.net.Host("server").Counters()).To(HaveGrown("TcpExtTCPAbortOnData", 1))
			witness(r, s)
		})
	})
})

// witness expects that the kernel saw of a sick client what the scenario is about: its window was closed, or nothing came back.
func witness(r room, s sick) {
	GinkgoHelper()
	server, sick := r.net.Host("server").Counters(), r.net.Host("sick").Counters()
	if s.dark {
		Expect(server["TcpRetransSegs"]).To(BeNumerically(">=", 1))
		return
	}
	Expect(sick["TcpExtTCPToZeroWindowAdv"]).To(BeNumerically(">=", 1))
	Expect(server["TcpRetransSegs"]).To(BeZero())
}

var _ = DescribeTable("broadcast: the server that writes under the lock stalls all, for its write time-out, for", Label("quick", "netem", "rfc9293"),
	func(ctx SpecContext, s sick) {
		lab := harness.NewLab(ctx)
		r, all, evicted := party(lab, s, broadcastServer{Locked: true, WriteTimeout: talkTimeout})
		for _, heard := range all {
			// The message that waits for the sick client waits for the others, too.
			lab.Measure("delivery to others at the latest", slowest(heard), oracle.PollTimeout(talkTimeout).Plus(rtts(1)).From("the write time-out and an RTT"))
			late := 0
			for _, h := range heard {
				if h.Took > rtt+programDelay {
					late++
				}
			}
			// Who talks is stalled, too, once nobody reads what it sends: by half of tcp_rmem at least, which is the window.
			lab.Measure("messages that were late", late, bounds.Between(65536/2/talkLength, int(talkTimeout/talkInterval)),
				"one in each interval of the stall, until the talker's window is closed")
		}
		Expect(evicted).To(HaveExactElements(HaveField("Err", ContainSubstring("i/o timeout"))))
		witness(r, s)
	},
	Entry("a silent one", sick{how: listener{Silent: true}}),
	Entry("a dead one", sick{dark: true}),
)

var _ = It("broadcast: evicts by its write time-out, if that is over before the queue is full", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
	lab := harness.NewLab(ctx)
	const timeout = time.Second
	_, all, evicted := party(lab, sick{how: listener{Silent: true}}, broadcastServer{Queue: talkMessages, WriteTimeout: timeout})
	for _, heard := range all {
		lab.Measure("delivery to others at the latest", slowest(heard), rtts(1))
	}
	Expect(evicted).To(HaveExactElements(HaveField("Err", ContainSubstring("i/o timeout"))))
	lab.Measure("evicted after", evicted[0].After, oracle.Between(timeout, timeout+startsTalking+(buffered+5)*talkInterval).From("the write time-out, once the buffers are full"))
})
