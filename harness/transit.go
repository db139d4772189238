package harness

import (
	"slices"

	"github.com/onsi/ginkgo/v2"

	"github.com/tcplab/tcplab/harness/analysis"
)

// Transits compares two of the capture's ends: each segment that left from and passes the filters, in order,
// with its arrivals at to. What was still on its way when the capture ended counts as lost. See [analysis.Transits].
func (c *Capture) Transits(from, to *End, filters ...analysis.Filter) []analysis.Transit[analysis.Segment] {
	ginkgo.GinkgoHelper()
	return analysis.Transits(slices.Values(c.Segments()),
		analysis.All(analysis.On(from.String()), analysis.Going(analysis.Outbound), analysis.All(filters...)),
		analysis.All(analysis.On(to.String()), analysis.Going(analysis.Inbound)))
}

// DatagramTransits is [Capture.Transits] of UDP datagrams. They should differ in their first 100 bytes, as those of a
// [peers.ProbeSender] do: equal ones cannot be told apart.
func (c *Capture) DatagramTransits(from, to *End, filters ...func(analysis.Datagram) bool) []analysis.Transit[analysis.Datagram] {
	ginkgo.GinkgoHelper()
	return analysis.Transits(slices.Values(c.Datagrams()),
		func(d analysis.Datagram) bool {
			return d.Interface == from.String() && d.Direction == analysis.Outbound &&
				!slices.ContainsFunc(filters, func(passes func(analysis.Datagram) bool) bool { return !passes(d) })
		},
		func(d analysis.Datagram) bool { return d.Interface == to.String() && d.Direction == analysis.Inbound })
}
