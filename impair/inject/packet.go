package inject

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/tcplab/tcplab/harness/invalid"
)

// A Packet is what can be sent: a [Segment] or an [ICMPError].
type Packet interface {
	// Validate returns what is wrong with the packet: an [*invalid.FieldError] for each field, joined; nil if it is valid. What no
	// header can hold is wrong; what is only illegal, such as SYN and FIN, is not.
	Validate() error
	// IP returns the packet from its IP header on.
	IP() ([]byte, error)
	// String says in one line what the packet is, as a capture's comment does.
	String() string
}

const (
	defaultTTL = 64 // net.ipv4.ip_default_ttl
	maxPacket  = 65535
)

// refusals gathers what is wrong with a packet's fields.
type refusals []error

func (r *refusals) refuse(of, field string, value any, allowed string) {
	*r = append(*r, &invalid.FieldError{Of: of, Field: field, Value: value, Allowed: allowed})
}

func (r refusals) error() error { return errors.Join(r...) }

// plain reports whether an address is one that a header can hold as it is.
func plain(a netip.Addr) bool { return a.IsValid() && a.Zone() == "" && !a.Is4In6() }

// A network is an IP header to be written.
type network struct {
	src, dst netip.Addr
	ttl, ecn uint8
	protocol layers.IPProtocol
}

// layer is the header, for packets of one transport. IPv4 packets have DF and no identification, as those of Linux's TCP may
// have (RFC 6864).
func (n network) layer() (header gopacket.SerializableLayer, checksummed gopacket.NetworkLayer) {
	if n.src.Is4() {
		ip := &layers.IPv4{
			Version: 4, TOS: n.ecn, TTL: n.ttl, Protocol: n.protocol, Flags: layers.IPv4DontFragment,
			SrcIP: n.src.AsSlice(), DstIP: n.dst.AsSlice(),
		}
		return ip, ip
	}
	ip := &layers.IPv6{
		Version: 6, TrafficClass: n.ecn, HopLimit: n.ttl, NextHeader: n.protocol, SrcIP: n.src.AsSlice(), DstIP: n.dst.AsSlice(),
	}
	return ip, ip
}

func (n network) headerLength() int {
	if n.src.Is4() {
		return 20
	}
	return 40
}

// serialize writes the layers with their lengths and checksums, and then spoils the transport's checksum, at an offset in its
// header, if that is wanted.
func (n network) serialize(bad bool, checksum int, of ...gopacket.SerializableLayer) ([]byte, error) {
	buffer := gopacket.NewSerializeBuffer()
	options := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(buffer, options, of...); err != nil {
		return nil, err
	}
	packet := buffer.Bytes()
	if len(packet) > maxPacket {
		return nil, fmt.Errorf("a packet of %d bytes: want %d at most", len(packet), maxPacket)
	}
	if bad {
		field := packet[n.headerLength()+checksum:]
		// Another bit is another sum: 0 and 0xffff, which are equal in one's complement, differ in all bits.
		binary.BigEndian.PutUint16(field, binary.BigEndian.Uint16(field)^1)
	}
	return packet, nil
}
