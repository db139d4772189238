package impair

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	tc "github.com/florianl/go-tc"
	. "github.com/onsi/gomega"
	gomegatypes "github.com/onsi/gomega/types"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/harness/invalid"
	"github.com/tcplab/tcplab/internal/ethernet"
	"github.com/tcplab/tcplab/internal/statistics"
	"github.com/tcplab/tcplab/internal/testenv"
	"github.com/tcplab/tcplab/netns/netdev"
)

// The main thread outlives every goroutine, and would stay in a namespace that
// a test has put it in.
func init() { runtime.LockOSThread() }

// needNamespace puts the test into a network namespace of its own, on a thread
// that ends with it.
func needNamespace(t *testing.T) {
	t.Helper()
	testenv.Root(t, "makes a network namespace")
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		testenv.Missing(t, "needs a network namespace: "+err.Error())
	}
}

func needNetem(t *testing.T) {
	t.Helper()
	if err := Probe(); err != nil {
		testenv.Missing(t, "needs netem: "+err.Error())
	}
}

// A wire is a veth pair in a namespace of its own: frames sent into near leave
// through its qdisc and arrive at far.
type wire struct {
	t         *testing.T
	near, far netdev.Device
	out, in   int // packet sockets
	to        unix.SockaddrLinklayer
}

// etherType is of IEEE 802's local experiments.
const etherType = 0x88b5

func newWire(t *testing.T) *wire {
	t.Helper()
	needNetem(t)
	needNamespace(t)
	g := NewWithT(t)
	// IPv6 would send neighbour and multicast reports of its own.
	for _, scope := range []string{"all", "default"} {
		err := os.WriteFile("/proc/sys/net/ipv6/conf/"+scope+"/disable_ipv6", []byte("1"), 0)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "near"
	g.Expect(netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "far"})).To(Succeed())
	for _, name := range []string{"near", "far"} {
		link, err := netlink.LinkByName(name)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(netlink.LinkSetUp(link)).To(Succeed())
	}
	near, err := netlink.LinkByName("near")
	g.Expect(err).NotTo(HaveOccurred())
	far, err := netlink.LinkByName("far")
	g.Expect(err).NotTo(HaveOccurred())

	w := &wire{
		t:    t,
		near: netdev.Device{Name: "near", Index: near.Attrs().Index},
		far:  netdev.Device{Name: "far", Index: far.Attrs().Index},
	}
	w.out, w.in = packetSocket(t, near, 0), packetSocket(t, far, unix.ETH_P_ALL)
	w.to = unix.SockaddrLinklayer{Ifindex: near.Attrs().Index, Protocol: htons(etherType), Halen: 6}
	copy(w.to.Addr[:], far.Attrs().HardwareAddr)
	return w
}

func packetSocket(t *testing.T, link netlink.Link, protocol uint16) int {
	t.Helper()
	g := NewWithT(t)
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, int(htons(protocol)))
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { unix.Close(fd) })
	g.Expect(unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(protocol), Ifindex: link.Attrs().Index})).To(Succeed())
	g.Expect(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)).To(Succeed())
	const large = 256 << 20 // no frame of a test is lost in a socket
	g.Expect(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, large)).To(Succeed())
	g.Expect(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, large)).To(Succeed())
	// A frame that never comes ends the test; it is not what is measured.
	g.Expect(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10})).To(Succeed())
	return fd
}

func htons(v uint16) uint16 { return bits.ReverseBytes16(v) } // the tests run on little-endian machines

func (w *wire) apply(n Netem) Applied {
	w.t.Helper()
	applied, err := Apply(w.near, n)
	NewWithT(w.t).Expect(err).NotTo(HaveOccurred())
	return applied
}

func (w *wire) change(n Netem) Applied {
	w.t.Helper()
	applied, err := Change(w.near, n)
	NewWithT(w.t).Expect(err).NotTo(HaveOccurred())
	return applied
}

func (w *wire) stats() netdev.Stats {
	w.t.Helper()
	s, err := ReadStats(w.near)
	NewWithT(w.t).Expect(err).NotTo(HaveOccurred())
	return s
}

// queue is what every qdisc counts: the statistics without those that netem has of its own since Linux 7.2.
func (w *wire) queue() netdev.Stats {
	w.t.Helper()
	s := w.stats()
	s.Injected = nil
	return s
}

// A frame carries its number and the time it was sent, and then zeros.
type frame struct {
	number  int
	delay   time.Duration // from sending to arrival, both by the kernel's clock
	arrived time.Duration // since 1970
	payload []byte
}

const (
	frameHeader = 16
	frameSize   = 100 // payload, if a test does not say otherwise
)

// send puts frames from first to last-1 into near, without a pause.
func (w *wire) send(first, last int) { w.sendSize(first, last, frameSize) }

func (w *wire) sendSize(first, last, size int) {
	w.t.Helper()
	payload := make([]byte, size)
	for number := first; number < last; number++ {
		binary.NativeEndian.PutUint64(payload, uint64(number))
		binary.NativeEndian.PutUint64(payload[8:], uint64(time.Now().UnixNano()))
		// ENOBUFS is the local echo of a packet that the qdisc has dropped.
		if err := unix.Sendto(w.out, payload, 0, &w.to); err != nil && !errors.Is(err, unix.ENOBUFS) {
			w.t.Fatal(err)
		}
	}
}

