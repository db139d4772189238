package matchers

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/onsi/gomega/types"

	"github.com/tcplab/tcplab/harness/analysis"
)

// BeExchange succeeds if the segments of one connection, as one host saw them, are exactly these packets in this order. They are
// written as packetdrill writes them, and tcpdump shows them:
//
//	Expect(wire).To(BeExchange("> S", "< S.", "> ."))
//	Expect(wire).To(BeExchange("> S", "< R. 0:0(0) ack 1 win 0"))
//
// A packet is a direction and its flags, and then, as far as the claim is about them, its sequence numbers, its acknowledgement
// number and its window, in this order:
//
//	>                     the host sent it; < is for one that came
//	S F R P . E W A U     SYN, FIN, RST, PSH, ACK, ECE, CWR, AE and URG, in any order: these are set, and no others
//	1:1449(1448)          from the first sequence number to the one after the last, and the bytes of payload between them
//	ack 1                 the acknowledgement number
//	win 502               the window in the header, not scaled
//
// Sequence numbers count from the sender's initial one, so that a SYN is 0:0(0) and the first byte after it is 1. Where the SYN was
// not captured, the first number that is seen of a side is its 1, or, of one that answers with a reset alone, its 0.
//
// It takes what [Contain] takes. Segments of two connections or of two link ends are an error: filter them (analysis.Connection,
// analysis.On). The host is that of the captured end; in a file that has no directions, it is the side that sent the first packet.
func BeExchange(packets ...string) types.GomegaMatcher {
	expected, err := parseExchange(packets)
	return &matcher{
		claim: "be the exchange\n    " + strings.Join(packets, "\n    "),
		judge: func(actual any) (finding, error) {
			if err != nil {
				return finding{}, fmt.Errorf("BeExchange: %w", err)
			}
			recorded, err := packetsOf(actual)
			if err != nil {
				return finding{}, fmt.Errorf("BeExchange %w", err)
			}
			seen, err := exchangeOf(recorded.segments)
			if err != nil {
				return finding{}, fmt.Errorf("BeExchange: %w", err)
			}
			return compareExchange(expected, seen, recorded), nil
		},
	}
}

// A packet is one of an exchange. What it does not have it says nothing of.
type packet struct {
	received bool
	flags    analysis.Flags

	hasSeq   bool
	seq, end uint32 // relative; end is the number after the payload

	hasAck bool
	ack    uint32 // relative

	hasWin bool
	win    uint16
}

// A flagLetter is how a flag is written.
type flagLetter struct {
	letter byte
	flag   analysis.Flags
}

// flagLetters are packetdrill's, in the order in which a packet is shown. tcpdump has them too, but for AE, which is e there.
var flagLetters = []flagLetter{
	{'S', analysis.FlagSYN},
	{'F', analysis.FlagFIN},
	{'R', analysis.FlagRST},
	{'P', analysis.FlagPSH},
	{'U', analysis.FlagURG},
	{'E', analysis.FlagECE},
	{'W', analysis.FlagCWR},
	{'A', analysis.FlagAE},
	{'.', analysis.FlagACK},
}

// letters are the flags as a packet shows them; - is for none, as packetdrill has it.
func letters(flags analysis.Flags) string {
	var text strings.Builder
	for _, f := range flagLetters {
		if flags&f.flag != 0 {
			text.WriteByte(f.letter)
		}
	}
	if text.Len() == 0 {
		return "-"
	}
	return text.String()
}

// String is the packet as [parsePacket] reads it.
func (p packet) String() string {
	text := "> "
	if p.received {
		text = "< "
	}
	text += letters(p.flags)
	if p.hasSeq {
		text += fmt.Sprintf(" %d:%d(%d)", p.seq, p.end, p.end-p.seq)
	}
	if p.hasAck {
		text += fmt.Sprintf(" ack %d", p.ack)
	}
	if p.hasWin {
		text += fmt.Sprintf(" win %d", p.win)
	}
	return text
}

