package impair

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"time"
)

// An option is one of netem's, as tc-netem(8) lists them. Everything that the package knows of it stands in its entry
// in options: text, check, and of each field the name in a record, the place in the kernel's structs, and why the kernel
// may have another value. So a new one is a field of [Netem] and an entry here.
type option struct {
	text   func(*Netem) string // as tc(8) writes it; "" if it is not set
	check  func(*checker, *Netem)
	first  bool // tc(8) writes it before all others
	fields []field
}

// options are in the order of Netem's fields, which is that of messages and records, too.
var options = []option{
	delayOption, distributionOption, lossOption, ecnOption, reorderOption, duplicateOption, corruptOption, rateOption,
	limitOption, slotOption, seedOption,
}

// fields are those of all options.
var fields = func() (list []field) {
	for _, o := range options {
		list = append(list, o.fields...)
	}
	return list
}()

// A field is a number, a switch or a name of [Netem].
type field struct {
	name string // in Go, which is what messages call it: "Slot.MinDelay"
	json string // in a record, after the object that it is in: "slot.min_delay_ns"
	at   func(*parts) any

	kernel figure // where the kernel has it; nil: it never says
	kept   string // what it has there, if that is not the field itself
	encode func(*parts) uint64
	decode func(*parts, uint64)

	reason string // why the kernel's value can differ from what was asked
	silent bool   // report explains a difference in words of its own

	share func(*parts) Percent // of a correlation: the probability that it belongs to
}

// parts is a Netem with its loss model taken apart, so that each field has an address.
type parts struct {
	Netem
	model   lossModel
	random  RandomLoss
	gilbert GilbertElliott
	four    FourState
}

// takeApart leaves an unknown type of Loss, such as a pointer, out: Validate refuses it.
func takeApart(n Netem) parts {
	p := parts{Netem: n}
	switch l := n.Loss.(type) {
	case RandomLoss:
		p.model, p.random = l.lossModel(), l
	case GilbertElliott:
		p.model, p.gilbert = l.lossModel(), l
	case FourState:
		p.model, p.four = l.lossModel(), l
	}
	return p
}

// assemble is the inverse of takeApart.
func (p parts) assemble() Netem {
	n := p.Netem
	switch p.model {
	case noLoss:
		n.Loss = nil
	case randomModel:
		n.Loss = p.random
	case gilbertModel:
		n.Loss = p.gilbert
	case fourStateModel:
		n.Loss = p.four
	}
	return n
}

// text is the field's value.
func (f field) text(p *parts) string { return fmt.Sprint(reflect.ValueOf(f.at(p)).Elem()) }

func (f field) isZero(p *parts) bool { return reflect.ValueOf(f.at(p)).Elem().IsZero() }

// because says why the kernel's value can differ.
func (f field) because(reason string) field {
	f.reason = reason
	return f
}

// explained is a field whose differences report puts in words of its own.
func (f field) explained() field {
	f.silent = true
	return f
}

// keptAs is for a kernel that has another number than the field's. An empty name is the field's own.
func (f field) keptAs(name string, encode func(*parts) uint64, decode func(*parts, uint64)) field {
	f.kept, f.encode, f.decode = name, encode, decode
	return f
}

// keptName is the name of what the kernel has.
func (f field) keptName() string {
	if f.kept != "" {
		return f.kept
	}
	return f.name
}

func percentField(name, json string, at func(*parts) *Percent, kernel figure) field {
	return field{
		name: name, json: json, at: func(p *parts) any { return at(p) }, kernel: kernel,
		encode: func(p *parts) uint64 { return uint64(encodePercent(*at(p))) },
		decode: func(p *parts, v uint64) { *at(p) = decodePercent(uint32(v)) },
		reason: "the kernel keeps 32 bits of a probability",
	}
}

// correlated is a probability and its correlation.
func correlated(name, json string, percent, correlation func(*parts) *Percent, p, c figure) []field {
	second := percentField(name+".Correlation", json+".correlation", correlation, c)
	second.share = func(p *parts) Percent { return *percent(p) }
	return []field{percentField(name+".Percent", json+".percent", percent, p), second}
}

func numberField[N interface {
	~int | ~int32 | ~int64 | ~uint64
}](name, json string, at func(*parts) *N, kernel figure) field {
	return field{
		name: name, json: json, at: func(p *parts) any { return at(p) }, kernel: kernel,
		encode: func(p *parts) uint64 { return uint64(*at(p)) },
		decode: func(p *parts, v uint64) { *at(p) = N(v) },
	}
}