// receive waits for n frames at far.
func (w *wire) receive(n int) []frame {
	w.t.Helper()
	frames := make([]frame, n)
	for i := range frames {
		payload, control := make([]byte, 2048), make([]byte, 128)
		size, controlSize, _, _, err := unix.Recvmsg(w.in, payload, control, 0)
		if err != nil {
			w.t.Fatalf("frame %d of %d: %v", i, n, err)
		}
		messages, err := unix.ParseSocketControlMessage(control[:controlSize])
		if err != nil || len(messages) != 1 {
			w.t.Fatalf("no time stamp: %v", err)
		}
		var stamp unix.Timespec
		if _, err := binary.Decode(messages[0].Data, binary.NativeEndian, &stamp); err != nil {
			w.t.Fatal(err)
		}
		arrived := time.Duration(stamp.Nano())
		frames[i] = frame{
			number:  int(binary.NativeEndian.Uint64(payload)),
			delay:   arrived - time.Duration(binary.NativeEndian.Uint64(payload[8:])),
			arrived: arrived,
			payload: payload[:size],
		}
	}
	return frames
}

// idle asserts that nothing more comes at far.
func (w *wire) idle() {
	w.t.Helper()
	_, _, err := unix.Recvfrom(w.in, make([]byte, 1), unix.MSG_DONTWAIT)
	NewWithT(w.t).Expect(err).To(MatchError(unix.EAGAIN))
}

// slack is how late a timer may be on a busy host. In virtual time it is some
// microseconds; but netem is never early.
const slack = 50 * ms

func TestProbeAnswersInALine(t *testing.T) {
	g := NewWithT(t)
	err := Probe()
	t.Log(err)
	if err == nil {
		return
	}
	g.Expect(errors.Is(err, ErrNoNetem) || errors.Is(err, ErrNotPermitted)).To(BeTrue(), "%v", err)
	g.Expect(err.Error()).NotTo(ContainSubstring("\n"))
	g.Expect(err.Error()).To(ContainSubstring("tcplab run"))
	if os.Geteuid() != 0 {
		g.Expect(err).To(MatchError(ErrNotPermitted))
	}
	if testenv.Required() {
		t.Fatal(err)
	}
}

func TestProbeLeavesNoThreadOrNamespaceBehind(t *testing.T) {
	g := NewWithT(t)
	before, err := os.Readlink("/proc/thread-self/ns/net")
	g.Expect(err).NotTo(HaveOccurred())
	for range 20 {
		_ = Probe()
	}
	// A thread that is on its way out has no namespace any more.
	threads, err := filepath.Glob("/proc/self/task/*/ns/net")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(threads).NotTo(BeEmpty())
	g.Eventually(func() (others []string) {
		for _, thread := range threads {
			if ns, err := os.Readlink(thread); err == nil && ns != before {
				others = append(others, thread+" "+ns)
			}
		}
		return others
	}, testenv.Patience).Should(BeEmpty())
}

func TestNoSuchDevice(t *testing.T) {
	g := NewWithT(t)
	_, err := Read(netdev.Device{Name: "no-such-device"})
	g.Expect(err).To(MatchError(netdev.ErrNoDevice))
	g.Expect(err).To(MatchError(HavePrefix("read netem on no-such-device: no such device")))
	_, err = Read(netdev.Device{Index: math.MaxInt32})
	g.Expect(err).To(MatchError(netdev.ErrNoDevice))
	g.Expect(Clear(netdev.Device{Name: "no-such-device"})).To(MatchError(netdev.ErrNoDevice))
	_, err = ReadStats(netdev.Device{Name: "no-such-device"})
	g.Expect(err).To(MatchError(netdev.ErrNoDevice))
	_, err = Change(netdev.Device{Name: "no-such-device"}, Netem{})
	g.Expect(err).To(MatchError(netdev.ErrNoDevice))
}

func TestNameAndIndexHaveToBelongTogether(t *testing.T) {
	g := NewWithT(t)
	lo, err := netlink.LinkByName("lo")
	g.Expect(err).NotTo(HaveOccurred())
	_, err = Read(netdev.Device{Name: "eth7", Index: lo.Attrs().Index})
	field, ok := errors.AsType[*invalid.FieldError](err)
	g.Expect(ok).To(BeTrue(), "%v", err)
	g.Expect(field.Allowed).To(ContainSubstring("lo, the name of index"))
}

func TestNetNSHasToBeANamespace(t *testing.T) {
	g := NewWithT(t)
	null, err := os.Open(os.DevNull)
	g.Expect(err).NotTo(HaveOccurred())
	defer null.Close()
	_, err = Read(netdev.Device{Name: "lo", NetNS: int(null.Fd())})
	g.Expect(err).To(MatchError(unix.EINVAL))
}

func TestWithoutANetemThereIsNothingToReadOrChange(t *testing.T) {
	needNamespace(t)
	g := NewWithT(t)
	lo := netdev.Device{Name: "lo"}
	_, err := Read(lo)
	g.Expect(err).To(MatchError(ErrNotNetem))
	_, err = ReadStats(lo)
	g.Expect(err).To(MatchError(ErrNotNetem))
	_, err = Change(lo, Netem{})
	g.Expect(err).To(MatchError(ErrNotNetem))
	g.Expect(Clear(lo)).To(Succeed())
}

// pfifo makes a root qdisc that is not ours.
func pfifo(t *testing.T, device string) {
	t.Helper()
	g := NewWithT(t)
	link, err := netlink.LinkByName(device)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(netlink.QdiscReplace(&netlink.GenericQdisc{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: link.Attrs().Index, Parent: netlink.HANDLE_ROOT, Handle: netlink.MakeHandle(7, 0)},
		QdiscType:  "pfifo",
	})).To(Succeed())
}

