package header

import (
	"encoding/binary"
	"fmt"
	"strings"
)

var flagNames = []struct {
	name    string
	meaning string
}{
	{"AE", "accurate ECN: high bit of the ACE counter (RFC 9768)"},
	{"CWR", "the window was reduced (RFC 3168), or ACE"},
	{"ECE", "congestion was seen (RFC 3168), or ACE"},
	{"URG", "the urgent pointer counts"},
	{"ACK", "the acknowledgment number counts"},
	{"PSH", "give it to the program at once"},
	{"RST", "the connection is reset"},
	{"SYN", "sequence numbers begin here"},
	{"FIN", "no more data from this side"},
}

func (d *decoder) tcp() step {
	const quoted = 8 // bytes that ICMP quotes at least (RFC 792)
	if left := len(d.data) - d.at; d.quoted && left >= quoted && left < 20 {
		h, _ := d.begin("TCP", "RFC 9293", quoted)
		h.ports()
		h.wrong("ICMP quotes no more of it than %d bytes", left)
		return nil
	}
	h, ok := d.begin("TCP", "RFC 9293", 20)
	if !ok {
		return nil
	}
	h.ports()
	h.field("Acknowledgment Number", 64, 32, "the next byte that is expected")
	words := int(h.field("Data Offset", 96, 4, "")) //nolint:gosec // four bits
	h.mean("%d bytes", 4*words)
	h.field("Reserved", 100, 3, "")
	for i, flag := range flagNames {
		if h.field(flag.name, 103+i, 1, "") == 1 {
			h.mean("%s", flag.meaning)
		}
	}
	h.field("Window", 112, 16, "bytes that may follow, before scaling (which the SYNs say)")
	if h.bits(110, 1) == 1 {
		h.mean("bytes that may follow: that of a SYN is never scaled")
	}
	h.hex("Checksum", 128, 16, d.payloadSum(h, protoTCP))
	h.field("Urgent Pointer", 144, 16, "")
	if words < 5 {
		h.wrong("a header of %d bytes: this cannot be", 4*words)
		return nil
	}
	if d.grow(&h, 4*words) && d.ipPayload < 4*words && !d.quoted {
		h.wrong("a header of %d bytes, where IP carries %d", 4*words, d.ipPayload)
	}
	h.options()
	return nil
}

// ports adds the fields of the first eight bytes.
func (h builder) ports() {
	h.field("Source Port", 0, 16, "")
	h.field("Destination Port", 16, 16, "")
	h.field("Sequence Number", 32, 32, "of the first byte of data, or of the SYN")
}

// The kinds of options (IANA, TCP Parameters).
const (
	optionEnd      = 0
	optionNop      = 1
	optionMSS      = 2
	optionScale    = 3
	optionSACKOK   = 4
	optionSACK     = 5
	optionTimes    = 8
	optionUser     = 28
	optionMPTCP    = 30
	optionFastOpen = 34
	optionAccECN0  = 172
	optionAccECN1  = 174
)

const (
	longestShown    = 16 // bytes of an option that are printed
	mostScale       = 14 // RFC 7323, 2.3
	sackBlock       = 8  // bytes: two sequence numbers
	timestampsBytes = 8
)

var optionNames = map[byte]string{optionEnd: "End of Option List", optionNop: "No-Operation", optionMSS: "Maximum Segment Size", optionScale: "Window Scale",
	optionSACKOK: "SACK Permitted", optionSACK: "SACK", optionTimes: "Timestamps", 19: "MD5 Signature", optionUser: "User Timeout", 29: "TCP-AO", optionMPTCP: "Multipath TCP",
	optionFastOpen: "Fast Open Cookie", optionAccECN0: "Accurate ECN, order 0", optionAccECN1: "Accurate ECN, order 1", 254: "Experiment"}

// options adds a field for each option.
func (h builder) options() {
	for at := 20; at < len(h.b); {
		kind := h.b[at]
		name := optionNames[kind]
		if name == "" {
			name = fmt.Sprintf("Option %d", kind)
		}
		if kind == optionEnd {
			h.text(name, 8*at, 8*(len(h.b)-at), fmt.Sprintf("%x", h.b[at:]), "and padding")
			return
		}
		if kind == optionNop {
			h.text(name, 8*at, 8, "01", "aligns the next option")
			at++
			continue
		}
		if at+1 >= len(h.b) || h.b[at+1] < 2 || at+int(h.b[at+1]) > len(h.b) {
			h.text(name, 8*at, 8*(len(h.b)-at), fmt.Sprintf("%x", h.b[at:]), "")
			h.wrong("the option at byte %d is longer than the header, or shorter than itself", at)
			return
		}
		length := int(h.b[at+1])
		value, meaning := optionText(kind, h.b[at+2:at+length])
		h.text(name, 8*at, 8*length, value, meaning)
		at += length
	}
}

// optionText is an option's content: its value, and what it says.
func optionText(kind byte, content []byte) (value, meaning string) {
	value = fmt.Sprintf("%x", content)
	if len(content) > longestShown {
		value = fmt.Sprintf("%x... (%d bytes)", content[:longestShown], len(content))
	}
	switch {
	case kind == optionMSS && len(content) == 2:
		return fmt.Sprint(binary.BigEndian.Uint16(content)), "the most bytes of data in a segment to this side"
	case kind == optionScale && len(content) == 1:
		return fmt.Sprint(content[0]), fmt.Sprintf("this side's windows are to be multiplied by %d", 1<<min(content[0], mostScale))
	case kind == optionSACKOK && len(content) == 0:
		return "", "this side understands SACK"
	case kind == optionTimes && len(content) == timestampsBytes:
		return fmt.Sprintf("TSval %d, TSecr %d", binary.BigEndian.Uint32(content), binary.BigEndian.Uint32(content[4:])), "this side's clock, and the other side's as it was seen last"
	case kind == optionSACK && len(content) > 0 && len(content)%sackBlock == 0:
		var blocks []string
		for b := content; len(b) > 0; b = b[sackBlock:] {
			blocks = append(blocks, fmt.Sprintf("%d-%d", binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])))
		}
		return strings.Join(blocks, ", "), "these bytes have arrived, beyond the acknowledgment number (one below it came twice: D-SACK)"
	case kind == optionUser && len(content) == 2:
		unit := map[byte]string{0: "s", 1: "min"}[content[0]>>7]
		return fmt.Sprintf("%d %s", binary.BigEndian.Uint16(content)&0x7fff, unit), "how long data may stay unacknowledged"
	case kind == optionFastOpen && len(content) == 0:
		return "", "asks for a cookie"
	case (kind == optionAccECN0 || kind == optionAccECN1) && len(content)%3 == 0:
		return value, "counters of bytes by ECN codepoint, of 24 bits each"
	}
	return value, ""
}
