package impair

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/tcplab/tcplab/harness/invalid"
)

const (
	// maxDelay keeps the kernel's clock arithmetic far from overflow; it is
	// longer than any timer of TCP.
	maxDelay = 24 * time.Hour

	// maxJitter is INT_MAX ns: netem_change cuts anything above, silently.
	maxJitter = time.Duration(math.MaxInt32)
)

// tablesMax is what fits into the 65535 bytes of TCA_OPTIONS, less 512 for all
// else, in two-byte values.
const tablesMax = (math.MaxUint16 - 512) / 2

// Validate returns what is wrong with n: a [*invalid.FieldError] for each field, joined,
// in the order of the fields; nil if all is well. It reads the files of
// [Experimental] and [File] distributions, and needs neither root nor netem.
func (n Netem) Validate() error {
	c := n.check()
	return errors.Join(c.errs...)
}

func (n Netem) check() checker {
	var c checker
	for _, o := range options {
		o.check(&c, &n)
	}
	return c
}

// A checker gathers what is wrong, and the tables that it has made of distributions.
type checker struct {
	errs   []error
	tables tables
}

func (c *checker) refuse(field string, value any, allowed string) {
	c.errs = append(c.errs, &invalid.FieldError{Of: "impairment", Field: field, Value: value, Allowed: "want " + allowed})
}

func (c *checker) duration(field string, d, largest time.Duration) {
	if d < 0 || d > largest {
		c.refuse(field, d, fmt.Sprintf("0 to %v", largest))
	}
}

func (c *checker) integer(field string, v, least, most int64, unit string) {
	if v < least || v > most {
		c.refuse(field, v, fmt.Sprintf("%d to %d %s", least, most, unit))
	}
}

// percent reports whether p is a percentage that the kernel can hold.
func (c *checker) percent(field string, p Percent) bool {
	switch {
	case !(p >= 0 && p <= 100): // NaN included
		c.refuse(field, p, "0% to 100%")
	case p > 0 && encodePercent(p) == 0:
		c.refuse(field, p, "0%, or at least 0.000000012% (the kernel keeps 32 bits)")
	default:
		return true
	}
	return false
}

func (c *checker) probability(field string, p, correlation Percent) {
	c.percent(field+".Percent", p)
	if c.percent(field+".Correlation", correlation) && correlation > 0 && p == 0 {
		c.refuse(field+".Correlation", correlation, "0% without "+field+".Percent")
	}
}

func (c *checker) jitter(field string, jitter time.Duration, delayField string, delay time.Duration) {
	c.duration(field, jitter, maxJitter)
	if jitter > max(delay, 0) && jitter <= maxJitter {
		c.refuse(field, jitter, fmt.Sprintf("0 to %s, which is %v", delayField, delay))
	}
}

// distribution returns the table, nil if there is none.
func (c *checker) distribution(field string, d Distribution, jitter time.Duration) []int16 {
	if d == Uniform {
		return nil
	}
	if jitter == 0 {
		c.refuse(field, d, "uniform without Jitter: there is nothing to distribute")
	}
	table, err := d.table()
	if err != nil {
		c.refuse(field, d, err.Error())
	}
	return table
}

// fit refuses two tables that do not fit into one netlink attribute together.
func (c *checker) fit(slot Distribution) {
	if sum := len(c.tables.delay) + len(c.tables.slot); sum > tablesMax {
		c.refuse("Slot.Distribution", slot,
			fmt.Sprintf("a table that leaves both distributions together at most %d values, not %d: "+
				"netlink carries no more in an attribute", tablesMax, sum))
	}
}

func (c *checker) loss(loss Loss) {
	switch l := loss.(type) {
	case nil:
	case RandomLoss:
		c.probability("Loss", l.Percent, l.Correlation)
	case GilbertElliott:
		ok := c.percent("Loss.P", l.P)
		ok = c.percent("Loss.R", l.R) && ok
		ok = c.percent("Loss.OneMinusH", l.OneMinusH) && ok
		ok = c.percent("Loss.OneMinusK", l.OneMinusK) && ok
		if ok && !loses(l) {
			c.refuse("Loss", l, "a model that can lose a packet: OneMinusK above 0%, or P and OneMinusH (100% in a simple Gilbert model)")
		}
	case FourState:
		ok := c.percent("Loss.P13", l.P13)
		ok = c.percent("Loss.P31", l.P31) && ok
		ok = c.percent("Loss.P32", l.P32) && ok
		ok = c.percent("Loss.P23", l.P23) && ok
		ok = c.percent("Loss.P14", l.P14) && ok
		if !ok {
			return
		}
		if sum := l.P13 + l.P14; sum > 100 {
			c.refuse("Loss.P13+P14", sum, "0% to 100%: they leave the same state")
		}
		if sum := l.P31 + l.P32; sum > 100 {
			c.refuse("Loss.P31+P32", sum, "0% to 100%: they leave the same state")
		}
		if !loses(l) {
			c.refuse("Loss", l, "a model that can lose a packet: P13 or P14 above 0%")
		}
	default:
		c.refuse("Loss", fmt.Sprintf("%T", loss), "nil, or a value (not a pointer) of RandomLoss, GilbertElliott or FourState")
	}
}

