package inject

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/tcplab/tcplab/harness/analysis"
)

// Segment is a TCP segment to be sent. Any combination of fields that headers can hold is valid, legal or not.
type Segment struct {
	Src netip.AddrPort `json:"src"`
	Dst netip.AddrPort `json:"dst"`
	TTL uint8          `json:"ttl,omitempty"` // or hop limit; 0 means 64
	ECN uint8          `json:"ecn,omitempty"` // the codepoint in the IP header, 0 to 3: see [analysis.Segment]

	Seq    uint32         `json:"seq"`
	Ack    uint32         `json:"ack"` // written also without the flag ACK
	Flags  analysis.Flags `json:"flags"`
	Window uint16         `json:"window"` // as in the header, not scaled
	Urgent uint16         `json:"urgent,omitempty"`

	Options Options `json:"options"`
	Payload []byte  `json:"payload,omitempty"`

	// BadChecksum writes a TCP checksum that is wrong.
	BadChecksum bool `json:"bad_checksum,omitempty"`
}

// Options are those of a segment's header, named as in [analysis.Options]. They take 40 bytes at most.
type Options struct {
	MSS            uint16           `json:"mss,omitempty"` // 0 for none
	HasWindowScale bool             `json:"has_window_scale,omitempty"`
	WindowScale    uint8            `json:"window_scale,omitempty"` // shift count, valid with HasWindowScale
	SACKPermitted  bool             `json:"sack_permitted,omitempty"`
	HasTimestamps  bool             `json:"has_timestamps,omitempty"`
	TSVal          uint32           `json:"tsval,omitempty"` // valid with HasTimestamps, as is TSEcr
	TSEcr          uint32           `json:"tsecr,omitempty"`
	SACK           []analysis.Block `json:"sack,omitempty"` // 4 blocks at most, 3 with timestamps
}

const (
	maxOptions      = 40 // bytes: RFC 9293, section 3.1: 15 words of header, 5 of them fixed
	maxFlags        = 1<<9 - 1
	tcpChecksum     = 16 // the offset of the field
	tcpHeaderLength = 20
)

// Like is a segment with the header of one that was seen, and as many bytes of payload, all zero: what they were is not in an
// [analysis.Segment]. Its TTL is that of the place where it was seen.
func Like(s analysis.Segment) Segment {
	like := Segment{
		Src: s.Src, Dst: s.Dst, TTL: s.TTL, ECN: s.ECN, Seq: s.Seq, Ack: s.Ack, Flags: s.Flags, Window: s.Window,
		Options: Options{
			MSS: s.Options.MSS, HasWindowScale: s.Options.HasWindowScale, WindowScale: s.Options.WindowScale,
			SACKPermitted: s.Options.SACKPermitted, HasTimestamps: s.Options.HasTimestamps, TSVal: s.Options.TSVal, TSEcr: s.Options.TSEcr,
			SACK: s.Options.SACK(),
		},
	}
	if s.Length > 0 {
		like.Payload = make([]byte, s.Length)
	}
	return like
}

// After is the next segment that the sender of one that was seen could send: an ACK at the following sequence number, without
// payload, with the same acknowledgement number, window and timestamps.
func After(s analysis.Segment) Segment {
	return Segment{
		Src: s.Src, Dst: s.Dst, TTL: s.TTL, Seq: s.NextSeq(), Ack: s.Ack, Flags: analysis.FlagACK, Window: s.Window,
		Options: Options{HasTimestamps: s.Options.HasTimestamps, TSVal: s.Options.TSVal, TSEcr: s.Options.TSEcr},
	}
}

// Validate is that of [Packet].
func (s Segment) Validate() error {
	const of = "segment"
	var bad refusals
	for _, end := range []struct {
		field   string
		address netip.AddrPort
	}{{"Src", s.Src}, {"Dst", s.Dst}} {
		if !plain(end.address.Addr()) {
			bad.refuse(of, end.field, end.address, "want an IPv4 or IPv6 address without a zone, and a port")
		}
	}
	if s.Src.Addr().Is4() != s.Dst.Addr().Is4() {
		bad.refuse(of, "Dst", s.Dst, fmt.Sprintf("want an address of the family of Src, %v", s.Src.Addr()))
	}
	if s.ECN > 3 {
		bad.refuse(of, "ECN", s.ECN, "want a codepoint from 0 to 3 (RFC 3168)")
	}
	if s.Flags > maxFlags {
		bad.refuse(of, "Flags", fmt.Sprintf("%#x", uint16(s.Flags)), "want the 9 flags from FIN to AE")
	}
	options := s.Options.length()
	if options > maxOptions {
		bad.refuse(of, "Options", fmt.Sprintf("%d bytes", options), fmt.Sprintf("want %d bytes at most", maxOptions))
	}
	if most := maxPacket - 40 - tcpHeaderLength - maxOptions; len(s.Payload) > most {
		bad.refuse(of, "Payload", fmt.Sprintf("%d bytes", len(s.Payload)), fmt.Sprintf("want %d bytes at most", most))
	}
	return bad.error()
}

