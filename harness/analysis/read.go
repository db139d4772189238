package analysis

import (
	"bufio"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/tcplab/tcplab/harness/analysis/internal/packet"
)

var (
	// ErrFormat says that the input is not a capture file that can be read.
	ErrFormat = errors.New("not a pcapng or pcap file")
	// ErrDamaged says that the file ends in the middle of a packet or has nonsense in it.
	// What comes before that was read.
	ErrDamaged = errors.New("the file is cut off or damaged")
)

// Interface is what a pcapng file says about an interface it was captured on.
type Interface struct {
	Name       string `json:"name"`                  // such as "client/eth0"
	SnapLength int    `json:"snap_length,omitempty"` // bytes; 0 for whole packets
	// Received and Dropped count packets by the interface statistics block;
	// they are valid if there was one, HasStatistics. Received includes Dropped
	// in files of tcplab.
	HasStatistics bool   `json:"has_statistics,omitempty"`
	Received      uint64 `json:"received,omitempty"`
	Dropped       uint64 `json:"dropped,omitempty"`
}

// Stats counts what a Reader has read.
type Stats struct {
	Packets  int `json:"packets"`         // in the file
	Segments int `json:"segments"`        // of those: TCP segments
	Other    int `json:"other,omitempty"` // other protocols, and IP fragments but for the last of each packet
	// Undecodable packets are IP, as far as can be seen, but were cut off in
	// their headers, or have lengths that contradict each other. CutOff counts the former.
	Undecodable int `json:"undecodable,omitempty"`
	CutOff      int `json:"cut_off,omitempty"`
}

// Reader reads the TCP segments of a capture, or its UDP datagrams, or all its packets. Its memory does not grow with the
// capture, and is bounded whatever lengths and numbers a file has in it.
type Reader struct {
	// Progress, if it is not nil, is told now and then how far a reader has come.
	Progress func(Stats)

	source source
	closer io.Closer
	name   string // for errors
	start  time.Time
	stats  Stats
	err    error
	cooked map[uint32]string // names of interfaces in Linux cooked headers

	decoder packet.Decoder
	// lengthsLost are the packets of which the file has not kept the length.
	lengthsLost int
}

// source reads packets from a file of one of the formats. The data is valid until
// the next call.
type source interface {
	next() (data []byte, p entry, err error)
	interfaces() []Interface
}

// entry is what a file says about a packet.
type entry struct {
	gopacket.CaptureInfo
	link      layers.LinkType
	name      string // of the interface
	direction Direction
}

// Open opens a capture file. The caller closes the Reader.
func Open(path string) (*Reader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read capture: %w", err)
	}
	r, err := newReader(f, path)
	if err != nil {
		f.Close()
		return nil, err
	}
	r.closer = f
	return r, nil
}

// NewReader reads a capture from r.
func NewReader(r io.Reader) (*Reader, error) { return newReader(r, "") }

// ReadFile reads all segments of a capture file. If it returns an error, the
// segments are those before it.
func ReadFile(path string) ([]Segment, error) {
	r, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }() // read only: there is nothing that an error could tell
	var segments []Segment
	for s := range r.Segments() {
		segments = append(segments, s)
	}
	return segments, r.Err()
}

func newReader(in io.Reader, name string) (*Reader, error) {
	r := &Reader{name: name}
	b := bufio.NewReaderSize(in, 64<<10)
	if magic, _ := b.Peek(2); len(magic) == 2 && magic[0] == 0x1f && magic[1] == 0x8b {
		z, err := gzip.NewReader(b)
		if err != nil {
			return nil, r.wrap(fmt.Errorf("%w: %w", ErrFormat, err))
		}
		b = bufio.NewReaderSize(z, 64<<10)
	}
	head, err := b.Peek(12)
	if err != nil {
		return nil, r.wrap(fmt.Errorf("%w: its first 12 bytes: %w", ErrFormat, err))
	}
	if binary.BigEndian.Uint32(head) == sectionHeader {
		r.source, err = newNgSource(b, head[8] == 0x1a)
	} else {
		r.source, err = newPcapSource(b)
	}
	if err != nil {
		return nil, r.wrap(fmt.Errorf("%w: %w", ErrFormat, noEOF(err)))
	}
	return r, nil
}

