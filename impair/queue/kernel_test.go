package queue

import (
	"encoding/binary"
	"errors"
	"math/bits"
	"os"
	"runtime"
	"testing"
	"time"

	tc "github.com/florianl/go-tc"
	. "github.com/onsi/gomega"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/harness/invalid"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/internal/ethernet"
	"github.com/tcplab/tcplab/internal/testenv"
	"github.com/tcplab/tcplab/netns/netdev"
)

// The main thread outlives every goroutine, and would stay in a namespace that a test has put it in.
func init() { runtime.LockOSThread() }

// A wire is a veth pair in a namespace of its own: packets sent into near leave through its queue and arrive at far.
type wire struct {
	t       *testing.T
	near    netdev.Device
	out, in int // packet sockets
	to      unix.SockaddrLinklayer
}

func newWire(t *testing.T) *wire {
	t.Helper()
	testenv.Root(t, "makes a network namespace")
	runtime.LockOSThread() // the thread, and the namespace, end with the test
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		testenv.Missing(t, "needs a network namespace: "+err.Error())
	}
	g := NewWithT(t)
	for _, scope := range []string{"all", "default"} { // IPv6 would send reports of its own
		err := os.WriteFile("/proc/sys/net/ipv6/conf/"+scope+"/disable_ipv6", []byte("1"), 0)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "near"
	g.Expect(netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "far"})).To(Succeed())
	var ends []netlink.Link
	for _, name := range []string{"near", "far"} {
		link, err := netlink.LinkByName(name)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(netlink.LinkSetUp(link)).To(Succeed())
		ends = append(ends, link)
	}
	w := &wire{t: t, near: netdev.Device{Name: "near", Index: ends[0].Attrs().Index}}
	w.out, w.in = packetSocket(t, ends[0]), packetSocket(t, ends[1])
	w.to = unix.SockaddrLinklayer{Ifindex: w.near.Index, Protocol: htons(unix.ETH_P_IP), Halen: 6}
	copy(w.to.Addr[:], ends[1].Attrs().HardwareAddr)
	return w
}

func packetSocket(t *testing.T, link netlink.Link) int {
	t.Helper()
	g := NewWithT(t)
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, int(htons(unix.ETH_P_IP)))
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { unix.Close(fd) })
	g.Expect(unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_IP), Ifindex: link.Attrs().Index})).To(Succeed())
	const large = 64 << 20 // no packet of a test is lost in a socket
	g.Expect(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, large)).To(Succeed())
	g.Expect(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, large)).To(Succeed())
	return fd
}

func htons(v uint16) uint16 { return bits.ReverseBytes16(v) } // the tests run on little-endian machines

const (
	payload = 1000
	packet  = payload + ethernet.HeaderLength
	ect0    = 2
	ce      = 3
)

// unthwarted calls again what a signal of Go's scheduler has interrupted.
func unthwarted(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// clocked is for tests that send at a rate: it takes a clock that waits for them.
func clocked(t *testing.T) *wire {
	t.Helper()
	testenv.InGuest(t, "a busy machine does not keep to the rates that are sent at")
	return newWire(t)
}

// send puts n IPv4 packets of UDP that can be marked into near, of flows that take turns.
func (w *wire) send(n, flows int) {
	w.t.Helper()
	for i := range n {
		ip := make([]byte, payload)
		ip[0], ip[1], ip[8], ip[9] = 0x45, ect0, 64, unix.IPPROTO_UDP
		binary.BigEndian.PutUint16(ip[2:], payload)
		copy(ip[12:], []byte{10, 0, 0, 1, 10, 0, 0, 2})
		binary.BigEndian.PutUint16(ip[20:], uint16(1000+i%flows))
		// ENOBUFS is the local echo of a packet that was dropped.
		if err := unthwarted(func() error { return unix.Sendto(w.out, ip, 0, &w.to) }); err != nil && !errors.Is(err, unix.ENOBUFS) {
			w.t.Fatal(err)
		}
	}
}

// receive counts what arrives at far, until nothing has for a while, and what of it is marked; and when the last one came.
func (w *wire) receive() (arrived, marked int, last time.Time) {
	w.t.Helper()
	const quiet = 2 * time.Second
	NewWithT(w.t).Expect(unix.SetsockoptTimeval(w.in, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: int64(quiet.Seconds())})).To(Succeed())
	for {
		data := make([]byte, 2048)
		err := unthwarted(func() error { _, _, err := unix.Recvfrom(w.in, data, 0); return err })
		if errors.Is(err, unix.EAGAIN) {
			return arrived, marked, last
		}
		if err != nil {
			w.t.Fatal(err)
		}
		arrived++
		last = time.Now()
		if data[1]&ce == ce {
			marked++
		}
	}
}

