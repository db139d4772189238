package impair

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/tcplab/tcplab/internal/ethernet"
)

// Bit rates, for [Rate]: decimal, as everywhere in networking.
const (
	Kbit int64 = 1_000
	Mbit int64 = 1_000_000
	Gbit int64 = 1_000_000_000
)

// Percent is a probability or a correlation, 0 to 100.
//
// The kernel keeps 32 bits, a resolution of 2.3e-8 percent. A Percent read from the kernel is the shortest one that
// it stores as the same number: 1, not 1.0000000012.
type Percent float64

// String is like "0.1%".
func (p Percent) String() string {
	return strconv.FormatFloat(float64(p), 'f', -1, 64) + "%"
}

// Netem is the impairment of the packets that leave through a device. The zero value is a perfect link. The fields
// are those of tc-netem(8).
type Netem struct {
	// Delay is added to every packet: 0 to 24 h.
	Delay time.Duration

	// Jitter is the variation of Delay: 0 to Delay, at most 2.147483647 s (the
	// kernel keeps 31 bits of nanoseconds). With a Uniform distribution a packet
	// is delayed by Delay-Jitter to Delay+Jitter, with the others Jitter is the
	// scale (Normal: the standard deviation), and up to four of it are added.
	Jitter time.Duration

	// DelayCorrelation is the correlation of each delay with the one before. It needs Jitter, and mostly has almost
	// no effect: see the traps in the package documentation.
	DelayCorrelation Percent

	// Distribution of the delay. All but Uniform need Jitter.
	Distribution Distribution

	// Loss is nil, [RandomLoss], [GilbertElliott] or [FourState].
	Loss Loss

	// ECN marks ECN-capable packets (CE) instead of dropping them. It needs a Loss.
	ECN bool

	Reorder   Reorder
	Duplicate Duplicate
	Corrupt   Corrupt
	Rate      Rate

	// Limit is the number of packets that netem holds, those being delayed
	// included; further ones are dropped. 1 to 2147483647, or 0 to have it
	// sized, for packets of 1514 bytes (an MTU of 1500 with its Ethernet
	// header), as
	//
	//	line  = rate * hold
	//	queue = max(rate * 2*hold, 64 packets)
	//	limit = line + queue
	//
	// where hold is the longest time that a packet can be held apart from
	// queueing: delay + jitter (4 times the jitter with a distribution table,
	// which goes so far) + the longest slot. The queue is a drop-tail buffer of
	// one bandwidth-delay product, for a round trip whose other direction is
	// alike; 64 packets take a burst of 64 KiB. Without a rate, nothing but the
	// delay shall be felt: limit is 10 Gbit/s * hold, at least 1000 and at most
	// 1048576 packets. The choice is noted in [Applied].
	Limit int

	Slot Slot

	// Seed of the random numbers, on Linux 6.6 and later. 0 is a seed as good as
	// any other.
	Seed uint64
}

// Loss is a model of packet loss: [RandomLoss], [GilbertElliott] or
// [FourState]; nil is no loss.
type Loss interface {
	fmt.Stringer
	lossModel() lossModel
}

// lossModel is the name of a model in records.
type lossModel string

const (
	noLoss         lossModel = ""
	randomModel    lossModel = "random"
	gilbertModel   lossModel = "gilbert-elliott"
	fourStateModel lossModel = "four-state"
)

// RandomLoss drops each packet with the same probability.
type RandomLoss struct {
	Percent     Percent
	Correlation Percent // with the packet before; changes the share: see the package's traps
}

// GilbertElliott is a Markov chain of a good and a bad state with a loss
// probability in each. All four are set in full, in contrast to tc(8), where
// 1-h is 100 % if left out. A model that can lose nothing is refused.
//
// In the long run it loses (R*OneMinusK + P*OneMinusH) / (P+R).
type GilbertElliott struct {
	P         Percent // from good to bad, for each packet
	R         Percent // from bad to good, for each packet; 0 never recovers
	OneMinusH Percent // loss in the bad state
	OneMinusK Percent // loss in the good state
}

// SimpleGilbert is the Gilbert-Elliott model that loses every packet in the bad
// state and none in the good one: bursts of 100/r packets on average, and a
// loss of p/(p+r).
func SimpleGilbert(p, r Percent) GilbertElliott {
	return GilbertElliott{P: p, R: r, OneMinusH: 100}
}

// FourState is the General and Intuitive loss model: 1 received in a gap,
// 2 received within a burst, 3 lost within a burst, 4 lost alone in a gap.
// Pxy is the probability of going from x to y. P13+P14 and P31+P32 are at most
// 100 each. From 4 it always goes to 1.
type FourState struct {
	P13, P31, P32, P23, P14 Percent
}

