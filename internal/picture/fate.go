package picture

import (
	"slices"

	"github.com/tcplab/tcplab/harness/analysis"
)

// follow finds each packet of each connection at the other places, and says what became of it.
func (p *Picture) follow() {
	for direction := range 2 {
		byConnection := make([][]int, len(p.Connections))
		for i := range p.Packets {
			if k := p.Packets[i].Connection; k != None && side(p.Packets[i].FromServer) == direction {
				byConnection[k] = append(byConnection[k], i)
			}
		}
		for k, packets := range byConnection {
			if path := p.Connections[k].Path; len(path) > 0 {
				if direction == 1 {
					path = slices.Clone(path)
					slices.Reverse(path)
				}
				p.followFlow(packets, path[0], path[len(path)-1])
			}
		}
	}
}

// followFlow follows the packets of one direction of a connection, from a host to a host.
func (p *Picture) followFlow(packets []int, sender, receiver int) {
	places := map[int]bool{}
	var sent []int
	for _, i := range packets {
		place := p.Packets[i].Place
		places[place] = true
		if p.Places[place].Host == sender && !p.Places[place].Dropped {
			sent = append(sent, i)
		}
	}
	if len(sent) == 0 {
		return
	}
	atReceiver := false
	// What was dropped comes first: of two packets that look the same, the one that was dropped did not arrive.
	for _, dropped := range []bool{true, false} {
		for place := range p.Places {
			if !places[place] || p.Places[place].Dropped != dropped || !dropped && p.Places[place].Host == sender {
				continue
			}
			fate := Unknown
			switch {
			case dropped:
				fate = Dropped
			case p.Places[place].Host == receiver:
				fate, atReceiver = Arrived, true
			}
			p.match(sent, packets, place, fate)
		}
	}
	if !atReceiver {
		return
	}
	for _, i := range sent {
		if p.Packets[i].Fate == Unknown {
			p.Packets[i].Fate = Lost
		}
	}
}

// match finds packets that were sent at another place. Those that were dropped are nowhere else.
func (p *Picture) match(sent, packets []int, place int, fate Fate) {
	candidate := make(map[int]bool, len(sent))
	for _, i := range sent {
		candidate[i] = p.Packets[i].Fate != Dropped
	}
	numbered := func(yield func(analysis.Segment) bool) {
		for _, i := range packets {
			s := p.segments[i]
			s.Frame = i // its index comes back with it
			if !yield(s) {
				return
			}
		}
	}
	for _, t := range analysis.Transits(numbered,
		func(s analysis.Segment) bool { return candidate[s.Frame] },
		func(s analysis.Segment) bool { return p.Packets[s.Frame].Place == place }) {
		for _, arrived := range t.Arrived {
			p.Packets[arrived.Frame].Sent = t.Sent.Frame
			p.Packets[arrived.Frame].Window = p.Packets[t.Sent.Frame].Window // of what was never sent the scale is not known
		}
		if len(t.Arrived) > 0 && fate != Unknown {
			p.Packets[t.Sent.Frame].Fate = fate
		}
	}
}
