package htmlreport

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/internal/header"
	"github.com/tcplab/tcplab/internal/picture"
)

// shapes are the headers and fields that packets of a scenario have. Packets of one shape have the same, with other values.
type shapes struct {
	list  [][]headerShape
	known map[string]int
	done  bool // there will be no more
}

// number is the index of a shape in the list. It is not ok if the shape is not in it any more.
func (s *shapes) number(shape []headerShape) (number int, ok bool) {
	name := nameOf(shape)
	number, known := s.known[name]
	if !known {
		if s.done {
			return 0, false
		}
		if s.known == nil {
			s.known = map[string]int{}
		}
		number = len(s.list)
		s.known[name] = number
		s.list = append(s.list, shape)
	}
	return number, true
}

type headerShape struct {
	Name   string       `json:"name"`
	Source string       `json:"source,omitempty"`
	Offset int          `json:"offset"`
	Fields []fieldShape `json:"fields,omitempty"`
}

type fieldShape struct {
	Name string `json:"name"`
	Bit  int    `json:"bit"`
	Bits int    `json:"bits"`
}

// A decodedPacket has the fields of a packet: those in which it differs from the one before of its shape.
type decodedPacket struct {
	Packet int `json:"p"` // index
	Shape  int `json:"s"`
	// Values: of each header its length and what is wrong with it, then of each of its fields value and meaning. One that is as it was
	// before is null, at the end of the list left out.
	Values []*string `json:"v"`
}

// choose are the indices of so many packets, in order: those that are something to look at first, then from the beginning.
func choose(p *picture.Picture, most int) []int {
	wanted := make([]int, len(p.Packets))
	for i := range wanted {
		wanted[i] = i
	}
	if len(wanted) > most {
		rank := p.Interest()
		slices.SortStableFunc(wanted, func(a, b int) int { return cmp.Compare(rank[a], rank[b]) })
		wanted = wanted[:most]
		slices.Sort(wanted)
	}
	return wanted
}

// decode decodes so many packets.
func decode(p *picture.Picture, files []string, most int, known *shapes) []decodedPacket {
	type key struct{ capture, frame int }
	wanted := map[key]int{}
	last := make([]int, len(files)) // frames of each file
	for _, i := range choose(p, most) {
		capture, frame := p.Places[p.Packets[i].Place].Capture, p.Packets[i].Frame
		wanted[key{capture, frame}] = i
		if capture < len(last) {
			last[capture] = max(last[capture], frame)
		}
	}
	s := decoder{shapes: known, before: map[int][]string{}}
	for capture, file := range files {
		if last[capture] == 0 {
			continue
		}
		reader, err := analysis.Open(file)
		if err != nil {
			continue // the picture says so
		}
		for f := range reader.Frames() {
			if f.Frame > last[capture] {
				break
			}
			if i, yes := wanted[key{capture, f.Frame}]; yes {
				s.add(i, header.Decode(f.LinkType, f.Data, f.Length))
			}
		}
		_ = reader.Close() // read only: there is nothing that an error could tell
	}
	return s.packets
}

type decoder struct {
	*shapes
	packets []decodedPacket
	before  map[int][]string // the newest values of each shape
}

func (s *decoder) add(packet int, headers []header.Header) {
	var shape []headerShape
	var values []string
	for _, h := range headers {
		one := headerShape{Name: h.Name, Source: h.Source, Offset: h.Offset}
		values = append(values, strconv.Itoa(h.Length), strings.Join(h.Wrong, "; "))
		for _, f := range h.Fields {
			one.Fields = append(one.Fields, fieldShape{f.Name, f.Bit, f.Bits})
			values = append(values, strings.ToValidUTF8(f.Value, "\uFFFD"), strings.ToValidUTF8(f.Meaning, "\uFFFD"))
		}
		shape = append(shape, one)
	}
	number, ok := s.number(shape)
	if !ok {
		return // the page names the command that shows the fields
	}
	before := s.before[number]
	differences := make([]*string, len(values))
	end := 0
	for i := range values {
		if i >= len(before) || values[i] != before[i] {
			differences[i] = &values[i]
			end = i + 1
		}
	}
	s.before[number] = values
	s.packets = append(s.packets, decodedPacket{packet, number, differences[:end]})
}

// nameOf is the same for the same shapes.
func nameOf(shape []headerShape) string {
	var b []byte
	for _, h := range shape {
		b = strconv.AppendInt(append(append(b, h.Name...), 0), int64(h.Offset), 10)
		for _, f := range h.Fields {
			b = append(append(b, 1), f.Name...)
			b = strconv.AppendInt(append(strconv.AppendInt(append(b, 1), int64(f.Bit), 10), 1), int64(f.Bits), 10)
		}
		b = append(b, 0)
	}
	return string(b)
}