func TestClearLeavesAnotherQdiscAlone(t *testing.T) {
	needNamespace(t)
	g := NewWithT(t)
	pfifo(t, "lo")
	lo := netdev.Device{Name: "lo"}
	g.Expect(Clear(lo)).To(MatchError(ErrNotNetem))
	_, err := Read(lo)
	g.Expect(err).To(MatchError(ContainSubstring("it is pfifo")))
}

func TestNoNetemIsATypedError(t *testing.T) {
	needNamespace(t)
	if err := Probe(); err == nil {
		t.Skip("needs a kernel without netem")
	}
	g := NewWithT(t)
	_, err := Apply(netdev.Device{Name: "lo"}, Netem{Delay: ms})
	g.Expect(err).To(MatchError(ErrNoNetem))
	g.Expect(err).To(MatchError(ContainSubstring("linux-modules-extra")))
}

func TestApplyReplacesAnyQdisc(t *testing.T) {
	needNetem(t)
	needNamespace(t)
	g := NewWithT(t)
	pfifo(t, "lo")
	_, err := Apply(netdev.Device{Name: "lo"}, Netem{Delay: ms})
	g.Expect(err).NotTo(HaveOccurred())
	n, err := Read(netdev.Device{Name: "lo"})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(n.Delay).To(Equal(ms))
}

func TestADeviceInAnotherNamespace(t *testing.T) {
	needNetem(t)
	needNamespace(t)
	g := NewWithT(t)
	here, err := os.Open("/proc/thread-self/ns/net")
	g.Expect(err).NotTo(HaveOccurred())
	defer here.Close()
	there := netdev.Device{Name: "lo", NetNS: int(here.Fd())}

	done := make(chan error)
	go func() { // on a thread in the process's own namespace
		_, err := Apply(there, Netem{Delay: ms})
		done <- err
	}()
	g.Expect(<-done).To(Succeed())
	n, err := Read(netdev.Device{Name: "lo"})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(n.Delay).To(Equal(ms))
	g.Expect(Clear(there)).To(Succeed())
	_, err = Read(netdev.Device{Name: "lo"})
	g.Expect(err).To(MatchError(ErrNotNetem))
}

// Every option is taken by the kernel and read back, on a new qdisc, and as a
// change of every kind of qdisc before it in the list.
func TestEveryOptionIsAppliedAndReadBack(t *testing.T) {
	w := newWire(t)
	list := valid(t)
	if _, err := Experimental.table(); err == nil {
		list = append(list, validNetem{"jitter, experimental", Netem{Delay: 100 * ms, Jitter: ms, Distribution: Experimental}})
	}
	for _, operation := range []struct {
		name string
		do   func(netdev.Device, Netem) (Applied, error)
	}{{"apply", Apply}, {"change", Change}} {
		for _, test := range list {
			// A subtest would run on another thread, and in another namespace.
			name := operation.name + " " + test.name
			g := NewWithT(t)
			applied, err := operation.do(w.near, test.netem)
			g.Expect(err).NotTo(HaveOccurred(), name)
			g.Expect(applied.Asked).To(Equal(test.netem), name)

			read, err := Read(w.near)
			g.Expect(err).NotTo(HaveOccurred(), name)
			got := applied.Got
			if got.Jitter != 0 {
				got.Distribution = Unreported
			}
			g.Expect(read).To(Equal(got), name)

			for _, v := range differences(test.netem, applied.Got) {
				g.Expect(applied.Notes).To(ContainElement(HavePrefix(v+":")), "%s: %s has no note", name, v)
			}
			t.Logf("%s: %v", name, applied.Got)
			for _, note := range applied.Notes {
				t.Logf("    %s", note)
			}
		}
	}
}

// differences names the fields that the kernel has otherwise than asked.
func differences(asked, got Netem) (names []string) {
	wanted, have := takeApart(asked), takeApart(got)
	for _, f := range fields {
		// A random loss of 0 % is no loss.
		if f.name != "Loss model" && f.text(&wanted) != f.text(&have) {
			names = append(names, f.name)
		}
	}
	return names
}

