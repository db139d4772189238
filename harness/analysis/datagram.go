package analysis

import (
	"encoding/binary"
	"fmt"
	"iter"
	"net/netip"
	"time"

	"github.com/gopacket/gopacket/layers"
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
// Fragments of IP are left out: only the first of them has ports. Of [Stats], it counts Packets and Undecodable.
func (r *Reader) Datagrams() iter.Seq[Datagram] {
	return func(yield func(Datagram) bool) {
		for {
			data, p, ok := r.next()
			if !ok {
				return
			}
			d, v := decodeDatagram(p.link, data, p.Length, r.passage(data, p))
			if v == undecodable {
				r.stats.Undecodable++
			}
			if v == segment && !yield(d) {
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
func decodeDatagram(link layers.LinkType, data []byte, length int, s Segment) (Datagram, verdict) {
	const header = 8
	b, length, v := decodeIP(link, data, length, protocolUDP, &s)
	if v != segment {
		return Datagram{}, v
	}
	if len(b) < header {
		return Datagram{}, undecodable
	}
	total := int(binary.BigEndian.Uint16(b[4:]))
	if total < header || total > length {
		return Datagram{}, undecodable
	}
	return Datagram{
		Frame: s.Frame, Time: s.Time, At: s.At, Interface: s.Interface, Direction: s.Direction,
		Src: netip.AddrPortFrom(s.Src.Addr(), binary.BigEndian.Uint16(b)), Dst: netip.AddrPortFrom(s.Dst.Addr(), binary.BigEndian.Uint16(b[2:])),
		TTL: s.TTL, ECN: s.ECN, Length: total - header, Payload: string(b[header:min(total, len(b))]),
	}, segment
}