// apply makes a queue, or skips the test where the kernel has none such.
func (w *wire) apply(q Queue) Applied {
	w.t.Helper()
	applied, err := Apply(w.near, q)
	if errors.Is(err, ErrNotSupported) {
		testenv.Missing(w.t, err.Error())
	}
	NewWithT(w.t).Expect(err).NotTo(HaveOccurred(), "%v", q)
	return applied
}

func (w *wire) stats() []Stats {
	w.t.Helper()
	all, err := ReadStats(w.near)
	NewWithT(w.t).Expect(err).NotTo(HaveOccurred())
	return all
}

// The kernel takes each queue, and tells it as it was asked for; without a word on it, with a default. What it tells is a queue that can be
// asked for, too.
func TestEachQueueIsAppliedAndReadBack(t *testing.T) {
	for _, q := range valid() {
		t.Run(q.String(), func(t *testing.T) {
			w := newWire(t)
			g := NewWithT(t)
			if q.Discipline.Kind() == (DualPI2{}).Kind() {
				if _, err := Apply(w.near, q); errors.Is(err, ErrNotSupported) {
					t.Skip(err) // Debian does not build it
				}
			}
			applied := w.apply(q)
			g.Expect(applied.Got.Bottleneck.BitsPerSecond).To(Equal(q.Bottleneck.BitsPerSecond))
			g.Expect(Read(w.near)).To(Equal(applied.Got))
			g.Expect(applied.Got.Validate()).To(Or(Succeed(), MatchError(ContainSubstring("CEThreshold"))), "%v", applied.Got) // none is 71 minutes
			asked, got := optionsOf(q.Discipline), optionsOf(applied.Got.Discipline)
			for i, o := range asked {
				if o.isSet() && o.get() != got[i].get() {
					g.Expect(applied.Notes).To(ContainElement(HavePrefix(o.field+": ")), "%s is %s", o.field, got[i].text())
				}
			}
			// Once more, over itself.
			g.Expect(w.apply(q)).To(Equal(applied))
			g.Expect(Clear(w.near)).To(Succeed())
			_, err := Read(w.near)
			g.Expect(err).To(MatchError(ErrNone))
			g.Expect(Clear(w.near)).To(MatchError(ErrNone))
		})
	}
}

// Another decoder reads the same.
func TestWhatIsReadIsWhatAnotherReads(t *testing.T) {
	w := newWire(t)
	g := NewWithT(t)
	of := func(q Queue) tc.Object {
		w.apply(q)
		other, err := tc.Open(&tc.Config{})
		g.Expect(err).NotTo(HaveOccurred())
		defer other.Close()
		all, err := other.Qdisc().Get()
		g.Expect(err).NotTo(HaveOccurred())
		for _, o := range all {
			if o.Ifindex == uint32(w.near.Index) && o.Kind == q.Discipline.Kind() {
				return o
			}
		}
		t.Fatalf("there is no %s", q.Discipline.Kind())
		return tc.Object{}
	}
	rate := Bottleneck{BitsPerSecond: 20 * impair.Mbit}
	fq := of(Queue{rate, FQCoDel{Limit: 2000, Flows: 64, Target: 3 * time.Millisecond, ECN: Off}}).FqCodel
	g.Expect([]uint32{*fq.Limit, *fq.Flows, *fq.Target, *fq.Interval, *fq.ECN}).To(Equal([]uint32{2000, 64, 2999, 99999, 0}))
	codel := of(Queue{rate, CoDel{Limit: 50, ECN: On}}).Codel
	g.Expect([]uint32{*codel.Limit, *codel.Target, *codel.ECN}).To(Equal([]uint32{50, 4999, 1}))
	pie := of(Queue{rate, PIE{Target: 20 * time.Millisecond, Beta: 25}}).Pie
	g.Expect([]uint32{*pie.Target, *pie.Alpha, *pie.Beta}).To(Equal([]uint32{20000, 2, 25}))
	cake := of(Queue{Discipline: Cake{BitsPerSecond: 8 * impair.Mbit, RTT: 40 * time.Millisecond, Flows: "hosts"}}).Cake
	g.Expect(*cake.BaseRate).To(Equal(uint64(1_000_000)))
	g.Expect([]uint32{*cake.Rtt, *cake.Target, *cake.FlowMode}).To(Equal([]uint32{40_000, 2000, 3}))
}