func parseExchange(lines []string) ([]packet, error) {
	var all []packet
	var errs []error
	for i, line := range lines {
		p, err := parsePacket(line)
		if err != nil {
			errs = append(errs, fmt.Errorf("packet %d, %q: %w", i+1, line, err))
		}
		all = append(all, p)
	}
	if len(lines) == 0 {
		errs = append(errs, errors.New("no packets: for none, say that the capture is empty"))
	}
	return all, errors.Join(errs...)
}

// parsePacket reads a packet such as "< P. 1:101(100) ack 1 win 502".
func parsePacket(line string) (packet, error) {
	words := strings.Fields(line)
	if len(words) < 2 {
		return packet{}, errors.New(`want a direction and flags, such as "> S."`)
	}
	var p packet
	switch words[0] {
	case ">":
	case "<":
		p.received = true
	default:
		return packet{}, fmt.Errorf("direction %q: want > (sent by the host) or < (received)", words[0])
	}
	var err error
	if p.flags, err = parseFlags(words[1]); err != nil {
		return packet{}, err
	}
	words = words[2:]
	if len(words) > 0 && strings.Contains(words[0], ":") {
		p.hasSeq = true
		if p.seq, p.end, err = parseSequence(words[0]); err != nil {
			return packet{}, err
		}
		words = words[1:]
	}
	if len(words) > 1 && words[0] == "ack" {
		ack, err := strconv.ParseUint(words[1], 10, 32)
		if err != nil {
			return packet{}, fmt.Errorf("ack %q: want a relative acknowledgement number, 0 to 4294967295", words[1])
		}
		if p.flags&analysis.FlagACK == 0 {
			return packet{}, fmt.Errorf("ack %d without the flag ACK: want a dot among the flags", ack)
		}
		p.hasAck, p.ack = true, uint32(ack)
		words = words[2:]
	}
	if len(words) > 1 && words[0] == "win" {
		win, err := strconv.ParseUint(words[1], 10, 16)
		if err != nil {
			return packet{}, fmt.Errorf("win %q: want a window as in the header, 0 to 65535", words[1])
		}
		p.hasWin, p.win = true, uint16(win)
		words = words[2:]
	}
	if len(words) > 0 {
		return packet{}, fmt.Errorf("%q: want, in this order, SEQ:END(LENGTH), ack N and win N, or nothing", strings.Join(words, " "))
	}
	return p, nil
}

func parseFlags(word string) (analysis.Flags, error) {
	if word == "-" {
		return 0, nil
	}
	var flags analysis.Flags
	for i := range len(word) {
		known := slices.IndexFunc(flagLetters, func(f flagLetter) bool { return f.letter == word[i] })
		if known < 0 {
			return 0, fmt.Errorf("flags %q: want letters of SFRPUEWA and a dot for ACK, or - for none", word)
		}
		if flags&flagLetters[known].flag != 0 {
			return 0, fmt.Errorf("flags %q: %q is there twice", word, word[i])
		}
		flags |= flagLetters[known].flag
	}
	return flags, nil
}

// parseSequence reads "1:1449(1448)".
func parseSequence(word string) (seq, end uint32, err error) {
	first, rest, _ := strings.Cut(word, ":")
	last, bytes, open := strings.Cut(rest, "(")
	bytes, closed := strings.CutSuffix(bytes, ")")
	var numbers [3]uint64
	for i, text := range []string{first, last, bytes} {
		if numbers[i], err = strconv.ParseUint(text, 10, 32); err != nil || !open || !closed {
			return 0, 0, fmt.Errorf("sequence numbers %q: want SEQ:END(LENGTH), each 0 to 4294967295, such as 1:1449(1448)", word)
		}
	}
	seq, end = uint32(numbers[0]), uint32(numbers[1])
	if end-seq != uint32(numbers[2]) {
		return 0, 0, fmt.Errorf("sequence numbers %q: from %d to %d are %d bytes", word, seq, end, end-seq)
	}
	return seq, end, nil
}

// back is the direction of what answers a segment.
func back(s analysis.Segment) analysis.Flow { return analysis.Flow{Src: s.Dst, Dst: s.Src} }

