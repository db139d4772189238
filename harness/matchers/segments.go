package matchers

import (
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"strings"

	"github.com/onsi/gomega"
	"github.com/onsi/gomega/types"

	"github.com/tcplab/tcplab/harness/analysis"
)

// shown is how many packets a failure shows.
const shown = 10

// A recording is what a Lab captures.
type recording interface {
	Read() ([]analysis.Segment, error)
	File() string
}

// packets are segments, and the file that they are in, if that is known.
type packets struct {
	segments []analysis.Segment
	file     string
}

// packetsOf takes what has segments: a slice, a sequence, or a capture.
func packetsOf(actual any) (packets, error) {
	switch a := actual.(type) {
	case []analysis.Segment:
		return packets{segments: a}, nil
	case iter.Seq[analysis.Segment]:
		return packets{segments: slices.Collect(a)}, nil
	case recording:
		segments, err := a.Read()
		return packets{segments, a.File()}, err
	default:
		return packets{}, fmt.Errorf("takes segments (a slice, a sequence, or a capture), not a %T", actual)
	}
}

// around shows the packets around one, or the first where there is none to show: which they
// are, and their frames in the file.
func (p packets) around(index int) string {
	if len(p.segments) == 0 {
		return "No packets" + p.in() + "."
	}
	first := max(0, min(index-shown/2, len(p.segments)-shown))
	excerpt := p.segments[first:min(len(p.segments), first+shown)]
	var text strings.Builder
	fmt.Fprintf(&text, "Packets %d to %d of %d%s, frames %d to %d:", first+1, first+len(excerpt), len(p.segments), p.in(),
		excerpt[0].Frame, excerpt[len(excerpt)-1].Frame)
	for i, s := range excerpt {
		mark := "   "
		if first+i == index {
			mark = " > "
		}
		fmt.Fprintf(&text, "\n %s%v", mark, s)
	}
	return text.String()
}

func (p packets) in() string {
	if p.file == "" {
		return ""
	}
	return " in " + p.file
}

func (p packets) indexOf(frame int) int {
	return slices.IndexFunc(p.segments, func(s analysis.Segment) bool { return s.Frame == frame })
}

// A Pattern is something that can be found in a capture.
type Pattern struct {
	name string
	// find returns how often it is there, where first or what is nearest to it (-1 for
	// nowhere), and in words what was seen.
	find func(packets) (count, index int, seen string, err error)
}

// Contain succeeds if the segments have the pattern as often as said, or as satisfies the matcher;
// at least once if no number is given.
func Contain(p Pattern, count ...any) types.GomegaMatcher {
	return &matcher{
		claim: "contain " + p.name + times(count),
		judge: func(actual any) (finding, error) {
			packets, err := packetsOf(actual)
			if err != nil {
				return finding{}, fmt.Errorf("Contain %w", err)
			}
			n, index, seen, err := p.find(packets)
			if err != nil {
				return finding{}, err
			}
			ok, counted, err := quantity("how often", n, atLeastOne(count))
			if len(count) > 0 {
				seen += "; " + counted
			}
			return finding{ok: ok, seen: seen, evidence: packets.around(index)}, err
		},
	}
}

// Segments is the pattern of segments that satisfy all filters.
func Segments(name string, filters ...analysis.Filter) Pattern {
	return segments(name, func(s analysis.Segment) (bool, error) { return analysis.All(filters...)(s), nil })
}

func segments(name string, wanted func(analysis.Segment) (bool, error)) Pattern {
	return Pattern{name: name, find: func(p packets) (int, int, string, error) {
		count, first := 0, -1
		for i, s := range p.segments {
			ok, err := wanted(s)
			if err != nil {
				return 0, -1, "", err
			}
			if !ok {
				continue
			}
			if first < 0 {
				first = i
			}
			count++
		}
		return count, first, fmt.Sprintf("%d of %d segments are %s", count, len(p.segments), name), nil
	}}
}

// Reset is the pattern of a reset.
func Reset() Pattern { return Segments("resets", analysis.RSTs) }

// SYN is the pattern of a SYN, with or without ACK, whose [analysis.Options] satisfy all matchers:
//
//	Expect(wire).To(Contain(SYN(HaveField("MSS", BeEquivalentTo(1460)), HaveField("SACKPermitted", true)), 2))
func SYN(options ...types.GomegaMatcher) Pattern {
	name := "SYNs"
	if len(options) > 0 {
		name = "SYNs with such options"
	}
	p := segments(name, func(s analysis.Segment) (bool, error) {
		if s.Flags&analysis.FlagSYN == 0 {
			return false, nil
		}
		return gomega.And(options...).Match(s.Options)
	})
	return Pattern{name: name, find: func(in packets) (int, int, string, error) {
		count, first, seen, err := p.find(in)
		for i, s := range in.segments {
			if s.Flags&analysis.FlagSYN != 0 {
				seen += fmt.Sprintf("; frame %d: %s", s.Frame, describe(s.Options))
				if first < 0 {
					first = i // what is nearest to it
				}
			}
		}
		return count, first, seen, err
	}}
}

