package matchers

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/tcplab/tcplab/harness/analysis"
)

// A closing is how a connection ended on an interface, from its first FIN on.
type closing struct {
	fins  []analysis.Segment // the first FIN of each side, in order
	acked []int              // the frame that acknowledges each, 0 for none
	reset int                // the frame of a reset, 0 for none
}

// closesOf follows the FINs of all connections, in the order of their first.
func closesOf(segments []analysis.Segment) []*closing {
	type where struct {
		name string
		low  netip.AddrPort
		high netip.AddrPort
	}
	var all []*closing
	open := map[where]*closing{}
	for _, s := range segments {
		key := where{s.Interface, s.Src, s.Dst}
		if s.Dst.Compare(s.Src) < 0 {
			key.low, key.high = s.Dst, s.Src
		}
		if s.Flags&analysis.FlagSYN != 0 {
			delete(open, key) // the addresses are used again
			continue
		}
		c := open[key]
		if c == nil {
			if s.Flags&analysis.FlagFIN == 0 {
				continue
			}
			c = &closing{}
			open[key] = c
			all = append(all, c)
		}
		c.add(s)
	}
	return all
}

func (c *closing) add(s analysis.Segment) {
	if s.Flags&analysis.FlagRST != 0 {
		c.reset = s.Frame
		return
	}
	for i, fin := range c.fins {
		if s.Src == fin.Dst && s.Flags&analysis.FlagACK != 0 && c.acked[i] == 0 && int32(s.Ack-fin.NextSeq()) >= 0 {
			c.acked[i] = s.Frame
		}
	}
	if s.Flags&analysis.FlagFIN != 0 && (len(c.fins) == 0 || len(c.fins) == 1 && c.fins[0].Src != s.Src) {
		c.fins = append(c.fins, s)
		c.acked = append(c.acked, 0)
	}
}

func (c *closing) complete() bool {
	return len(c.fins) == 2 && c.acked[0] != 0 && c.acked[1] != 0 && c.reset == 0
}

func (c *closing) String() string {
	var parts []string
	for i, fin := range c.fins {
		part := fmt.Sprintf("FIN of %v in frame %d, not acknowledged", fin.Src, fin.Frame)
		if c.acked[i] != 0 {
			part = fmt.Sprintf("FIN of %v in frame %d, acknowledged in frame %d", fin.Src, fin.Frame, c.acked[i])
		}
		parts = append(parts, part)
	}
	if len(c.fins) == 1 {
		parts = append(parts, fmt.Sprintf("no FIN of %v", c.fins[0].Dst))
	}
	if c.reset != 0 {
		parts = append(parts, fmt.Sprintf("reset in frame %d", c.reset))
	}
	return strings.Join(parts, ", ")
}