func (RandomLoss) lossModel() lossModel     { return randomModel }
func (GilbertElliott) lossModel() lossModel { return gilbertModel }
func (FourState) lossModel() lossModel      { return fourStateModel }

// String is like tc's "loss 1% 25%".
func (l RandomLoss) String() string { return "loss " + withCorrelation(l.Percent, l.Correlation) }

// String is like tc's "loss gemodel p r 1-h 1-k".
func (l GilbertElliott) String() string {
	return fmt.Sprintf("loss gemodel %v %v %v %v", l.P, l.R, l.OneMinusH, l.OneMinusK)
}

// String is like tc's "loss state p13 p31 p32 p23 p14".
func (l FourState) String() string {
	return fmt.Sprintf("loss state %v %v %v %v %v", l.P13, l.P31, l.P32, l.P23, l.P14)
}

// Reorder sends packets without the delay. It needs a Delay.
type Reorder struct {
	Percent     Percent
	Correlation Percent

	// Gap n keeps the first n-1 packets after a reordered one in order: with Percent 100 every n-th packet is sent
	// without delay. 0 means 1: any packet.
	Gap int
}

// Duplicate sends packets twice.
type Duplicate struct {
	Percent     Percent
	Correlation Percent
}

// Corrupt flips one random bit of a packet.
type Corrupt struct {
	Percent     Percent
	Correlation Percent
}

// Rate is a bottleneck: packets are serialized at this rate, one after the other.
type Rate struct {
	// BitsPerSecond is 0 (no bottleneck) or at least 8. It counts the bytes of
	// the frame, Ethernet header included.
	BitsPerSecond int64

	// PacketOverhead is added to the length of each packet, in bytes: -14 takes
	// the Ethernet header off, 24 adds preamble, FCS and interframe gap. At
	// least -14: more would make a small packet's length wrap around in the
	// kernel, and stop the link.
	PacketOverhead int32

	// CellSize, if not 0, is the payload of the cells that a packet is cut into,
	// in bytes, the last one filled up: 48 for ATM. 0 to 65535.
	CellSize int32

	// CellOverhead is added for each cell, in bytes: 5 for ATM. More than
	// -CellSize, up to 65535.
	CellOverhead int32
}

// Slot collects packets and releases them in bursts, as a link with time slots does (WiFi, DOCSIS, LTE). The time
// from slot to slot is either from a range (MinDelay, MaxDelay) or from a distribution (Delay, Jitter, Distribution).
type Slot struct {
	MinDelay time.Duration // 0 to MaxDelay
	MaxDelay time.Duration // up to 2.147483647 s above MinDelay

	Delay        time.Duration // mean, 0 to 24 h
	Jitter       time.Duration // as Netem.Jitter; not 0 if Delay is set
	Distribution Distribution  // as Netem.Distribution

	Packets int // in a slot at most; 0 is no limit
	Bytes   int // in a slot at most; 0 is no limit
}

func (s Slot) hasRange() bool { return s.MinDelay != 0 || s.MaxDelay != 0 }

func (s Slot) hasDistribution() bool {
	return s.Delay != 0 || s.Jitter != 0 || s.Distribution != Uniform
}

// String is like the options of tc(8): "delay 20ms 2ms loss 1%". What is not
// set is not in it, and a perfect link is "perfect link".
func (n Netem) String() string {
	var words []string
	for _, first := range []bool{true, false} {
		for _, o := range options {
			if text := o.text(&n); o.first == first && text != "" {
				words = append(words, text)
			}
		}
	}
	if len(words) == 0 {
		return "perfect link"
	}
	return strings.Join(words, " ")
}

// String is like tc's "rate 20Mbit", with overheads where there are any.
func (r Rate) String() string {
	s := "rate " + bitRate(r.BitsPerSecond)
	if r.PacketOverhead != 0 || r.CellSize != 0 || r.CellOverhead != 0 {
		s += fmt.Sprintf(" packetoverhead %d", r.PacketOverhead)
	}
	if r.CellSize != 0 || r.CellOverhead != 0 {
		s += fmt.Sprintf(" cellsize %d celloverhead %d", r.CellSize, r.CellOverhead)
	}
	return s
}

