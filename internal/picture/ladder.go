package picture

import (
	"fmt"
	"strings"

	"github.com/tcplab/tcplab/harness/analysis"
)

// An Arrow is a packet on its way, as a ladder has it.
type Arrow struct {
	Packet int // at its sender, or, where that was not captured, where it was seen: index into Packets
	// From and To are columns of the ladder: indices into the connection's Path, or 0 and 1 for client and server if that is not known.
	From, To int
	Seen     []Sight // where it was seen, from its sender on; empty if that is at none of the columns
	// Fate is Lost or Dropped if it did not get there. End is then the column where it died, or the last where it was seen.
	Fate Fate
	End  int
	// Plain: there is nothing to look at.
	Plain bool
}

// A Sight is a packet at a host.
type Sight struct {
	Column int
	Packet int // index into Packets
}

// Begins is which packets an arrow begins with.
type Begins uint8

// A packet is in one ladder's arrow at most.
const (
	BeginsNone Begins = iota // it is part of the arrow of the packet that was sent
	BeginsHere               // only where its place is the one that is looked at: its sender was not captured
	BeginsAlways
)

// Begins says whether an arrow begins with a packet, and whether there is nothing to look at in it. The page has both for each packet.
func (p *Picture) Begins(packet int) (begins Begins, plain bool) {
	k := &p.Packets[packet]
	_, remarkable := p.event(k)
	dropped := p.Places[k.Place].Dropped
	plain = !remarkable && !dropped
	switch {
	case k.Sent != None || k.Connection == None:
		return BeginsNone, plain
	case dropped:
		return BeginsAlways, plain
	}
	path := p.Connections[k.Connection].Path
	sender := 0
	if k.FromServer {
		sender = len(path) - 1
	}
	if len(path) > 0 && p.Places[k.Place].Host == path[sender] {
		return BeginsAlways, plain
	}
	return BeginsHere, plain
}

// Columns are the names of a ladder's hosts, from the client to the server.
func (p *Picture) Columns(connection int) []string {
	k := &p.Connections[connection]
	if len(k.Path) == 0 {
		return []string{k.Client.String(), k.Server.String()}
	}
	names := make([]string, len(k.Path))
	for i, host := range k.Path {
		names[i] = p.Hosts[host]
	}
	return names
}

// Ladder has an arrow for each packet of a connection, in the order of their times. Of packets whose sender was not captured it has
// those that a place saw.
func (p *Picture) Ladder(connection, place int) []Arrow {
	k := &p.Connections[connection]
	column := make(map[int]int) // of a host
	for i, host := range k.Path {
		column[host] = i
	}
	last := max(1, len(k.Path)-1)
	var arrows []Arrow
	byPacket := map[int]int{}
	for i := range p.Packets {
		packet := &p.Packets[i]
		begins, plain := BeginsNone, false
		if packet.Connection == connection {
			begins, plain = p.Begins(i)
		}
		if begins == BeginsNone || begins == BeginsHere && packet.Place != place {
			continue
		}
		from, to := 0, last
		if packet.FromServer {
			from, to = last, 0
		}
		a := Arrow{Packet: i, From: from, To: to, End: to, Plain: plain}
		here, known := column[p.Places[packet.Place].Host]
		if len(k.Path) == 0 {
			here, known = from, true
		}
		if known {
			a.Seen = []Sight{{here, i}}
		}
		switch {
		case p.Places[packet.Place].Dropped:
			a.Fate, a.End = Dropped, here
		case packet.Fate == Lost:
			a.Fate, a.End = Lost, from
		}
		byPacket[i] = len(arrows)
		arrows = append(arrows, a)
	}
	for i := range p.Packets {
		packet := &p.Packets[i]
		n, drawn := byPacket[packet.Sent]
		if packet.Connection != connection || packet.Sent == None || !drawn {
			continue
		}
		here, known := column[p.Places[packet.Place].Host]
		switch {
		case p.Places[packet.Place].Dropped:
			arrows[n].Fate, arrows[n].End, arrows[n].Plain = Dropped, here, false
		case known:
			arrows[n].Seen = append(arrows[n].Seen, Sight{here, i})
		}
	}
	return arrows
}

// A Row is an arrow, or several that are folded.
type Row struct {
	Arrow
	Folded int // how many, from Arrow on; 0: it is not folded
}

// Fold makes one row of the middle of each run of more than 12 arrows in which there is nothing to look at, unless the packet of that
// frame is among them.
func (p *Picture) Fold(arrows []Arrow, frame int) []Row {
	const long, head, tail = 12, 4, 3
	var rows []Row
	for i := 0; i < len(arrows); {
		end := i
		wanted := false
		for end < len(arrows) && arrows[end].Plain {
			wanted = wanted || p.Packets[arrows[end].Packet].Frame == frame
			end++
		}
		if end-i > long && !wanted {
			for _, a := range arrows[i : i+head] {
				rows = append(rows, Row{Arrow: a})
			}
			rows = append(rows, Row{Arrow: arrows[i+head], Folded: end - i - head - tail})
			i = end - tail
		}
		for ; i < end; i++ {
			rows = append(rows, Row{Arrow: arrows[i]})
		}
		if end < len(arrows) {
			rows = append(rows, Row{Arrow: arrows[end]})
			i = end + 1
		}
	}
	return rows
}

// Label is what an arrow says: flags, sequence numbers, ACK and window.
func (k *Packet) Label() string {
	flags := k.Flags
	if k.Length > 0 {
		flags &^= analysis.FlagPSH
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%v %d", flags, k.Seq)
	if k.HasData() {
		fmt.Fprintf(&b, ":%d", k.Next())
	}
	if k.Length > 0 {
		fmt.Fprintf(&b, " (%d)", k.Length)
	}
	if k.Flags&analysis.FlagACK != 0 {
		fmt.Fprintf(&b, " ack %d", k.Ack)
	}
	fmt.Fprintf(&b, " win %d", k.Window)
	return b.String()
}

// Remark is why an arrow is something to look at: why it was sent again, and what became of it; empty if it is not.
func (p *Picture) Remark(a Arrow) string {
	packet := &p.Packets[a.Packet]
	var parts []string
	if packet.Cause != None {
		parts = append(parts, "retransmitted: "+analysis.Cause(packet.Cause).String()) //nolint:gosec // one of a few
	}
	switch {
	case packet.Rule != None:
		parts = append(parts, p.Rules[packet.Rule])
	case a.Fate == Dropped:
		parts = append(parts, "dropped")
	case a.Fate == Lost:
		parts = append(parts, "lost")
	}
	return strings.Join(parts, "; ")
}