func (r *Reader) wrap(err error) error {
	if r.name == "" {
		return fmt.Errorf("read capture: %w", err)
	}
	return fmt.Errorf("read capture %s: %w", r.name, err)
}

// Segments returns the segments that were not read yet, in the order of the file.
// The sequence ends at the end of the file or at an error, which [Reader.Err]
// tells.
func (r *Reader) Segments() iter.Seq[Segment] {
	return func(yield func(Segment) bool) {
		for s := range r.passing(nil) {
			if !yield(s) {
				return
			}
		}
	}
}

// passing is that, and tells of ICMP errors that quote a segment in between.
func (r *Reader) passing(tell func(*quotation)) iter.Seq[Segment] {
	return func(yield func(Segment) bool) {
		for {
			data, p, ok := r.next()
			if !ok {
				return
			}
			s := r.passage(data, p)
			ip, v := r.decodeSegment(p.link, data, p.Length, &s)
			r.count(v)
			switch {
			case v == packet.Carried:
				r.stats.Segments++
				if !yield(s) {
					return
				}
			case v == packet.PassedOver && tell != nil:
				if q, ok := quotationIn(&ip, s); ok {
					tell(&q)
				}
			}
		}
	}
}

// count takes note of what a packet was not.
func (r *Reader) count(v packet.Verdict) {
	switch v {
	case packet.PassedOver:
		r.stats.Other++
	case packet.CutOff:
		r.stats.CutOff++
		r.stats.Undecodable++
	case packet.Damaged:
		r.stats.Undecodable++
	}
}

// passage is when and where the last packet passed.
func (r *Reader) passage(data []byte, p entry) Segment {
	s := Segment{
		Frame:     r.stats.Packets,
		Time:      p.Timestamp,
		At:        p.Timestamp.Sub(r.start),
		Interface: p.name,
		Direction: p.direction,
	}
	if p.link == layers.LinkTypeLinuxSLL2 && len(data) >= cooked2Header {
		s.Interface = r.cookedName(binary.BigEndian.Uint32(data[cooked2Index:]))
	}
	return s
}

// next returns the next packet, and counts it. At the end of the file, or at an error, there is
// none.
func (r *Reader) next() (data []byte, p entry, ok bool) {
	if r.err != nil {
		return nil, entry{}, false
	}
	data, p, err := r.source.next()
	if errors.Is(err, io.EOF) {
		return nil, entry{}, false
	}
	if err != nil {
		r.err = r.wrap(fmt.Errorf("%w: after packet %d: %w", ErrDamaged, r.stats.Packets, err))
		return nil, entry{}, false
	}
	if r.stats.Packets == 0 {
		r.start = p.Timestamp
	}
	r.stats.Packets++
	if r.Progress != nil && r.stats.Packets%progressEvery == 0 {
		r.Progress(r.stats)
	}
	return data, p, true
}

// progressEvery is so many packets: some 10 ms.
const progressEvery = 10_000

// cookedName is the name of an interface of which only the index is known. A capture on
// "any" has packets several times, such as on a bridge and on its ports, which are to be
// kept apart.
func (r *Reader) cookedName(index uint32) string {
	name, ok := r.cooked[index]
	if !ok {
		if r.cooked == nil {
			r.cooked = make(map[uint32]string)
		}
		name = fmt.Sprintf("if%d", index)
		r.cooked[index] = name
	}
	return name
}

// Err returns the error that ended a sequence of Segments, nil at the end of the
// file. A file that cannot be read to its end gives an [ErrDamaged].
func (r *Reader) Err() error { return r.err }

// Stats returns the counts so far.
func (r *Reader) Stats() Stats { return r.stats }