// What go-tc, which shares no code with this package but the socket, reads from
// the kernel is what was applied.
func TestGoTCReadsTheSame(t *testing.T) {
	w := newWire(t)
	g := NewWithT(t)
	witness, err := tc.Open(&tc.Config{})
	g.Expect(err).NotTo(HaveOccurred())
	defer witness.Close()
	for _, test := range valid(t) {
		switch test.netem.Loss.(type) {
		case GilbertElliott, FourState:
			continue // go-tc 0.4.8 cannot read a qdisc with TCA_NETEM_LOSS
		}
		g := NewWithT(t)
		w.apply(test.netem)
		r, err := prepare(test.netem, false)
		g.Expect(err).NotTo(HaveOccurred())
		sent := r.encode()
		want := func(name string) uint32 { return uint32(kept(sent, name)) }
		long := func(name string) int64 { return int64(kept(sent, name)) }

		objects, err := witness.Qdisc().Get()
		g.Expect(err).NotTo(HaveOccurred(), test.name)
		i := slices.IndexFunc(objects, func(o tc.Object) bool { return int(o.Ifindex) == w.near.Index })
		g.Expect(i).To(BeNumerically(">=", 0))
		g.Expect(objects[i].Kind).To(Equal("netem"))
		n := objects[i].Netem

		g.Expect(*n.Latency64).To(Equal(long("Delay")), test.name)
		g.Expect(*n.Jitter64).To(Equal(long("Jitter")), test.name)
		g.Expect(n.Qopt.Limit).To(Equal(want("Limit")), test.name)
		g.Expect(n.Qopt.Loss).To(Equal(want("Loss.Percent")), test.name)
		g.Expect(n.Qopt.Gap).To(Equal(want("Reorder.Gap")), test.name)
		g.Expect(n.Qopt.Duplicate).To(Equal(want("Duplicate.Percent")), test.name)
		g.Expect(*n.Corr).To(Equal(tc.NetemCorr{Delay: want("DelayCorrelation"), Loss: want("Loss.Correlation"), Dup: want("Duplicate.Correlation")}), test.name)
		g.Expect(*n.Reorder).To(Equal(tc.NetemReorder{Probability: want("Reorder.Percent"), Correlation: want("Reorder.Correlation")}), test.name)
		g.Expect(*n.Corrupt).To(Equal(tc.NetemCorrupt{Probability: want("Corrupt.Percent"), Correlation: want("Corrupt.Correlation")}), test.name)
		g.Expect(*n.Rate).To(Equal(tc.NetemRate{
			Rate: uint32(min(long("Rate.BitsPerSecond"), math.MaxUint32)), PacketOverhead: int32(want("Rate.PacketOverhead")),
			CellSize: int32(want("Rate.CellSize")), CellOverhead: int32(want("Rate.CellOverhead")),
		}), test.name)
		if rate := kept(sent, "Rate.BitsPerSecond"); rate > math.MaxUint32 {
			g.Expect(*n.Rate64).To(Equal(rate), test.name)
		}
		g.Expect(n.Ecn != nil && *n.Ecn == 1).To(Equal(test.netem.ECN), test.name)
		if test.netem.Slot != (Slot{}) {
			g.Expect(*n.Slot).To(Equal(tc.NetemSlot{
				MinDelay: long("Slot.MinDelay"), MaxDelay: long("Slot.MaxDelay"), MaxPackets: int32(want("Slot.Packets")), MaxBytes: int32(want("Slot.Bytes")),
				DistDelay: long("Slot.Delay"), DistJitter: long("Slot.Jitter"),
			}), test.name)
		}
		if n.PrngSeed != nil {
			g.Expect(*n.PrngSeed).To(Equal(kept(sent, "Seed")), test.name)
		}
	}
}

// And what go-tc applies is what is read here.
func TestWhatGoTCAppliesIsReadTheSame(t *testing.T) {
	w := newWire(t)
	g := NewWithT(t)
	witness, err := tc.Open(&tc.Config{})
	g.Expect(err).NotTo(HaveOccurred())
	defer witness.Close()

	latency, jitter, ecn := int64(20*ms), int64(2*ms), uint32(1)
	g.Expect(witness.Qdisc().Add(&tc.Object{
		Msg: tc.Msg{Family: unix.AF_UNSPEC, Ifindex: uint32(w.near.Index), Parent: tc.HandleRoot},
		Attribute: tc.Attribute{Kind: "netem", Netem: &tc.Netem{
			Qopt:      tc.NetemQopt{Limit: 77, Loss: encodePercent(1), Gap: 3, Duplicate: encodePercent(2)},
			Corr:      &tc.NetemCorr{Delay: encodePercent(10), Loss: encodePercent(20), Dup: encodePercent(30)},
			Reorder:   &tc.NetemReorder{Probability: encodePercent(25), Correlation: encodePercent(50)},
			Corrupt:   &tc.NetemCorrupt{Probability: encodePercent(4), Correlation: encodePercent(5)},
			Rate:      &tc.NetemRate{Rate: 2_500_000, PacketOverhead: -14, CellSize: 48, CellOverhead: 5},
			Ecn:       &ecn,
			Latency64: &latency,
			Jitter64:  &jitter,
			Slot:      &tc.NetemSlot{MinDelay: int64(ms), MaxDelay: int64(2 * ms), MaxPackets: 7, MaxBytes: 7000},
		}},
	})).To(Succeed())
	n, err := Read(w.near)
	g.Expect(err).NotTo(HaveOccurred())
	n.Seed = 0 // random, as none was sent
	g.Expect(n).To(Equal(Netem{
		Delay: 20 * ms, Jitter: 2 * ms, DelayCorrelation: 10, Distribution: Unreported,
		Loss: RandomLoss{Percent: 1, Correlation: 20}, ECN: true,
		Reorder:   Reorder{Percent: 25, Correlation: 50, Gap: 3},
		Duplicate: Duplicate{Percent: 2, Correlation: 30},
		Corrupt:   Corrupt{Percent: 4, Correlation: 5},
		Rate:      Rate{BitsPerSecond: 20 * Mbit, PacketOverhead: -14, CellSize: 48, CellOverhead: 5},
		Limit:     77,
		Slot:      Slot{MinDelay: ms, MaxDelay: 2 * ms, Packets: 7, Bytes: 7000},
	}))
}

func TestAPerfectLinkDeliversAll(t *testing.T) {
	w := newWire(t)
	g := NewWithT(t)
	w.apply(Netem{})
	w.send(0, 100)
	for i, f := range w.receive(100) {
		g.Expect(f.number).To(Equal(i))
		g.Expect(f.delay).To(BeNumerically("<", slack))
	}
	g.Expect(w.queue()).To(Equal(netdev.Stats{Packets: 100, Bytes: 100 * (frameSize + ethernet.HeaderLength)}))
}

