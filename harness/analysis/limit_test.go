package analysis

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/tcplab/tcplab/internal/testenv"
)

// block makes a block of pcapng, little endian.
func block(kind uint32, body ...byte) []byte {
	length := uint32(12 + len(body))
	b := binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, kind), length)
	return binary.LittleEndian.AppendUint32(append(b, body...), length)
}

func words(values ...uint32) (b []byte) {
	for _, v := range values {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return b
}

var (
	aSection   = block(sectionHeader, words(sectionMagic, 1, 0xffffffff, 0xffffffff)...)
	anEthernet = block(interfaceBlock, words(uint32(layers.LinkTypeEthernet), 0)...)
)

// packetOf is an Enhanced Packet Block on interface 0.
func packetOf(data, options []byte) []byte {
	return block(enhancedPacketBlock, slices.Concat(words(0, 0, 0, uint32(len(data)), uint32(len(data))), data, options)...)
}

// longFile is a capture of a head and many equal blocks, such as a file of 40 MB, that takes no memory itself.
type longFile struct {
	head, block []byte
	times       int
	rest        []byte
}

func (r *longFile) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		switch {
		case r.head != nil:
			r.rest, r.head = r.head, nil
		case r.times > 0:
			r.rest, r.times = r.block, r.times-1
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	if n == 0 {
		return 0, errEndOfTest
	}
	return n, nil
}

var errEndOfTest = errors.New("the end of the test's file")

// TestReaderIsBounded: what a file says of itself does not make the reader allocate. Each file would be some 40 MB.
func TestReaderIsBounded(t *testing.T) {
	const size = 40 << 20
	start := slices.Concat(aSection, anEthernet)
	many := func(head, block []byte) *longFile {
		return &longFile{head: head, block: block, times: size / len(block)}
	}
	huge := func(kind uint32, body ...byte) []byte { // a block that says it is of 4 GB
		b := block(kind, body...)
		binary.LittleEndian.PutUint32(b[4:], 0xfffffffc)
		return b
	}
	pcapHead := pcap(binary.LittleEndian, false)
	unlimited := slices.Clone(pcapHead)
	binary.LittleEndian.PutUint32(unlimited[16:], 0xffffffff)
	zeros := make([]byte, 64<<10)
	comment := make([]byte, 4)
	comment[0] = 1

	// A slice that grows by a quarter takes up to 6.25 times what it ends with, and the report has them as well.
	interfaces := 8 * maxInterfaces * uint64(reflect.TypeFor[pcapgo.NgInterface]().Size())
	for name, c := range map[string]struct {
		file  *longFile
		bytes uint64
		limit bool // refused by a limit, else read to the end of the test's file
	}{
		"interfaces":         {many(aSection, anEthernet), interfaces, true},
		"statistics":         {many(start, block(statisticsBlock, words(0, 0, 0)...)), 1 << 20, false},
		"sections":           {many(nil, start), 800 << 20, false}, // each is garbage at once
		"names":              {many(start, block(4, words(1|8<<16, 0x01020304, 0x00636261, 0)...)), 1 << 20, false},
		"secrets":            {many(start, block(10, append(words(0x544c534b, 4096), zeros[:4096]...)...)), 1 << 20, false},
		"unknown blocks":     {many(start, block(0x0bad, zeros...)), 1 << 20, false},
		"comments":           {many(slices.Concat(start, packetOf(zeros[:60], bytes.Repeat(comment, 4<<20))), comment), 1 << 20, true},
		"long packets":       {many(slices.Concat(start, packetOf(zeros, nil)), packetOf(zeros, nil)), 2 << 20, false},
		"a huge packet":      {many(slices.Concat(start, huge(enhancedPacketBlock, words(0, 0, 0, 0xfffffff0-64, 0xfffffff0-64)...)), zeros), 1 << 20, true},
		"a huge short one":   {many(slices.Concat(start, huge(simplePacketBlock, words(0xfffffff0-64)...)), zeros), 1 << 20, true},
		"a huge section":     {many(huge(sectionHeader, words(sectionMagic, 1, 0xffffffff, 0xffffffff)...), zeros), 1 << 20, true},
		"a huge interface":   {many(slices.Concat(aSection, huge(interfaceBlock, words(1, 0)...)), comment), 1 << 20, true},
		"huge unknown block": {many(slices.Concat(start, huge(0x0bad)), zeros), 1 << 20, false},
		"pcap, huge packet":  {many(slices.Concat(unlimited, words(0, 0, 0xfffffff0, 0xfffffff0)), zeros), 1 << 20, true},
	} {
		t.Run(name, func(t *testing.T) {
			var err error
			taken := testenv.Allocated(func() {
				var r *Reader
				if r, err = NewReader(c.file); err == nil {
					Analyze(r)
					err = r.Err()
				}
			})
			if taken > c.bytes {
				t.Errorf("%d bytes were allocated; allowed are %d", taken, c.bytes)
			}
			if limited := !errors.Is(err, errEndOfTest); err == nil || limited != c.limit {
				t.Errorf("error %v", err)
			}
			if c.limit && !strings.Contains(err.Error(), errLimit.Error()) && !strings.Contains(err.Error(), "snap length") {
				t.Errorf("error %v does not name the limit", err)
			}
		})
	}
}

// TestReaderPassesOver what no packet needs, known to pcapgo or not.
func TestReaderPassesOver(t *testing.T) {
	in := records(t)
	file := pcapng(t, in...)
	sectionEnd := int(binary.LittleEndian.Uint32(file[4:]))
	odd := slices.Concat(block(4, words(99|8<<16, 1, 2)...), block(10, words(0x0bad, 0)...), block(0x80000001), block(0xbad, words(1)...))
	got, r := readAll(t, slices.Concat(file[:sectionEnd], odd, file[sectionEnd:]))
	want, _ := readAll(t, file)
	if r.Err() != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v", got, r.Err())
	}
}

// TestCutOffInWhatIsPassedOver: pcapgo does not see such a block, and must not take its middle for the file's end.
func TestCutOffInWhatIsPassedOver(t *testing.T) {
	_, r := readAll(t, slices.Concat(aSection, anEthernet, block(4, words(1, 2, 3)...)[:20]))
	if !errors.Is(r.Err(), ErrDamaged) || !errors.Is(r.Err(), io.ErrUnexpectedEOF) {
		t.Errorf("error %v, want ErrDamaged", r.Err())
	}
}
