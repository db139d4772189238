package rules_test

import (
	"context"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/capture"
	"github.com/tcplab/tcplab/harness/kernel"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/impair/rules"
	"github.com/tcplab/tcplab/internal/testenv"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/peers"
)

// A bench is a topology with a capture at each host, and one connection to be made.
type bench struct {
	t        testing.TB
	g        *WithT
	net      *netns.Topology
	six      bool
	captures []*capture.Capture
	paths    []string
}

// eachFamily runs a test on IPv4 and on IPv6.
func eachFamily(t *testing.T, test func(*testing.T, bool)) {
	t.Helper()
	t.Run("IPv4", func(t *testing.T) { test(t, false) })
	t.Run("IPv6", func(t *testing.T) { test(t, true) })
}

// oneWay is the link's delay in each direction.
const oneWay = 10 * time.Millisecond

func newBench(t testing.TB, six bool, build func(netns.Config) (*netns.Topology, error), config netns.Config) *bench {
	t.Helper()
	testenv.Root(t, "network namespaces and BPF")
	testenv.Need(t, impair.Probe())
	b := &bench{t: t, g: NewWithT(t), six: six}
	var err error
	b.net, err = build(config)
	b.g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { b.g.Expect(b.net.Close()).To(Succeed()) })
	for _, end := range []*netns.End{b.net.ToServer, b.net.ToClient} {
		_, err := impair.Apply(end.Device(), impair.Netem{Delay: oneWay})
		b.g.Expect(err).NotTo(HaveOccurred())
	}
	for _, host := range []*netns.Host{b.net.Client(), b.net.Server()} {
		path := filepath.Join(t.TempDir(), host.Name()+".pcapng")
		end := host.Ends()[0]
		c, err := capture.Start(path, capture.Config{}, capture.Interface{Name: end.String(), Device: end.Device()})
		b.g.Expect(err).NotTo(HaveOccurred())
		b.captures, b.paths = append(b.captures, c), append(b.paths, path)
	}
	return b
}

// open makes a set on an end, with some rules.
func (b *bench) open(end *netns.End, list ...rules.Rule) *rules.Set {
	b.t.Helper()
	set, err := rules.Open(end.Device())
	b.g.Expect(err).NotTo(HaveOccurred())
	b.t.Cleanup(func() { b.g.Expect(set.Close()).To(Succeed()) })
	for _, r := range list {
		_, err := set.Add(r)
		b.g.Expect(err).NotTo(HaveOccurred())
	}
	return set
}

func (b *bench) hits(set *rules.Set) []rules.Hit {
	b.t.Helper()
	hits, err := set.Hits()
	b.g.Expect(err).NotTo(HaveOccurred())
	return hits
}

func (b *bench) counts(set *rules.Set) []rules.Count {
	b.t.Helper()
	counts, err := set.Counts()
	b.g.Expect(err).NotTo(HaveOccurred())
	return counts
}

func (b *bench) addr(port uint16) netip.AddrPort {
	if b.six {
		return netip.AddrPortFrom(b.net.Server().IPv6(), port)
	}
	return netip.AddrPortFrom(b.net.Server().IPv4(), port)
}

func (b *bench) start(host *netns.Host, name string, p peers.Program) *peers.Peer {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	b.t.Cleanup(cancel)
	peer, err := peers.Start(ctx, host, name, p)
	b.g.Expect(err).NotTo(HaveOccurred())
	_, err = peer.Ready(ctx)
	b.g.Expect(err).NotTo(HaveOccurred())
	return peer
}

func (b *bench) wait(p *peers.Peer) peers.Result {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	result, err := p.Wait(ctx)
	b.g.Expect(err).NotTo(HaveOccurred())
	return result
}

// mss is the payload of a full segment: 1500 bytes less IP header, TCP header and timestamps (12).
func (b *bench) mss() int {
	if b.six {
		return 1500 - 40 - 20 - 12
	}
	return 1500 - 20 - 20 - 12
}

// transfer sends so many full segments from the client to the server.
func (b *bench) transfer(segments int) {
	b.t.Helper()
	server := b.start(b.net.Server(), "server", peers.BulkServer{Listen: b.addr(80)})
	client := b.start(b.net.Client(), "client", peers.BulkClient{Connect: b.addr(80), Bytes: int64(segments * b.mss())})
	b.wait(client)
	result := b.wait(server)
	b.g.Expect(result.Bulk.Bytes).To(BeEquivalentTo(segments * b.mss()))
}

// seen ends the captures and returns what passed client and server.
func (b *bench) seen() (client, server []analysis.Segment) {
	b.t.Helper()
	var seen [2][]analysis.Segment
	for i, c := range b.captures {
		_, err := c.Stop()
		b.g.Expect(err).NotTo(HaveOccurred())
		seen[i], err = analysis.ReadFile(b.paths[i])
		b.g.Expect(err).NotTo(HaveOccurred())
	}
	return seen[0], seen[1]
}

func (b *bench) counters(host *netns.Host) kernel.Counters {
	b.t.Helper()
	counters, err := kernel.ReadCounters(host)
	b.g.Expect(err).NotTo(HaveOccurred())
	return counters
}

// only returns the segments that leave (or reach) port 80 and satisfy a condition.
func only(segments []analysis.Segment, is func(analysis.Segment) bool) []analysis.Segment {
	return slices.Collect(func(yield func(analysis.Segment) bool) {
		for _, s := range segments {
			if is(s) && !yield(s) {
				return
			}
		}
	})
}

func toServer(s analysis.Segment) bool { return s.Dst.Port() == 80 }
func toClient(s analysis.Segment) bool { return s.Src.Port() == 80 }

func data(s analysis.Segment) bool { return toServer(s) && s.Length > 0 }

func pureACK(s analysis.Segment) bool {
	return s.Length == 0 && s.Flags&(analysis.FlagSYN|analysis.FlagFIN|analysis.FlagRST) == 0
}

func syn(s analysis.Segment) bool {
	return s.Flags&(analysis.FlagSYN|analysis.FlagACK) == analysis.FlagSYN
}

func seq(n uint32) func(analysis.Segment) bool {
	return func(s analysis.Segment) bool { return data(s) && s.Seq == n }
}

// distinct returns the sequence numbers of the data segments, in the order of their first transmission.
func distinct(segments []analysis.Segment) []uint32 {
	var numbers []uint32
	for _, s := range only(segments, data) {
		if !slices.Contains(numbers, s.Seq) {
			numbers = append(numbers, s.Seq)
		}
	}
	return numbers
}

// seqOf reads the sequence number from a hit's frame.
func (b *bench) seqOf(h rules.Hit) uint32 {
	at := 14 + 20 + 4
	if b.six {
		at = 14 + 40 + 4
	}
	p := h.Packet
	return uint32(p[at])<<24 | uint32(p[at+1])<<16 | uint32(p[at+2])<<8 | uint32(p[at+3])
}