func TestDelayDelays(t *testing.T) {
	w := newWire(t)
	g := NewWithT(t)
	const delay = 200 * ms
	w.apply(Netem{Delay: delay})
	w.send(0, 10)
	for i, f := range w.receive(10) {
		g.Expect(f.number).To(Equal(i))
		g.Expect(f.delay).To(And(BeNumerically(">=", delay), BeNumerically("<", delay+slack)))
	}
}

func TestChangeKeepsWhatIsQueued(t *testing.T) {
	w := newWire(t)
	g := NewWithT(t)
	const long = time.Second
	w.apply(Netem{Delay: long})
	w.send(0, 50)
	g.Expect(w.queue()).To(Equal(netdev.Stats{Length: 50, Backlog: 50 * (frameSize + ethernet.HeaderLength)}))

	w.change(Netem{Delay: 10 * ms, Loss: SimpleGilbert(1, 10), Rate: Rate{BitsPerSecond: Gbit}})
	w.change(Netem{Delay: 10 * ms})
	g.Expect(w.stats().Length).To(BeEquivalentTo(50))

	w.send(50, 60) // these overtake them
	for i, f := range w.receive(10) {
		g.Expect(f.number).To(Equal(50 + i))
		g.Expect(f.delay).To(BeNumerically("<", 10*ms+slack))
	}
	for i, f := range w.receive(50) {
		g.Expect(f.number).To(Equal(i))
		g.Expect(f.delay).To(And(BeNumerically(">=", long), BeNumerically("<", long+slack)))
	}
	g.Expect(w.queue()).To(Equal(netdev.Stats{Packets: 60, Bytes: 60 * (frameSize + ethernet.HeaderLength)}))
}

func TestApplyAndClearDropWhatIsQueued(t *testing.T) {
	w := newWire(t)
	g := NewWithT(t)
	w.apply(Netem{Delay: time.Hour})
	w.send(0, 50)
	w.apply(Netem{Delay: time.Hour})
	g.Expect(w.queue()).To(Equal(netdev.Stats{}))
	w.send(0, 50)
	g.Expect(Clear(w.near)).To(Succeed())
	g.Expect(Clear(w.near)).To(Succeed())
	_, err := ReadStats(w.near)
	g.Expect(err).To(MatchError(ErrNotNetem))
	w.send(50, 51)
	g.Expect(w.receive(1)[0].number).To(Equal(50))
	w.idle()
}

func TestLossOf100PercentDropsAll(t *testing.T) {
	w := newWire(t)
	w.apply(Netem{Loss: RandomLoss{Percent: 100}})
	w.send(0, 1000)
	NewWithT(t).Expect(w.queue()).To(Equal(netdev.Stats{Drops: 1000}))
	w.idle()
}

// survivors sends n frames over a link that only loses, and tells which arrive.
func (w *wire) survivors(n int) []bool {
	w.t.Helper()
	w.send(0, n)
	s := w.stats()
	NewWithT(w.t).Expect(int(s.Packets) + int(s.Drops)).To(Equal(n))
	arrived := make([]bool, n)
	for _, f := range w.receive(int(s.Packets)) {
		arrived[f.number] = true
	}
	w.idle()
	return arrived
}

// bursts counts the frames that were lost, and the runs that they make.
func bursts(arrived []bool) (lost, runs int) {
	for i, a := range arrived {
		if !a {
			lost++
			if i == 0 || arrived[i-1] {
				runs++
			}
		}
	}
	return lost, runs
}

// miss is the chance that a figure is as far from its mean as a test allows, and sigmas is that far in standard
// deviations. The numbers are drawn anew with each program (Seed needs Linux 6.6), and no run shall hang on luck.
const miss = 1e-9

var sigmas = statistics.Sigmas(miss)

// share is between which two shares a chance p shows among n frames.
func share(n int, p float64) gomegatypes.GomegaMatcher {
	least, most := statistics.Binomial(n, p, miss)
	return And(BeNumerically(">=", float64(least)/float64(n)), BeNumerically("<=", float64(most)/float64(n)))
}

func TestRandomLossLosesItsShare(t *testing.T) {
	w := newWire(t)
	g := NewWithT(t)
	const n, p = 20_000, 0.05
	w.apply(Netem{Loss: RandomLoss{Percent: 5}, Seed: 1})
	lost, runs := bursts(w.survivors(n))
	t.Logf("%d of %d lost, in %d runs", lost, n, runs)
	g.Expect(float64(lost) / n).To(share(n, p))
	// Independent losses make runs of 1/(1-p) on average.
	g.Expect(float64(lost) / float64(runs)).To(BeNumerically("~", 1/(1-p), sigmas*math.Sqrt(p)/(1-p)/math.Sqrt(n*p*(1-p))))
}

func TestGilbertElliottLosesInBursts(t *testing.T) {
	w := newWire(t)
	g := NewWithT(t)
	const n, p, r = 40_000, 0.01, 0.10
	w.apply(Netem{Loss: SimpleGilbert(100*p, 100*r), Seed: 1})
	lost, runs := bursts(w.survivors(n))
	t.Logf("%d of %d lost, in %d runs", lost, n, runs)
	// Runs are geometric with mean 1/r and deviation sqrt(1-r)/r; each goes with
	// a geometric gap of mean 1/p. For the share lost the errors of both add up.
	count := float64(n) / (1/p + 1/r)
	bad := p / (p + r)
	g.Expect(float64(lost) / float64(runs)).To(BeNumerically("~", 1/r, sigmas*math.Sqrt(1-r)/r/math.Sqrt(count)))
	g.Expect(float64(lost) / n).To(BeNumerically("~", bad, sigmas*bad*(1-bad)*math.Sqrt(2/count)))
}

