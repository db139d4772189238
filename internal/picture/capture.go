package picture

import (
	"cmp"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tcplab/tcplab/harness/analysis"
)

// MaxPackets is how many packets of one capture are drawn: of more, the first. Each takes 400 bytes of memory.
const MaxPackets = 500_000

// OfCapture is the picture of a capture that somebody else made: of it is known what it says, and no more.
func OfCapture(path string) (*Picture, error) {
	reader, err := analysis.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = reader.Close() }() // read only: there is nothing that an error could tell
	return OfReader(reader, filepath.Base(path)), nil
}

// OfReader is the picture of a capture that is read from elsewhere. What cannot be read of it is in the notes of its Captures.
func OfReader(reader *analysis.Reader, name string) *Picture {
	p := &Picture{}
	p.read(reader, name, nil)
	p.finish()
	return p
}

// addCapture adds the packets of a file.
func (p *Picture) addCapture(path, name string, events []analysis.KernelEvent) error {
	reader, err := analysis.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = reader.Close() }() // read only: there is nothing that an error could tell
	p.read(reader, name, events)
	return nil
}

// read adds the packets of a capture. If Start is not known, it is when the first packet passed.
func (p *Picture) read(reader *analysis.Reader, name string, events []analysis.KernelEvent) {
	c := &captureReader{Picture: p, capture: len(p.Captures), places: map[string]int{}, byNumber: map[int]*stream{}, byFrame: map[int]int{}}
	report := analysis.AnalyzeEach(reader, func(s *analysis.Classified) {
		if p.Start.IsZero() {
			p.Start = s.Time.Add(-s.At)
		}
		c.add(s)
	}, events...)
	if c.skipped > 0 {
		p.Notes = append(p.Notes, fmt.Sprintf("%s: the last %d of %d TCP segments are not drawn", name, c.skipped, c.skipped+c.kept))
	}
	p.Captures = append(p.Captures, Capture{File: name, Notes: report.Notes, Damaged: report.Damaged})
	c.finish(report)
}

// captureReader puts the segments of one capture into a picture.
type captureReader struct {
	*Picture
	capture  int
	places   map[string]int
	streams  []*stream // in the order in which they began
	byNumber map[int]*stream
	byFrame  map[int]int
	never    []int // packets that were never sent

	kept, skipped int
}

// stream is what is known of one of the analysis' streams while it is read.
type stream struct {
	connection int
	bases      [2]uint32 // initial sequence numbers of client and server
	known      [2]bool
	client     netip.AddrPort
}

func (c *captureReader) place(name string) int {
	i, ok := c.places[name]
	if !ok {
		i = len(c.Places)
		c.places[name] = i
		end, dropped := strings.CutSuffix(name, analysis.DroppedSuffix)
		c.Places = append(c.Places, Place{Name: name, Host: c.network.hostOf(end), Capture: c.capture, Dropped: dropped})
	}
	return i
}

func (c *captureReader) add(s *analysis.Classified) {
	if c.kept >= MaxPackets {
		c.skipped++
		return
	}
	c.kept++
	index := len(c.Packets)
	c.byFrame[s.Frame] = index
	c.segments = append(c.segments, s.Segment)
	packet := Packet{
		Frame: s.Frame, At: s.Time.Sub(c.Start), Place: c.place(s.Interface), Connection: None,
		Flags: s.Flags, Length: s.Length, Window: s.WindowSize, Marks: s.Marks, Cause: None,
		InFlight: s.BytesInFlight, RTT: s.RTT, ECN: s.ECN, Rule: None, Sent: None,
	}
	if s.Stream < 0 {
		packet.Window, packet.Fate = int(s.Window), Dropped
		c.never = append(c.never, index)
	} else {
		c.connect(&packet, s)
	}
	c.Packets = append(c.Packets, packet)
}

// connect puts a packet into its connection.
func (c *captureReader) connect(packet *Packet, s *analysis.Classified) {
	st := c.byNumber[s.Stream]
	if st == nil {
		st = &stream{connection: c.connection(s), client: clientOf(s)}
		c.byNumber[s.Stream] = st
		c.streams = append(c.streams, st)
	}
	packet.Connection = st.connection
	packet.FromServer = s.Src != st.client
	from, to := side(packet.FromServer), side(!packet.FromServer)
	if !st.known[from] {
		st.bases[from], st.known[from] = s.Seq-s.RelativeSeq, true
	}
	if !st.known[to] && s.Flags&analysis.FlagACK != 0 {
		st.bases[to], st.known[to] = s.Ack-s.RelativeAck, true
	}
	c.number(packet, &s.Segment, st)
}

// number gives a packet its relative numbers.
func (c *captureReader) number(packet *Packet, s *analysis.Segment, st *stream) {
	from, to := side(packet.FromServer), side(!packet.FromServer)
	packet.Seq = s.Seq - st.bases[from]
	if s.Flags&analysis.FlagACK != 0 {
		packet.Ack = s.Ack - st.bases[to]
	}
	for i, b := range s.Options.SACK() {
		block := analysis.Block{Left: b.Left - st.bases[to], Right: b.Right - st.bases[to]}
		packet.SACK = append(packet.SACK, block)
		if i == 1 && !packet.DSACK { // within the second one (RFC 2883, section 4)
			first := packet.SACK[0]
			packet.DSACK = !before(first.Left, block.Left) && !before(block.Right, first.Right)
		}
	}
	if len(packet.SACK) > 0 && !before(packet.Ack, packet.SACK[0].Right) {
		packet.DSACK = true
	}
}

func before(a, b uint32) bool { return int32(a-b) < 0 } //nolint:gosec // sequence numbers wrap around

