package impair

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Applied is the impairment as asked and as applied.
type Applied struct {
	Asked Netem `json:"asked"`

	// Got is the impairment that the kernel reports afterwards. A distribution that the kernel does not report is
	// Unreported.
	Got Netem `json:"got"`

	// Notes explain the differences between Got and Asked: what was rounded, chosen or ignored, and what the kernel
	// cannot confirm. Each is a line that starts with the name of the field, in a fixed order.
	Notes []string `json:"notes,omitempty"`
}

// MismatchError says that the kernel accepted an impairment, but reports another. The qdisc stays as it is.
type MismatchError struct {
	Differences []string // a field each: "Delay: asked 20ms, got 0s"
}

func (e *MismatchError) Error() string {
	return "the kernel has another netem than asked: " + strings.Join(e.Differences, "; ")
}

// A value is one field of a Netem or of the wire options, as text.
type value struct{ field, text string }

// values lists all of n, in the order of the fields.
func (n Netem) values() []value {
	list := []value{
		{"Delay", n.Delay.String()},
		{"Jitter", n.Jitter.String()},
		{"DelayCorrelation", n.DelayCorrelation.String()},
	}
	// All models are listed, so that lists of two Netems match line by line.
	random, _ := n.Loss.(RandomLoss)
	ge, _ := n.Loss.(GilbertElliott)
	gi, _ := n.Loss.(FourState)
	list = append(list, []value{
		{"Loss.Percent", random.Percent.String()},
		{"Loss.Correlation", random.Correlation.String()},
		{"Loss.P", ge.P.String()},
		{"Loss.R", ge.R.String()},
		{"Loss.OneMinusH", ge.OneMinusH.String()},
		{"Loss.OneMinusK", ge.OneMinusK.String()},
		{"Loss.P13", gi.P13.String()},
		{"Loss.P31", gi.P31.String()},
		{"Loss.P32", gi.P32.String()},
		{"Loss.P23", gi.P23.String()},
		{"Loss.P14", gi.P14.String()},
		{"ECN", strconv.FormatBool(n.ECN)},
		{"Reorder.Percent", n.Reorder.Percent.String()},
		{"Reorder.Correlation", n.Reorder.Correlation.String()},
		{"Reorder.Gap", strconv.Itoa(n.Reorder.Gap)},
		{"Duplicate.Percent", n.Duplicate.Percent.String()},
		{"Duplicate.Correlation", n.Duplicate.Correlation.String()},
		{"Corrupt.Percent", n.Corrupt.Percent.String()},
		{"Corrupt.Correlation", n.Corrupt.Correlation.String()},
		{"Rate.BitsPerSecond", strconv.FormatInt(n.Rate.BitsPerSecond, 10)},
		{"Rate.PacketOverhead", strconv.Itoa(int(n.Rate.PacketOverhead))},
		{"Rate.CellSize", strconv.Itoa(int(n.Rate.CellSize))},
		{"Rate.CellOverhead", strconv.Itoa(int(n.Rate.CellOverhead))},
		{"Slot.MinDelay", n.Slot.MinDelay.String()},
		{"Slot.MaxDelay", n.Slot.MaxDelay.String()},
		{"Slot.Delay", n.Slot.Delay.String()},
		{"Slot.Jitter", n.Slot.Jitter.String()},
		{"Slot.Packets", strconv.Itoa(n.Slot.Packets)},
		{"Slot.Bytes", strconv.Itoa(n.Slot.Bytes)},
	}...)
	return list
}

// values lists all of o that the kernel dumps in any version, in the kernel's
// units, under the names of the fields.
func (o options) values() []value {
	number := func(v uint32) string { return strconv.FormatUint(uint64(v), 10) }
	signed := func(v int32) string { return strconv.FormatInt(int64(v), 10) }
	span := func(v int64) string { return time.Duration(v).String() }
	model := [...]string{0: "random", lossGI: "four-state", lossGE: "gilbert-elliott"}
	return []value{
		{"Delay", span(o.latency)},
		{"Jitter", span(o.jitter)},
		{"DelayCorrelation", number(o.delayCorr)},
		{"Loss model", model[o.lossModel]},
		{"Loss.Percent", number(o.loss)},
		{"Loss.Correlation", number(o.lossCorr)},
		{"Loss.P", number(o.ge.P)},
		{"Loss.R", number(o.ge.R)},
		{"1-Loss.OneMinusH", number(o.ge.H)},
		{"Loss.OneMinusK", number(o.ge.K1)},
		{"Loss.P13", number(o.gi.P13)},
		{"Loss.P31", number(o.gi.P31)},
		{"Loss.P32", number(o.gi.P32)},
		{"Loss.P23", number(o.gi.P23)},
		{"Loss.P14", number(o.gi.P14)},
		{"ECN", number(o.ecn)},
		{"Reorder.Percent", number(o.reorder)},
		{"Reorder.Correlation", number(o.reorderCorr)},
		{"Reorder.Gap", number(o.gap)},
		{"Duplicate.Percent", number(o.duplicate)},
		{"Duplicate.Correlation", number(o.dupCorr)},
		{"Corrupt.Percent", number(o.corrupt)},
		{"Corrupt.Correlation", number(o.corruptCorr)},
		{"Rate bytes per second", strconv.FormatUint(o.rate, 10)},
		{"Rate.PacketOverhead", signed(o.packetOverhead)},
		{"Rate.CellSize", number(o.cellSize)},
		{"Rate.CellOverhead", signed(o.cellOverhead)},
		{"Limit", number(o.limit)},
		{"Slot.MinDelay", span(o.slotMin)},
		{"Slot.MaxDelay", span(o.slotMax)},
		{"Slot.Delay", span(o.slotDistDelay)},
		{"Slot.Jitter", span(o.slotDistJitter)},
		{"Slot.Packets", signed(o.slotPackets)},
		{"Slot.Bytes", signed(o.slotBytes)},
	}
}

