package picture

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/tcplab/tcplab/harness/analysis"
)

// flow is what one side of a connection sent, as one place saw it, in steps of a 200th of the connection's length, of a millisecond or more.
type flow struct {
	begin, step time.Duration
	data        int       // packets with data
	sent, acked []float64 // bytes of each step; sent with retransmissions
}

func (f *flow) middle(n int) time.Duration { return f.begin + time.Duration(n)*f.step + f.step/2 }

// byConnection has the indices of each connection's packets.
func (p *Picture) byConnection() [][]int {
	all := make([][]int, len(p.Connections))
	for i := range p.Packets {
		if k := p.Packets[i].Connection; k != None {
			all[k] = append(all[k], i)
		}
	}
	return all
}

// flowOf looks at these packets, of one connection.
func (p *Picture) flowOf(packets []int, k *Connection, place int, fromServer bool) flow {
	const steps, least = 200, time.Millisecond
	f := flow{begin: k.First, step: max(least, (k.Last-k.First)/steps)}
	f.sent, f.acked = make([]float64, 1+(k.Last-k.First)/f.step), make([]float64, 1+(k.Last-k.First)/f.step)
	acked, spoken := uint32(0), false
	for _, i := range packets {
		packet := &p.Packets[i]
		n := (packet.At - f.begin) / f.step
		switch {
		case packet.Place != place || n < 0 || int(n) >= len(f.sent):
		case packet.FromServer == fromServer:
			f.sent[n] += float64(packet.Length)
			if packet.Length > 0 {
				f.data++
			}
		case packet.Flags&analysis.FlagACK != 0:
			if spoken && before(acked, packet.Ack) {
				f.acked[n] += float64(packet.Ack - acked)
			}
			if !spoken || before(acked, packet.Ack) {
				acked, spoken = packet.Ack, true
			}
		}
	}
	return f
}

// goodput computes what was acknowledged over time, of both directions of each connection.
func (p *Picture) goodput() {
	for i, packets := range p.byConnection() {
		k := &p.Connections[i]
		for d := range k.Goodput {
			f := p.flowOf(packets, k, k.Views[0].Place, d == 1)
			if slices.Max(f.acked) < 2 { // but for SYN and FIN nothing
				continue
			}
			s := Series{Name: "goodput", Unit: "bit/s", Connection: i, FromServer: d == 1, Source: p.Captures[p.Places[k.Views[0].Place].Capture].File}
			for n, bytes := range f.acked {
				s.Times, s.Values = append(s.Times, f.middle(n)), append(s.Values, bytes*8/f.step.Seconds())
			}
			k.Goodput[d] = s
		}
	}
}

// around is how many packets of a connection on either side of an event are all kept.
const around = 12

// eventMarks are the marks that a person wants to see; those of which there can be one for each packet are not among them.
const eventMarks = analysis.MarkRetransmission | analysis.MarkOutOfOrder | analysis.MarkLostSegment | analysis.MarkACKLostSegment |
	analysis.MarkZeroWindow | analysis.MarkZeroWindowProbe | analysis.MarkKeepAlive | analysis.MarkReusedPorts | analysis.MarkWindowFull

// event reports whether a packet is something to look at, and how much so: the lower, the more.
func (p *Picture) event(packet *Packet) (rank int, yes bool) {
	switch {
	case packet.Cause != None, packet.Fate >= Lost, packet.Rule != None:
		return 1, true
	case packet.Flags&(analysis.FlagSYN|analysis.FlagFIN|analysis.FlagRST) != 0:
		return 1, true
	case packet.Marks&eventMarks != 0, packet.DSACK, packet.ECN == 3:
		return 2, true
	}
	return 0, false
}

// Reduce returns the picture with about as many packets, and where a packet was seen at several places up to as many times more: all of them around an event, and of the others as many as there is room for,
// evenly. Where there are more events than that, those that are something to look at come first. Each packet says how many of its
// connection, place and direction were left out in front of it. Series keep their extremes.
//
// A connection gets the more the more packets it has, by the square root, so that of thousands neither the large nor the small ones
// have all; and one with findings four times as many.
func (p *Picture) Reduce(packets int) *Picture {
	small := *p
	small.reduceSeries(max(packets, 50))
	if len(p.Packets) <= packets {
		return &small
	}
	order := make([][]int, len(p.Connections)+1) // the last is of those without
	for i := range p.Packets {
		k := p.Packets[i].Connection
		if k == None {
			k = len(p.Connections)
		}
		order[k] = append(order[k], i)
	}
	keep := make([]bool, len(p.Packets))
	for k, most := range p.allot(order, packets) {
		p.choose(order[k], most, keep)
	}
	for i := range p.Packets { // an arrow has two ends
		if sent := p.Packets[i].Sent; sent != None && keep[i] {
			keep[sent] = true
		}
	}
	for i := range p.Packets {
		if sent := p.Packets[i].Sent; sent != None && keep[sent] {
			keep[i] = true
		}
	}
	small.keep(keep)
	return &small
}