// A bottleneck sends at its rate: after the burst, each packet takes its size over the rate.
func TestBottleneckSendsAtItsRate(t *testing.T) {
	for name, q := range map[string]Queue{
		"tbf":  {Bottleneck{BitsPerSecond: 8 * impair.Mbit, Burst: 2 * ethernet.FrameLength}, DropTail{Packets: 1000}},
		"cake": {Discipline: Cake{BitsPerSecond: 8 * impair.Mbit, Flows: "flowblind"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := clocked(t)
			w.apply(q)
			const n = 300
			began := time.Now()
			w.send(n, 1)
			arrived, _, last := w.receive()
			g := NewWithT(t)
			g.Expect(arrived).To(Equal(n))
			// A packet of 1014 bytes takes 1.014 ms at a byte per microsecond. The bucket spares 3028 bytes, and the first packet waits for nothing.
			took, all := last.Sub(began), time.Duration(n*packet)*time.Microsecond
			g.Expect(took).To(And(BeNumerically(">=", all-(2*ethernet.FrameLength+packet)*time.Microsecond), BeNumerically("<=", all+all/20)))
		})
	}
}

func TestDropTailHoldsAsManyAsItIsTold(t *testing.T) {
	for name, c := range map[string]struct {
		tail DropTail
		most int
	}{"packets": {DropTail{Packets: 50}, 50}, "bytes": {DropTail{Bytes: 50 * packet}, 50}} {
		t.Run(name, func(t *testing.T) {
			w := clocked(t)
			w.apply(Queue{Bottleneck{BitsPerSecond: 400_000, Burst: 2 * ethernet.FrameLength}, c.tail}) // a packet in 20 ms
			const n, slow = 200, 20                                                                     // which are sent in far less than 20 of those
			w.send(n, 1)
			arrived, _, _ := w.receive()
			stats := w.stats()
			g := NewWithT(t)
			// Two go at once, with the bucket's 3028 bytes.
			g.Expect(arrived).To(And(BeNumerically(">=", c.most+2), BeNumerically("<=", c.most+2+slow)))
			g.Expect(stats[0].Drops).To(BeEquivalentTo(n - arrived))
			g.Expect(stats[1].Drops).To(BeEquivalentTo(n - arrived))
			g.Expect(stats[0].Packets).To(BeEquivalentTo(arrived))
		})
	}
}

// fq_codel counts each flow that comes anew, and marks what has waited for longer than the threshold.
func TestOwnCounters(t *testing.T) {
	w := clocked(t)
	g := NewWithT(t)
	w.apply(Queue{Bottleneck{BitsPerSecond: 8 * impair.Mbit, Burst: 2 * ethernet.FrameLength}, FQCoDel{CEThreshold: 5 * time.Millisecond}})
	w.send(90, 3)
	arrived, marked, _ := w.receive()
	stats := w.stats()
	g.Expect(stats).To(HaveLen(2))
	g.Expect(stats[0].Kind + " " + stats[1].Kind).To(Equal("tbf fq_codel"))
	g.Expect(stats[1].Own["new_flow_count"]).To(BeNumerically(">=", 3))
	g.Expect(stats[1].Packets).To(BeEquivalentTo(arrived))
	// All but those of the first 5 ms and a burst have waited longer: of 90 packets of 1.014 ms each, the last 70 at least.
	g.Expect(marked).To(BeNumerically(">=", 70))
	g.Expect(stats[1].Marks()).To(BeEquivalentTo(marked))
}

