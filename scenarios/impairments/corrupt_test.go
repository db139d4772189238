package impairments

import (
	"bytes"
	"encoding/binary"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/bounds"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/internal/statistics"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/peers"
)

// Offsets of the parts of a packet, and of what a router changes: see forwarded.
const (
	ipStart       = ethernetHeader
	tcpStart      = ethernetHeader + 20 // IPv4 without options
	ttlAt         = ipStart + 8
	ipChecksumAt  = ipStart + 10
	dataOffsetAt  = tcpStart + 12
	tcpChecksumAt = tcpStart + 16
	optionsAt     = tcpStart + 20

	fullHeaders = optionsAt + 12 // with timestamps, as in all segments except SYNs
	fullFrame   = ethernetHeader + netns.DefaultMTU
)

// forwarded returns the packet as it would leave the router without corruption.
func forwarded(frame []byte, out *harness.Link) []byte {
	sent := bytes.Clone(frame)
	copy(sent, out.B.MAC())
	copy(sent[6:], out.A.MAC())
	sent[ttlAt]--
	sent[ipChecksumAt], sent[ipChecksumAt+1] = 0, 0
	binary.BigEndian.PutUint16(sent[ipChecksumAt:], ^onesComplement(sent[ipStart:tcpStart]))
	return sent
}

// onesComplement is the checksum of RFC 1071, not inverted.
func onesComplement(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

// A damage counts the packets with a flipped bit, by the part that it is in.
type damage struct {
	packets    []bool // each packet: whether it was corrupted
	ethernet   int
	ip         int
	tcp        int // includes all of the following
	dataOffset int
	options    int // of those whose options TCP may read before it verifies the checksum
	full       int // corrupted full segments
	payload    int // of those, in the payload or in TCP's checksum: a flip beyond the captured bytes looks like the latter
	certain    int // of those, in the captured part of the payload
}

// find compares the packets before and after the impairment, which keeps their order. The TCP checksum of an intact
// packet is only the sum of its pseudo-header: veth leaves the rest to a network card that does not exist. netem
// completes it before it flips a bit (netem_enqueue), so a flip beyond the captured bytes shows in the checksum.
func find(frames []analysis.Frame, net *harness.Network) damage {
	GinkgoHelper()
	var before, after []analysis.Frame
	for _, f := range frames {
		switch {
		case f.Direction != analysis.Inbound:
		case f.Interface == net.Routers[0].End("eth0").String():
			f.Data = forwarded(f.Data, net.Links[1])
			before = append(before, f)
		case f.Interface == net.Server().End("eth0").String():
			after = append(after, f)
		}
	}
	Expect(after).To(HaveLen(len(before)))
	var d damage
	server := net.Server().Oracle()
	for i := range before {
		Expect(after[i].Length).To(Equal(before[i].Length))
		readsOptions := server.ReadsOptionsUnverified(before[i].Length - tcpStart)
		d.add(before[i].Data, after[i].Data, before[i].Length == fullFrame, readsOptions)
	}
	return d
}

func (d *damage) add(sent, came []byte, full, readsOptions bool) {
	flippedAt, checksum := -1, false
	for i := range sent {
		switch {
		case sent[i] == came[i]:
		case i == tcpChecksumAt || i == tcpChecksumAt+1:
			checksum = true
		default:
			flippedAt = i
		}
	}
	corrupted := flippedAt >= 0 || checksum
	d.packets = append(d.packets, corrupted)
	if corrupted && full {
		d.full++
		if flippedAt < 0 || flippedAt >= fullHeaders {
			d.payload++
		}
		if flippedAt >= fullHeaders {
			d.certain++
		}
	}
	switch {
	case !corrupted:
	case flippedAt < 0:
		d.tcp++
	case flippedAt < ipStart:
		d.ethernet++
	case flippedAt < tcpStart:
		d.ip++
	default:
		d.tcp++
		if flippedAt == dataOffsetAt && (sent[flippedAt]^came[flippedAt])&0xf0 != 0 {
			d.dataOffset++
		}
		if readsOptions && flippedAt >= optionsAt && flippedAt < optionsAt+4*int(sent[dataOffsetAt]>>4)-20 {
			d.options++
		}
	}
}

var _ = It("flips a bit, fails a checksum, and TCP retransmits", Label("ipv4", "quick", "netem", "rfc9293"), func(ctx SpecContext) {
	const percent, requests, size = 5, 120, 16 << 10
	lab := harness.NewLab(ctx)
	net := lab.Routed()
	net.ToServer.Impair(impair.Netem{Delay: time.Millisecond, Corrupt: impair.Corrupt{Percent: percent}})
	wire := lab.Capture(net.Routers[0].End("eth0"), net.Server().End("eth0"))

	server := lab.Start(net.Server(), peers.EchoServer{Listen: net.Server().Addr(7)})
	client := lab.Start(net.Client(), peers.EchoClient{Connect: net.Server().Addr(7), Requests: requests, Size: size})
	answered := client.Wait() // it compares each answer with its request
	server.Wait()

	damaged := find(wire.Stop().Frames(), net)
	corrupted := count(damaged.packets)
	expectTrials("corrupted", damaged.packets, percent/100.)
	// Each bit that netem may corrupt has the same probability. Two of the bytes outside of the payload are the TCP
	// checksum, where a flip looks like one beyond the captured bytes.
	const checksum = 2
	reach := net.Server().Oracle().NetemCorrupts(fullHeaders, fullFrame)
	least, most := statistics.Binomial(damaged.full, float64(reach-fullHeaders+checksum)/float64(reach), miss)
	lab.Measure("in the payload", damaged.payload, bounds.Between(least, most), "binomial: corrupt_event of what netem reaches")
	if reach == fullHeaders {
		Expect(damaged.certain).To(BeZero())
	}

	// ip_rcv_core checks the IP header, and tcp_v4_rcv the rest, except an impossible data offset, and options that do
	// not parse where it reads those first. No counter has a flip in a MAC address or in the type; a flip in the source
	// MAC has no effect.
	Expect(net.Server().Counters()).To(HaveCounters{
		"IpInHdrErrors":   damaged.ip,
		"TcpInCsumErrors": bounds.Between(damaged.tcp-damaged.dataOffset-damaged.options, damaged.tcp),
	})
	Expect(net.ToServer.Queue().Drops).To(BeZero())
	Expect(answered.Echo.Requests).To(Equal(requests))
	Expect(net.Client().Counters()).To(HaveGrown("TcpRetransSegs", BeNumerically(">", 0)))
	lab.Note("packets corrupted", corrupted)
	lab.Note("in the IP header", damaged.ip)
	lab.Note("in TCP", damaged.tcp)
})
