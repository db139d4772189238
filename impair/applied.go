package impair

import (
	"errors"
	"fmt"
	"math"
	"strings"
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

// tables are those of the distributions; nil for none. They are sent, but never dumped.
type tables struct{ delay, slot []int16 }

// A request is a valid Netem, with what was decided for it.
type request struct {
	asked     Netem
	change    bool // not a new qdisc
	tables    tables
	limit     int
	limitNote string // how the limit came about, if it was not asked
}

// prepare decides on tables and limit. A change differs from a new qdisc in that the old one may have a table, which
// cannot be unloaded: see [Change].
func prepare(n Netem, change bool) (request, error) {
	c := n.check()
	if err := errors.Join(c.errs...); err != nil {
		return request{}, err
	}
	r := request{asked: n, change: change, tables: c.tables}
	r.limit, r.limitNote = n.packetLimit()
	if change && n.Jitter != 0 && r.tables.delay == nil {
		r.tables.delay = uniformTable()
	}
	switch {
	case change && n.Slot.hasRange(): // once there is a table the kernel does not look at the range
		r.tables.slot = uniformTable()
	case n.Slot.hasDistribution() && r.tables.slot == nil: // without one it would look at the range
		r.tables.slot = uniformTable()
	}
	return r, nil
}

// report compares the request with what the kernel has.
func (r request) report(got attributes) Applied {
	a := Applied{Asked: r.asked, Got: got.netem()}
	note := func(format string, args ...any) { a.Notes = append(a.Notes, fmt.Sprintf(format, args...)) }

	wanted, have := takeApart(a.Asked), takeApart(a.Got)
	for _, f := range fields {
		if text := f.text(&have); !f.silent && text != f.text(&wanted) {
			note("%s", difference(f, f.text(&wanted), text))
		}
	}
	r.noteCorrelations(note)
	if r.limitNote != "" {
		note("%s", r.limitNote)
	}

	switch {
	case r.asked.Jitter == 0:
	case r.tables.delay == nil:
		a.Got.Distribution = Uniform // a new qdisc that was sent no table has none
	case r.asked.Distribution == Uniform:
		note("Distribution: sent uniform as a table of steps of %v, as a change cannot unload a table; the kernel does not report it",
			r.asked.Jitter*4/distScale)
	default:
		note("Distribution: sent %s; the kernel does not report it", r.asked.Distribution.describe(r.tables.delay))
	}
	switch {
	case r.tables.slot == nil:
	case r.change && r.asked.Slot.hasRange():
		note("Slot.MinDelay: sent the range as a uniform table too, as a change cannot unload a table; the kernel does not report it")
	default:
		note("Slot.Distribution: sent %s; the kernel does not report it", r.asked.Slot.Distribution.describe(r.tables.slot))
	}
	if !got.has(attrSeed) && r.asked.Seed != 0 {
		note("Seed: %d ignored by this kernel: needs Linux 6.6", r.asked.Seed)
	}
	return a
}

// difference is a note. Without a reason that is known it gives none.
func difference(f field, wanted, got string) string {
	text := fmt.Sprintf("%s: asked %s, got %s", f.name, wanted, got)
	if f.reason != "" {
		text += ": " + f.reason
	}
	return text
}

// noteCorrelations warns of those that do not do what they say.
func (r request) noteCorrelations(note func(format string, args ...any)) {
	// tabledist takes the correlated 32-bit number modulo twice the jitter in ns,
	// or modulo the size of the table. If that is less than the fresh part of the
	// number there is no trace of the number before.
	modulus := 2 * r.asked.Jitter.Nanoseconds()
	if r.tables.delay != nil {
		modulus = int64(len(r.tables.delay))
	}
	fresh := int64(math.MaxUint32 - encodePercent(r.asked.DelayCorrelation))
	if r.asked.DelayCorrelation > 0 && modulus < fresh {
		note("DelayCorrelation: netem takes the correlated number modulo %d, which leaves next to no correlation", modulus)
	}
	p := takeApart(r.asked)
	for _, f := range fields {
		if f.share != nil && !f.isZero(&p) && f.share(&p) < 100 {
			note("%s: netem's correlated numbers crowd around the middle, so that the share is not %v (below 50%% it is less)",
				f.name, f.share(&p))
		}
	}
}
