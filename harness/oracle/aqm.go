package oracle

import (
	"math"
	"time"

	"github.com/tcplab/tcplab/harness/bounds"
)

// CoDel's defaults (RFC 8289, 4.2 and 4.3; include/net/codel_impl.h: codel_params_init).
const (
	CoDelTarget   = 5 * time.Millisecond
	CoDelInterval = 100 * time.Millisecond
)

// PIETarget is PIE's (RFC 8033, 4.2).
const PIETarget = 15 * time.Millisecond

// CoDelDrops is when CoDel drops, counted from its first drop, as long as the queue stays: the interval by the square root of the number of drops (RFC 8289, 5.3).
// The kernel takes one step of Newton's method for each drop, from 1 on, in 16 bits, which is 1/2 in place of 0.707 for the second drop and comes
// near soon (include/net/codel_impl.h: codel_Newton_step, codel_control_law). Its clock counts in 1024 ns.
func CoDelDrops(n int, interval time.Duration) []time.Duration {
	const unit, shift = 1024, 16
	at := make([]time.Duration, n)
	inverse := uint32(math.MaxUint32) >> shift
	var t uint64
	for i := range at {
		if i > 0 {
			scaled := inverse << shift
			t += uint64(interval.Nanoseconds()/unit) * uint64(scaled) >> 32
			count := uint64(i + 1)
			square := uint64(scaled) * uint64(scaled) >> 32
			value := (3<<32 - count*square) >> 2
			inverse = uint32(value*uint64(scaled)>>(32-2+1)) >> shift
		}
		at[i] = time.Duration(t * unit)
	}
	return at
}

// CoDelByRFC is when RFC 8289 would drop.
func CoDelByRFC(n int, interval time.Duration) []time.Duration {
	at := make([]time.Duration, n)
	for i := 1; i < n; i++ {
		at[i] = at[i-1] + seconds(interval.Seconds()/math.Sqrt(float64(i)))
	}
	return at
}

// DropTailWait is the range of the wait in a drop-tail queue of so many packets behind a single flow whose window swings between a part beta of itself and
// all that path and queue hold.
func (b Bottleneck) DropTailWait(packets int, beta float64) Span {
	full := float64(packets)
	least := max(beta*(b.BDP()+full)-b.BDP(), 0)
	return Between(seconds(least*b.Frame().Seconds()), seconds(full*b.Frame().Seconds())).From("window from beta (BDP + buffer) to BDP + buffer")
}

// CoDelWait is the range of the wait in CoDel's queue behind a single flow, after slow start: CoDel drops when the wait has been above target for an interval;
// until the sender knows, a round trip later, the window may have grown by a segment in each round trip. The loss then takes more off than that.
func (b Bottleneck) CoDelWait() Span {
	rtt := b.RTT + CoDelTarget
	grown := math.Ceil(CoDelInterval.Seconds()/rtt.Seconds()) + 1
	return Between(0, CoDelTarget+seconds((grown+1)*b.Frame().Seconds())).From("RFC 8289: target, and what the window grows by in an interval and a round trip")
}

// SparseWait is how long a packet of a flow that has no queue waits where flows have queues of their own: what is being sent, and one that was taken before
// (RFC 8290, 4.2: new flows first; sch_tbf.c and sch_cake.c hold one packet that waits for its tokens).
func (b Bottleneck) SparseWait() Span {
	return Between(0, 2*b.Frame()).From("RFC 8290: new flows first, behind the packet on the wire and one that was taken")
}

// DCTCPQueue is the range of the queue in packets that DCTCP flows keep at RED with a Min of k packets and a Max of one more, after slow start (Alizadeh
// and others, Data Center TCP, 2010, equations 8 to 11): the queue at which the first is marked and N at most, less the amplitude.
//
// Marked is what finds Max, k + 1, in the queue, and makes it k + 2 (sch_red.c: red_enqueue); at Min the probability is still 0. Until its echo comes, with
// the ACK of the marked packet, just a window is acknowledged, for which each flow sends one more. So k + 2 + N is reached each time, and not passed:
// what an ACK of two segments sends in a burst is in it, as the last of a burst is the one that finds most and is marked. Below, the two segments
// that an ACK waits for are missing.
func (b Bottleneck) DCTCPQueue(k, flows int) bounds.Range {
	n := float64(flows)
	amplitude := math.Sqrt(2*n*(b.BDP()+float64(k))) / 2
	first := k + 2
	return bounds.Between(int(float64(k)-amplitude)-ackSegments, first+flows).In("packets").
		From("Alizadeh and others, 2010: K + N - A to K + N; sch_red.c: K is the queue with the first that is marked")
}
