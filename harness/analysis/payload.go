package analysis

import (
	"bytes"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/tcplab/tcplab/harness/analysis/internal/packet"
)

// Piece is a part of what one side of a connection sent, or a gap in it.
type Piece struct {
	Frame int           `json:"frame"` // that it came with, or of the one behind the gap
	At    time.Duration `json:"at_ns"` // since the first packet of the capture
	From  string        `json:"from"`  // "client" or "server"
	Data  []byte        `json:"data,omitempty"`
	// Missing are bytes that are not in the capture: their packets, or their ends, which a snap length cut off. There is no Data then.
	Missing int `json:"missing,omitempty"`
}

// Payload reads the capture and returns what the programs of one stream said: each byte once, in the order of each side, as soon as it was
// complete. What is wrong with the file, or that it has no such stream, is the error of the last one. The memory is bounded: of what comes
// after a gap at most 1 MB is kept until that is filled.
func (r *Reader) Payload(stream int) iter.Seq2[Piece, error] {
	return func(yield func(Piece, error) bool) {
		var classifier Classifier
		p := payload{yield: func(piece Piece) bool { return yield(piece, nil) }}
		for s, data := range r.withPayload() {
			if NeverSent(s) || classifier.Add(s).Stream != stream {
				continue
			}
			if !p.add(&s, data) {
				return
			}
		}
		switch {
		case !p.end() || r.Err() == nil && stream >= 0 && stream < classifier.streams:
		case r.Err() != nil:
			yield(Piece{}, r.Err())
		default:
			yield(Piece{}, r.wrap(fmt.Errorf("there is no stream %d: it has %d, numbered from 0", stream, classifier.streams)))
		}
	}
}

// withPayload is Segments with what was captured of their payload, which is valid until the next one.
func (r *Reader) withPayload() iter.Seq2[Segment, []byte] {
	return func(yield func(Segment, []byte) bool) {
		for {
			data, p, ok := r.next()
			if !ok {
				return
			}
			s := r.passage(data, p)
			ip, v := r.decodeSegment(p.link, data, p.Length, &s)
			r.count(v)
			if v != packet.Carried {
				continue
			}
			r.stats.Segments++
			captured := ip.Payload[min(len(ip.Payload), ip.Length-s.Length):]
			if !yield(s, captured[:min(len(captured), s.Length)]) {
				return
			}
		}
	}
}

// payload puts the two directions of a connection in order.
type payload struct {
	yield  func(Piece) bool
	client Flow
	sides  [2]ordered // the client's and the server's
}

// ordered is one direction. What comes after a gap is held until the gap is filled.
type ordered struct {
	next  uint32
	known bool // next is
	held  []heldPiece
	bytes int // in held
	// patience is how many more segments may pass before a gap is taken for one of the capture, since the other side acknowledged what is
	// in it; 0 if it did not.
	patience int
}

type heldPiece struct {
	seq    uint32
	length int
	Piece
}

const (
	// maxHeld bounds what is kept after a gap.
	maxHeld = 1 << 20
	// passPatience: the packets of a capture may not be quite in their order.
	passPatience = 50
)

func (p *payload) add(s *Segment, data []byte) bool {
	if !p.client.Src.IsValid() {
		p.client = clientOf(&Classified{Segment: *s})
	}
	from, name, other := &p.sides[0], "client", &p.sides[1]
	if s.Flow() != p.client {
		from, name, other = other, "server", from
	}
	seq := s.Seq
	if s.Flags&FlagSYN != 0 {
		seq++
		from.next, from.known = seq, true
	}
	if !from.known && s.Length > 0 {
		from.next, from.known = seq, true
	}
	if s.Length > 0 {
		from.hold(heldPiece{seq, s.Length, Piece{Frame: s.Frame, At: s.At, From: name, Data: bytes.Clone(data)}})
	}
	if s.Flags&FlagACK != 0 && other.known && before(other.next, s.Ack) && len(other.held) > 0 && other.patience == 0 {
		other.patience = passPatience
	}
	for i := range p.sides {
		if !p.sides[i].release(p.yield) {
			return false
		}
	}
	return true
}

// end hands out what is left.
func (p *payload) end() bool {
	for i := range p.sides {
		d := &p.sides[i]
		for len(d.held) > 0 {
			if !d.skip(p.yield) || !d.drain(p.yield) {
				return false
			}
		}
	}
	return true
}

// hold takes in a piece behind those that begin before it.
func (d *ordered) hold(piece heldPiece) {
	at, _ := slices.BinarySearchFunc(d.held, piece, func(a, b heldPiece) int { return int(int32(a.seq - b.seq)) })
	d.held = slices.Insert(d.held, at, piece)
	d.bytes += len(piece.Data)
}

// release hands out what is in order, and gives up a gap that will not be filled.
func (d *ordered) release(yield func(Piece) bool) bool {
	if !d.drain(yield) {
		return false
	}
	if len(d.held) == 0 {
		d.patience = 0
		return true
	}
	if d.patience > 0 {
		d.patience--
		if d.patience > 0 && d.bytes <= maxHeld {
			return true
		}
	} else if d.bytes <= maxHeld {
		return true
	}
	d.patience = 0
	return d.skip(yield) && d.drain(yield)
}

// skip gives up the gap before what is held.
func (d *ordered) skip(yield func(Piece) bool) bool {
	first := d.held[0].Piece
	missing := int(d.held[0].seq - d.next)
	d.next = d.held[0].seq
	return missing <= 0 || yield(Piece{Frame: first.Frame, At: first.At, From: first.From, Missing: missing})
}

func (d *ordered) drain(yield func(Piece) bool) bool {
	for len(d.held) > 0 && !before(d.next, d.held[0].seq) {
		h := d.held[0]
		d.held = d.held[1:]
		d.bytes -= len(h.Data)
		old := int(d.next - h.seq) // of it, that was handed out before
		if old >= h.length {
			continue
		}
		d.next = h.seq + uint32(h.length)
		data := h.Data[min(old, len(h.Data)):]
		if len(data) > 0 && !yield(Piece{Frame: h.Frame, At: h.At, From: h.From, Data: data}) {
			return false
		}
		if cut := h.length - max(old, len(h.Data)); cut > 0 && !yield(Piece{Frame: h.Frame, At: h.At, From: h.From, Missing: cut}) {
			return false
		}
	}
	return true
}
