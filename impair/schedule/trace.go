package schedule

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"

	"github.com/tcplab/tcplab/impair"
)

// opportunity is what a line of a trace stands for, in bytes. mahimahi's manual says 1500; its program counts 1504, an
// IP packet of 1500 and the 4 bytes that a TUN device puts before it (mahimahi, src/frontend/link_queue.hh:
// PACKET_SIZE).
const opportunity = 1504

// A Trace is a link's rate over time in mahimahi's format: a line for each opportunity to deliver 1504 bytes,
// with its time in whole milliseconds, none before the one above it. The last line's time is the length, after which
// the trace begins again (mm-link(1); mahimahi, src/frontend/link_queue.cc).
type Trace struct {
	// opportunities are the lines, in milliseconds.
	opportunities []int64
}

// The bounds of a trace that ParseTrace takes.
const (
	maxOpportunities = 50_000_000             // 600 GB, or some 400 MB of memory
	maxMilliseconds  = 365 * 24 * 3600 * 1000 // a year
)

// A traceError says what is wrong with a trace, and in which line.
type traceError struct {
	Line int    // from 1; 0 if it is the trace as a whole
	Text string // the line, if it can be shown
	Want string
}

func (e *traceError) Error() string {
	switch {
	case e.Line == 0:
		return "trace: want " + e.Want
	default:
		return fmt.Sprintf("trace: line %d: %q: want %s", e.Line, e.Text, e.Want)
	}
}

// Is makes a traceError an [ErrInvalid].
func (e *traceError) Is(target error) bool { return target == ErrInvalid }

// ParseTrace reads a trace. As mahimahi does, it refuses an empty line, a time that goes back, a trace without a line,
// and one that takes no time. What is wrong with the text is an [ErrInvalid] that says in which line.
func ParseTrace(r io.Reader) (Trace, error) {
	var t Trace
	var last int64
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		text := lines.Text()
		number := len(t.opportunities) + 1
		ms, err := strconv.ParseUint(text, 10, 63)
		at := int64(ms)
		switch {
		case err != nil || at > maxMilliseconds:
			return Trace{}, &traceError{number, cut(text), fmt.Sprintf("a time in milliseconds, 0 to %d", int64(maxMilliseconds))}
		case at < last:
			return Trace{}, &traceError{number, text, fmt.Sprintf("a time that is not before the line above, %d", last)}
		case number > maxOpportunities:
			return Trace{}, &traceError{number, text, fmt.Sprintf("at most %d lines", maxOpportunities)}
		}
		t.opportunities = append(t.opportunities, at)
		last = at
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return Trace{}, &traceError{len(t.opportunities) + 1, "(very long)", "a time in milliseconds"}
	case err != nil:
		return Trace{}, fmt.Errorf("read trace: %w", err)
	case len(t.opportunities) == 0:
		return Trace{}, &traceError{Want: "a line at least"}
	case last == 0:
		return Trace{}, &traceError{Want: "a last line above 0: the trace has to take some time"}
	}
	return t, nil
}

// cut shortens what an error shows.
func cut(text string) string {
	const most = 40
	if len(text) > most {
		return text[:most] + "..."
	}
	return text
}

// length is the time after which the trace begins again.
func (t Trace) length() time.Duration {
	if len(t.opportunities) == 0 {
		return 0
	}
	return time.Duration(t.opportunities[len(t.opportunities)-1]) * time.Millisecond
}

// LongestGap is the longest time without an opportunity, including the one from the end to the next begin. A window
// of that length always has one.
func (t Trace) LongestGap() time.Duration {
	var last, longest int64
	for _, at := range t.opportunities {
		longest = max(longest, at-last)
		last = at
	}
	// In the next round the time of the first line counts from the last line, where the trace begins again.
	return time.Duration(longest) * time.Millisecond
}

// A windowRate is the average rate of a trace in a window.
type windowRate struct {
	at            time.Duration
	length        time.Duration
	opportunities int
}

// bitsPerSecond is the average rate of the window.
func (r windowRate) bitsPerSecond() int64 {
	return int64(math.Round(float64(r.opportunities) * opportunity * 8 / r.length.Seconds()))
}

// rates counts the opportunities in windows of a length, a millisecond at least; the last window can be shorter. An
// opportunity at the very end of a window is in it, one at 0 in the first.
func (t Trace) rates(window time.Duration) ([]windowRate, error) {
	if window < time.Millisecond {
		return nil, refused("a window of %v: allowed are 1ms and more, the resolution of a trace", window)
	}
	length := t.length()
	if length == 0 {
		return nil, refused("the trace is empty")
	}
	var rates []windowRate
	next := 0
	for at := time.Duration(0); at < length; at += window {
		rate := windowRate{at: at, length: min(window, length-at)}
		end := at + rate.length
		for next < len(t.opportunities) && time.Duration(t.opportunities[next])*time.Millisecond <= end {
			rate.opportunities++
			next++
		}
		rates = append(rates, rate)
	}
	return rates, nil
}

// Schedule makes a schedule of a trace, repeated forever: base with the average rate of each window of a length.
// Consecutive windows of the same rate are one step.
//
// A window without an opportunity loses everything, as netem has no rate of 0. With a window of [Trace.LongestGap] or
// more, there is none. A shorter one shows outages, but loses packets that mahimahi would queue.
//
// The order within a window is lost as well: opportunities are spread evenly. And netem schedules the departure of a
// packet on arrival, by the rate at that time: a queued packet does not see the rate of the next window. So choose a
// window that is longer than packets wait, and no longer than what the trace shall show; 100 ms to 1 s suits traces
// of mobile networks.
//
// The base's own rate must be 0. Packets are counted as mahimahi does, as IP packets and 4 bytes, by an overhead of -10
// on the Ethernet frame. A base without a limit gets, in all windows, that of the fastest: its delay line and a queue
// of twice that, and 64 packets at least (mahimahi's own queue has no end).
func (t Trace) Schedule(base impair.Netem, window time.Duration) (Schedule, error) {
	if base.Rate != (impair.Rate{}) {
		return Schedule{}, refused("base has a %v: the rate is the trace's", base.Rate)
	}
	rates, err := t.rates(window)
	if err != nil {
		return Schedule{}, err
	}
	if base.Limit == 0 {
		base.Limit = limit(base, rates)
	}
	s := Schedule{Period: t.length()}
	var last windowRate
	for i, rate := range rates {
		if i > 0 && rate.bitsPerSecond() == last.bitsPerSecond() {
			continue
		}
		last = rate
		n := dead(base)
		if rate.opportunities > 0 {
			const overhead = opportunity - 1500 - 14 // in place of the Ethernet header
			n = base
			n.Rate = impair.Rate{BitsPerSecond: rate.bitsPerSecond(), PacketOverhead: overhead}
		}
		s.Steps = append(s.Steps, Step{rate.at, n})
	}
	return s, s.Validate()
}

// limit is a queue for the fastest window.
func limit(base impair.Netem, rates []windowRate) int {
	const least = 64
	var fastest int64
	for _, r := range rates {
		fastest = max(fastest, r.bitsPerSecond())
	}
	const tableReach = 4 // a table of a distribution reaches this many times the jitter
	held := base.Delay + tableReach*base.Jitter
	line := math.Ceil(float64(fastest) / 8 / opportunity * held.Seconds())
	return int(min(line+max(2*line, least), math.MaxInt32))
}
