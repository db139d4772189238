package analysis

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Passage is a segment of a conversation, with what follows from it and those before it.
type Passage struct {
	Frame int           `json:"frame"` // in the file
	At    time.Duration `json:"at_ns"` // since the first packet of the capture
	From  string        `json:"from"`  // "client" or "server"
	Flags string        `json:"flags,omitempty"`
	// Seq and Ack are relative, as in [Classified]; Ack is 0 without ACK.
	Seq    uint32 `json:"seq"`
	Ack    uint32 `json:"ack,omitempty"`
	Length int    `json:"len,omitempty"` // bytes of payload
	Window int    `json:"window"`        // bytes, scaled as far as the scale is known
	// SACK has the blocks of the option, relative to the other side's first number.
	SACK     []Block  `json:"sack,omitempty"`
	InFlight int      `json:"in_flight,omitempty"` // bytes, after this segment
	Marks    []string `json:"marks,omitempty"`     // Wireshark's names
	// Cause is why it was retransmitted, by the names of [CauseFrames].
	Cause string `json:"cause,omitempty"`
	// Copy: the packet is in the capture before.
	Copy bool `json:"copy,omitempty"`
	// RTT is the time since the segment was sent whose last byte this one acknowledges; 0 if there is none.
	RTT time.Duration `json:"ack_rtt_ns,omitempty"`
}

func (c *conversationTracker) keep(s *Classified, own *sideTracker, copied bool) {
	p := Passage{
		Frame: s.Frame, At: s.At, From: strings.TrimPrefix(own.name, "the "), Flags: s.Flags.String(), Seq: s.RelativeSeq, Ack: s.RelativeAck,
		Length: s.Length, Window: s.WindowSize, InFlight: s.BytesInFlight, Marks: s.Marks.Names(), Copy: copied, RTT: s.RTT,
	}
	for _, block := range s.Options.SACK() {
		shift := s.Ack - s.RelativeAck
		p.SACK = append(p.SACK, Block{block.Left - shift, block.Right - shift})
	}
	c.Frames = append(c.Frames, p)
}

// giveCauses tells the frames that were kept why they were retransmitted. Of some that is known only by what came later.
func (c *conversationTracker) giveCauses(resent []Resent) {
	for _, r := range resent {
		if i, found := slices.BinarySearchFunc(c.Frames, r.Frame, func(p Passage, frame int) int { return cmp.Compare(p.Frame, frame) }); found {
			c.Frames[i].Cause = causeNames[r.Cause].key
		}
	}
}

// frames writes the frames of a conversation, a line each.
func (t *textWriter) frames(c *Conversation) {
	t.line("    %7s %12s       %-11s %10s %10s %6s %8s", "frame", "time", "flags", "seq", "ack", "len", "window")
	for i := range c.Frames {
		p := &c.Frames[i]
		arrow := "-->"
		if p.From == "server" {
			arrow = "<--"
		}
		ack := ""
		if p.Ack > 0 || strings.Contains(p.Flags, "ACK") {
			ack = fmt.Sprint(p.Ack)
		}
		t.line("    %7d %12.6f  %s  %-11s %10d %10s %6d %8d  %s", p.Frame, p.At.Seconds(), arrow, p.Flags, p.Seq, ack, p.Length, p.Window, p.remarks())
	}
}

// remarks are what there is to say of it beside its fields.
func (p *Passage) remarks() string {
	var parts []string
	for _, b := range p.SACK {
		parts = append(parts, fmt.Sprintf("SACK %d-%d", b.Left, b.Right))
	}
	parts = append(parts, p.Marks...)
	if p.Cause != "" {
		parts = append(parts, "cause: "+p.Cause)
	}
	if p.Copy {
		parts = append(parts, "copy")
	}
	return strings.Join(parts, ", ")
}
