package matchers

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/tcplab/tcplab/harness/analysis"
)

// A closing is how a connection ended on an interface.
type closing struct {
	fins  []analysis.Side // the sides that sent a FIN, in the order of their first
	other analysis.Side   // where only one did, the other side
	reset int             // the frame of the first reset, 0 for none
}

// closesOf returns the connections that have a FIN, in the order of their first.
func closesOf(segments []analysis.Segment) []closing {
	var all []closing
	for _, c := range analysis.Conversations(analysis.Classify(slices.Values(segments))) {
		var one closing
		for _, side := range []analysis.Side{c.Client, c.Server} {
			if side.FIN == nil {
				one.other = side
			} else {
				one.fins = append(one.fins, side)
			}
			if r := side.Reset; r != nil && (one.reset == 0 || r.Frame < one.reset) {
				one.reset = r.Frame
			}
		}
		if len(one.fins) > 0 {
			slices.SortFunc(one.fins, func(a, b analysis.Side) int { return cmp.Compare(a.FIN.Frame, b.FIN.Frame) })
			all = append(all, one)
		}
	}
	slices.SortStableFunc(all, func(a, b closing) int { return cmp.Compare(a.fins[0].FIN.Frame, b.fins[0].FIN.Frame) })
	return all
}

// complete reports whether both sides' FINs were acknowledged, and nothing was reset.
func (c closing) complete() bool {
	unanswered := func(d analysis.Side) bool { return d.FIN.AckFrame == 0 }
	return len(c.fins) == 2 && !slices.ContainsFunc(c.fins, unanswered) && c.reset == 0
}

func (c closing) String() string {
	var parts []string
	for _, d := range c.fins {
		part := fmt.Sprintf("FIN of %v in frame %d, not acknowledged", d.Addr, d.FIN.Frame)
		if d.FIN.AckFrame != 0 {
			part = fmt.Sprintf("FIN of %v in frame %d, acknowledged in frame %d", d.Addr, d.FIN.Frame, d.FIN.AckFrame)
		}
		parts = append(parts, part)
	}
	if len(c.fins) == 1 {
		parts = append(parts, fmt.Sprintf("no FIN of %v", c.other.Addr))
	}
	if c.reset != 0 {
		parts = append(parts, fmt.Sprintf("reset in frame %d", c.reset))
	}
	return strings.Join(parts, ", ")
}
