package findings

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/bounds"
	"github.com/tcplab/tcplab/netns"
)

// What is wrong with a file: made of a good one, as people make such files.

const (
	requests = 10
	whole    = "" // the name of the one interface that a pcap file has
)

// clean captures a conversation on a good path.
func clean(lab *harness.Lab) (*harness.Network, *harness.Capture) {
	GinkgoHelper()
	net := lab.Path(rtt)
	wire := everywhere(lab, net)
	client, server := exchange(requests)
	run(lab, net, client, server)
	time.Sleep(harness.Settle) // until the end is acknowledged
	expectAt(wire.Stop().Report(), all(net))
	Expect(net.Client().Counters()["TcpRetransSegs"] + net.Server().Counters()["TcpRetransSegs"]).To(BeZero())
	return net, wire
}

// at are the frames of some ends, in the order of the capture.
func at(wire *harness.Capture, ends ...*harness.End) []analysis.Frame {
	GinkgoHelper()
	return slices.DeleteFunc(wire.Frames(), func(f analysis.Frame) bool {
		return !slices.ContainsFunc(ends, func(e *harness.End) bool { return e.String() == f.Interface })
	})
}

// written is what analyze says of a pcap file of these frames, which is an artefact of the spec.
func written(lab *harness.Lab, frames []analysis.Frame) *analysis.Report {
	GinkgoHelper()
	var file bytes.Buffer
	w := pcapgo.NewWriterNanos(&file)
	Expect(w.WriteFileHeader(netns.DefaultMTU+14, layers.LinkTypeEthernet)).To(Succeed())
	for _, f := range frames {
		Expect(w.WritePacket(gopacket.CaptureInfo{Timestamp: f.Time, CaptureLength: len(f.Data), Length: f.Length}, f.Data)).To(Succeed())
	}
	path := filepath.Join(lab.Dir(), "made.pcap")
	Expect(os.WriteFile(path, file.Bytes(), 0o644)).To(Succeed())
	r, err := analysis.Open(path)
	Expect(err).NotTo(HaveOccurred())
	defer r.Close()
	return analysis.Analyze(r)
}

// from reports whether a host has sent a frame.
func from(f analysis.Frame, host netip.Addr) bool {
	GinkgoHelper()
	packet := gopacket.NewPacket(f.Data, layers.LayerTypeEthernet, gopacket.Default)
	Expect(packet.NetworkLayer()).NotTo(BeNil())
	source, ok := netip.AddrFromSlice(packet.NetworkLayer().NetworkFlow().Src().Raw())
	return ok && source == host
}

var _ = It("captured-twice: on both sides of a router, in one file", Label("quick", "netem", "linux"), func(ctx SpecContext) {
	lab := harness.NewLab(ctx)
	net, wire := clean(lab)
	report := written(lab, at(wire, net.ToClient, net.ToServer))

	seen := expectFindings(report, whole, of(net.Client(), analysis.CapturedTwice))[0]
	arrived := net.Client().Counters()["TcpInSegs"] + net.Server().Counters()["TcpInSegs"]
	lab.Measure("copies", seen.Count, bounds.Exactly(int(arrived)), "TcpInSegs of both hosts")
})

var _ = DescribeTable("one-direction: only what is sent by", Label("quick", "netem", "linux"), func(ctx SpecContext, host func(*harness.Network) *harness.Host) {
	lab := harness.NewLab(ctx)
	net, wire := clean(lab)
	one := host(net)
	frames := slices.DeleteFunc(at(wire, one.End("eth0")), func(f analysis.Frame) bool { return !from(f, one.IP()) })
	report := written(lab, frames)

	expectFindings(report, whole, of(one, analysis.OneDirection))
	lab.Measure("segments in the file", report.Segments, bounds.Exactly(int(one.Counters()["TcpOutSegs"])), "TcpOutSegs")
},
	Entry("the client", (*harness.Network).Client),
	Entry("the server", (*harness.Network).Server),
)

var _ = It("time-goes-back: two captures, one behind the other in one file", Label("quick", "netem", "linux"), func(ctx SpecContext) {
	lab := harness.NewLab(ctx)
	net, wire := clean(lab)
	first, second := at(wire, net.Client().End("eth0")), at(wire, net.Server().End("eth0"))
	report := written(lab, slices.Concat(first, second))

	seen := expectFindings(report, whole, of(net.Client(), analysis.TimeGoesBack))[0]
	Expect(second[0].Time).To(BeTemporally("<", first[len(first)-1].Time))
	lab.Measure("times that it goes back", seen.Count, bounds.Exactly(1), "where the second file begins")
	Expect(seen.Frames).To(Equal([]int{len(first) + 1}))
})

var _ = It("incomplete-capture: some requests are missing in the file", Label("quick", "netem", "linux"), func(ctx SpecContext) {
	const missing = 3
	lab := harness.NewLab(ctx)
	net, wire := clean(lab)
	data := wire.DataFrom(net.Client(), analysis.On("client/eth0"))[requests/2:][:missing]
	frames := slices.DeleteFunc(at(wire, net.Client().End("eth0")), func(f analysis.Frame) bool {
		return slices.ContainsFunc(data, func(s analysis.Segment) bool { return s.Frame == f.Frame })
	})
	report := written(lab, frames)

	seen := expectFindings(report, whole, of(net.Server(), analysis.IncompleteCapture))[0]
	// The missing requests are one behind the other. Of the answers that acknowledge them the first is marked; and so is the one to the next request, which
	// is in the file, with the gap in front of it.
	lab.Measure("ACKs of what is missing", seen.Count, bounds.Exactly(2), "Wireshark's rule: the first in a row, and the first that is known to be behind a gap")
	counters := net.Client().Counters()
	lab.Check("segments missing", int(counters["TcpOutSegs"]+counters["TcpInSegs"])-report.Segments, bounds.Exactly(missing), "TcpOutSegs and TcpInSegs")
})