func side(fromServer bool) int {
	if fromServer {
		return 1
	}
	return 0
}

// clientOf is who opened a connection: who sent the SYN, or, if that was not captured, has the higher port.
func clientOf(s *analysis.Classified) netip.AddrPort {
	switch {
	case analysis.SYNs(s.Segment):
		return s.Src
	case analysis.SYNACKs(s.Segment), s.Src.Port() < s.Dst.Port():
		return s.Dst
	}
	return s.Src
}

// connection is that of a stream's first segment: one that another place, or another capture, has seen begin, or a new one.
func (c *captureReader) connection(s *analysis.Classified) int {
	client := clientOf(s)
	server := s.Dst
	if client == s.Dst {
		server = s.Src
	}
	place := c.place(s.Interface)
	for i := len(c.Connections) - 1; i >= 0; i-- {
		k := &c.Connections[i]
		if k.Client != client || k.Server != server {
			continue
		}
		if !slices.ContainsFunc(k.Views, func(v View) bool { return v.Place == place }) {
			k.Views = append(k.Views, View{Place: place, Summary: analysis.Conversation{Stream: s.Stream}})
			return i
		}
		break // this place has seen it: it is the next one on the same ports
	}
	c.Connections = append(c.Connections, Connection{
		Client: client, Server: server, Views: []View{{Place: place, Summary: analysis.Conversation{Stream: s.Stream}}}, First: s.Time.Sub(c.Start),
	})
	return len(c.Connections) - 1
}

// finish adds what is known once the capture was read.
func (c *captureReader) finish(report *analysis.Report) {
	for i := range report.Conversations {
		conversation := &report.Conversations[i]
		st := c.byNumber[conversation.Stream]
		if st == nil {
			continue
		}
		views := c.Connections[st.connection].Views
		for k := range views {
			if c.Places[views[k].Place].Capture == c.capture && views[k].Summary.Stream == conversation.Stream {
				views[k].Summary = *conversation
			}
		}
		for _, d := range []*analysis.Side{&conversation.Client, &conversation.Server} {
			for _, r := range d.Resent {
				if index, ok := c.byFrame[r.Frame]; ok {
					c.Packets[index].Cause = int(r.Cause)
				}
			}
			d.Resent = nil
		}
	}
	c.placeNeverSent()
}

// placeNeverSent finds the connections of what rules dropped: the last that had begun on these addresses and ports.
func (c *captureReader) placeNeverSent() {
	for _, index := range c.never {
		s, packet := &c.segments[index], &c.Packets[index]
		var found *stream
		for _, st := range c.streams {
			k := &c.Connections[st.connection]
			forth, back := k.Client == s.Src && k.Server == s.Dst, k.Client == s.Dst && k.Server == s.Src
			if !forth && !back {
				continue
			}
			if found == nil || betterFor(packet.At, k, &c.Connections[found.connection]) ||
				found.connection == st.connection && st.known[0] && st.known[1] && !(found.known[0] && found.known[1]) {
				found = st
			}
		}
		if found == nil {
			continue
		}
		packet.Connection = found.connection
		packet.FromServer = c.Connections[found.connection].Server == s.Src
		c.number(packet, s, found)
	}
}

// betterFor reports whether a packet of that time is rather one of a than of b.
func betterFor(at time.Duration, a, b *Connection) bool {
	if (a.First <= at) != (b.First <= at) {
		return a.First <= at
	}
	if a.First <= at {
		return a.First > b.First
	}
	return a.First < b.First
}

// finish sorts the packets and fills in what follows from all of them.
func (p *Picture) finish() {
	for i := range p.Connections {
		k := &p.Connections[i]
		k.Path = p.network.path(k.Client.Addr(), k.Server.Addr())
	}
	p.follow()
	p.segments = nil
	p.sort()
	for i := range p.Packets {
		packet := &p.Packets[i]
		p.End = max(p.End, packet.At)
		if packet.Connection == None {
			continue
		}
		k := &p.Connections[packet.Connection]
		k.Packets++
		k.Last = max(k.Last, packet.At)
	}
	for i := range p.Connections {
		p.orderViews(&p.Connections[i])
	}
	p.timers()
	p.states()
	p.roundTrips()
	p.goodput()
	for _, s := range p.Series {
		if n := len(s.Times); n > 0 {
			p.End = max(p.End, s.Times[n-1])
		}
	}
}

// sort puts the packets into the order of their times. Those of one time stay as they were.
func (p *Picture) sort() {
	order := make([]int, len(p.Packets))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(p.Packets[a].At, p.Packets[b].At) })
	place := make([]int, len(order))
	sorted := make([]Packet, len(order))
	for to, from := range order {
		sorted[to], place[from] = p.Packets[from], to
	}
	for i := range sorted {
		if sorted[i].Sent != None {
			sorted[i].Sent = place[sorted[i].Sent]
		}
	}
	p.Packets = sorted
}

// orderViews puts the place first at which the side was captured that sent more.
func (p *Picture) orderViews(k *Connection) {
	rank := func(v View) int {
		host := p.Places[v.Place].Host
		switch {
		case p.Places[v.Place].Dropped:
			return 3
		case host == None:
			return 1
		case (host == 0) == (v.Summary.Client.Bytes >= v.Summary.Server.Bytes):
			return 0
		}
		return 2
	}
	slices.SortStableFunc(k.Views, func(a, b View) int { return cmp.Compare(rank(a), rank(b)) })
	k.Bytes = [2]int64{k.Views[0].Summary.Client.Bytes, k.Views[0].Summary.Server.Bytes}
}
