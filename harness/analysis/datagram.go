package analysis

import (
	"encoding/binary"
	"fmt"
	"iter"
	"net/netip"
	"time"

	"github.com/gopacket/gopacket/layers"

	"github.com/tcplab/tcplab/harness/analysis/internal/packet"
)

// Datagram is a UDP datagram as it passed an interface.
type Datagram struct {
	// As in [Segment].
	Frame     int
	Time      time.Time
	At        time.Duration
	Interface string
	Direction Direction
	Src, Dst  netip.AddrPort
	TTL, ECN  uint8

	// Length is the number of payload bytes, by the UDP header (RFC 768).
	Length int
	// Payload is as much of them as was captured; a string, for Datagrams to be compared.
	Payload string
}

// String returns a line such as
//
//	#4 0.020113s client/eth0 out 192.0.2.1:4711 > 192.0.2.2:53 UDP len 28
func (d Datagram) String() string {
	return fmt.Sprintf("%s%v UDP len %d", placed(d.Frame, d.At, d.Interface, d.Direction), Flow{d.Src, d.Dst}, d.Length)
}

// Datagrams returns the UDP datagrams that were not read yet, in the order of the file. It ends as [Reader.Segments] does.
// A datagram in fragments of IP passes with the last of them. Of [Stats], it counts Packets, Undecodable and CutOff.
func (r *Reader) Datagrams() iter.Seq[Datagram] {
	return func(yield func(Datagram) bool) {
		r.decoder.Want = []uint8{packet.UDP}
		for {
			data, p, ok := r.next()
			if !ok {
				return
			}
			d, v := r.decodeDatagram(p.link, data, p.Length, r.passage(data, p))
			if v != packet.PassedOver {
				r.count(v)
			}
			if v == packet.Carried && !yield(d) {
				return
			}
		}
	}
}

// ReadDatagrams reads all datagrams of a capture file, as [ReadFile] does the segments.
func ReadDatagrams(path string) ([]Datagram, error) {
	r, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }() // read only: there is nothing that an error could tell
	var datagrams []Datagram
	for d := range r.Datagrams() {
		datagrams = append(datagrams, d)
	}
	return datagrams, r.Err()
}

// decodeDatagram decodes a packet of which is known when and where it passed.
func (r *Reader) decodeDatagram(link layers.LinkType, data []byte, length int, s Segment) (Datagram, packet.Verdict) {
	const header = 8
	ip, v := r.decode(link, data, length, &s)
	if v != packet.Carried {
		return Datagram{}, v
	}
	b := ip.Payload
	if len(b) < header {
		return Datagram{}, packet.CutOff
	}
	total := int(binary.BigEndian.Uint16(b[4:]))
	if total < header || total > ip.Length {
		return Datagram{}, packet.Damaged
	}
	return Datagram{
		Frame: s.Frame, Time: s.Time, At: s.At, Interface: s.Interface, Direction: s.Direction,
		Src: netip.AddrPortFrom(s.Src.Addr(), binary.BigEndian.Uint16(b)), Dst: netip.AddrPortFrom(s.Dst.Addr(), binary.BigEndian.Uint16(b[2:])),
		TTL: s.TTL, ECN: s.ECN, Length: total - header, Payload: string(b[header:min(total, len(b))]),
	}, packet.Carried
}