// loses reports whether a loss model can lose anything at all.
func loses(loss Loss) bool {
	switch l := loss.(type) {
	case RandomLoss:
		return l.Percent > 0
	case GilbertElliott:
		return l.OneMinusK > 0 || l.P > 0 && l.OneMinusH > 0
	case FourState:
		return l.P13 > 0 || l.P14 > 0
	}
	return false
}

func (c *checker) rate(r Rate) {
	if r.BitsPerSecond < 0 || r.BitsPerSecond > 0 && r.BitsPerSecond < 8 {
		c.refuse("Rate.BitsPerSecond", r.BitsPerSecond, "0 (no bottleneck) or at least 8: the kernel counts whole bytes per second")
	}
	if r.BitsPerSecond == 0 && r != (Rate{}) {
		c.refuse("Rate.BitsPerSecond", r.BitsPerSecond, "a rate: PacketOverhead, CellSize and CellOverhead have no meaning without")
	}
	c.integer("Rate.PacketOverhead", int64(r.PacketOverhead), -14, math.MaxInt32, "bytes")
	c.integer("Rate.CellSize", int64(r.CellSize), 0, math.MaxUint16, "bytes")
	switch {
	case r.CellOverhead != 0 && r.CellSize == 0:
		c.refuse("Rate.CellOverhead", r.CellOverhead, "0 without Rate.CellSize")
	case r.CellSize > 0:
		c.integer("Rate.CellOverhead", int64(r.CellOverhead), 1-int64(r.CellSize), math.MaxUint16, "bytes (more than -CellSize)")
	}
}

func (c *checker) slot(s Slot) {
	c.duration("Slot.MinDelay", s.MinDelay, maxDelay)
	c.duration("Slot.MaxDelay", s.MaxDelay, maxDelay)
	switch {
	case s.MinDelay > s.MaxDelay:
		c.refuse("Slot.MaxDelay", s.MaxDelay, fmt.Sprintf("at least Slot.MinDelay, which is %v", s.MinDelay))
	case s.MaxDelay-s.MinDelay > maxJitter:
		// Before mul_u64_u32_shr came to get_slot_next (6.18 has it), the range was
		// multiplied with a 32-bit number in 64 signed bits.
		c.refuse("Slot.MaxDelay", s.MaxDelay, fmt.Sprintf("at most %v above Slot.MinDelay", maxJitter))
	}
	c.duration("Slot.Delay", s.Delay, maxDelay)
	c.jitter("Slot.Jitter", s.Jitter, "Slot.Delay", s.Delay)
	if s.Delay > 0 && s.Jitter == 0 {
		c.refuse("Slot.Jitter", s.Jitter, "above 0 with Slot.Delay (netem switches slots off without); for a constant time set MinDelay = MaxDelay")
	}
	c.tables.slot = c.distribution("Slot.Distribution", s.Distribution, s.Jitter)
	if s.hasRange() && s.hasDistribution() {
		c.refuse("Slot", s, "either MinDelay and MaxDelay, or Delay, Jitter and Distribution")
	}
	// INT_MAX is how the kernel writes "no limit", and it is not dumped.
	c.integer("Slot.Packets", int64(s.Packets), 0, math.MaxInt32-1, "packets (0: no limit)")
	c.integer("Slot.Bytes", int64(s.Bytes), 0, math.MaxInt32-1, "bytes (0: no limit)")
	if (s.Packets > 0 || s.Bytes > 0) && !s.hasRange() && !s.hasDistribution() {
		c.refuse("Slot", s, "a time from slot to slot (MaxDelay, or Delay and Jitter) for Packets or Bytes to count in")
	}
	c.fit(s.Distribution)
}