// exchangeOf are the segments of a connection as packets that say all.
func exchangeOf(segments []analysis.Segment) ([]packet, error) {
	if len(segments) == 0 {
		return nil, nil
	}
	first := segments[0]
	base := map[analysis.Flow]uint32{} // the initial sequence number of each side
	learn := func(of analysis.Flow, initial uint32) {
		if _, known := base[of]; !known {
			base[of] = initial
		}
	}
	var all []packet
	for _, s := range segments {
		if s.Flow() != first.Flow() && s.Flow() != back(first) {
			return nil, fmt.Errorf("frame %d is of %v, and frame %d of %v: take one connection (analysis.Connection)",
				first.Frame, first.Flow(), s.Frame, s.Flow())
		}
		if s.Interface != first.Interface {
			return nil, fmt.Errorf("frame %d is on %s, and frame %d on %s: take one link end (analysis.On)",
				first.Frame, first.Interface, s.Frame, s.Interface)
		}
		hasAck := s.Flags&analysis.FlagACK != 0
		if s.Flags&(analysis.FlagSYN|analysis.FlagRST) != 0 { // the reset of a closed port has the number 0 (RFC 9293, section 3.5.2)
			learn(s.Flow(), s.Seq)
		} else {
			learn(s.Flow(), s.Seq-1)
		}
		if hasAck {
			learn(back(s), s.Ack-1)
		}
		p := packet{
			received: s.Direction == analysis.Inbound || s.Direction == analysis.Unknown && s.Flow() != first.Flow(),
			flags:    s.Flags, hasSeq: true, seq: s.Seq - base[s.Flow()], hasAck: hasAck, hasWin: true, win: s.Window,
		}
		p.end = p.seq + uint32(s.Length)
		if hasAck {
			p.ack = s.Ack - base[back(s)]
		}
		all = append(all, p)
	}
	return all, nil
}

// difference says in what a packet that was seen is not as expected, or nothing.
func (p packet) difference(seen packet) string {
	switch {
	case p.received && !seen.received:
		return "was sent"
	case !p.received && seen.received:
		return "was received"
	case p.flags != seen.flags:
		return fmt.Sprintf("has the flags %s", letters(seen.flags))
	case p.hasSeq && (p.seq != seen.seq || p.end != seen.end):
		return fmt.Sprintf("is %d:%d(%d)", seen.seq, seen.end, seen.end-seen.seq)
	case p.hasAck && p.ack != seen.ack:
		return fmt.Sprintf("has ack %d", seen.ack)
	case p.hasWin && p.win != seen.win:
		return fmt.Sprintf("has win %d", seen.win)
	default:
		return ""
	}
}

func compareExchange(expected, seen []packet, recorded packets) finding {
	differs := min(len(expected), len(seen))
	what := ""
	for i := range differs {
		if what = expected[i].difference(seen[i]); what != "" {
			differs = i
			break
		}
	}
	found := finding{evidence: recorded.exchange(seen, differs)}
	switch {
	case what != "":
		found.seen = fmt.Sprintf("packet %d, frame %d, expected as %q, %s", differs+1, recorded.segments[differs].Frame, expected[differs], what)
	case len(seen) < len(expected):
		found.seen = fmt.Sprintf("%d packets: packet %d, %q, is missing", len(seen), differs+1, expected[differs])
	case len(seen) > len(expected):
		found.seen = fmt.Sprintf("%d packets more than the %d: the first is %q, frame %d", len(seen)-len(expected), len(expected), seen[differs],
			recorded.segments[differs].Frame)
	default:
		found.ok, found.seen = true, fmt.Sprintf("these %d packets", len(seen))
	}
	return found
}

// exchange shows the packets around one as an exchange is written, with their frames and times.
func (p packets) exchange(seen []packet, index int) string {
	if len(seen) == 0 {
		return "No packets" + p.in() + "."
	}
	first := max(0, min(index-shown/2, len(seen)-shown))
	excerpt := seen[first:min(len(seen), first+shown)]
	var text strings.Builder
	fmt.Fprintf(&text, "Packets %d to %d of %d%s, as the host saw them:", first+1, first+len(excerpt), len(seen), p.in())
	for i, one := range excerpt {
		mark := " "
		if first+i == index {
			mark = "!"
		}
		s := p.segments[first+i]
		fmt.Fprintf(&text, "\n  %s %-44v #%d %.6fs", mark, one, s.Frame, s.At.Seconds())
	}
	return text.String()
}
