package inject_test

import (
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/capture"
	"github.com/tcplab/tcplab/harness/kernel"
	"github.com/tcplab/tcplab/impair/inject"
	"github.com/tcplab/tcplab/internal/testenv"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/peers"
)

func TestMain(m *testing.M) {
	peers.Main()
	os.Exit(m.Run())
}

// A bench is a client and a server with one link between them, which a capture sees at the client, and an idle connection.
type bench struct {
	t        *testing.T
	g        *WithT
	net      *netns.Topology
	client   *peers.Peer
	captured *capture.Capture
	path     string
	synACK   analysis.Segment
}

func newBench(t *testing.T, six bool) *bench {
	t.Helper()
	testenv.Root(t, "network namespaces and packet sockets")
	topology, err := netns.Direct(netns.Config{})
	b := &bench{t: t, g: NewWithT(t), net: topology}
	b.g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { b.g.Expect(topology.Close()).To(Succeed()) })
	b.path = filepath.Join(t.TempDir(), "client.pcapng")
	end := topology.Client().Ends()[0]
	b.captured, err = capture.Start(b.path, capture.Config{}, capture.Interface{Name: end.String(), Device: end.Device()})
	b.g.Expect(err).NotTo(HaveOccurred())

	address := netip.AddrPortFrom(topology.Server().IPv4(), 80)
	if six {
		address = netip.AddrPortFrom(topology.Server().IPv6(), 80)
	}
	b.start(topology.Server(), "server", peers.Script{Listen: address, Steps: peers.Steps(peers.Sleep(peers.UntilStopped))})
	b.client = b.start(topology.Client(), "client", peers.Script{Connect: address, Steps: peers.Steps(peers.Try(peers.ReadAll()))})
	_, err = b.client.Started(testenv.Context(t))
	b.g.Expect(err).NotTo(HaveOccurred())
	synACKs := b.read(func(s analysis.Segment) bool { return s.Flags == analysis.FlagSYN|analysis.FlagACK })
	b.g.Expect(synACKs).To(HaveLen(1))
	b.synACK = synACKs[0]
	return b
}

func (b *bench) start(host *netns.Host, name string, p peers.Program) *peers.Peer {
	b.t.Helper()
	ctx := testenv.Context(b.t)
	peer, err := peers.Start(ctx, host, name, p)
	b.g.Expect(err).NotTo(HaveOccurred())
	_, err = peer.Ready(ctx)
	b.g.Expect(err).NotTo(HaveOccurred())
	return peer
}

// read is what the client's capture has so far.
func (b *bench) read(is func(analysis.Segment) bool) []analysis.Segment {
	b.t.Helper()
	path := filepath.Join(b.t.TempDir(), "copy.pcapng")
	file, err := os.Create(path)
	b.g.Expect(err).NotTo(HaveOccurred())
	defer file.Close()
	b.g.Expect(b.captured.CopyTo(file)).To(Succeed())
	all, err := analysis.ReadFile(path)
	b.g.Expect(err).NotTo(HaveOccurred())
	var list []analysis.Segment
	for _, s := range all {
		if is(s) {
			list = append(list, s)
		}
	}
	return list
}

// send sends a packet from the server's end to the client.
func (b *bench) send(p inject.Packet) inject.Sent {
	b.t.Helper()
	link := b.net.Links[0]
	sent, err := inject.Send(link.B.Device(), link.A.MAC(), p)
	b.g.Expect(err).NotTo(HaveOccurred())
	return sent
}

func (b *bench) counters() kernel.Counters {
	b.t.Helper()
	counters, err := kernel.ReadCounters(b.net.Client())
	b.g.Expect(err).NotTo(HaveOccurred())
	return counters
}

func eachFamily(t *testing.T, test func(*testing.T, bool)) {
	t.Run("IPv4", func(t *testing.T) { test(t, false) })
	t.Run("IPv6", func(t *testing.T) { test(t, true) })
}

func TestForgedReset(t *testing.T) {
	eachFamily(t, func(t *testing.T, six bool) {
		b := newBench(t, six)
		reset := inject.After(b.synACK)
		reset.Flags = analysis.FlagRST

		wrong := reset
		wrong.BadChecksum = true
		b.send(wrong)
		b.g.Eventually(b.counters, testenv.Patience).Should(HaveKeyWithValue("TcpInCsumErrors", BeEquivalentTo(1)))

		sent := b.send(reset)
		ctx, cancel := context.WithTimeout(context.Background(), testenv.Patience)
		defer cancel()
		result, err := b.client.Wait(ctx)
		b.g.Expect(err).NotTo(HaveOccurred())
		b.g.Expect(result.Connections[0].Steps[0].Err).To(MatchError(unix.ECONNRESET))
		resets := b.read(func(s analysis.Segment) bool { return s.Flags&analysis.FlagRST != 0 })
		b.g.Expect(resets).To(HaveLen(2), "the wrong one and the right one")
		b.g.Expect(resets[1].Seq).To(Equal(b.synACK.Seq + 1))
		b.g.Expect(resets[1].Time).To(BeTemporally("~", sent.At, time.Second))
	})
}

func TestSendIsRefusedByTheLink(t *testing.T) {
	b := newBench(t, false)
	link := b.net.Links[0]
	large := inject.After(b.synACK)
	large.Payload = make([]byte, link.B.MTU())
	_, err := inject.Send(link.B.Device(), link.A.MAC(), large)
	b.g.Expect(err).To(MatchError(ContainSubstring("more than the MTU of 1500")))
	_, err = inject.Send(link.B.Device(), net.HardwareAddr{1}, large)
	b.g.Expect(err).To(HaveOccurred())
}