// String is like tc's "slot 1ms 2ms packets 10".
func (s Slot) String() string {
	text := "slot"
	if s.hasDistribution() {
		text += fmt.Sprintf(" distribution %v %v %v", s.Distribution, s.Delay, s.Jitter)
	}
	if s.hasRange() || !s.hasDistribution() {
		text += fmt.Sprintf(" %v %v", s.MinDelay, s.MaxDelay)
	}
	if s.Packets != 0 {
		text += fmt.Sprintf(" packets %d", s.Packets)
	}
	if s.Bytes != 0 {
		text += fmt.Sprintf(" bytes %d", s.Bytes)
	}
	return text
}

func withCorrelation(p, correlation Percent) string {
	if correlation == 0 {
		return p.String()
	}
	return p.String() + " " + correlation.String()
}

// bitRate writes a rate with the largest unit that leaves it exact.
func bitRate(bits int64) string {
	for _, unit := range []struct {
		size int64
		name string
	}{{Gbit, "Gbit"}, {Mbit, "Mbit"}, {Kbit, "Kbit"}} {
		if bits != 0 && bits%unit.size == 0 {
			return strconv.FormatInt(bits/unit.size, 10) + unit.name
		}
	}
	return strconv.FormatInt(bits, 10) + "bit"
}

// ParseRate reads a rate as tc(8) writes it, in bit/s: 20mbit, 1.5Gbit, 64kbit, 9600bit.
func ParseRate(text string) (int64, error) {
	const most = 1000 * Gbit
	for _, unit := range []struct {
		name string
		bits int64
	}{{"gbit", Gbit}, {"mbit", Mbit}, {"kbit", Kbit}, {"bit", 1}} {
		number, ok := strings.CutSuffix(strings.ToLower(text), unit.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(number, 64)
		if err != nil || !(n > 0 && n*float64(unit.bits) <= float64(most)) {
			break
		}
		return int64(n * float64(unit.bits)), nil
	}
	return 0, fmt.Errorf("%q is no rate: write it as 20mbit, 1.5gbit, 64kbit or 9600bit, up to 1000gbit", text)
}

// Sizing of the limit; the formula is in the documentation of Netem.Limit.
const (
	limitPacket    = ethernet.FrameLength
	limitQueueMin  = 64      // packets; 64 KiB, a burst of TSQ or GSO size, are 46 segments of 1448
	limitFreeRate  = 10e9    // bit/s that a link without a rate is sized for
	limitFreeMin   = 1000    // packets, tc's own default
	limitFreeMax   = 1 << 20 // packets, some 2.5 GB of socket buffers if it were ever full
	tableReach     = 4       // largest table value (32767) in units of the jitter (NETEM_DIST_SCALE)
	limitRoundTrip = 2       // round-trip time in units of this direction's hold time
)

// packetLimit returns the limit that is sent to the kernel, and its derivation if none was given.
func (n Netem) packetLimit() (limit int, note string) {
	if n.Limit != 0 {
		return n.Limit, ""
	}
	hold := n.holdTime()
	if n.Rate.BitsPerSecond == 0 {
		packets := limitFreeRate * hold.Seconds() / (8 * limitPacket)
		limit = int(math.Ceil(min(max(packets, limitFreeMin), limitFreeMax)))
		return limit, fmt.Sprintf("Limit: chosen %d packets: no rate, %s held for up to %v",
			limit, bitRate(limitFreeRate), hold)
	}
	packetsPerSecond := float64(n.Rate.BitsPerSecond) / (8 * n.Rate.wireBytes(limitPacket))
	line := math.Ceil(packetsPerSecond * hold.Seconds())
	queue := max(math.Ceil(packetsPerSecond*limitRoundTrip*hold.Seconds()), limitQueueMin)
	limit = int(min(line+queue, math.MaxInt32))
	return limit, fmt.Sprintf("Limit: chosen %d packets: %.0f in the delay line and %.0f in the queue, at %s, held for up to %v",
		limit, line, queue, bitRate(n.Rate.BitsPerSecond), hold)
}

// holdTime is the longest time that a packet is held, apart from queueing.
func (n Netem) holdTime() time.Duration {
	reach := func(d Distribution) time.Duration {
		if d == Uniform {
			return 1
		}
		return tableReach
	}
	hold := n.Delay + reach(n.Distribution)*n.Jitter
	return hold + max(n.Slot.MaxDelay, n.Slot.Delay+reach(n.Slot.Distribution)*n.Slot.Jitter)
}

// wireBytes is the length that a packet counts with, as in packet_time_ns of the kernel.
func (r Rate) wireBytes(packet int) float64 {
	length := float64(packet) + float64(r.PacketOverhead)
	if r.CellSize != 0 {
		cells := math.Ceil(length / float64(r.CellSize))
		length = cells * (float64(r.CellSize) + float64(r.CellOverhead))
	}
	return length
}