func distributionField(name, json string, at func(*parts) *Distribution) field {
	return field{name: name, json: json, at: func(p *parts) any { return at(p) }}.explained()
}

// An old kernel has struct tc_netem_qopt's units of time only.
const coarseTime = "this kernel counts units of 64 ns"

var delayOption = option{
	text: func(n *Netem) string {
		words := []string{"delay", n.Delay.String()}
		switch {
		case n.DelayCorrelation != 0:
			words = append(words, n.Jitter.String(), n.DelayCorrelation.String())
		case n.Jitter != 0:
			words = append(words, n.Jitter.String())
		case n.Delay == 0:
			return ""
		}
		return strings.Join(words, " ")
	},
	check: func(c *checker, n *Netem) {
		c.duration("Delay", n.Delay, maxDelay)
		c.jitter("Jitter", n.Jitter, "Delay", n.Delay)
		c.percent("DelayCorrelation", n.DelayCorrelation)
		if n.DelayCorrelation > 0 && n.Jitter == 0 {
			c.refuse("DelayCorrelation", n.DelayCorrelation, "0 without Jitter: a constant delay has no correlation")
		}
	},
	fields: []field{
		numberField("Delay", "delay_ns", func(p *parts) *time.Duration { return &p.Delay },
			ticks{place{qopt, 0, u32}, place{attrLatency64, 0, nanoseconds}}).because(coarseTime),
		numberField("Jitter", "jitter_ns", func(p *parts) *time.Duration { return &p.Jitter },
			ticks{place{qopt, 20, u32}, place{attrJitter64, 0, nanoseconds}}).because(coarseTime),
		percentField("DelayCorrelation", "delay_correlation", func(p *parts) *Percent { return &p.DelayCorrelation },
			place{attrCorr, 0, u32}),
	},
}

var distributionOption = option{
	text: func(n *Netem) string {
		if n.Distribution == Uniform {
			return ""
		}
		return "distribution " + n.Distribution.String()
	},
	check: func(c *checker, n *Netem) {
		c.tables.delay = c.distribution("Distribution", n.Distribution, n.Jitter)
	},
	fields: []field{
		distributionField("Distribution", "distribution", func(p *parts) *Distribution { return &p.Distribution }),
	},
}

var lossOption = option{
	text: func(n *Netem) string {
		if n.Loss == nil {
			return ""
		}
		return n.Loss.String()
	},
	check: func(c *checker, n *Netem) { c.loss(n.Loss) },
	fields: append(append([]field{
		{
			name: "Loss model", json: "loss.model", at: func(p *parts) any { return &p.model }, kernel: modelFigure{},
			encode: func(p *parts) uint64 { return p.model.encode() },
			decode: func(p *parts, v uint64) { p.model = decodeModel(v) },
			silent: true,
		},
	}, correlated("Loss", "loss",
		func(p *parts) *Percent { return &p.random.Percent }, func(p *parts) *Percent { return &p.random.Correlation },
		place{qopt, 8, u32}, place{attrCorr, 4, u32})...,
	),
		percentField("Loss.P", "loss.p", func(p *parts) *Percent { return &p.gilbert.P }, place{lossGE, 0, u32}),
		percentField("Loss.R", "loss.r", func(p *parts) *Percent { return &p.gilbert.R }, place{lossGE, 4, u32}),
		// The kernel wants h, but 1-k.
		percentField("Loss.OneMinusH", "loss.one_minus_h", func(p *parts) *Percent { return &p.gilbert.OneMinusH },
			place{lossGE, 8, u32}).keptAs("1-Loss.OneMinusH",
			func(p *parts) uint64 { return math.MaxUint32 - uint64(encodePercent(p.gilbert.OneMinusH)) },
			func(p *parts, v uint64) { p.gilbert.OneMinusH = decodePercent(math.MaxUint32 - uint32(v)) }),
		percentField("Loss.OneMinusK", "loss.one_minus_k", func(p *parts) *Percent { return &p.gilbert.OneMinusK },
			place{lossGE, 12, u32}),
		// The kernel adds P31 to P32, and P13 to P14, in 32 bits. Two halves of 100 % are each rounded up, and their sum
		// would be 0.
		percentField("Loss.P13", "loss.p13", func(p *parts) *Percent { return &p.four.P13 }, place{lossGI, 0, u32}).
			encodedAs(func(p *parts) uint64 { return fittingPercent(p.four.P13, p.four.P14) }),
		percentField("Loss.P31", "loss.p31", func(p *parts) *Percent { return &p.four.P31 }, place{lossGI, 4, u32}).
			encodedAs(func(p *parts) uint64 { return fittingPercent(p.four.P31, p.four.P32) }),
		percentField("Loss.P32", "loss.p32", func(p *parts) *Percent { return &p.four.P32 }, place{lossGI, 8, u32}),
		percentField("Loss.P23", "loss.p23", func(p *parts) *Percent { return &p.four.P23 }, place{lossGI, 16, u32}),
		percentField("Loss.P14", "loss.p14", func(p *parts) *Percent { return &p.four.P14 }, place{lossGI, 12, u32}),
	),
}

