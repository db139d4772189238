package harness

import (
	"slices"

	"github.com/onsi/ginkgo/v2"

	"github.com/tcplab/tcplab/harness/analysis"
)

// Transits compares two of the capture's ends: each segment that left from and passes the filters, in order,
// with its arrivals at to. What was still on its way when the capture ended counts as lost. See [analysis.Transits].
func (c *Capture) Transits(from, to *End, filters ...analysis.Filter) []analysis.Transit {
	ginkgo.GinkgoHelper()
	return analysis.Transits(slices.Values(c.Segments()),
		analysis.All(analysis.On(from.String()), analysis.Going(analysis.Outbound), analysis.All(filters...)),
		analysis.All(analysis.On(to.String()), analysis.Going(analysis.Inbound)))
}