// verify compares what was sent with what the kernel has, in the kernel's own
// units: there is nothing to be rounded any more.
func verify(sent, got options) error {
	if got.nanosecondMissing {
		for _, o := range []*options{&sent, &got} {
			o.latency -= o.latency % tick
			o.jitter -= o.jitter % tick
		}
	}
	var differences []string
	wanted := sent.values()
	for i, v := range got.values() {
		if v != wanted[i] {
			differences = append(differences, fmt.Sprintf("%s: sent %s, got %s", v.field, wanted[i].text, v.text))
		}
	}
	if !got.seedMissing && got.seed != sent.seed {
		differences = append(differences, fmt.Sprintf("Seed: sent %d, got %d", sent.seed, got.seed))
	}
	if differences != nil {
		return &MismatchError{Differences: differences}
	}
	return nil
}

// report tells how asked became what the kernel has.
func report(asked Netem, sent tables, got options, change bool) Applied {
	a := Applied{Asked: asked, Got: got.netem()}
	note := func(format string, args ...any) { a.Notes = append(a.Notes, fmt.Sprintf(format, args...)) }

	reasons := map[string]string{
		"Rate.BitsPerSecond": "the kernel counts whole bytes per second",
		"Reorder.Gap":        "netem's least gap: any packet",
		"Delay":              "this kernel counts units of 64 ns",
		"Jitter":             "this kernel counts units of 64 ns",
	}
	wanted := asked.values()
	for i, v := range a.Got.values() {
		if v == wanted[i] {
			continue
		}
		reason, ok := reasons[v.field]
		if !ok {
			reason = "the kernel keeps 32 bits of a probability"
		}
		note("%s: asked %s, got %s: %s", v.field, wanted[i].text, v.text, reason)
	}
	noteCorrelations(asked, sent, note)
	if _, chosen := asked.packetLimit(); chosen != "" {
		note("%s", chosen)
	}

	switch {
	case asked.Jitter == 0:
	case sent.delay == nil:
		a.Got.Distribution = Uniform // a new qdisc that was sent no table has none
	case asked.Distribution == Uniform:
		note("Distribution: sent uniform as a table of steps of %v, as a change cannot unload a table; the kernel does not report it",
			asked.Jitter*4/distScale)
	default:
		note("Distribution: sent %s; the kernel does not report it", asked.Distribution.describe(sent.delay))
	}
	switch {
	case sent.slot == nil:
	case change && asked.Slot.hasRange():
		note("Slot.MinDelay: sent the range as a uniform table too, as a change cannot unload a table; the kernel does not report it")
	default:
		note("Slot.Distribution: sent %s; the kernel does not report it", asked.Slot.Distribution.describe(sent.slot))
	}
	if got.seedMissing && asked.Seed != 0 {
		note("Seed: %d ignored by this kernel: needs Linux 6.6", asked.Seed)
	}
	return a
}

// noteCorrelations warns of those that do not do what they say.
func noteCorrelations(asked Netem, sent tables, note func(format string, args ...any)) {
	// tabledist takes the correlated 32-bit number modulo twice the jitter in ns,
	// or modulo the size of the table. If that is less than the fresh part of the
	// number there is no trace of the number before.
	modulus := 2 * asked.Jitter.Nanoseconds()
	if sent.delay != nil {
		modulus = int64(len(sent.delay))
	}
	fresh := int64(math.MaxUint32 - encodePercent(asked.DelayCorrelation))
	if asked.DelayCorrelation > 0 && modulus < fresh {
		note("DelayCorrelation: netem takes the correlated number modulo %d, which leaves next to no correlation", modulus)
	}
	random, _ := asked.Loss.(RandomLoss)
	for _, c := range []struct {
		field                string
		percent, correlation Percent
	}{
		{"Loss", random.Percent, random.Correlation},
		{"Reorder", asked.Reorder.Percent, asked.Reorder.Correlation},
		{"Duplicate", asked.Duplicate.Percent, asked.Duplicate.Correlation},
		{"Corrupt", asked.Corrupt.Percent, asked.Corrupt.Correlation},
	} {
		if c.correlation > 0 && c.percent < 100 {
			note("%s.Correlation: netem's correlated numbers crowd around the middle, so that the share is not %v (below 50%% it is less)", c.field, c.percent)
		}
	}
}
