package capture

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
	"time"

	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/harness/analysis"
)

// A Note says about one packet what the capture cannot see: that a rule dropped it before it
// was sent, or what a rule did to it.
type Note struct {
	// At is when it happened, by the kernel's real-time clock, as the packets' times are.
	At time.Time
	// Interface is the label of the end where it happened: one that is captured, or, of a packet
	// that was dropped, any (Ethernet).
	Interface string
	// Data is the packet from its link-layer header on, or the first part of it. A comment without
	// it is for what happened to no packet: the first one of that end from At on gets it.
	Data []byte
	// OriginalLength is the packet's length in bytes on the wire; 0 means that of Data.
	OriginalLength int
	// Outbound says that the packet was on its way out of that end.
	Outbound bool
	// Comment is what Wireshark shows with the packet: text of up to 65535 bytes.
	Comment string
}

// AddDropped adds packets to the file that were dropped on their way out, before the device,
// where the capture does not see them. They are on an interface
// of their own, with [analysis.DroppedSuffix] after the end's name, at their place in time, so that
// whoever follows connections by interface does not take them for transmitted.
//
// An inbound packet that is dropped after the device is in the capture already: see
// [Capture.AddComments].
//
// It is called before Stop.
func (c *Capture) AddDropped(notes ...Note) error {
	return c.addNotes("add dropped packets", &c.dropped, notes, false)
}

// AddComments attaches comments to packets of the capture. A note matches the packet on its end
// and direction whose first bytes equal Data; ties go to the nearest in time. [Summary.Unplaced]
// counts the comments that match no packet.
//
// It is called before Stop.
func (c *Capture) AddComments(notes ...Note) error {
	return c.addNotes("add comments", &c.comments, notes, true)
}

func (c *Capture) addNotes(op string, to *[]Note, notes []Note, captured bool) error {
	for i, n := range notes {
		if err := c.checkNote(n, captured); err != nil {
			return &Error{Op: op, Err: fmt.Errorf("note %d: %w", i, err)}
		}
	}
	c.notes.Lock()
	defer c.notes.Unlock()
	if c.stopped {
		return &Error{Op: op, Err: errors.New("the capture has ended: add notes before Stop")}
	}
	*to = append(*to, notes...)
	return nil
}

func (c *Capture) checkNote(n Note, captured bool) error {
	switch {
	case n.Interface == "":
		return errors.New("no interface")
	case captured && c.endOf(n) < 0:
		return fmt.Errorf("interface %q: is none of the capture's", n.Interface)
	case captured && len(n.Data) == 0: // a comment at a time
	case len(n.Data) < minSnapLength || len(n.Data) > maxSnapLength:
		return fmt.Errorf("%d bytes of data: allowed are %d to %d", len(n.Data), minSnapLength, maxSnapLength)
	case n.OriginalLength != 0 && n.OriginalLength < len(n.Data):
		return fmt.Errorf("original length %d: is less than the %d bytes of data", n.OriginalLength, len(n.Data))
	case len(n.Comment) > math.MaxUint16:
		return fmt.Errorf("comment of %d bytes: allowed are %d", len(n.Comment), math.MaxUint16)
	case n.At.Before(time.Unix(0, 0)) || n.At.After(time.Unix(0, math.MaxInt64)):
		return fmt.Errorf("time %v: allowed is what pcapng can tell, 1970 to 2262", n.At)
	}
	return nil
}

func (c *Capture) endOf(n Note) int {
	return slices.IndexFunc(c.ends, func(e *end) bool { return e.name == n.Interface })
}

// comments are those of the packets of an end, by their offset in its spool.
type comments map[int64][]string

// place finds the packet of each comment. It returns the comments by end, and how many
// have no packet.
func (c *Capture) place(notes []Note) (placed []comments, unplaced int, err error) {
	placed = make([]comments, len(c.ends))
	for i, e := range c.ends {
		var own []Note
		for _, n := range notes {
			if c.endOf(n) == i {
				own = append(own, n)
			}
		}
		if len(own) == 0 {
			continue
		}
		nearest, err := e.nearest(own)
		if err != nil {
			return nil, 0, err
		}
		placed[i] = comments{}
		for k, at := range nearest {
			if at < 0 {
				unplaced++
				continue
			}
			placed[i][at] = append(placed[i][at], own[k].Comment)
		}
	}
	return placed, unplaced, nil
}