// Interfaces returns the interfaces of a pcapng file, or of its last section, as
// far as it was read. Their statistics are at the end of most files. A pcap file
// has none.
func (r *Reader) Interfaces() []Interface { return r.source.interfaces() }

// Close closes what Open opened.
func (r *Reader) Close() error {
	if r.closer == nil {
		return nil
	}
	return r.closer.Close()
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

type ngSource struct {
	r         *pcapgo.NgReader
	bigEndian bool
	section   int      // from 0
	names     []string // of the interfaces in the section, see nameOf
	counted   []bool   // which of them have statistics
}

func newNgSource(in *bufio.Reader, bigEndian bool) (*ngSource, error) {
	s := &ngSource{bigEndian: bigEndian}
	var err error
	s.r, err = pcapgo.NewNgReader(&blockFilter{in: in}, pcapgo.NgReaderOptions{
		WantMixedLinkType: true,
		SectionEndCallback: func([]pcapgo.NgInterface, pcapgo.NgSectionInfo) {
			s.names, s.counted = nil, nil
			s.section++
		},
		StatisticsCallback: func(i int, _ pcapgo.NgInterfaceStatistics) {
			for len(s.counted) <= i {
				s.counted = append(s.counted, false)
			}
			s.counted[i] = true
		},
	})
	return s, err
}

func (s *ngSource) next() ([]byte, entry, error) {
	data, info, options, err := s.r.ZeroCopyReadPacketDataWithOptions()
	if err != nil {
		return nil, entry{}, err
	}
	for len(s.names) <= info.InterfaceIndex {
		i, err := s.r.Interface(len(s.names))
		if err != nil {
			return nil, entry{}, err
		}
		s.names = append(s.names, s.nameOf(i.Name))
	}
	p := entry{CaptureInfo: info, name: s.names[info.InterfaceIndex]}
	p.link, _ = info.AncillaryData[0].(layers.LinkType)
	if options.Flags != nil {
		p.direction = direction(*options.Flags, s.bigEndian)
	}
	return data, p, nil
}

// nameOf is the name of the next interface of the section. Interfaces are told apart by their number and section: what the file
// calls them may be the same on two hosts, or nothing.
func (s *ngSource) nameOf(name string) string {
	number := len(s.names)
	switch {
	case name == "" && number == 0 && s.section == 0 && s.r.NInterfaces() == 1:
		return "" // there is nothing to tell it from
	case name == "":
		name = fmt.Sprintf("interface %d", number)
	case slices.Contains(s.names, name):
		name = fmt.Sprintf("%s (interface %d)", name, number)
	}
	if s.section > 0 {
		name += fmt.Sprintf(" (section %d)", s.section+1)
	}
	return name
}

// direction reads the flags. pcapgo v1.7.7 takes them for little endian always,
// so in a big-endian file their last byte comes first, where pcapgo looks for
// errors. We go by the byte order of the first section.
func direction(f pcapgo.NgEpbFlags, bigEndian bool) Direction {
	d := f.Direction
	if bigEndian {
		d = f.LinkLayerErr >> 24 & pcapgo.NgEpbFlagDirectionMask
	}
	switch d {
	case pcapgo.NgEpbFlagDirectionInbound:
		return Inbound
	case pcapgo.NgEpbFlagDirectionOutbound:
		return Outbound
	default:
		return Unknown
	}
}

func (s *ngSource) interfaces() []Interface {
	var all []Interface
	for n := range s.r.NInterfaces() {
		i, err := s.r.Interface(n)
		if err != nil {
			break
		}
		intf := Interface{Name: i.Name, SnapLength: int(i.SnapLength)}
		if n < len(s.counted) && s.counted[n] {
			intf.HasStatistics = i.Statistics.PacketsReceived != pcapgo.NgNoValue64 && i.Statistics.PacketsDropped != pcapgo.NgNoValue64
		}
		if intf.HasStatistics {
			intf.Received, intf.Dropped = i.Statistics.PacketsReceived, i.Statistics.PacketsDropped
		}
		all = append(all, intf)
	}
	return all
}