func (o Options) length() int {
	n := 0
	for _, option := range o.layers() {
		n += optionLength(option)
	}
	return (n + 3) / 4 * 4
}

func optionLength(o layers.TCPOption) int {
	if o.OptionType == layers.TCPOptionKindNop {
		return 1
	}
	return 2 + len(o.OptionData)
}

// layers are the options in the order of Linux (tcp_options_write), aligned by no-operations as it does.
func (o Options) layers() []layers.TCPOption {
	nop := layers.TCPOption{OptionType: layers.TCPOptionKindNop}
	var list []layers.TCPOption
	add := func(kind layers.TCPOptionKind, data []byte) {
		list = append(list, layers.TCPOption{OptionType: kind, OptionData: data})
	}
	if o.MSS != 0 {
		add(layers.TCPOptionKindMSS, binary.BigEndian.AppendUint16(nil, o.MSS))
	}
	if o.SACKPermitted {
		if !o.HasTimestamps { // else it fills the words that the timestamps begin in
			list = append(list, nop, nop)
		}
		add(layers.TCPOptionKindSACKPermitted, nil)
	}
	if o.HasTimestamps {
		if !o.SACKPermitted {
			list = append(list, nop, nop)
		}
		add(layers.TCPOptionKindTimestamps, binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, o.TSVal), o.TSEcr))
	}
	if o.HasWindowScale {
		list = append(list, nop)
		add(layers.TCPOptionKindWindowScale, []byte{o.WindowScale})
	}
	if len(o.SACK) > 0 {
		list = append(list, nop, nop)
		var blocks []byte
		for _, block := range o.SACK {
			blocks = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(blocks, block.Left), block.Right)
		}
		add(layers.TCPOptionKindSACK, blocks)
	}
	return list
}

func (s Segment) network() network {
	ttl := s.TTL
	if ttl == 0 {
		ttl = defaultTTL
	}
	return network{s.Src.Addr(), s.Dst.Addr(), ttl, s.ECN, layers.IPProtocolTCP}
}

// IP is that of [Packet].
func (s Segment) IP() ([]byte, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	n := s.network()
	header, checksummed := n.layer()
	has := func(flag analysis.Flags) bool { return s.Flags&flag != 0 }
	tcp := &layers.TCP{
		SrcPort: layers.TCPPort(s.Src.Port()), DstPort: layers.TCPPort(s.Dst.Port()), Seq: s.Seq, Ack: s.Ack,
		FIN: has(analysis.FlagFIN), SYN: has(analysis.FlagSYN), RST: has(analysis.FlagRST), PSH: has(analysis.FlagPSH),
		ACK: has(analysis.FlagACK), URG: has(analysis.FlagURG), ECE: has(analysis.FlagECE), CWR: has(analysis.FlagCWR),
		NS: has(analysis.FlagAE), Window: s.Window, Urgent: s.Urgent, Options: s.Options.layers(),
	}
	if err := tcp.SetNetworkLayerForChecksum(checksummed); err != nil {
		return nil, err
	}
	return n.serialize(s.BadChecksum, tcpChecksum, header, tcp, gopacket.Payload(s.Payload))
}

// String is like "RST 10.0.2.2:80 > 10.0.1.1:4711 seq 7 ack 9 len 0 win 502".
func (s Segment) String() string {
	flags := s.Flags.String()
	if flags == "" {
		flags = "no flags"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %v seq %d ack %d len %d win %d", flags, analysis.Flow{Src: s.Src, Dst: s.Dst}, s.Seq, s.Ack, len(s.Payload), s.Window)
	if s.BadChecksum {
		b.WriteString(", bad checksum")
	}
	return b.String()
}