// In the good state 1-k is lost, in the bad one 1-h.
func TestGilbertElliottLosesInBothStates(t *testing.T) {
	w := newWire(t)
	g := NewWithT(t)
	const n, p, r, h1, k1 = 40_000, 0.05, 0.15, 0.6, 0.02
	w.apply(Netem{Loss: GilbertElliott{P: 100 * p, R: 100 * r, OneMinusH: 100 * h1, OneMinusK: 100 * k1}, Seed: 1})
	lost, runs := bursts(w.survivors(n))
	t.Logf("%d of %d lost, in %d runs", lost, n, runs)
	bad := p / (p + r)
	count := float64(n) / (1/p + 1/r)
	deviation := (h1-k1)*bad*(1-bad)*math.Sqrt(2/count) + math.Sqrt(h1*(1-h1)*bad/n)
	g.Expect(float64(lost) / n).To(BeNumerically("~", bad*h1+(1-bad)*k1, sigmas*deviation))
}

func TestFourStateLosesInBursts(t *testing.T) {
	w := newWire(t)
	g := NewWithT(t)
	const n = 20_000
	w.apply(Netem{Loss: FourState{P13: 1, P31: 25}, Seed: 1})
	lost, runs := bursts(w.survivors(n))
	t.Logf("1%%, 25%%: %d of %d lost, in %d runs", lost, n, runs)
	// Without P32 a burst is geometric, of 1/P31.
	const mean = 1 / 0.25
	g.Expect(float64(lost) / float64(runs)).To(BeNumerically("~", mean, sigmas*math.Sqrt(0.75)/0.25/math.Sqrt(float64(runs))))

	// A burst ends at once, half of the time for good and half in state 2, which
	// goes back to 3: were P31 to wrap around to 0, it would never end for good,
	// and half and more would be lost.
	w.apply(Netem{Loss: FourState{P13: 1, P31: 50, P32: 50, P23: 100}, Seed: 1})
	lost, _ = bursts(w.survivors(n))
	t.Logf("halves: %d of %d lost", lost, n)
	g.Expect(float64(lost) / n).To(BeNumerically("<", 0.1))

	// Alone in a gap: the next one is always received.
	w.apply(Netem{Loss: FourState{P14: 20}, Seed: 1})
	lost, runs = bursts(w.survivors(n))
	t.Logf("alone: %d of %d lost, in %d runs", lost, n, runs)
	g.Expect(lost).To(Equal(runs))
	const alone = 0.2 / 1.2
	g.Expect(float64(lost) / n).To(BeNumerically("~", alone, sigmas*math.Sqrt(alone*(1-alone)/n)))
}

// The trap that the package's documentation names.
func TestCorrelationLowersRandomLoss(t *testing.T) {
	w := newWire(t)
	const n = 20_000
	applied := w.apply(Netem{Loss: RandomLoss{Percent: 5, Correlation: 50}, Seed: 1})
	NewWithT(t).Expect(applied.Notes).To(ContainElement(HavePrefix("Loss.Correlation:")))
	lost, _ := bursts(w.survivors(n))
	t.Logf("%d of %d lost", lost, n)
	// A number is half the one before and half a new one: the sum of u(i)/2^i. It
	// is below 0.05 only if u(1) < 0.1, u(2) < 0.2 and u(3) < 0.4.
	const most = 0.1 * 0.2 * 0.4
	NewWithT(t).Expect(float64(lost) / n).To(BeNumerically("<", most))
}

func TestSeedRepeatsTheLosses(t *testing.T) {
	w := newWire(t)
	g := NewWithT(t)
	lossy := Netem{Loss: RandomLoss{Percent: 10}, Seed: 7}
	applied := w.apply(lossy)
	if slices.ContainsFunc(applied.Notes, func(s string) bool { return strings.HasPrefix(s, "Seed:") }) {
		t.Skip("needs Linux 6.6: " + strings.Join(applied.Notes, "; "))
	}
	first := w.survivors(1000)
	w.apply(lossy)
	g.Expect(w.survivors(1000)).To(Equal(first))
	lossy.Seed = 8
	w.apply(lossy)
	g.Expect(w.survivors(1000)).NotTo(Equal(first))
}

func TestECNMarksInsteadOfDropping(t *testing.T) {
	w := newWire(t)
	g := NewWithT(t)
	w.apply(Netem{Loss: RandomLoss{Percent: 100}, ECN: true})
	w.to.Protocol = htons(unix.ETH_P_IP)
	header := make([]byte, 40)
	header[0], header[3], header[8] = 0x45, 40, 64 // IPv4, length, TTL
	const ect0, ce = 2, 3                          // RFC 3168, section 5
	header[1] = ect0
	g.Expect(unix.Sendto(w.out, header, 0, &w.to)).To(Succeed())
	packet := w.receive(1)[0].payload
	g.Expect(packet[1] & 3).To(BeEquivalentTo(ce))
	// Before Linux 7.2 a mark counts as a drop; since then netem has counters of its own.
	marked := w.stats()
	g.Expect(marked.Packets).To(BeEquivalentTo(1))
	if marked.Injected == nil {
		g.Expect(marked.Drops).To(BeEquivalentTo(1))
	} else {
		g.Expect(marked.Drops).To(BeZero())
		g.Expect(*marked.Injected).To(Equal(netdev.Injected{Marked: 1}))
	}

	header[1] = 0 // not capable
	g.Expect(unix.Sendto(w.out, header, 0, &w.to)).To(Succeed())
	lost := w.stats()
	g.Expect(lost.Packets).To(BeEquivalentTo(1))
	g.Expect(lost.Drops).To(Equal(marked.Drops + 1))
	if lost.Injected != nil {
		g.Expect(*lost.Injected).To(Equal(netdev.Injected{Marked: 1, Lost: 1}))
	}
	w.idle()
}

