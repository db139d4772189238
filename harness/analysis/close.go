package analysis

import "time"

// Closing is how a connection ended, as far as it was captured.
type Closing string

// The ways to end.
const (
	// CloseOpen: it was still open when the capture ended.
	CloseOpen Closing = "open"
	// CloseHalf: one side has sent its FIN, and the other has not.
	CloseHalf Closing = "half"
	// CloseNormal: both have sent FINs, the second in answer to the first, at once
	// or later (RFC 9293, figure 12).
	CloseNormal Closing = "normal"
	// CloseSimultaneous: both have sent FINs before they had the other's (RFC 9293,
	// figure 13).
	CloseSimultaneous Closing = "simultaneous"
	// CloseReset: a reset ended it before both FINs were acknowledged.
	CloseReset Closing = "reset"
)

// FIN is the end of what one side sent.
type FIN struct {
	Frame int           `json:"frame"`
	At    time.Duration `json:"at_ns"` // since the first packet of the capture
	// AckFrame is the first segment that acknowledges it; 0 if there is none.
	AckFrame int           `json:"ack_frame,omitempty"`
	AckAt    time.Duration `json:"ack_at_ns,omitempty"`
}

// Close says how a connection ended.
type Close struct {
	How Closing `json:"how"`
	// First is the side whose FIN or reset was the first: "client" or "server",
	// "" if there was none.
	First string `json:"first,omitempty"`
	// HalfClosed is the time between the two FINs, or, if there is only one, to
	// the end of the capture; 0 for a simultaneous close. BytesHalfClosed is what
	// the other side sent although it had acknowledged the FIN.
	HalfClosed      time.Duration `json:"half_closed_ns,omitempty"`
	BytesHalfClosed int64         `json:"half_closed_bytes,omitempty"`
}

// ResetReason says what a reset was for.
type ResetReason string

// The reasons, by the rules of RFC 9293, section 3.5.2: a reset that answers a segment
// with ACK takes its number from there and has no ACK; one that a host sends of its
// own accord has.
const (
	// ResetRefused: it answers a SYN.
	ResetRefused ResetReason = "refused"
	// ResetNoConnection: it answers a segment for which the host has no connection.
	ResetNoConnection ResetReason = "no-connection"
	// ResetDataAfterClose: it answers a segment of a connection that its program
	// had closed.
	ResetDataAfterClose ResetReason = "data-after-close"
	// ResetAfterClose: it answers a segment without data of a connection that the host
	// had closed and forgotten.
	ResetAfterClose ResetReason = "after-close"
	// ResetInjected: it answers a SYN, and the SYN-ACK of the server followed.
	ResetInjected ResetReason = "injected"
	// ResetKeepAlive: the host gives up, since its keep-alives were not answered.
	ResetKeepAlive ResetReason = "keep-alive-unanswered"
	// ResetAfterFIN: the host gives up a connection that the other side had closed.
	ResetAfterFIN ResetReason = "abort-after-fin"
	// ResetAbort: the host gives up a connection that both had open.
	ResetAbort ResetReason = "abort"
)

// What each reason means, after "the server".
var resetTexts = map[ResetReason]string{
	ResetRefused:        "refuses the connection",
	ResetNoConnection:   "knows no such connection (any more)",
	ResetDataAfterClose: "got data for a connection that its program had closed already",
	ResetAfterClose:     "had closed and forgotten the connection when the other side's FIN or ACK came",
	ResetInjected:       "answered the SYN, and then a SYN-ACK came all the same",
	ResetKeepAlive:      "gives up: its keep-alives were not answered",
	ResetAfterFIN:       "aborts a connection that the other side had closed",
	ResetAbort:          "aborts the connection",
}

// Reset is the first reset of a side.
type Reset struct {
	Frame  int           `json:"frame"`
	At     time.Duration `json:"at_ns"` // since the first packet of the capture
	Count  int           `json:"count"` // of all of this side's
	Reason ResetReason   `json:"reason"`
	// ForeignTTL: its time to live is not that of the side's other packets.
	// Another machine on the path may have sent it.
	ForeignTTL bool `json:"foreign_ttl,omitempty"`
	// Ignored: the side went on to send afterwards, so it was not this host that had sent it.
	Ignored bool `json:"ignored,omitempty"`
	// Silence is how long nobody had sent anything when the connection was used again, which this reset answers; 0 if it was
	// less than 30 s.
	Silence time.Duration `json:"silence_ns,omitempty"`
}