// describe lists the options of a SYN as tcpdump does.
func describe(o analysis.Options) string {
	words := []string{fmt.Sprintf("mss %d", o.MSS)}
	if o.SACKPermitted {
		words = append(words, "sackOK")
	}
	if o.HasTimestamps {
		words = append(words, fmt.Sprintf("TS val %d ecr %d", o.TSVal, o.TSEcr))
	}
	if o.HasWindowScale {
		words = append(words, fmt.Sprintf("wscale %d", o.WindowScale))
	}
	if o.HasAccECN {
		words = append(words, fmt.Sprintf("AccECN of %d fields", o.AccECN.Fields))
	}
	if o.Incomplete {
		words = append(words, "incomplete")
	}
	return strings.Join(words, ", ")
}

// Handshake is the pattern of a three-way handshake (RFC 9293, section 3.5) without a
// retransmission, whose round-trip time satisfies the matcher, if one is given.
func Handshake(rtt ...types.GomegaMatcher) Pattern {
	return handshake("a handshake", func(h analysis.Handshake) (bool, error) {
		if h.SYNs != 1 || h.SYNACKs != 1 {
			return false, nil
		}
		return gomega.And(rtt...).Match(h.RTT())
	})
}

// HandshakeWithECN is the pattern of a three-way handshake that agreed on that mode of ECN (RFC 3168, section 6.1.1; RFC
// 9768, section 3.1), however often a SYN or SYN-ACK was transmitted.
func HandshakeWithECN(mode analysis.ECNMode) Pattern {
	return handshake(fmt.Sprintf("a handshake with ECN %v", mode), func(h analysis.Handshake) (bool, error) { return h.ECN() == mode, nil })
}

func handshake(name string, wanted func(analysis.Handshake) (bool, error)) Pattern {
	return Pattern{name: name, find: func(p packets) (int, int, string, error) {
		handshakes := analysis.Handshakes(slices.Values(p.segments))
		seen := fmt.Sprintf("%d handshakes", len(handshakes))
		count, first := 0, -1
		for _, h := range handshakes {
			seen += fmt.Sprintf("; frames %d, %d, %d: %d SYNs, %d SYN ACKs, round trip %v, ECN %v",
				h.SYN.Frame, h.SYNACK.Frame, h.ACK.Frame, h.SYNs, h.SYNACKs, h.RTT(), h.ECN())
			ok, err := wanted(h)
			if err != nil {
				return 0, -1, seen, err
			}
			if ok {
				count++
			}
			if first < 0 {
				first = p.indexOf(h.SYN.Frame)
			}
		}
		return count, first, seen, nil
	}}
}

// FourWayClose is the pattern of a connection that was closed in order (RFC 9293, section 3.6): each
// side sent its FIN, the other acknowledged it, and there was no reset. That the second FIN is in
// the same segment as the ACK of the first, which makes it three, does not matter; nor does it if
// both close at once (figure 13). The address, if one is given, is that of the side that closed
// first. A connection counts on each interface where it was captured.
func FourWayClose(first ...netip.AddrPort) Pattern {
	return Pattern{name: "a close in order", find: func(p packets) (int, int, string, error) {
		if len(first) > 1 {
			return 0, -1, "", fmt.Errorf("FourWayClose takes one address at most, not %d", len(first))
		}
		closes := closesOf(p.segments)
		count, index := 0, -1
		var seen []string
		for _, c := range closes {
			if c.complete() && (len(first) == 0 || c.fins[0].Addr == first[0]) {
				count++
			}
			if index < 0 {
				index = p.indexOf(c.fins[0].FIN.Frame)
			}
			seen = append(seen, c.String())
		}
		if len(closes) == 0 {
			seen = []string{"no FIN"}
		}
		return count, index, strings.Join(seen, "; "), nil
	}}
}

// HaveRetransmissions succeeds if as many segments as said, or as satisfy the matcher, were sent
// again. Of segments, those count that take sequence numbers which their sender had sent before:
// see [analysis.Retransmissions] for where to capture. Of the kernel's events (a slice, or
// Lab.Events), what the hosts retransmitted, without SYN-ACKs.
func HaveRetransmissions(expected any) types.GomegaMatcher {
	return &matcher{
		claim: by(expected, "have %v retransmissions", "have so many retransmissions"),
		judge: func(actual any) (finding, error) {
			var count int
			var evidence string
			if events, ok, err := eventsOf(actual); err != nil {
				return finding{}, err
			} else if ok {
				count, evidence = retransmitted(events)
			} else {
				packets, err := packetsOf(actual)
				if err != nil {
					return finding{}, fmt.Errorf("HaveRetransmissions %w; or events", err)
				}
				first := -1
				for r := range analysis.Retransmissions(slices.Values(packets.segments)) {
					if first < 0 {
						first = packets.indexOf(r.Frame)
					}
					count++
				}
				evidence = packets.around(first)
			}
			ok, seen, err := quantity("retransmissions", count, expected)
			return finding{ok: ok, seen: seen, evidence: evidence}, err
		},
	}
}