// nearest returns the offset of each note's packet, -1 for none.
func (e *end) nearest(notes []Note) ([]int64, error) {
	best, distance := make([]int64, len(notes)), make([]int64, len(notes))
	// Notes are found by the first bytes of their packets, as many as all of them have.
	key := math.MaxInt
	for i, n := range notes {
		best[i] = -1
		if len(n.Data) > 0 {
			key = min(key, len(n.Data))
		}
	}
	if snap := e.config.SnapLength; snap != 0 {
		key = min(key, snap)
	}
	byKey := make(map[string][]int)
	var timed []int // those without a packet
	for i, n := range notes {
		if len(n.Data) == 0 {
			timed = append(timed, i)
			continue
		}
		byKey[string(n.Data[:key])] = append(byKey[string(n.Data[:key])], i)
	}
	records, data := e.spool.recordReader(), e.spool.window()
	for {
		r, err := records.next()
		if errors.Is(err, io.EOF) {
			return best, nil
		}
		if err != nil {
			return nil, err
		}
		for _, i := range timed {
			if best[i] < 0 && r.time >= notes[i].At.UnixNano() {
				best[i] = r.offset
			}
		}
		b, err := data.at(r.offset, int(r.captured))
		if err != nil {
			return nil, err
		}
		if len(b) < key {
			continue // a filter can cut packets, too
		}
		for _, i := range byKey[string(b[:key])] {
			both := min(len(b), len(notes[i].Data))
			if outgoing(r.kind) != notes[i].Outbound || !bytes.Equal(b[:both], notes[i].Data[:both]) {
				continue
			}
			d := notes[i].At.UnixNano() - r.time
			d = max(d, -d)
			if best[i] < 0 || d < distance[i] {
				best[i], distance[i] = r.offset, d
			}
		}
	}
}

// droppedEnds makes an end of each one that packets were dropped at, to be written as the
// captured ones are: first those that are captured, in their order, then others, in that of
// their first packets.
func (c *Capture) droppedEnds(notes []Note) ([]*end, []comments, error) {
	notes = slices.Clone(notes)
	slices.SortStableFunc(notes, func(a, b Note) int { return a.At.Compare(b.At) })
	labels := make([]string, len(c.ends))
	for i, e := range c.ends {
		labels[i] = e.name
	}
	byLabel := map[string][]Note{}
	for _, n := range notes {
		if !slices.Contains(labels, n.Interface) {
			labels = append(labels, n.Interface)
		}
		byLabel[n.Interface] = append(byLabel[n.Interface], n)
	}
	var ends []*end
	var all []comments
	for _, label := range labels {
		if len(byLabel[label]) == 0 {
			continue
		}
		d, own, err := c.droppedEnd(label, byLabel[label])
		if d != nil {
			ends, all = append(ends, d), append(all, own)
		}
		if err != nil {
			return ends, nil, err
		}
	}
	return ends, all, nil
}

// droppedEnd makes the end of the packets that were dropped at one.
func (c *Capture) droppedEnd(label string, notes []Note) (*end, comments, error) {
	linkType := layers.LinkTypeEthernet
	if i := c.endOf(notes[0]); i >= 0 {
		linkType = c.ends[i].linkType
	}
	s, err := newSpool(filepath.Dir(c.path))
	if err != nil {
		return nil, nil, err
	}
	d := &end{name: label + analysis.DroppedSuffix, linkType: linkType, config: c.config, fd: -1, wake: -1, spool: s}
	own := comments{}
	for _, n := range notes {
		if offset := d.spool.size; n.Comment != "" {
			own[offset] = append(own[offset], n.Comment)
		}
		kind := uint8(unix.PACKET_HOST)
		if n.Outbound {
			kind = unix.PACKET_OUTGOING
		}
		d.spool.add(packet{time: n.At.UnixNano(), length: max(n.OriginalLength, len(n.Data)), kind: kind, data: n.Data}, c.config.SnapLength)
		d.accepted++
	}
	return d, own, d.spool.flush()
}
