package kernel

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"sync"
)

// field is where a value is in the record of an event.
type field struct {
	offset, size int
	signed       bool
}

// format is what an event's file "format" says (Documentation/trace/events.rst).
type format struct {
	name    string
	id      uint16
	fields  map[string]field
	symbols map[string]map[int64]string // by field, what its numbers stand for
}

// Compiled for who records events only: every peer is this program, too.
var expressions = sync.OnceValue(func() (e struct{ fieldLine, symbolic, symbol *regexp.Regexp }) {
	e.fieldLine = regexp.MustCompile(`^\tfield:(.*?)(\w+)(\[[^\]]*\])?;\toffset:(\d+);\tsize:(\d+);(?:\tsigned:([01]);)?$`)
	e.symbolic = regexp.MustCompile(`__print_symbolic\(REC->(\w+), ((?:\{ [^{}]* \}(?:, )?)+)\)`)
	e.symbol = regexp.MustCompile(`\{ (-?\w+), "([^"]*)" \}`)
	return e
})

// parseFormat reads the fields of an event or of a page's header, and the names of
// numbers in the event's "print fmt" as far as they are plain.
func parseFormat(r io.Reader) (*format, error) {
	f := &format{fields: make(map[string]field), symbols: make(map[string]map[int64]string)}
	s := newScanner(r)
	for n := 1; s.Scan(); n++ {
		line := s.Text()
		if name, ok := strings.CutPrefix(line, "name: "); ok {
			f.name = name
		} else if id, ok := strings.CutPrefix(line, "ID: "); ok {
			v, err := strconv.ParseUint(id, 10, 16)
			if err != nil {
				return nil, fmt.Errorf("line %d: ID: %w", n, err)
			}
			f.id = uint16(v)
		} else if strings.HasPrefix(line, "\tfield:") {
			if err := f.parseField(line); err != nil {
				return nil, fmt.Errorf("line %d: %w", n, err)
			}
		} else if strings.HasPrefix(line, "print fmt: ") {
			f.parseSymbols(line)
		}
	}
	if err := s.Err(); err != nil {
		return nil, err
	}
	if len(f.fields) == 0 {
		return nil, fmt.Errorf("no fields")
	}
	return f, nil
}

func (f *format) parseField(line string) error {
	m := expressions().fieldLine.FindStringSubmatch(line)
	if m == nil {
		return fmt.Errorf("%.80q: want a field with offset and size", line)
	}
	offset, err := strconv.ParseUint(m[4], 10, 16)
	if err != nil {
		return fmt.Errorf("offset of %s: %w", m[2], err)
	}
	size, err := strconv.ParseUint(m[5], 10, 20) // a page's data can be 64 KiB and more
	if err != nil {
		return fmt.Errorf("size of %s: %w", m[2], err)
	}
	if _, twice := f.fields[m[2]]; twice {
		return fmt.Errorf("%s: is there twice", m[2])
	}
	f.fields[m[2]] = field{int(offset), int(size), m[6] == "1"}
	return nil
}

// parseSymbols passes over numbers that are not written as such.
func (f *format) parseSymbols(line string) {
	for _, m := range expressions().symbolic.FindAllStringSubmatch(line, -1) {
		names := make(map[int64]string)
		for _, s := range expressions().symbol.FindAllStringSubmatch(m[2], -1) {
			if v, err := strconv.ParseInt(s[1], 0, 64); err == nil {
				names[v] = s[2]
			}
		}
		f.symbols[m[1]] = names
	}
}

// need returns an error unless the event has all of the fields.
func (f *format) need(names ...string) error {
	for _, name := range names {
		if _, ok := f.fields[name]; !ok {
			return fmt.Errorf("event %s has no field %s in this kernel", f.name, name)
		}
	}
	return nil
}

// record is one event's bytes.
type record struct {
	*format
	b []byte
}

// bytes returns a field's bytes, or nil where the format lacks it or the record
// ends before.
func (r record) bytes(name string) []byte {
	f, ok := r.fields[name]
	if !ok || f.offset+f.size > len(r.b) {
		return nil
	}
	return r.b[f.offset : f.offset+f.size]
}

// uint returns a field's value, or 0 as bytes would return nil.
func (r record) uint(name string) uint64 {
	b := r.bytes(name)
	switch len(b) {
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(binary.LittleEndian.Uint16(b))
	case 4:
		v := binary.LittleEndian.Uint32(b)
		if r.fields[name].signed {
			return uint64(int64(int32(v)))
		}
		return uint64(v)
	case 8:
		return binary.LittleEndian.Uint64(b)
	default:
		return 0
	}
}

