package queue

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/mdlayher/netlink"

	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/impair/internal/qdisc"
	"github.com/tcplab/tcplab/internal/ethernet"
)

// RED drops or marks at random while the average length of the queue is between Min and Max, and all above (RFC 2309, tc-red(8)). The kernel
// has no defaults of its own: a field that is 0 is chosen as tc does, and noted.
type RED struct {
	Limit       int            `json:"limit_bytes,omitempty"`         // the most that it holds; by default 400000
	Min         int            `json:"min_bytes,omitempty"`           // by default a third of Max
	Max         int            `json:"max_bytes,omitempty"`           // by default a quarter of Limit
	AvgPacket   int            `json:"avg_packet_bytes,omitempty"`    // by default 1514, a full frame
	Burst       int            `json:"burst_packets,omitempty"`       // that may come at once before the average has followed: by default (2*Min + Max) / (3*AvgPacket)
	Probability impair.Percent `json:"probability_percent,omitempty"` // of a drop or a mark at Max; by default 2 %
	Bandwidth   int64          `json:"bandwidth_bit_per_s,omitempty"` // of the link, after which the average of an idle queue falls; by default 10 Mbit/s
	ECN         bool           `json:"ecn,omitempty"`                 // marks what can be marked
	HardDrop    bool           `json:"harddrop,omitempty"`            // with ECN: drops above Max, whatever it is
	Adaptive    bool           `json:"adaptive,omitempty"`            // changes the probability so that the average stays in the middle
	Instant     bool           `json:"instant,omitempty"`             // looks at the length itself, not at its average: the step that DCTCP wants (RFC 8257). tc cannot set it
}

// Kind is "red".
func (q RED) Kind() string { return "red" }

// String is as of [Discipline]. What tc calls avpkt has to be there for it.
func (q RED) String() string {
	words := []string{q.Kind()}
	add := func(there bool, format string, value any) {
		if there {
			words = append(words, fmt.Sprintf(format, value))
		}
	}
	add(q.Limit != 0, "limit %d", q.Limit)
	add(q.Min != 0, "min %d", q.Min)
	add(q.Max != 0, "max %d", q.Max)
	add(q.AvgPacket != 0, "avpkt %d", q.AvgPacket)
	add(q.Burst != 0, "burst %d", q.Burst)
	add(q.Probability != 0, "probability %v", float64(q.Probability)/100)
	add(q.Bandwidth != 0, "bandwidth %s", strings.TrimPrefix(rateText(q.Bandwidth), "rate "))
	for _, flag := range []struct {
		on   bool
		word string
	}{{q.ECN, "ecn"}, {q.HardDrop, "harddrop"}, {q.Adaptive, "adaptive"}, {q.Instant, "instant"}} {
		add(flag.on, "%s", flag.word)
	}
	return strings.Join(words, " ")
}

// redMost is what a queue can be long: with its weight it must fit into 31 bits (red_check_params).
const redMost = 1 << 24

// Validate is as of [Discipline].
func (q RED) Validate() error {
	var c checker
	for _, f := range []struct {
		name  string
		value int
		most  int
	}{{"Limit", q.Limit, maxInt}, {"Min", q.Min, redMost}, {"Max", q.Max, redMost}, {"AvgPacket", q.AvgPacket, math.MaxUint16}, {"Burst", q.Burst, 1 << 20}} {
		if f.value < 0 || f.value > f.most {
			c.refuse("RED."+f.name, f.value, fmt.Sprintf("0 (chosen), or 1 to %d", f.most))
		}
	}
	if !(q.Probability >= 0 && q.Probability <= 100) {
		c.refuse("RED.Probability", q.Probability, "0 (2%), or up to 100%")
	}
	c.rate("RED.Bandwidth", q.Bandwidth)
	if q.HardDrop && !q.ECN {
		c.refuse("RED.HardDrop", true, "false without ECN: then all is dropped anyway")
	}
	if q.Instant && (q.Burst != 0 || q.Bandwidth != 0) {
		c.refuse("RED.Instant", true, "false with Burst or Bandwidth, which are of the average")
	}
	if len(c.errs) == 0 {
		filled, _ := q.filled()
		switch weight, err := filled.weight(); {
		case filled.Min >= filled.Max:
			c.refuse("RED.Min", filled.Min, fmt.Sprintf("less than Max, which is %d", filled.Max))
		case filled.Max > filled.Limit:
			c.refuse("RED.Max", filled.Max, fmt.Sprintf("at most Limit, which is %d", filled.Limit))
		case err != nil:
			c.refuse("RED.Burst", filled.Burst, err.Error())
		case uint64(filled.Max)<<weight > math.MaxInt32:
			c.refuse("RED.Burst", filled.Burst, fmt.Sprintf("less: a weight of 1/2^%d times Max, %d bytes, does not fit into the kernel's 32 bits", weight, filled.Max))
		}
	}
	return errors.Join(c.errs...)
}