// encodedAs is keptAs for a number that is read as any other.
func (f field) encodedAs(encode func(*parts) uint64) field { return f.keptAs("", encode, f.decode) }

// fittingPercent is p encoded so that the sum with the other one fits into 32 bits.
func fittingPercent(p, other Percent) uint64 {
	return uint64(min(encodePercent(p), math.MaxUint32-encodePercent(other)))
}

var ecnOption = option{
	text: func(n *Netem) string {
		if !n.ECN {
			return ""
		}
		return "ecn"
	},
	check: func(c *checker, n *Netem) {
		if n.ECN && !loses(n.Loss) {
			c.refuse("ECN", n.ECN, "false without Loss: ECN marks the packets that Loss would drop")
		}
	},
	fields: []field{{
		name: "ECN", json: "ecn", at: func(p *parts) any { return &p.ECN }, kernel: place{attrECN, 0, u32},
		encode: func(p *parts) uint64 {
			if p.ECN {
				return 1
			}
			return 0
		},
		decode: func(p *parts, v uint64) { p.ECN = v != 0 },
	}},
}

var reorderOption = option{
	text: func(n *Netem) string {
		if n.Reorder == (Reorder{}) {
			return ""
		}
		text := "reorder " + withCorrelation(n.Reorder.Percent, n.Reorder.Correlation)
		if n.Reorder.Gap != 0 {
			text += fmt.Sprintf(" gap %d", n.Reorder.Gap)
		}
		return text
	},
	check: func(c *checker, n *Netem) {
		c.probability("Reorder", n.Reorder.Percent, n.Reorder.Correlation)
		if n.Reorder.Percent > 0 && n.Delay == 0 {
			c.refuse("Reorder.Percent", n.Reorder.Percent, "0 without Delay: a packet overtakes those that are delayed")
		}
		c.integer("Reorder.Gap", int64(n.Reorder.Gap), 0, math.MaxInt32, "packets")
		if n.Reorder.Gap > 0 && n.Reorder.Percent == 0 {
			c.refuse("Reorder.Gap", n.Reorder.Gap, "0 without Reorder.Percent")
		}
	},
	fields: append(
		correlated("Reorder", "reorder",
			func(p *parts) *Percent { return &p.Reorder.Percent },
			func(p *parts) *Percent { return &p.Reorder.Correlation },
			place{attrReorder, 0, u32}, place{attrReorder, 4, u32}),
		numberField("Reorder.Gap", "reorder.gap", func(p *parts) *int { return &p.Reorder.Gap }, place{qopt, 12, u32}).
			because("netem's least gap: any packet").
			encodedAs(func(p *parts) uint64 {
				if encodePercent(p.Reorder.Percent) == 0 {
					return 0
				}
				return uint64(max(p.Reorder.Gap, 1)) // with gap 0 the kernel does not reorder
			}),
	),
}

var duplicateOption = option{
	text: func(n *Netem) string {
		if n.Duplicate == (Duplicate{}) {
			return ""
		}
		return "duplicate " + withCorrelation(n.Duplicate.Percent, n.Duplicate.Correlation)
	},
	check: func(c *checker, n *Netem) { c.probability("Duplicate", n.Duplicate.Percent, n.Duplicate.Correlation) },
	fields: correlated("Duplicate", "duplicate",
		func(p *parts) *Percent { return &p.Duplicate.Percent },
		func(p *parts) *Percent { return &p.Duplicate.Correlation },
		place{qopt, 16, u32}, place{attrCorr, 8, u32}),
}

var corruptOption = option{
	text: func(n *Netem) string {
		if n.Corrupt == (Corrupt{}) {
			return ""
		}
		return "corrupt " + withCorrelation(n.Corrupt.Percent, n.Corrupt.Correlation)
	},
	check: func(c *checker, n *Netem) { c.probability("Corrupt", n.Corrupt.Percent, n.Corrupt.Correlation) },
	fields: correlated("Corrupt", "corrupt",
		func(p *parts) *Percent { return &p.Corrupt.Percent },
		func(p *parts) *Percent { return &p.Corrupt.Correlation },
		place{attrCorrupt, 0, u32}, place{attrCorrupt, 4, u32}),
}

