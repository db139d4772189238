package analysis

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Choice is which conversations of a capture a [Report] has: those that all of it holds for. Its zero value is all of them.
type Choice struct {
	Streams []int        // by their numbers, see [Classified]
	Hosts   []netip.Addr // one side is one of these
	Ports   []uint16     // one side has one of these
	// From and To are since the first packet of the capture: a segment of the conversation passed between them, or before and after. A To
	// of 0 is the end of the capture.
	From, To time.Duration
	// Findings: something was found in it.
	Findings bool
	// Most conversations at most are kept, if it is not 0. [Report.WriteOverview] tells of the others all the same.
	Most int
	// Frames keeps each frame of what is chosen, see [Conversation]: some 200 bytes for each that was captured.
	Frames bool
}

// Analyze does what the function of that name does, with what was chosen. The memory that it takes does not grow with conversations that
// are over, but for those that are kept. It fails if the capture has fewer streams than the choice names.
func (c Choice) Analyze(r *Reader, events ...KernelEvent) (*Report, error) {
	report := &Report{}
	streams := report.read(r, c, events, nil)
	for _, n := range c.Streams {
		if n < 0 || n >= streams {
			return nil, fmt.Errorf("%s has no stream %d: it has %d, numbered from 0", cmp.Or(report.File, "the capture"), n, streams)
		}
	}
	return report, nil
}

// isAll reports whether all conversations are chosen and kept.
func (c *Choice) isAll() bool {
	return len(c.Streams)+len(c.Hosts)+len(c.Ports) == 0 && c.From == 0 && c.To == 0 && !c.Findings && c.Most == 0
}

// Has reports whether a conversation is chosen.
func (c *Choice) Has(x *Conversation) bool {
	a, b := x.Client.Addr, x.Server.Addr
	host := func(h netip.Addr) bool { return h.Unmap() == a.Addr().Unmap() || h.Unmap() == b.Addr().Unmap() }
	port := func(p uint16) bool { return p == a.Port() || p == b.Port() }
	return (len(c.Streams) == 0 || slices.Contains(c.Streams, x.Stream)) &&
		(len(c.Hosts) == 0 || slices.ContainsFunc(c.Hosts, host)) &&
		(len(c.Ports) == 0 || slices.ContainsFunc(c.Ports, port)) &&
		x.End >= c.From && (c.To == 0 || x.Start <= c.To) &&
		(!c.Findings || len(x.Findings) > 0)
}