// RED that looks at the queue itself marks each packet that finds Max there, and none that finds less than Min.
func TestREDMarksAtAStep(t *testing.T) {
	w := clocked(t)
	g := NewWithT(t)
	const threshold = 20 * packet
	w.apply(Queue{
		Bottleneck{BitsPerSecond: 80_000, Burst: 2 * ethernet.FrameLength},
		RED{Limit: 400_000, Min: threshold, Max: threshold + 1, Probability: 100, ECN: true, Instant: true},
	})
	const n, slow = 60, 10
	w.send(n, 1)
	arrived, marked, _ := w.receive()
	g.Expect(arrived).To(Equal(n))
	// Two go at once; 20 find less than 20 there, and the others at least as many. As many more as leave meanwhile find one less.
	g.Expect(marked).To(And(BeNumerically("<=", n-2-20), BeNumerically(">=", n-2-20-slow)))
	g.Expect(w.stats()[1].Marks()).To(BeEquivalentTo(marked))
}

func TestCakeCountsWhatItSent(t *testing.T) {
	w := clocked(t)
	g := NewWithT(t)
	w.apply(Queue{Discipline: Cake{BitsPerSecond: 8 * impair.Mbit}})
	w.send(50, 2)
	arrived, _, _ := w.receive()
	stats := w.stats()
	g.Expect(stats).To(HaveLen(1))
	g.Expect(stats[0].Own["sent_packets"]).To(BeEquivalentTo(arrived))
	g.Expect(stats[0].Own["memory_limit"]).To(BeNumerically(">", 0))
}

// A policer passes its bucket at once, then nothing that is faster than its rate.
func TestPolicer(t *testing.T) {
	w := clocked(t)
	g := NewWithT(t)
	policed, err := Police(w.near, Policer{BitsPerSecond: 80_000, Burst: 30 * packet})
	if errors.Is(err, ErrNotSupported) {
		testenv.Missing(t, err.Error())
	}
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(policed.Got.BitsPerSecond).To(Equal(policed.Asked.BitsPerSecond))
	g.Expect(policed.Got.Burst).To(BeNumerically("~", policed.Asked.Burst, 1))
	const n, slow = 100, 10
	w.send(n, 1)
	arrived, _, _ := w.receive()
	g.Expect(arrived).To(And(BeNumerically(">=", 30), BeNumerically("<=", 30+slow)))
	stats, err := PolicerStats(w.near)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(stats.Packets).To(BeEquivalentTo(n))
	g.Expect(stats.Drops).To(BeEquivalentTo(n - arrived))

	_, err = Police(w.near, Policer{BitsPerSecond: 80_000})
	g.Expect(err).To(MatchError(ErrBusy))
	// It has a place of its own beside a queue.
	w.apply(Queue{Bottleneck{BitsPerSecond: impair.Mbit}, CoDel{}})
	g.Expect(Unpolice(w.near)).To(Succeed())
	g.Expect(Unpolice(w.near)).NotTo(Succeed())
	g.Expect(Read(w.near)).NotTo(BeZero())
	policed, err = Police(w.near, Policer{BitsPerSecond: 60 * impair.Gbit})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(policed.Got.BitsPerSecond).To(Equal(60 * impair.Gbit))
	g.Expect(policed.Notes).To(HaveLen(1))
}

func TestBurstsBelowAFrameAreRefused(t *testing.T) {
	w := newWire(t)
	g := NewWithT(t)
	_, err := Apply(w.near, Queue{Bottleneck{BitsPerSecond: impair.Mbit, Burst: ethernet.FrameLength - 1}, CoDel{}})
	_, refused := errors.AsType[*invalid.FieldError](err)
	g.Expect(refused).To(BeTrue(), "%v", err)
	_, err = Police(w.near, Policer{BitsPerSecond: impair.Mbit, Burst: ethernet.FrameLength - 1})
	_, refused = errors.AsType[*invalid.FieldError](err)
	g.Expect(refused).To(BeTrue(), "%v", err)
	_, err = Apply(netdev.Device{Name: "none"}, Queue{Discipline: CoDel{}})
	g.Expect(err).To(MatchError(netdev.ErrNoDevice))
}