var rateOption = option{
	text: func(n *Netem) string {
		if n.Rate == (Rate{}) {
			return ""
		}
		return n.Rate.String()
	},
	check: func(c *checker, n *Netem) { c.rate(n.Rate) },
	fields: []field{
		numberField("Rate.BitsPerSecond", "rate.bits_per_second", func(p *parts) *int64 { return &p.Rate.BitsPerSecond },
			wideRate{place{attrRate, 0, u32}, place{attrRate64, 0, u64}}).
			because("the kernel counts whole bytes per second").
			keptAs("Rate bytes per second",
				func(p *parts) uint64 { return uint64(p.Rate.BitsPerSecond) / 8 },
				func(p *parts, v uint64) { p.Rate.BitsPerSecond = int64(min(v, math.MaxInt64/8)) * 8 }),
		numberField("Rate.PacketOverhead", "rate.packet_overhead", func(p *parts) *int32 { return &p.Rate.PacketOverhead },
			place{attrRate, 4, s32}),
		numberField("Rate.CellSize", "rate.cell_size", func(p *parts) *int32 { return &p.Rate.CellSize },
			place{attrRate, 8, u32}).
			keptAs("",
				func(p *parts) uint64 { return uint64(p.Rate.CellSize) },
				func(p *parts, v uint64) { p.Rate.CellSize = int32(min(v, math.MaxInt32)) }),
		numberField("Rate.CellOverhead", "rate.cell_overhead", func(p *parts) *int32 { return &p.Rate.CellOverhead },
			place{attrRate, 12, s32}),
	},
}

var limitOption = option{
	text: func(n *Netem) string {
		if n.Limit == 0 {
			return ""
		}
		return fmt.Sprintf("limit %d", n.Limit)
	},
	check: func(c *checker, n *Netem) {
		c.integer("Limit", int64(n.Limit), 0, math.MaxInt32, "packets (0: sized to the bandwidth-delay product)")
	},
	first: true,
	fields: []field{
		numberField("Limit", "limit", func(p *parts) *int { return &p.Limit }, place{qopt, 4, u32}).explained(),
	},
}

var slotOption = option{
	text: func(n *Netem) string {
		if n.Slot == (Slot{}) {
			return ""
		}
		return n.Slot.String()
	},
	check: func(c *checker, n *Netem) { c.slot(n.Slot) },
	fields: []field{
		numberField("Slot.MinDelay", "slot.min_delay_ns", func(p *parts) *time.Duration { return &p.Slot.MinDelay },
			place{attrSlot, 0, nanoseconds}),
		numberField("Slot.MaxDelay", "slot.max_delay_ns", func(p *parts) *time.Duration { return &p.Slot.MaxDelay },
			place{attrSlot, 8, nanoseconds}),
		unlessRange(numberField("Slot.Delay", "slot.delay_ns", func(p *parts) *time.Duration { return &p.Slot.Delay },
			place{attrSlot, 24, nanoseconds})),
		unlessRange(numberField("Slot.Jitter", "slot.jitter_ns", func(p *parts) *time.Duration { return &p.Slot.Jitter },
			place{attrSlot, 32, nanoseconds})),
		distributionField("Slot.Distribution", "slot.distribution",
			func(p *parts) *Distribution { return &p.Slot.Distribution }),
		numberField("Slot.Packets", "slot.packets", func(p *parts) *int { return &p.Slot.Packets },
			place{attrSlot, 16, s32}),
		numberField("Slot.Bytes", "slot.bytes", func(p *parts) *int { return &p.Slot.Bytes }, place{attrSlot, 20, s32}),
	},
}

// unlessRange is a field of a slot's distribution. Where the kernel has a range it has been sent as a distribution, too:
// see [Change].
func unlessRange(f field) field {
	decode := f.decode
	return f.keptAs("", f.encode, func(p *parts, v uint64) {
		if !p.Slot.hasRange() {
			decode(p, v)
		}
	})
}

var seedOption = option{
	text: func(n *Netem) string {
		if n.Seed == 0 {
			return ""
		}
		return fmt.Sprintf("seed %d", n.Seed)
	},
	check: func(*checker, *Netem) {}, // any number is a seed
	fields: []field{
		numberField("Seed", "seed", func(p *parts) *uint64 { return &p.Seed }, place{attrSeed, 0, u64}).explained(),
	},
}