// symbol returns what the field's number stands for, or the number.
func (r record) symbol(name string) string {
	if r.bytes(name) == nil {
		return ""
	}
	v := int64(r.uint(name))
	if s, ok := r.symbols[name][v]; ok {
		return s
	}
	return strconv.FormatInt(v, 10)
}

// layout is that of a page of the ring buffer, from events/header_page.
type layout struct {
	commit field // how many bytes are used
	data   field
}

func parseLayout(r io.Reader) (layout, error) {
	f, err := parseFormat(r)
	if err != nil {
		return layout{}, err
	}
	f.name = "header_page"
	if err := f.need("timestamp", "commit", "data"); err != nil {
		return layout{}, err
	}
	l := layout{f.fields["commit"], f.fields["data"]}
	time := f.fields["timestamp"]
	if time.offset != 0 || time.size != 8 || l.commit.size != 4 && l.commit.size != 8 || l.data.offset < l.commit.offset+l.commit.size || l.data.size < 8 {
		return layout{}, fmt.Errorf("a page with %+v: want 8 bytes of time, 4 or 8 bytes of commit, data", f.fields)
	}
	return l, nil
}

func (l layout) size() int { return l.data.offset + l.data.size }

// What a record of the ring buffer is, in the low 5 bits of its first word
// (include/linux/ring_buffer.h, enum ring_buffer_type); other numbers are the
// length of the data in words, or 0 for a length of its own.
const (
	typePadding    = 29
	typeTimeExtend = 30
	typeTimeStamp  = 31
)

// parsePage calls f with the time, in nanoseconds, and the data of each event of a
// page, in order. Pages are little-endian.
func parsePage(l layout, page []byte, f func(at uint64, data []byte) error) error {
	if len(page) < l.data.offset {
		return fmt.Errorf("page of %d bytes: want at least %d", len(page), l.data.offset)
	}
	const (
		deltaBits   = 27
		minEvent    = 4
		commitBytes = 1<<deltaBits - 1 // above are flags: events were lost before this page, and how many is stored after
		stampTop    = uint64(0xf8) << 56
	)
	little := binary.LittleEndian
	at := little.Uint64(page)
	used := int(little.Uint32(page[l.commit.offset:]) & commitBytes)
	if used > len(page)-l.data.offset {
		return fmt.Errorf("page says that %d bytes are used: it has %d", used, len(page)-l.data.offset)
	}
	b := page[l.data.offset:][:used]
	for len(b) >= minEvent {
		word := little.Uint32(b)
		kind, delta := word&31, uint64(word>>5)
		b = b[4:]
		size := int(kind) * 4
		if kind == 0 || kind == typePadding || kind == typeTimeExtend || kind == typeTimeStamp {
			if kind == typePadding && delta == 0 {
				return nil // the rest of the page
			}
			if len(b) < 4 {
				return fmt.Errorf("record of type %d is cut off", kind)
			}
			size = int(little.Uint32(b))
			switch kind {
			case typeTimeExtend:
				at += uint64(size)<<deltaBits + delta
				b = b[4:]
				continue
			case typeTimeStamp:
				// The upper 5 bits are not stored.
				at = at&stampTop | uint64(size)<<deltaBits + delta
				b = b[4:]
				continue
			case 0:
				if size < 4 {
					return fmt.Errorf("record of length %d: want at least 4", size)
				}
				b, size = b[4:], size-4
			case typePadding: // an event that was taken back; its length includes the length
			}
		}
		size = (size + 3) &^ 3
		if size < 0 || size > len(b) {
			return fmt.Errorf("record of %d bytes, with %d left", size, len(b))
		}
		// The kernel sets a 1 where there was a 0 (rb_event_discard).
		if kind != typePadding || delta != 1 {
			at += delta
		}
		if kind != typePadding {
			if err := f(at, b[:size]); err != nil {
				return err
			}
		}
		b = b[size:]
	}
	return nil
}

// bufferStats is what became of the events in a CPU's buffer since it was emptied.
type bufferStats struct{ unread, read, lost uint64 }

// parseStats reads per_cpu/cpuN/stats.
func parseStats(r io.Reader) (stats bufferStats, err error) {
	s := bufio.NewScanner(r)
	for s.Scan() {
		name, value, _ := strings.Cut(s.Text(), ":")
		var count *uint64
		switch name {
		case "entries":
			count = &stats.unread
		case "read events":
			count = &stats.read
		case "overrun", "commit overrun", "dropped events":
			count = &stats.lost
		default:
			continue
		}
		v, err := strconv.ParseUint(strings.TrimSpace(value), 10, 64)
		if err != nil {
			return bufferStats{}, fmt.Errorf("%s: %w", name, err)
		}
		*count += v
	}
	return stats, s.Err()
}
