package picture

import "github.com/tcplab/tcplab/harness/analysis"

// MarkKind is what a mark of a time-sequence plot stands for.
type MarkKind uint8

// The kinds, by the names that the page's sequence.js has for them.
const (
	MarkSegment MarkKind = iota // data, a SYN or a FIN, as its sender sent it
	MarkACK                     // what the receiver acknowledged
	MarkEdge                    // the edge of the receiver's window
	MarkSACK
	MarkDSACK
	MarkDropped // a rule dropped it
	MarkLost    // it did not arrive
	MarkActed   // a rule did something else to it
	MarkReset
	MarkZero // the receiver's window is closed
)

var markNames = [...]string{"segment", "ack", "edge", "sack", "dsack", "dropped", "lost", "acted", "reset", "zero"}

func (k MarkKind) String() string { return markNames[k] }

// A SequenceMark is something that a time-sequence plot has at the time of a packet, between two relative sequence numbers.
type SequenceMark struct {
	Packet   int // index into Packets
	Kind     MarkKind
	From, To float64
}

// Sequence has the marks of one direction of a connection, as one place saw it, in the order of their times. The page's sequence.js does
// the same for whichever place a reader chooses; a test in a browser compares them.
func (p *Picture) Sequence(connection, place int, fromServer bool) []SequenceMark {
	var marks []SequenceMark
	for i := range p.Packets {
		k := &p.Packets[i]
		here, never := k.Place == place, p.Places[k.Place].Dropped
		if k.Connection != connection || !here && !never {
			continue
		}
		add := func(kind MarkKind, from, to float64) { marks = append(marks, SequenceMark{i, kind, from, to}) }
		acted := k.Rule != None && k.Fate != Dropped
		if k.FromServer == fromServer {
			from, to := float64(k.Seq), float64(k.Seq)+float64(k.Next()-k.Seq)
			middle := (from + to) / 2
			if k.HasData() && (here || k.Sent == None) {
				add(MarkSegment, from, to)
			}
			switch {
			case never:
				add(MarkDropped, middle, middle)
			case k.Fate == Lost:
				add(MarkLost, middle, middle)
			case acted:
				add(MarkActed, middle, middle)
			}
			if here && k.Flags&analysis.FlagRST != 0 {
				add(MarkReset, from, from)
			}
			continue
		}
		if k.Flags&analysis.FlagACK == 0 {
			continue
		}
		ack := float64(k.Ack)
		switch {
		case never:
			add(MarkDropped, ack, ack)
			continue
		case k.Fate == Lost:
			add(MarkLost, ack, ack)
		case acted:
			add(MarkActed, ack, ack)
		}
		add(MarkACK, ack, ack)
		add(MarkEdge, ack+float64(k.Window), ack+float64(k.Window))
		for n, b := range k.SACK {
			kind := MarkSACK
			if k.DSACK && n == 0 {
				kind = MarkDSACK
			}
			add(kind, float64(b.Left), float64(b.Right))
		}
		switch {
		case k.Flags&analysis.FlagRST != 0:
			add(MarkReset, ack, ack)
		case k.Window == 0:
			add(MarkZero, ack, ack)
		}
	}
	return marks
}

// The names of series that follow from packets.
const (
	SeriesRTT      = "RTT"
	SeriesInFlight = "in flight (capture)"
)

// SeriesOf has all series of one direction of a connection: those that were recorded, those of no one connection (queues), and what follows
// from the packets that one place saw: round trips, bytes in flight, goodput.
func (p *Picture) SeriesOf(connection, place int, fromServer bool) []Series {
	var all []Series
	for _, s := range p.Series {
		if s.Connection == None || s.Connection == connection && s.FromServer == fromServer {
			all = append(all, s)
		}
	}
	k := &p.Connections[connection]
	if s := k.Goodput[side(fromServer)]; len(s.Times) > 0 {
		all = append(all, s)
	}
	of, file := p.Places[place].Name, p.Captures[p.Places[place].Capture].File
	rtt := Series{Name: SeriesRTT, Unit: "s", Of: of, Connection: connection, FromServer: fromServer, Source: file}
	flight := Series{Name: SeriesInFlight, Unit: "bytes", Of: of, Connection: connection, FromServer: fromServer, Source: file}
	for i := range p.Packets {
		packet := &p.Packets[i]
		switch {
		case packet.Connection != connection || packet.Place != place:
		case packet.FromServer != fromServer && packet.RTT > 0:
			rtt.Times, rtt.Values = append(rtt.Times, packet.At), append(rtt.Values, packet.RTT.Seconds())
		case packet.FromServer == fromServer && packet.InFlight > 0:
			flight.Times, flight.Values = append(flight.Times, packet.At), append(flight.Values, float64(packet.InFlight))
		}
	}
	for _, s := range []Series{rtt, flight} {
		if len(s.Times) > 0 {
			all = append(all, s)
		}
	}
	return all
}

// Busier reports which side of a connection sent more: that direction a person looks at first.
func (k *Connection) Busier() (fromServer bool) { return k.Bytes[1] > k.Bytes[0] }
