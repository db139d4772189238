package analysis

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// SchemaVersion is the version of the JSON that a [Document] has. It rises when a
// field is removed or changes its meaning; a new field does not raise it.
const SchemaVersion = 1

// Document is what "tcplab analyze --json" writes. docs/analysis.md describes it.
//
// Times are in nanoseconds, their names end in _ns; what is 0, empty or not known is
// left out, but for the fields that every conversation has.
type Document struct {
	Schema int       `json:"schema"` // SchemaVersion
	Files  []*Report `json:"files"`  // one for each capture
}

// Report is what there is to say about one capture.
type Report struct {
	File string `json:"file,omitempty"` // the path that was given
	Stats
	Interfaces []Interface `json:"interfaces,omitempty"` // of a pcapng file
	// Start and End are the times of the first and the last TCP segment.
	Start time.Time `json:"start,omitzero"`
	End   time.Time `json:"end,omitzero"`
	// NeverSent are the segments that an impairment dropped before they were sent, see
	// [NeverSent]. They are in no conversation.
	NeverSent Frames `json:"never_sent,omitzero"`
	// PassedOver says what the packets are that are not TCP, or of which that cannot be seen: the most frequent first.
	PassedOver []PassedOver `json:"passed_over,omitempty"`
	// LengthsLost counts packets that IP says were longer, and whose length the file has not kept.
	LengthsLost int `json:"lengths_lost,omitempty"`
	// TimeBack are the segments whose time is more than 1 ms before that of the one in front.
	TimeBack Frames `json:"time_back,omitzero"`
	// Notes say what was not, or not fully, read: a file that is cut off, packets
	// that the capture dropped, headers that a snap length cut off.
	Notes []string `json:"notes,omitempty"`
	// Damaged: the file was not read to its end.
	Damaged       bool           `json:"damaged,omitempty"`
	Conversations []Conversation `json:"conversations"` // in the order of their first segments

	chosen *overview // of all that were chosen, also those that were not kept
}

// PassedOver is what was not decoded, or is not TCP.
type PassedOver struct {
	Link string `json:"link"` // the link type, by name or number
	// Encapsulation has the layers behind that, from outside, such as "GRE > IPv4".
	Encapsulation string `json:"encapsulation,omitempty"`
	What          string `json:"what"` // such as "ARP", "UDP (QUIC)", "802.11, encrypted"
	Packets       int    `json:"packets"`
}

// passedText names the most frequent of what was passed over.
func (r *Report) passedText() string {
	const most = 6
	var parts []string
	for i, p := range r.PassedOver {
		if i == most {
			parts = append(parts, fmt.Sprintf("%d further kinds", len(r.PassedOver)-most))
			break
		}
		in := p.Link
		if p.Encapsulation != "" {
			in += " > " + p.Encapsulation
		}
		parts = append(parts, fmt.Sprintf("%s of %s in %s", thousands(int64(p.Packets)), p.What, in))
	}
	return strings.Join(parts, ", ")
}

// Analyze reads a capture to its end, or to where it is damaged, and sums up its
// conversations. The kernel's events are optional, see [KernelEvent].
func Analyze(r *Reader, events ...KernelEvent) *Report {
	report := &Report{}
	report.read(r, Choice{}, events, nil)
	return report
}

// AnalyzeEach is [Analyze] for who draws, too: it calls each with every segment once it is classified, in the order of the capture,
// those that were never sent among them, of which Stream is -1. The report has all retransmissions, see [Side.Resent], so that its
// memory grows with their number.
func AnalyzeEach(r *Reader, each func(*Classified), events ...KernelEvent) *Report {
	report := &Report{}
	report.read(r, Choice{}, events, each)
	return report
}

