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
	// Fate is Lost or Dropped if it did not get there. End is then the column where it died, or the last where it was seen.
	Fate Fate
	End  int
	// Plain: there is nothing to look at.
	Plain bool
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

// Ladder has an arrow for each packet of a connection, in the order of their times.
func (p *Picture) Ladder(connection int) []Arrow {
	k := &p.Connections[connection]
	column := make(map[int]int) // of a host
	for i, host := range k.Path {
		column[host] = i
	}
	last := max(1, len(k.Path)-1)
	var arrows []Arrow
	bySent := map[int]int{}
	for i := range p.Packets {
		packet := &p.Packets[i]
		if packet.Connection != connection {
			continue
		}
		place := &p.Places[packet.Place]
		here, known := column[place.Host]
		if n, seen := bySent[packet.Sent]; seen {
			if place.Dropped {
				arrows[n].Fate, arrows[n].End, arrows[n].Plain = Dropped, here, false
			}
			continue
		}
		from, to := 0, last
		if packet.FromServer {
			from, to = last, 0
		}
		if known && here != from && !place.Dropped && packet.Place != k.Views[0].Place {
			continue // it was not seen at its sender: the first place stands for all
		}
		_, remarkable := p.event(packet)
		a := Arrow{Packet: i, From: from, To: to, End: to, Plain: !remarkable && !place.Dropped}
		switch {
		case place.Dropped:
			a.Fate, a.End = Dropped, here
		case packet.Fate == Lost:
			a.Fate, a.End = Lost, from
		}
		bySent[i] = len(arrows)
		arrows = append(arrows, a)
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