// filled is q with what tc chooses (tc/q_red.c), and a note of it.
func (q RED) filled() (RED, []string) {
	var notes []string
	choose := func(name string, at *int, value int) {
		if *at == 0 {
			*at = value
			notes = append(notes, fmt.Sprintf("%s: chosen %d", name, value))
		}
	}
	choose("Limit", &q.Limit, 400_000)
	choose("Max", &q.Max, max(2, q.Limit/4))
	choose("Min", &q.Min, max(1, q.Max/3))
	choose("AvgPacket", &q.AvgPacket, ethernet.FrameLength)
	if q.Probability == 0 {
		q.Probability = 2
		notes = append(notes, "Probability: chosen 2%")
	}
	if !q.Instant {
		choose("Burst", &q.Burst, max(1, (2*q.Min+q.Max)/(3*q.AvgPacket)))
		if q.Bandwidth == 0 {
			q.Bandwidth = 10 * impair.Mbit
			notes = append(notes, "Bandwidth: chosen 10 Mbit/s")
		}
	}
	return q, notes
}

// weight is the exponent of the average's weight, 1/2^weight, by which so many packets at once are let pass (tc_red_eval_ewma).
func (q RED) weight() (int, error) {
	if q.Instant {
		return 0, nil
	}
	burst := float64(q.Burst)
	a := burst + 1 - float64(q.Min)/float64(q.AvgPacket)
	if a < 1 {
		return 0, fmt.Errorf("at least %d, which is Min in packets", int(math.Ceil(float64(q.Min)/float64(q.AvgPacket))))
	}
	weight := 0.5
	for exponent := 1; exponent < 32; exponent++ {
		if a <= (1-math.Pow(1-weight, burst))/weight {
			return exponent, nil
		}
		weight /= 2
	}
	return 0, errors.New("less: no weight of the average lets so many pass")
}

// slope is the exponent of the probability's (tc_red_eval_P), which kernels use that do not know the probability itself.
func (q RED) slope() int {
	p := float64(q.Probability) / 100 / float64(q.Max-q.Min)
	exponent := 0
	for ; exponent < 32 && p <= 1; exponent++ {
		p *= 2
	}
	return exponent
}

// The table by which the average of an idle queue falls.
const (
	idleSteps  = 256
	idleShift  = 31  // the most by which it is shifted
	idleCells  = 512 // microseconds that the table covers, before they are scaled
	microFloat = 1e6
)

// idle is that table, and the exponent of the microseconds that a step of it has (tc_red_eval_idle_damping).
func (q RED) idle(weight int) (cell int, steps [idleSteps]byte) {
	steps[idleSteps-1] = idleShift
	if weight == 0 {
		for i := 1; i < idleSteps; i++ {
			steps[i] = idleShift // nothing is remembered
		}
		return 0, steps
	}
	packet := float64(q.AvgPacket) * 8 / float64(q.Bandwidth) * microFloat // in microseconds
	fall := -math.Log(1-1/float64(uint(1)<<weight)) / packet
	most := idleShift / fall
	for most/float64(uint64(1)<<cell) >= idleCells && cell < idleShift {
		cell++
	}
	for i := 1; i < idleSteps-1; i++ {
		steps[i] = byte(min(float64(uint64(i)<<cell)*fall, idleShift))
	}
	return cell, steps
}

