package capture

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/internal/scratch"
)

// spool keeps one end's packets in the order of the ring, in two files without a
// name: records of a fixed size, and the packets' bytes. So Stop can look ahead
// along the records without holding packets in memory.
type spool struct {
	records, data *os.File
	recordWriter  *bufio.Writer
	dataWriter    *bufio.Writer
	err           error // the first write error; nothing is written after it

	packets     uint64
	size        int64 // of the data
	first, last int64 // earliest and latest time, ns since 1970
}

const recordBytes = 24 // time 8, captured 4, length 4, kind 1, unused 7

// record describes a packet in the spool.
type record struct {
	time     int64 // ns since 1970
	offset   int64 // of its bytes in the data file
	captured uint32
	length   uint32
	kind     uint8
}

// newSpool makes the files in dir, which is where the space is needed anyway.
func newSpool(dir string) (_ *spool, err error) {
	s := new(spool)
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	for _, f := range []**os.File{&s.records, &s.data} {
		if *f, err = scratch.File(dir); err != nil {
			return nil, err
		}
	}
	s.recordWriter = bufio.NewWriterSize(s.records, 64<<10)
	s.dataWriter = bufio.NewWriterSize(s.data, 256<<10)
	return s, nil
}

const macAddresses = 12 // bytes before the place of a VLAN tag

// add appends a packet, with its VLAN tag put back, cut to snap bytes unless that
// is 0. Errors are kept for flush.
func (s *spool) add(p packet, snap int) {
	if s.err != nil {
		return
	}
	front, tag, rest := p.data, []byte(nil), []byte(nil)
	if p.tagged && len(p.data) >= macAddresses {
		front, tag, rest = p.data[:macAddresses], p.tag[:], p.data[macAddresses:]
		p.length += len(tag)
	}
	captured := 0
	for _, part := range [][]byte{front, tag, rest} {
		if snap != 0 {
			part = part[:min(len(part), snap-captured)]
		}
		captured += len(part)
		if _, err := s.dataWriter.Write(part); err != nil {
			s.err = err
			return
		}
	}
	var b [recordBytes]byte
	binary.LittleEndian.PutUint64(b[0:], uint64(p.time))
	binary.LittleEndian.PutUint32(b[8:], uint32(captured))
	binary.LittleEndian.PutUint32(b[12:], uint32(max(p.length, captured)))
	b[16] = p.kind
	if _, err := s.recordWriter.Write(b[:]); err != nil {
		s.err = err
		return
	}
	s.size += int64(captured)
	if s.packets == 0 {
		s.first, s.last = p.time, p.time
	}
	s.first, s.last = min(s.first, p.time), max(s.last, p.time)
	s.packets++
}

// flush completes the files, and returns the first error of all writing.
func (s *spool) flush() error {
	for _, w := range []*bufio.Writer{s.dataWriter, s.recordWriter} {
		if err := w.Flush(); err != nil && s.err == nil {
			s.err = err
		}
	}
	return s.err
}

func (s *spool) close() {
	for _, f := range []*os.File{s.records, s.data} {
		if f != nil {
			f.Close()
		}
	}
}

// recordReader reads the records in the order in which they were added.
type recordReader struct {
	r      *bufio.Reader
	left   uint64
	offset int64
}

func (s *spool) recordReader() *recordReader {
	return &recordReader{r: bufio.NewReaderSize(io.NewSectionReader(s.records, 0, 1<<62), 64<<10), left: s.packets}
}

// next returns io.EOF after the last record.
func (r *recordReader) next() (record, error) {
	if r.left == 0 {
		return record{}, io.EOF
	}
	r.left--
	b, err := r.r.Peek(recordBytes)
	if err != nil {
		return record{}, noEOF(err)
	}
	rec := record{
		time:     int64(binary.LittleEndian.Uint64(b[0:])),
		captured: binary.LittleEndian.Uint32(b[8:]),
		length:   binary.LittleEndian.Uint32(b[12:]),
		kind:     b[16],
		offset:   r.offset,
	}
	r.offset += int64(rec.captured)
	_, err = r.r.Discard(recordBytes)
	return rec, err
}

// window reads pieces of a file that lie mostly one after the other.
type window struct {
	f      io.ReaderAt
	buffer []byte
	start  int64
	filled int
}

func (s *spool) window() *window {
	return &window{f: s.data, buffer: make([]byte, 256<<10)}
}

// at returns n bytes from offset, valid until the next call.
func (w *window) at(offset int64, n int) ([]byte, error) {
	if offset < w.start || offset+int64(n) > w.start+int64(w.filled) {
		if n > len(w.buffer) {
			w.buffer = make([]byte, n)
		}
		filled, err := w.f.ReadAt(w.buffer, offset)
		w.start, w.filled = offset, filled
		if filled < n {
			return nil, noEOF(err)
		}
	}
	i := int(offset - w.start)
	return w.buffer[i : i+n], nil
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// outgoing reports the direction of a packet, by the type that the kernel gave it.
func outgoing(kind uint8) bool { return kind == unix.PACKET_OUTGOING }
