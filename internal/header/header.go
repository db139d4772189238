// Package header takes the bytes of one packet apart, header by header and field by field, as the drawings in the RFCs have them: where each
// field is, how many bits it has, what is in it and what that means.
//
// It is for people who read one packet. What reads whole captures is package analysis, which needs little of each packet.
package header

import (
	"encoding/binary"
	"fmt"
)

// A Field is some bits of a header.
type Field struct {
	Name    string `json:"name"`
	Bit     int    `json:"bit"`  // where it begins, from the header's beginning
	Bits    int    `json:"bits"` // how many it has
	Value   string `json:"value"`
	Meaning string `json:"meaning,omitempty"`
}

// A Header is one layer of a packet.
type Header struct {
	Name   string  `json:"name"`   // such as "TCP"
	Source string  `json:"source"` // where it is defined: an RFC
	Offset int     `json:"offset"` // in bytes, from the packet's beginning
	Length int     `json:"length"` // in bytes
	Fields []Field `json:"fields"`
	// Wrong says what cannot be: a length that contradicts another, a checksum, an end in the middle.
	Wrong []string `json:"wrong,omitempty"`
}

// The link types that are known (https://www.tcpdump.org/linktypes.html).
const (
	linkNull     = 0
	linkEthernet = 1
	linkRawOld   = 12
	linkRawOther = 14
	linkRaw      = 101
	linkLoop     = 108
	linkCooked   = 113
	linkIPv4     = 228
	linkIPv6     = 229
	linkCooked2  = 276
)

// maxHeaders bounds how many headers a packet has, VLAN tags, extension headers and what ICMP quotes among them.
const maxHeaders = 16

// Decode takes a packet apart. length is how long it was, of which data was captured. What is not known, or was not captured,
// ends it; the rest is counted as a header with the name "data".
func Decode(link int, data []byte, length int) []Header {
	d := &decoder{data: data, length: max(length, len(data))}
	next := d.linkLayer(link)
	for next != nil && len(d.headers) < maxHeaders {
		next = next()
	}
	d.rest()
	return d.headers
}

// A step decodes the next header, and returns the one after it, or nil.
type step func() step

type decoder struct {
	data    []byte
	length  int
	at      int // the next byte
	headers []Header

	// Of the IP header that is decoded, for the checksums above it.
	pseudo    []byte // the pseudo-header, without length and protocol
	ipPayload int    // bytes that IP carries
	ipEnd     int    // where they end
	quoted    bool   // in an ICMP message, which quotes no more than the beginning
}

// A builder collects the fields of one header.
type builder struct {
	*Header
	b []byte
}

// begin starts a header of so many bytes. It is false if they were not captured: then what there is stands as data.
func (d *decoder) begin(name, source string, bytes int) (builder, bool) {
	if len(d.data)-d.at < bytes {
		d.headers = append(d.headers, Header{Name: name, Source: source, Offset: d.at, Length: len(d.data) - d.at,
			Wrong: []string{fmt.Sprintf("only %d of its %d bytes are there", len(d.data)-d.at, bytes)}})
		d.at = len(d.data)
		return builder{}, false
	}
	d.headers = append(d.headers, Header{Name: name, Source: source, Offset: d.at, Length: bytes})
	h := builder{&d.headers[len(d.headers)-1], d.data[d.at : d.at+bytes]}
	d.at += bytes
	return h, true
}

// grow makes the header longer: by options, whose length is in its fixed part. It is false if they were not captured.
func (d *decoder) grow(h *builder, bytes int) bool {
	have := min(bytes, len(d.data)-h.Offset)
	h.b = d.data[h.Offset : h.Offset+have]
	h.Length = have
	d.at = h.Offset + have
	if have < bytes {
		h.wrong("only %d of its %d bytes are there", have, bytes)
	}
	return have == bytes
}

func (h builder) wrong(format string, args ...any) {
	h.Wrong = append(h.Wrong, fmt.Sprintf(format, args...))
}

// bits are some of the header, as a number.
func (h builder) bits(bit, count int) (v uint64) {
	for i := bit; i < bit+count; i++ {
		v = v<<1 | uint64(h.b[i/8]>>(7-i%8)&1)
	}
	return v
}

// field adds a field that is a number, and returns it. It is shown in decimal.
func (h builder) field(name string, bit, bits int, meaning string) uint64 {
	v := h.bits(bit, bits)
	h.Fields = append(h.Fields, Field{name, bit, bits, fmt.Sprint(v), meaning})
	return v
}

// hex adds a field that is shown in hexadecimal.
func (h builder) hex(name string, bit, bits int, meaning string) uint64 {
	v := h.bits(bit, bits)
	h.Fields = append(h.Fields, Field{name, bit, bits, fmt.Sprintf("0x%0*x", (bits+3)/4, v), meaning})
	return v
}

// text adds a field whose value is shown in its own way.
func (h builder) text(name string, bit, bits int, value, meaning string) {
	h.Fields = append(h.Fields, Field{name, bit, bits, value, meaning})
}

// mean gives the last field its meaning, which its value decides.
func (h builder) mean(format string, args ...any) {
	h.Fields[len(h.Fields)-1].Meaning = fmt.Sprintf(format, args...)
}

// rest is what is left.
func (d *decoder) rest() {
	end := len(d.data)
	if d.ipEnd > 0 && d.ipEnd < end && d.ipEnd >= d.at {
		end = d.ipEnd
	}
	if end > d.at {
		h := Header{Name: "data", Offset: d.at, Length: end - d.at}
		if missing := d.ipEnd - len(d.data); missing > 0 && !d.quoted {
			h.Wrong = []string{fmt.Sprintf("%d bytes more were not captured", missing)}
		}
		d.headers = append(d.headers, h)
	}
	if end < len(d.data) {
		d.headers = append(d.headers, Header{Name: "padding", Offset: end, Length: len(d.data) - end,
			Source: "behind the end that IP says: Ethernet fills up to 60 bytes"})
	}
}

// checksum is the Internet checksum of some bytes (RFC 1071): 0 if the one in them is right.
func checksum(parts ...[]byte) uint16 {
	var sum uint32
	odd := false
	var last byte
	for _, part := range parts {
		for _, b := range part {
			if odd {
				sum += uint32(last)<<8 | uint32(b)
			}
			last, odd = b, !odd
		}
	}
	if odd {
		sum += uint32(last) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum) //nolint:gosec // it was folded
}

// payloadSum checks the checksum of what IP carries, from a header's beginning on.
func (d *decoder) payloadSum(h builder, protocol uint8) string {
	end := h.Offset + d.ipPayload
	switch {
	case d.pseudo == nil || d.quoted:
		return ""
	case end > len(d.data):
		return "not all of what it is about was captured"
	}
	length := binary.BigEndian.AppendUint32(nil, uint32(d.ipPayload)) //nolint:gosec // at most 65535
	if checksum(d.pseudo, length, []byte{0, 0, 0, protocol}, d.data[h.Offset:end]) != 0 {
		return "wrong; or the network card was to compute it, and the packet was captured before that (offload)"
	}
	return "right"
}
