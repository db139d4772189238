package picture

import (
	"slices"
	"time"
)

// A Way is what became, on the way from one place to another, of the packets that were captured at both: what a link's impairments came to, as
// measured.
type Way struct {
	From, To int // places
	// Sent are the packets at From of those directions of connections that were seen at To, Arrived those of them that were seen at To, and Dropped
	// those that a rule dropped. The rest was lost, or still on its way when the capture ended.
	Sent, Arrived, Dropped int
	// How long they were on their way, with what they waited in queues.
	Least, Median, Most time.Duration
}

// Ways are all ways, in the order of their places. It is for a whole picture: what Reduce left out is not counted.
func (p *Picture) Ways() []Way {
	type flow struct {
		connection int
		fromServer bool
	}
	type pair struct{ from, to int }
	delays, flows, arrived := map[pair][]time.Duration{}, map[pair]map[flow]bool{}, map[pair]map[int]bool{}
	for i := range p.Packets {
		k := &p.Packets[i]
		if k.Sent == None || p.Places[k.Place].Dropped {
			continue
		}
		w := pair{p.Packets[k.Sent].Place, k.Place}
		if flows[w] == nil {
			flows[w], arrived[w] = map[flow]bool{}, map[int]bool{}
		}
		flows[w][flow{k.Connection, k.FromServer}] = true
		arrived[w][k.Sent] = true // a packet can arrive twice, or in pieces
		delays[w] = append(delays[w], k.At-p.Packets[k.Sent].At)
	}
	var all []Way
	for from := range p.Places {
		for to := range p.Places {
			of := pair{from, to}
			if len(delays[of]) == 0 {
				continue
			}
			slices.Sort(delays[of])
			n := len(delays[of])
			w := Way{From: from, To: to, Arrived: len(arrived[of]), Least: delays[of][0], Median: delays[of][n/2], Most: delays[of][n-1]}
			for i := range p.Packets {
				if k := &p.Packets[i]; k.Place == from && flows[of][flow{k.Connection, k.FromServer}] {
					w.Sent++
					if k.Fate == Dropped {
						w.Dropped++
					}
				}
			}
			all = append(all, w)
		}
	}
	return all
}