func TestDuplicateSendsTwice(t *testing.T) {
	w := newWire(t)
	g := NewWithT(t)
	w.apply(Netem{Duplicate: Duplicate{Percent: 100}})
	w.send(0, 10)
	seen := make([]int, 10)
	for _, f := range w.receive(20) {
		seen[f.number]++
	}
	g.Expect(seen).To(HaveEach(2))
	g.Expect(w.stats().Packets).To(BeEquivalentTo(20))
}

func TestCorruptFlipsOneBit(t *testing.T) {
	w := newWire(t)
	w.apply(Netem{Corrupt: Corrupt{Percent: 100}})
	// One bit of the whole frame; of a large one it is rarely in the headers, and
	// only those frames that keep their addresses and type come here.
	const n, size = 200, 1400
	w.sendSize(0, n, size)
	hits := 0
	for range int(w.stats().Packets) {
		payload := make([]byte, 2048)
		got, _, err := unix.Recvfrom(w.in, payload, unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		flipped := 0
		for _, b := range payload[frameHeader:got] {
			flipped += bits.OnesCount8(b)
		}
		if flipped > 1 {
			t.Fatalf("%d bits are flipped", flipped)
		}
		hits += flipped
	}
	t.Logf("%d of %d frames have a bit flipped in the payload", hits, n)
	const inPayload = float64(size-frameHeader) / (size + ethernet.HeaderLength)
	NewWithT(t).Expect(float64(hits) / n).To(share(n, inPayload))
}

// With a gap of 5 and 100 % every fifth frame is sent at once.
func TestReorderSendsEveryGapthAtOnce(t *testing.T) {
	w := newWire(t)
	g := NewWithT(t)
	const delay = 200 * ms
	w.apply(Netem{Delay: delay, Reorder: Reorder{Percent: 100, Gap: 5}})
	w.send(0, 20)
	var order []int
	for _, f := range w.receive(20) {
		order = append(order, f.number)
		if f.number%5 == 4 {
			g.Expect(f.delay).To(BeNumerically("<", slack))
		} else {
			g.Expect(f.delay).To(BeNumerically(">=", delay))
		}
	}
	g.Expect(order).To(Equal([]int{4, 9, 14, 19, 0, 1, 2, 3, 5, 6, 7, 8, 10, 11, 12, 13, 15, 16, 17, 18}))
	g.Expect(w.stats().Requeues).To(BeEquivalentTo(4))
}

func TestRateTakesTimeForEachPacket(t *testing.T) {
	// So many that what is left out of the sum is more than slack in the end.
	const n, slot = 100, 10 * ms
	for _, test := range []struct {
		name string
		rate Rate
		size int // with the Ethernet header
	}{
		{"bytes of the frame", Rate{BitsPerSecond: Mbit}, 1250},
		{"packet overhead", Rate{BitsPerSecond: Mbit, PacketOverhead: 250}, 1000},
		{"less the Ethernet header", Rate{BitsPerSecond: 86 * 8 * 100, PacketOverhead: -ethernet.HeaderLength}, 100},
		// 1000 bytes are 20.8 cells of 48
		{"cells", Rate{BitsPerSecond: 21 * 53 * 8 * 100, CellSize: 48, CellOverhead: 5}, 1000},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWire(t)
			g := NewWithT(t)
			w.apply(Netem{Rate: test.rate, Limit: n})
			w.sendSize(0, n, test.size-ethernet.HeaderLength)
			frames := w.receive(n)
			began := frames[0].arrived - frames[0].delay
			for i, f := range frames {
				g.Expect(f.number).To(Equal(i))
				leaves := time.Duration(i+1) * slot
				g.Expect(f.arrived - began).To(And(BeNumerically(">=", leaves), BeNumerically("<", leaves+slack)))
			}
		})
	}
}

func TestTheLimitDropsWhatIsOver(t *testing.T) {
	w := newWire(t)
	g := NewWithT(t)
	w.apply(Netem{Delay: 100 * ms, Limit: 5})
	w.send(0, 12)
	g.Expect(w.stats().Length).To(BeEquivalentTo(5))
	g.Expect(w.stats().Drops).To(BeEquivalentTo(7))
	for i, f := range w.receive(5) {
		g.Expect(f.number).To(Equal(i))
	}
}

func TestTheChosenLimitHoldsAFullLineAndAQueue(t *testing.T) {
	w := newWire(t)
	g := NewWithT(t)
	applied := w.apply(Netem{Delay: 20 * ms, Rate: Rate{BitsPerSecond: 20 * Mbit}})
	g.Expect(applied.Got.Limit).To(Equal(101))
	g.Expect(applied.Notes).To(ConsistOf("Limit: chosen 101 packets: 34 in the delay line and 67 in the queue, at 20Mbit, held for up to 20ms"))
	w.sendSize(0, 101, 1500)
	g.Expect(w.stats().Drops).To(BeZero())
	// They are sent one after the other once the first is through the delay line.
	last := w.receive(101)[100]
	const all = 101 * 1514 * 8 * time.Second / (20 * 1_000_000)
	g.Expect(last.delay).To(And(BeNumerically(">=", 20*ms+all-slack), BeNumerically("<", 20*ms+all+slack)))
}

