package analysis

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// pcapSource reads files of the old format (draft-ietf-opsawg-pcap), also those of versions that no program writes any more, and with
// lengths that contradict each other: pcapgo refuses these, and others read them.
type pcapSource struct {
	in    *bufio.Reader
	order binary.ByteOrder
	unit  time.Duration // of the fraction of a second
	link  layers.LinkType
	// swapped: the two lengths are exchanged; more: what there is behind the header of each packet.
	swapped bool
	more    int
	head    [16]byte
	data    []byte
}

// The magic numbers.
const (
	magicMicroseconds = 0xa1b2c3d4
	magicNanoseconds  = 0xa1b23c4d
	magicModified     = 0xa1b2cd34 // of a patched libpcap: each packet's header has 8 bytes more
)

func newPcapSource(in *bufio.Reader) (*pcapSource, error) {
	var head [24]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return nil, err
	}
	s := &pcapSource{in: in, order: binary.LittleEndian, unit: time.Microsecond}
	magic := s.order.Uint32(head[:])
	if !slices.Contains([]uint32{magicMicroseconds, magicNanoseconds, magicModified}, magic) {
		s.order = binary.BigEndian
		magic = s.order.Uint32(head[:])
	}
	switch magic {
	case magicMicroseconds:
	case magicNanoseconds:
		s.unit = time.Nanosecond
	case magicModified:
		s.more = 8
	default:
		return nil, fmt.Errorf("its first 4 bytes are %#x", head[:4])
	}
	const major, minor, ordered = 2, 4, 3
	if m, n := s.order.Uint16(head[4:]), s.order.Uint16(head[6:]); m != major || n > minor {
		return nil, fmt.Errorf("version %d.%d of the format: %d.0 to %d.%d are known", m, n, major, major, minor)
	}
	s.swapped = s.order.Uint16(head[6:]) < ordered
	s.link = layers.LinkType(s.order.Uint32(head[20:])) // the upper half is of other things
	return s, nil
}

func (s *pcapSource) next() ([]byte, entry, error) {
	if _, err := io.ReadFull(s.in, s.head[:]); err != nil {
		return nil, entry{}, err // io.EOF between two packets
	}
	if _, err := s.in.Discard(s.more); err != nil {
		return nil, entry{}, noEOF(err)
	}
	field := func(i int) int64 { return int64(s.order.Uint32(s.head[4*i:])) }
	captured, length := field(2), field(3)
	if s.swapped {
		captured, length = length, captured
	}
	if captured > maxPacket {
		return nil, entry{}, fmt.Errorf("%w: a packet of %d bytes; at most %d", errLimit, captured, maxPacket)
	}
	if err := s.read(int(captured)); err != nil {
		return nil, entry{}, noEOF(err)
	}
	return s.data, entry{
		CaptureInfo: gopacket.CaptureInfo{
			Timestamp: time.Unix(field(0), field(1)*int64(s.unit)).UTC(), CaptureLength: len(s.data), Length: int(max(captured, min(length, maxPacket))),
		},
		link: s.link,
	}, nil
}

// read reads a packet. The buffer grows with what there is, and not with what the file says.
func (s *pcapSource) read(n int) error {
	const step = 256 << 10
	s.data = s.data[:0]
	for len(s.data) < n {
		at, more := len(s.data), min(n-len(s.data), step)
		s.data = slices.Grow(s.data, more)[:at+more]
		if _, err := io.ReadFull(s.in, s.data[at:]); err != nil {
			return err
		}
	}
	return nil
}

func (s *pcapSource) interfaces() []Interface { return nil }
