package picture

import (
	"slices"
	"time"

	"github.com/tcplab/tcplab/harness/analysis"
)

// maxUnacked is how many segments of a flight are remembered to measure round trips.
const maxUnacked = 512

// outstanding is a segment that waits for its ACK.
type outstanding struct {
	seq, next uint32
	at        time.Duration
	again     bool // it was sent more than once
	sampled   bool // a SACK block had it
}

// roundTrips measures each packet's RTT anew: from the only transmission of the newest segment to the first ACK or SACK block that
// covers it, as the summaries of package analysis have it. Wireshark's measure, which the packets have until now, is the time to the
// cumulative ACK: behind a hole it is the time that the hole took.
func (p *Picture) roundTrips() {
	type lane struct {
		connection, place int
		fromServer        bool
	}
	flights := map[lane][]outstanding{}
	for i := range p.Packets {
		packet := &p.Packets[i]
		packet.RTT = 0
		if packet.Connection == None || p.Places[packet.Place].Dropped {
			continue
		}
		mine := lane{packet.Connection, packet.Place, packet.FromServer}
		theirs := lane{packet.Connection, packet.Place, !packet.FromServer}
		if packet.Flags&analysis.FlagACK != 0 {
			flights[theirs], packet.RTT = acknowledge(flights[theirs], packet)
		}
		if packet.HasData() && packet.Flags&analysis.FlagRST == 0 {
			flights[mine] = send(flights[mine], packet)
		}
	}
}

// send adds a segment to a flight.
func send(flight []outstanding, packet *Packet) []outstanding {
	next := packet.Next()
	again := packet.Cause != None
	for i := range flight {
		if before(flight[i].seq, next) && before(packet.Seq, flight[i].next) {
			flight[i].again, again = true, true
		}
	}
	if len(flight) >= maxUnacked {
		flight = slices.Delete(flight, 0, maxUnacked/2)
	}
	return append(flight, outstanding{seq: packet.Seq, next: next, at: packet.At, again: again})
}

// acknowledge takes from a flight what a packet acknowledges. The sample is of the newest segment; there is none if any of what is
// acknowledged was sent more than once (Karn's algorithm, RFC 6298, section 3).
func acknowledge(flight []outstanding, packet *Packet) (rest []outstanding, sample time.Duration) {
	doubtful := false
	newest := time.Duration(-1)
	rest = flight[:0]
	for _, o := range flight {
		covered := !before(packet.Ack, o.next)
		keep := !covered
		for _, b := range packet.SACK {
			covered = covered || !before(o.seq, b.Left) && !before(b.Right, o.next)
		}
		if covered && !o.sampled {
			o.sampled = true
			newest = max(newest, o.at)
			doubtful = doubtful || o.again
		}
		if keep {
			rest = append(rest, o)
		}
	}
	if newest < 0 || doubtful {
		return rest, 0
	}
	return rest, max(0, packet.At-newest)
}
