package matchers

import (
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/onsi/gomega/types"

	"github.com/tcplab/tcplab/harness/analysis"
)

// around is how many packets a failure shows.
const around = 10

// segmentsOf takes what has segments: a slice, a sequence, or a capture.
func segmentsOf(actual any) ([]analysis.Segment, error) {
	switch a := actual.(type) {
	case []analysis.Segment:
		return a, nil
	case iter.Seq[analysis.Segment]:
		return slices.Collect(a), nil
	case interface{ Segments() []analysis.Segment }:
		return a.Segments(), nil
	default:
		return nil, fmt.Errorf("takes segments (a slice, a sequence, or a capture), not a %T", actual)
	}
}

// excerpt shows the packets around one, or the first where there is none to show.
func excerpt(segments []analysis.Segment, index int) string {
	if len(segments) == 0 {
		return "No packets."
	}
	first := max(0, min(index-around/2, len(segments)-around))
	last := min(len(segments), first+around)
	var text strings.Builder
	fmt.Fprintf(&text, "Packets %d to %d of %d:", first+1, last, len(segments))
	for _, s := range segments[first:last] {
		mark := "   "
		if s.Frame == segments[max(index, 0)].Frame && index >= 0 {
			mark = " > "
		}
		fmt.Fprintf(&text, "\n %s%v", mark, s)
	}
	return text.String()
}

// A Pattern is something that can be found in a capture.
type Pattern struct {
	name string
	// find returns how often it is there, where first, and what was seen instead where it is not.
	find func([]analysis.Segment) (count, index int, seen string, err error)
}

// Contain succeeds if the segments have the pattern, at least once.
func Contain(p Pattern) types.GomegaMatcher {
	return &matcher{
		claim: "contain " + p.name,
		judge: func(actual any) (finding, error) {
			segments, err := segmentsOf(actual)
			if err != nil {
				return finding{}, fmt.Errorf("Contain %w", err)
			}
			count, index, seen, err := p.find(segments)
			return finding{ok: count > 0, seen: seen, evidence: excerpt(segments, index)}, err
		},
	}
}

// Segments is the pattern of segments that satisfy all filters.
func Segments(name string, filters ...analysis.Filter) Pattern {
	return Pattern{name: name, find: func(segments []analysis.Segment) (int, int, string, error) {
		all := analysis.All(filters...)
		count, first := 0, -1
		for i, s := range segments {
			if all(s) {
				if first < 0 {
					first = i
				}
				count++
			}
		}
		return count, first, fmt.Sprintf("%d of %d segments are %s", count, len(segments), name), nil
	}}
}

// Handshake is the pattern of a three-way handshake (RFC 9293, section 3.5) without a
// retransmission, whose round-trip time satisfies the matcher, if one is given.
func Handshake(roundTrip ...types.GomegaMatcher) Pattern {
	return Pattern{name: "a handshake", find: func(segments []analysis.Segment) (int, int, string, error) {
		handshakes := analysis.Handshakes(slices.Values(segments))
		seen := fmt.Sprintf("%d handshakes", len(handshakes))
		count, first := 0, -1
		for _, h := range handshakes {
			seen += fmt.Sprintf("; frames %d, %d, %d: %d SYNs, %d SYN ACKs, round trip %v",
				h.SYN.Frame, h.SYNACK.Frame, h.ACK.Frame, h.SYNs, h.SYNACKs, h.RTT())
			ok := h.SYNs == 1 && h.SYNACKs == 1
			for _, m := range roundTrip {
				matched, err := m.Match(h.RTT())
				if err != nil {
					return 0, -1, seen, err
				}
				ok = ok && matched
			}
			if ok {
				count++
			}
			if first < 0 {
				first = slices.IndexFunc(segments, func(s analysis.Segment) bool { return s.Frame == h.SYN.Frame })
			}
		}
		return count, first, seen, nil
	}}
}

// HaveRetransmissions succeeds if as many segments as said, or as satisfy the matcher, take
// sequence numbers that their sender had sent before. See [analysis.Retransmissions] for
// where to capture.
func HaveRetransmissions(expected any) types.GomegaMatcher {
	return &matcher{
		claim: "have a number of retransmissions",
		judge: func(actual any) (finding, error) {
			segments, err := segmentsOf(actual)
			if err != nil {
				return finding{}, fmt.Errorf("HaveRetransmissions %w", err)
			}
			count, first := 0, -1
			for r := range analysis.Retransmissions(slices.Values(segments)) {
				if first < 0 {
					first = slices.IndexFunc(segments, func(s analysis.Segment) bool { return s.Frame == r.Frame })
				}
				count++
			}
			ok, seen, err := quantity("retransmissions", count, expected)
			return finding{ok: ok, seen: seen, evidence: excerpt(segments, first)}, err
		},
	}
}

// A Lateness says by how much a timer that was set to d may be late.
type Lateness func(d time.Duration) time.Duration

// TimerWheel is the lateness of the kernel's timer wheel, which rounds up by at most an eighth
// (kernel/time/timer.c), and by a tick: 10 ms with the lowest HZ of 100.
func TimerWheel(d time.Duration) time.Duration { return d/8 + 10*time.Millisecond }

// HaveGaps succeeds if the times between successive segments are the ones given, none early,
// and none later than the lateness allows.
func HaveGaps(late Lateness, gaps ...time.Duration) types.GomegaMatcher {
	return &matcher{
		claim: fmt.Sprintf("have gaps of %v", gaps),
		judge: func(actual any) (finding, error) {
			segments, err := segmentsOf(actual)
			if err != nil {
				return finding{}, fmt.Errorf("HaveGaps %w", err)
			}
			seen := analysis.Gaps(slices.Values(segments))
			found := finding{ok: len(seen) == len(gaps), seen: fmt.Sprintf("gaps of %v", seen), evidence: excerpt(segments, -1)}
			for i := range min(len(seen), len(gaps)) {
				if seen[i] < gaps[i] || seen[i] > gaps[i]+late(gaps[i]) {
					found.ok = false
					found.seen += fmt.Sprintf("; gap %d is %v, allowed are %v to %v", i+1, seen[i], gaps[i], gaps[i]+late(gaps[i]))
					found.evidence = excerpt(segments, i+1)
					break
				}
			}
			return found, nil
		},
	}
}
