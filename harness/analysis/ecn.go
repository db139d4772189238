package analysis

import "fmt"

// ACE is the field that AE, CWR and ECE make up where accurate ECN was asked for or is in use (RFC 9768, section 3.1.1):
// what a handshake agrees on, and then the number of packets with CE that the sender has received, modulo 8 and from
// 5 on.
func (f Flags) ACE() uint8 { return uint8(f / FlagECE & 7) }

// AccECN is the option of accurate ECN (RFC 9768, section 3.2.3): how many bytes of payload its sender has received
// with each codepoint, modulo 2²⁴, the bytes with CE from 0 on, those with ECT(0) and ECT(1) from 1 on.
type AccECN struct {
	E0B, CEB, E1B uint32
	Fields        uint8 // how many of them there are, by the order: 0 to 3
	Order         uint8 // 0: E0B, CEB, E1B (kind 172); 1: E1B, CEB, E0B (kind 174)
}

// The kinds, and the length of a field.
const (
	optionAccECN0 = 172
	optionAccECN1 = 174

	accECNField = 3
)

// decodeAccECN reads the option's value. Lengths that have no meaning are refused (RFC 9768, section 3.2.3: 0, 3, 6 or 9).
func decodeAccECN(kind byte, value []byte) (o AccECN, ok bool) {
	if len(value)%accECNField != 0 || len(value) > 3*accECNField {
		return AccECN{}, false
	}
	fields := [3]*uint32{&o.E0B, &o.CEB, &o.E1B}
	if kind == optionAccECN1 {
		o.Order = 1
		fields = [3]*uint32{&o.E1B, &o.CEB, &o.E0B}
	}
	o.Fields = uint8(len(value) / accECNField)
	for i := range o.Fields {
		b := value[accECNField*i:]
		*fields[i] = uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2])
	}
	return o, true
}

// hasCEB reports whether the option says how many bytes came with CE: it is the second field in both orders.
func (o AccECN) hasCEB() bool { return o.Fields >= 2 }

// ECNMode is which feedback of ECN a handshake has agreed on.
type ECNMode uint8

// The modes.
const (
	ECNUnknown  ECNMode = iota // not all of the handshake was captured
	ECNNone                    // not ECN
	ECNClassic                 // ECE until CWR (RFC 3168)
	ECNAccurate                // counters (RFC 9768)
)

var ecnNames = [...]string{"", "none", "classic", "accurate"}

func (m ECNMode) String() string {
	if int(m) >= len(ecnNames) {
		return fmt.Sprintf("ECN mode %d", m)
	}
	if m == ECNUnknown {
		return "unknown"
	}
	return ecnNames[m]
}

// MarshalText is "none", "classic" or "accurate"; nothing if it is unknown.
func (m ECNMode) MarshalText() ([]byte, error) {
	if int(m) >= len(ecnNames) {
		return nil, fmt.Errorf("ECN mode %d does not exist", m)
	}
	return []byte(ecnNames[m]), nil
}

// UnmarshalText reads what MarshalText wrote.
func (m *ECNMode) UnmarshalText(text []byte) error {
	for i, name := range ecnNames {
		if name == string(text) {
			*m = ECNMode(i)
			return nil
		}
	}
	return fmt.Errorf("ECN mode %q: want none, classic or accurate", text)
}

// Values of ACE in a handshake (RFC 9768, section 3.1.2, table 2).
const (
	aceNone    = 0
	aceEcho    = 1 // SYN-ACK: classic
	aceClassic = 3 // SYN
	aceNonce   = 5 // SYN-ACK: the nonce of RFC 3540 to a classic SYN; reserved otherwise
	aceBroken  = 7 // SYN-ACK: sent back as it came

	// aceStart is the counter before the first CE.
	aceStart = 5
)

// ECN is the mode that the handshake has agreed on, by the first SYN and the first SYN-ACK.
func (h Handshake) ECN() ECNMode { return agreed(h.SYN.Flags.ACE(), h.SYNACK.Flags.ACE()) }

// agreed is the mode that follows from a SYN and its answer (RFC 9768, section 3.1.2, table 2; RFC 3168, section 6.1.1).
func agreed(asked, answered uint8) ECNMode {
	switch {
	case asked == aceNone || answered == aceNone || answered == aceBroken:
		return ECNNone
	case answered == aceEcho || answered == aceNonce && asked == aceClassic:
		return ECNClassic
	case asked == aceClassic: // an answer that RFC 3168 does not know
		return ECNNone
	}
	return ECNAccurate
}