// read reads a capture, and returns how many streams it has. each may be nil.
func (r *Report) read(from *Reader, choice Choice, events []KernelEvent, each func(*Classified)) (streams int) {
	r.File = from.name
	r.chosen = newOverview()
	b := newBuilder(events, func(c *Conversation) {
		if !choice.Has(c) {
			return
		}
		r.chosen.add(c)
		if choice.Most == 0 || len(r.Conversations) < choice.Most {
			r.Conversations = append(r.Conversations, *c)
		}
	})
	b.frames, b.resent = choice.Frames, each != nil
	classifier := Classifier{over: b.over}
	var last time.Duration
	quoted := func(q *quotation) {
		if stream, known := classifier.streamOf(&q.Segment); known {
			b.quoted(stream, q)
		}
	}
	for s := range from.passing(quoted) {
		if NeverSent(s) {
			r.NeverSent.add(s.Frame)
			if each != nil {
				each(&Classified{Segment: s, Stream: -1})
			}
			continue
		}
		if r.Start.IsZero() {
			r.Start = writable(s.Time)
		}
		r.End = writable(s.Time)
		if s.At < last-clockSlack {
			r.TimeBack.add(s.Frame)
		}
		last = s.At
		c := classifier.Add(s)
		b.add(&c)
		if each != nil {
			passed := c // what each keeps a pointer of is its own
			each(&passed)
		}
	}
	if choice.isAll() {
		r.Conversations = slices.Grow(r.Conversations, len(b.open)) // they are large: a slice that grows step by step is copied each time
	}
	b.finish()
	slices.SortFunc(r.Conversations, func(a, b Conversation) int { return cmp.Compare(a.Stream, b.Stream) })
	r.Stats = from.Stats()
	r.LengthsLost = from.lengthsLost
	for _, c := range from.decoder.PassedOver() {
		r.PassedOver = append(r.PassedOver, PassedOver{c.Link(), c.Encapsulation(), c.What(), c.Packets})
	}
	r.Interfaces = from.Interfaces()
	r.clean()
	r.note(from.Err())
	return classifier.streams
}

// clean makes text of what names in the file say: JSON has nothing else.
func (r *Report) clean() {
	r.File = strings.ToValidUTF8(r.File, "\uFFFD")
	for i := range r.Interfaces {
		r.Interfaces[i].Name = strings.ToValidUTF8(r.Interfaces[i].Name, "\uFFFD")
	}
	for i := range r.Conversations {
		r.Conversations[i].Interface = strings.ToValidUTF8(r.Conversations[i].Interface, "\uFFFD")
	}
}

// writable leaves out a time that cannot be written (RFC 3339): one of a damaged file.
func writable(t time.Time) time.Time {
	if y := t.UTC().Year(); y < 0 || y > 9999 {
		return time.Time{}
	}
	return t
}

func (r *Report) note(err error) {
	note := func(format string, args ...any) { r.Notes = append(r.Notes, fmt.Sprintf(format, args...)) }
	if err != nil {
		r.Damaged = true
		if inner := errors.Unwrap(err); inner != nil {
			err = inner // the file's name is known here
		}
		note("%v; what comes before that was read", err)
	}
	for _, i := range r.Interfaces {
		if i.Dropped > 0 {
			note("the capture dropped %d of %d packets on %s: findings about missing segments may be its own doing", i.Dropped, i.Received, i.Name)
		}
	}
	if r.CutOff > 0 {
		note("of %s not all of the headers was captured: the snap length is too small, 128 bytes are enough without tunnels (tcpdump -s 128)", plural(r.CutOff, "IP packet"))
	}
	if n := r.Undecodable - r.CutOff; n > 0 {
		note("%s could not be decoded: lengths in the headers contradict each other", plural(n, "IP packet"))
	}
	if r.LengthsLost > 0 {
		note("the file has not kept the length of %s, as long as what was captured of them: what IP says was taken", plural(r.LengthsLost, "packet"))
	}
	if r.TimeBack.Count > 0 {
		note("time goes back at frame %d: several captures in one file, or a clock that was set (reordercap puts the packets in order)", r.TimeBack.First[0])
	}
	if r.Segments == 0 && r.Packets > 0 {
		note("none of the %s is a TCP segment that can be seen; there is %s", plural(r.Packets, "packet"), cmp.Or(r.passedText(), "nothing else either"))
	}
}