func TestSlotsLetBunchesGo(t *testing.T) {
	for _, test := range []struct {
		name string
		slot Slot
	}{
		{"range", Slot{MinDelay: 40 * ms, MaxDelay: 40 * ms, Packets: 5}},
		{"bytes", Slot{MinDelay: 40 * ms, MaxDelay: 40 * ms, Bytes: 5 * (frameSize + ethernet.HeaderLength)}},
		{"distribution", Slot{Delay: 40 * ms, Jitter: 1, Packets: 5}},
	} {
		for _, change := range []bool{false, true} {
			t.Run(fmt.Sprint(test.name, ", change ", change), func(t *testing.T) {
				w := newWire(t)
				g := NewWithT(t)
				if change { // from what leaves the other table behind
					w.apply(Netem{Slot: Slot{Delay: time.Hour, Jitter: ms, Distribution: Normal}})
					w.change(Netem{Slot: test.slot})
				} else {
					w.apply(Netem{Slot: test.slot})
				}
				// The first slot is open at once; those that come later wait for the next.
				w.send(0, 20)
				frames := w.receive(20)
				var gaps []int
				for i := 1; i < len(frames); i++ {
					if frames[i].arrived-frames[i-1].arrived > 20*ms {
						gaps = append(gaps, i)
					}
				}
				g.Expect(gaps).To(Equal([]int{5, 10, 15}))
				for _, i := range gaps {
					g.Expect(frames[i].arrived - frames[i-5].arrived).To(BeNumerically("~", 40*ms, slack))
				}
			})
		}
	}
}

// jitters sends n frames over a link that only delays, and tells how each
// deviates, in units of the jitter, in the order they were sent.
func (w *wire) jitters(n int, delay, jitter time.Duration) []float64 {
	w.t.Helper()
	w.send(0, n)
	deviations := make([]float64, n)
	for _, f := range w.receive(n) {
		deviations[f.number] = float64(f.delay-delay) / float64(jitter)
	}
	return deviations
}

// Jitter has the distribution that was asked, also when it is changed, and also
// where the kernel keeps the table of the one before.
func TestJitterHasItsDistribution(t *testing.T) {
	w := newWire(t)
	const n = 4000
	const delay, jitter = 500 * ms, 100 * ms
	// Time from the clock's reading to the qdisc and to the arrival; in real time
	// some frames come later, which shows in the mean.
	const late = 0.02
	table := func(values []int16) (mean, deviation, least, most float64) {
		samples := make([]float64, len(values))
		for i, v := range values {
			samples[i] = float64(v) / distScale
		}
		mean, deviation = moments(samples)
		return mean, deviation, slices.Min(samples), slices.Max(samples)
	}
	w.apply(Netem{})
	for _, test := range []struct {
		how          string
		apply        func(Netem) Applied
		distribution Distribution
		table        []int16
	}{
		{"apply", w.apply, Uniform, uniformTable()},
		{"apply", w.apply, Normal, normalTable()},
		{"change", w.change, Uniform, uniformTable()},
		{"change", w.change, Pareto, paretoTable()},
		{"change", w.change, ParetoNormal, paretoNormalTable()},
		{"change", w.change, Uniform, uniformTable()},
		{"apply", w.apply, Uniform, uniformTable()},
	} {
		g := NewWithT(t)
		test.apply(Netem{Delay: delay, Jitter: jitter, Distribution: test.distribution, Seed: 1})
		samples := w.jitters(n, delay, jitter)
		mean, deviation := moments(samples)
		wantMean, wantDeviation, least, most := table(test.table)
		t.Logf("%s %v: mean %.3f (%.3f), deviation %.3f (%.3f), from %.3f to %.3f", test.how, test.distribution,
			mean, wantMean, deviation, wantDeviation, slices.Min(samples), slices.Max(samples))
		g.Expect(mean).To(BeNumerically("~", wantMean, sigmas*wantDeviation/math.Sqrt(n)+late))
		// A deviation's own error is at most that of a distribution with a heavy
		// tail: kurtosis of a Pareto cut at 4 is below 13.
		g.Expect(deviation).To(BeNumerically("~", wantDeviation, sigmas*wantDeviation*math.Sqrt(12./(4*n))+late))
		g.Expect(slices.Min(samples)).To(BeNumerically(">=", least-0.001))
		g.Expect(slices.Max(samples)).To(BeNumerically("<=", most+float64(slack)/float64(jitter)))
	}
}

// The trap that the package's documentation names. If this fails the kernel was
// mended: tell so there, and in the note of DelayCorrelation.
func TestDelayCorrelationHasNextToNoEffect(t *testing.T) {
	w := newWire(t)
	for _, d := range []Distribution{Uniform, Normal} {
		g := NewWithT(t)
		const n = 4000
		const delay, jitter = 50 * ms, 10 * ms
		applied := w.apply(Netem{Delay: delay, Jitter: jitter, DelayCorrelation: 90, Distribution: d, Seed: 1})
		g.Expect(applied.Notes).To(ContainElement(HavePrefix("DelayCorrelation:")))
		samples := w.jitters(n, delay, jitter)
		mean, deviation := moments(samples)
		var product float64
		for i := 1; i < n; i++ {
			product += (samples[i] - mean) * (samples[i-1] - mean)
		}
		correlation := product / float64(n-1) / (deviation * deviation)
		t.Logf("%v: correlation of a delay with the one before: %.3f, asked 0.9", d, correlation)
		g.Expect(math.Abs(correlation)).To(BeNumerically("<", sigmas/math.Sqrt(n)))
	}
}