// ecnState is what is known of a conversation's ECN while its segments are read.
type ecnState struct {
	asked, answered   uint8 // the ACE of SYN and SYN-ACK that went furthest, of all that were transmitted
	hasSYN, hasSYNACK bool
	ae                bool // AE was set outside of the handshake, as only accurate ECN does
}

// feedback follows what a side says of CE by accurate ECN.
type feedback struct {
	counting bool // ace and ceb are valid
	ace      uint8
	ceb      uint32
	seq, ack uint32 // of the segment that had them last
}

// see takes note of a segment.
func (e *ecnState) see(s *Segment) {
	switch ace := s.Flags.ACE(); {
	case s.Flags&FlagRST != 0:
	case SYNs(*s):
		e.asked, e.hasSYN = max(e.asked, ace), true
	case SYNACKs(*s):
		// A SYN-ACK without ECN that follows one with it only says that nothing came back (section 3.1.4.2).
		if !e.hasSYNACK || e.answered == aceNone {
			e.answered, e.hasSYNACK = ace, true
		}
	case s.Flags&FlagAE != 0:
		e.ae = true
	}
}

// mode is what is known so far. Where the handshake is missing AE tells: the counter begins with it set.
func (e *ecnState) mode() ECNMode {
	switch {
	case e.hasSYN && e.hasSYNACK:
		return agreed(e.asked, e.answered)
	case e.hasSYN && e.asked == aceNone || e.hasSYNACK && (e.answered == aceNone || e.answered == aceBroken):
		return ECNNone
	case e.hasSYNACK && e.answered == aceEcho:
		return ECNClassic
	case e.hasSYNACK && e.answered != aceNonce || e.ae:
		return ECNAccurate
	}
	return ECNUnknown
}

// report takes note of what a segment of this side says by accurate ECN of what the other side has sent.
func (d *sideTracker) report(s *Classified, other *sideTracker, handshake bool) {
	if s.Flags&(FlagSYN|FlagRST) != 0 || d.reflects(s, other) || d.afterEnd(s, other) {
		return
	}
	f := &d.feedback
	if !f.counting {
		// Where the handshake is missing, the first value is where counting begins.
		*f = feedback{true, s.Flags.ACE(), s.Options.AccECN.CEB, s.Seq, s.Ack}
		if handshake {
			f.ace, f.ceb = aceStart, 0
		}
	}
	if before(s.Seq, f.seq) || before(s.Ack, f.ack) {
		return // late, or retransmitted: it may be older than what was seen
	}
	f.seq, f.ack = s.Seq, s.Ack
	if more := (s.Flags.ACE() - f.ace) & 7; more > 0 {
		d.CEReported += int(more)
		d.ACE.add(s.Frame)
		f.ace = s.Flags.ACE()
	}
	if o := s.Options; o.HasAccECN && o.AccECN.hasCEB() {
		d.CEBytesReported += int64((o.AccECN.CEB - f.ceb) & (1<<24 - 1))
		f.ceb = o.AccECN.CEB
	}
}

// reflects reports whether the segment's ACE is not the counter, but the SYN-ACK's codepoint: that is so in the ACK that
// completes the handshake (RFC 9768, section 3.2.2.1).
func (d *sideTracker) reflects(s *Classified, other *sideTracker) bool {
	return s.Length == 0 && s.Flags&(FlagFIN|FlagACK) == FlagACK && d.DataSegments == 0 &&
		other.SYN != nil && !other.bothOpen && s.Ack == other.SYN.ISN+1
}

// afterEnd reports whether all that is left to a side is to acknowledge the other's FIN. Linux does that from TIME-WAIT, where
// it has no counter any more, with an ACE of 0 (tcp_v4_timewait_ack).
func (d *sideTracker) afterEnd(s *Classified, other *sideTracker) bool {
	return d.FIN != nil && other.FIN != nil && s.Length == 0 && s.Flags&FlagFIN == 0
}

// finishECN keeps only the feedback that the mode has.
func (c *conversationTracker) finishECN() {
	c.ECN = c.ecn.mode()
	for _, d := range c.trackers() {
		if c.ECN == ECNNone || c.ECN == ECNAccurate {
			d.ECE = Frames{}
		}
		if c.ECN != ECNAccurate {
			d.ACE, d.CEReported, d.CEBytesReported = Frames{}, 0, 0
		}
	}
}
