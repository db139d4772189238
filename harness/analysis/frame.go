package analysis

import (
	"bytes"
	"iter"
	"time"
)

// Frame is a packet of any kind as it passed an interface, with the link layer's header: for
// what is neither TCP nor UDP, and for what a link has damaged so that it cannot be decoded.
type Frame struct {
	// As in [Segment].
	Frame     int
	Time      time.Time
	At        time.Duration
	Interface string
	Direction Direction

	LinkType int    // of the interface (https://www.tcpdump.org/linktypes.html)
	Length   int    // bytes of the packet
	Data     []byte // as many of them as were captured
}

// Frames returns the packets that were not read yet, of any kind, in the order of the file. It
// ends as [Reader.Segments] does. Nothing is decoded: in [Stats] they only count as packets.
func (r *Reader) Frames() iter.Seq[Frame] {
	return func(yield func(Frame) bool) {
		for {
			data, p, ok := r.next()
			if !ok {
				return
			}
			f := Frame{
				Frame:     r.stats.Packets,
				Time:      p.Timestamp,
				At:        p.Timestamp.Sub(r.start),
				Interface: p.name,
				Direction: p.direction,
				LinkType:  int(p.link),
				Length:    p.Length,
				Data:      bytes.Clone(data),
			}
			if !yield(f) {
				return
			}
		}
	}
}

// ReadFrames reads all packets of a capture file, as [ReadFile] does the TCP segments.
func ReadFrames(path string) ([]Frame, error) {
	r, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }() // read only: there is nothing that an error could tell
	var frames []Frame
	for f := range r.Frames() {
		frames = append(frames, f)
	}
	return frames, r.Err()
}