// allot says how many packets each connection may keep.
func (p *Picture) allot(order [][]int, packets int) []int {
	const sick = 4 // times as many
	most := make([]int, len(order))
	give := func(factor float64) (sum int) {
		for k, list := range order {
			weight := 1.0
			if k < len(p.Connections) && p.Connections[k].sick() {
				weight = sick
			}
			most[k] = min(len(list), int(factor*weight*math.Sqrt(float64(len(list)))))
			sum += most[k]
		}
		return sum
	}
	low, high := 0.0, math.Sqrt(float64(len(p.Packets)))+1
	for range 40 { // to less than a packet
		if middle := (low + high) / 2; give(middle) <= packets {
			low = middle
		} else {
			high = middle
		}
	}
	give(low)
	return most
}

// sick reports whether anything was found.
func (k *Connection) sick() bool {
	return slices.ContainsFunc(k.Views, func(v View) bool { return len(v.Summary.Findings) > 0 })
}

// Share is what each may have at most for all together to have no more than total.
func Share(sizes []int, total int) int {
	sorted := slices.Clone(sizes)
	slices.Sort(sorted)
	for i, size := range sorted {
		rest := len(sorted) - i
		if size*rest >= total {
			return total / rest
		}
		total -= size
	}
	return math.MaxInt
}

// choose marks so many packets of a list.
func (p *Picture) choose(list []int, most int, keep []bool) {
	if len(list) <= most {
		for _, i := range list {
			keep[i] = true
		}
		return
	}
	kept := 0
	mark := func(position int) {
		if position >= 0 && position < len(list) && !keep[list[position]] {
			keep[list[position]] = true
			kept++
		}
	}
	// A third is for what is evenly spread: where there are events throughout, the lines go on all the same.
	room := most - most/3
	for rank := 1; rank <= 2; rank++ {
		for distance := range around + 1 {
			var near []int
			for position, i := range list {
				if r, yes := p.event(&p.Packets[i]); yes && r == rank {
					near = append(near, position+distance)
					if distance > 0 {
						near = append(near, position-distance)
					}
				}
			}
			some := min(len(near), room-kept)
			for n := range some { // of more than there is room for, throughout
				mark(near[n*len(near)/some])
			}
		}
	}
	rest := most - kept
	for n := range rest {
		mark(n * len(list) / max(rest, 1))
	}
}

// keep leaves the packets that are marked.
func (p *Picture) keep(marked []bool) {
	type lane struct {
		connection, place int
		fromServer        bool
	}
	left := map[lane]int{}
	place := make([]int, len(p.Packets))
	var kept []Packet
	for i := range p.Packets {
		packet := p.Packets[i]
		key := lane{packet.Connection, packet.Place, packet.FromServer}
		place[i] = None
		if !marked[i] {
			left[key] += 1 + packet.LeftOut
			continue
		}
		packet.LeftOut += left[key]
		left[key] = 0
		place[i] = len(kept)
		kept = append(kept, packet)
	}
	for i := range kept {
		if kept[i].Sent != None {
			kept[i].Sent = place[kept[i].Sent]
		}
	}
	p.Packets = kept
}

// reduceSeries leaves out points that are on a line with their neighbours, and of more than so many those between extremes.
func (p *Picture) reduceSeries(most int) {
	p.Series = slices.Clone(p.Series)
	for i := range p.Series {
		p.Series[i] = p.Series[i].reduce(most)
	}
	p.Connections = slices.Clone(p.Connections)
	for i := range p.Connections {
		for d := range p.Connections[i].Goodput {
			p.Connections[i].Goodput[d] = p.Connections[i].Goodput[d].reduce(most)
		}
	}
}

func (s Series) reduce(most int) Series {
	n := len(s.Times)
	keep := make([]bool, n)
	for i := range n {
		keep[i] = i == 0 || i == n-1 || s.Values[i] != s.Values[i-1] || s.Values[i] != s.Values[i+1]
	}
	var points []int
	for i := range n {
		if keep[i] {
			points = append(points, i)
		}
	}
	if len(points) > most {
		points = s.extremes(points, most/2)
	}
	out := s
	out.Times, out.Values = make([]time.Duration, len(points)), make([]float64, len(points))
	for to, from := range points {
		out.Times[to], out.Values[to] = s.Times[from], s.Values[from]
	}
	return out
}

// extremes are the lowest and the highest point of each of so many parts.
func (s Series) extremes(points []int, parts int) []int {
	var out []int
	for part := range max(1, parts) {
		some := points[part*len(points)/max(1, parts) : (part+1)*len(points)/max(1, parts)]
		if len(some) == 0 {
			continue
		}
		byValue := func(a, b int) int { return cmp.Compare(s.Values[a], s.Values[b]) }
		low, high := slices.MinFunc(some, byValue), slices.MaxFunc(some, byValue)
		out = append(out, min(low, high))
		if low != high {
			out = append(out, max(low, high))
		}
	}
	return out
}

// Interest is how much each packet is something to look at, from 0 on: the lower, the more. Around an event it grows with the distance.
func (p *Picture) Interest() []int {
	const none = 1 << 20
	rank := make([]int, len(p.Packets))
	for i := range rank {
		rank[i] = none + i
	}
	for i := range p.Packets {
		r, yes := p.event(&p.Packets[i])
		if !yes {
			continue
		}
		for distance := -around; distance <= around; distance++ {
			if k := i + distance; k >= 0 && k < len(rank) {
				rank[k] = min(rank[k], max(distance, -distance)*2+r-1)
			}
		}
	}
	return rank
}