// close notes the ends of the connection.
func (c *conversationTracker) close(s *Classified, own, other *sideTracker) {
	if s.Flags&FlagFIN != 0 && own.FIN == nil {
		own.FIN, own.finNext = &FIN{Frame: s.Frame, At: s.At}, s.NextSeq()
		own.finSawOther = other.FIN != nil && s.Flags&FlagACK != 0 && !before(s.Ack, other.finNext)
		c.endedBy(own)
	}
	if fin := other.FIN; fin != nil && s.Flags&FlagACK != 0 && !before(s.Ack, other.finNext) {
		if fin.AckFrame == 0 {
			fin.AckFrame, fin.AckAt = s.Frame, s.At
		}
		// What takes part in the handshake of closing is no data.
		if s.Length > 0 && own.FIN == nil || own.FIN != nil && own.FIN.Frame == s.Frame {
			c.Close.BytesHalfClosed += int64(s.Length)
		}
	}
	if s.Length > 0 && other.FIN != nil && !own.probing {
		other.dataAfterFIN = true
	}
	if s.Flags&FlagRST == 0 {
		own.goesOn(s, other)
		return
	}
	if own.Reset == nil {
		own.Reset = &Reset{Frame: s.Frame, At: s.At, Reason: own.resetReason(s, other), Silence: c.silenceBefore(s, own)}
		own.Reset.ForeignTTL = own.Segments > 1 && own.ttl != s.TTL
		own.resetTTL, own.synsAtReset = s.TTL, other.syns
		c.endedBy(own)
	}
	own.Reset.Count++
}

// goesOn looks whether a side that has sent a reset sends more: it has no connection any more, so the reset was not its own.
func (d *sideTracker) goesOn(s *Classified, other *sideTracker) {
	r := d.Reset
	if r == nil || r.Ignored {
		return
	}
	switch {
	case SYNACKs(s.Segment):
		if r.Reason != ResetRefused || other.syns != d.synsAtReset {
			return // a new SYN, and somebody who listens by now
		}
		r.Reason = ResetInjected
	case s.Flags&FlagSYN != 0 || !d.spoke:
		return
	case !before(d.highest, s.NextSeq()) && (!d.ackedOnce || !before(d.lastAck, s.Ack)):
		return // late: it may have been sent before
	}
	r.Ignored = true
	r.ForeignTTL = d.resetTTL != s.TTL
	d.ttl = s.TTL
}

func (c *conversationTracker) endedBy(d *sideTracker) {
	switch {
	case c.Close.First != "":
	case d == &c.client:
		c.Close.First = "client"
	default:
		c.Close.First = "server"
	}
}

func (d *sideTracker) resetReason(s *Classified, other *sideTracker) ResetReason {
	acks := s.Flags&FlagACK != 0
	switch {
	case other.SYN != nil && d.SYN == nil && d.Segments == 1 && acks:
		return ResetRefused
	case !acks && d.FIN != nil && d.dataAfterFIN:
		return ResetDataAfterClose
	case !acks && d.FIN != nil:
		return ResetAfterClose
	case !acks:
		return ResetNoConnection
	case d.keepAlives.Count > 0:
		return ResetKeepAlive
	case other.FIN != nil:
		return ResetAfterFIN
	default:
		return ResetAbort
	}
}

// wasReset reports whether this side has ended the connection by a reset.
func (d *sideTracker) wasReset() bool { return d.Reset != nil && !d.Reset.Ignored }

func (cl *Close) finish(c *conversationTracker) {
	client, server := c.client.FIN, c.server.FIN
	acknowledged := client != nil && server != nil && client.AckFrame != 0 && server.AckFrame != 0
	switch {
	case (c.client.wasReset() || c.server.wasReset()) && !acknowledged:
		cl.How = CloseReset
	case client == nil && server == nil:
		cl.How = CloseOpen
	case client == nil || server == nil:
		cl.How = CloseHalf
	case c.client.finSawOther || c.server.finSawOther:
		cl.How = CloseNormal
	default:
		cl.How = CloseSimultaneous
	}
	switch {
	case client != nil && server != nil && cl.How != CloseSimultaneous:
		cl.HalfClosed = max(client.At-server.At, server.At-client.At)
	case cl.How == CloseHalf && client != nil:
		cl.HalfClosed = max(0, c.End-client.At)
	case cl.How == CloseHalf:
		cl.HalfClosed = max(0, c.End-server.At)
	}
}