// The attributes of TCA_OPTIONS, and the flags.
const (
	attrREDParms = 1 // struct tc_red_qopt
	attrREDTable = 2
	attrREDMaxP  = 3 // u32: the probability, of 2^32

	flagECN      = 1
	flagHardDrop = 2
	flagAdaptive = 4
)

// redParms is struct tc_red_qopt.
type redParms struct {
	Limit, Min, Max                     uint32
	WeightLog, SlopeLog, CellLog, Flags byte
}

// early is RED's form.
type early struct {
	RED
}

func (e *early) UnmarshalJSON(data []byte) error { return unmarshalStrict(data, &e.RED) }

func (e *early) discipline() Discipline { return e.RED }

func (e *early) chosen() []string {
	_, notes := e.filled()
	return notes
}

func (e *early) encode() ([]byte, error) {
	q, _ := e.filled()
	weight, err := q.weight()
	if err != nil {
		return nil, err
	}
	cell, steps := q.idle(weight)
	parms := redParms{
		Limit: uint32(q.Limit), Min: uint32(q.Min), Max: uint32(q.Max), WeightLog: byte(weight), SlopeLog: byte(q.slope()), CellLog: byte(cell),
	}
	for flag, on := range map[byte]bool{flagECN: q.ECN, flagHardDrop: q.HardDrop, flagAdaptive: q.Adaptive} {
		if on {
			parms.Flags |= flag
		}
	}
	ae := netlink.NewAttributeEncoder()
	ae.Bytes(attrREDParms, qdisc.Pack(parms))
	ae.Bytes(attrREDTable, steps[:])
	ae.Uint32(attrREDMaxP, uint32(min(float64(q.Probability)/100*(1<<32), math.MaxUint32)))
	return ae.Encode()
}

func parseRED(data []byte) (parms redParms, probability uint32, err error) {
	all, err := attributes(data)
	if err != nil {
		return parms, 0, err
	}
	if err := qdisc.Unpack("struct tc_red_qopt", all[attrREDParms], &parms); err != nil {
		return parms, 0, err
	}
	if p, there := all[attrREDMaxP]; there {
		err = qdisc.Unpack("TCA_RED_MAX_P", p, &probability)
	}
	return parms, probability, err
}

func (e *early) decode(data []byte) error {
	parms, probability, err := parseRED(data)
	if err != nil {
		return err
	}
	e.Limit, e.Min, e.Max = int(parms.Limit), int(parms.Min), int(parms.Max)
	e.ECN, e.HardDrop, e.Adaptive = parms.Flags&flagECN != 0, parms.Flags&flagHardDrop != 0, parms.Flags&flagAdaptive != 0
	e.Instant = parms.WeightLog == 0
	// The kernel has 32 bits: to six digits it is the percentage that was asked for.
	e.Probability = impair.Percent(math.Round(float64(probability)/(1<<32)*100*1e6) / 1e6)
	return nil
}

func (e *early) differences(sent, got []byte) ([]string, error) {
	want, wantP, err := parseRED(sent)
	if err != nil {
		return nil, err
	}
	has, hasP, err := parseRED(got)
	if err != nil {
		return nil, err
	}
	var differences []string
	if want != has {
		differences = append(differences, fmt.Sprintf("struct tc_red_qopt: sent %+v, got %+v", want, has))
	}
	if wantP != hasP && !want.adapts() { // an adaptive one has changed it
		differences = append(differences, fmt.Sprintf("Probability: sent %d of 2^32, got %d", wantP, hasP))
	}
	return differences, nil
}

func (p redParms) adapts() bool { return p.Flags&flagAdaptive != 0 }
