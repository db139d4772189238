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
	// What was captured at a place of a direction of a connection.
	type origin struct {
		place int
		flow
	}
	type count struct{ sent, dropped int }
	delays, flows, arrived, counts := map[pair][]time.Duration{}, map[pair]map[flow]bool{}, map[pair]map[int]bool{}, map[origin]count{}
	for i := range p.Packets {
		k := &p.Packets[i]
		of := origin{k.Place, flow{k.Connection, k.FromServer}}
		c := counts[of]
		c.sent++
		if k.Fate == Dropped {
			c.dropped++
		}
		counts[of] = c
		if k.Sent == None || p.Places[k.Place].Dropped {
			continue
		}
		w := pair{p.Packets[k.Sent].Place, k.Place}
		if flows[w] == nil {
			flows[w], arrived[w] = map[flow]bool{}, map[int]bool{}
		}
		flows[w][of.flow] = true
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
			for f := range flows[of] {
				c := counts[origin{from, f}]
				w.Sent, w.Dropped = w.Sent+c.sent, w.Dropped+c.dropped
			}
			all = append(all, w)
		}
	}
	return all
}
