package impair

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/mdlayher/netlink"

	"github.com/tcplab/tcplab/impair/internal/qdisc"
)

// An attribute of netem's TCA_OPTIONS, by its number in include/uapi/linux/pkt_sched.h.
type attribute uint16

const (
	qopt          attribute = 0  // struct tc_netem_qopt, which has no number: it comes before the attributes
	attrCorr      attribute = 1  // TCA_NETEM_CORR: struct tc_netem_corr
	attrDelayDist attribute = 2  // TCA_NETEM_DELAY_DIST: __s16[]
	attrReorder   attribute = 3  // TCA_NETEM_REORDER: struct tc_netem_reorder
	attrCorrupt   attribute = 4  // TCA_NETEM_CORRUPT: struct tc_netem_corrupt
	attrLoss      attribute = 5  // TCA_NETEM_LOSS: nested
	attrRate      attribute = 6  // TCA_NETEM_RATE: struct tc_netem_rate
	attrECN       attribute = 7  // TCA_NETEM_ECN: u32
	attrRate64    attribute = 8  // TCA_NETEM_RATE64: u64
	attrLatency64 attribute = 10 // TCA_NETEM_LATENCY64: s64
	attrJitter64  attribute = 11 // TCA_NETEM_JITTER64: s64
	attrSlot      attribute = 12 // TCA_NETEM_SLOT: struct tc_netem_slot
	attrSlotDist  attribute = 13 // TCA_NETEM_SLOT_DIST: __s16[]
	attrSeed      attribute = 14 // TCA_NETEM_PRNG_SEED: u64

	// In TCA_NETEM_LOSS.
	lossGI = attrLoss<<8 | 1 // NETEM_LOSS_GI: struct tc_netem_gimodel, the 4-state model
	lossGE = attrLoss<<8 | 2 // NETEM_LOSS_GE: struct tc_netem_gemodel, Gilbert-Elliott
)

// A layoutEntry is one of the kernel's structs.
type layoutEntry struct {
	attribute
	name     string
	size     int  // in bytes
	optional bool // sent only where it is needed
	younger  bool // not dumped by all kernels: LATENCY64 and JITTER64 since Linux 4.15, PRNG_SEED since 6.6
}

// layout has them in the order in which they are sent. The tables of distributions are not in it: they have no fixed
// size, and are never dumped.
var layout = []layoutEntry{
	{attribute: qopt, name: "struct tc_netem_qopt", size: 24},
	{attribute: attrCorr, name: "TCA_NETEM_CORR", size: 12},
	{attribute: attrReorder, name: "TCA_NETEM_REORDER", size: 8},
	{attribute: attrCorrupt, name: "TCA_NETEM_CORRUPT", size: 8},
	{attribute: attrRate, name: "TCA_NETEM_RATE", size: 16},
	{attribute: attrRate64, name: "TCA_NETEM_RATE64", size: 8, optional: true},
	{attribute: attrECN, name: "TCA_NETEM_ECN", size: 4},
	{attribute: attrLatency64, name: "TCA_NETEM_LATENCY64", size: 8, younger: true},
	{attribute: attrJitter64, name: "TCA_NETEM_JITTER64", size: 8, younger: true},
	{attribute: attrSlot, name: "TCA_NETEM_SLOT", size: 40},
	{attribute: attrSeed, name: "TCA_NETEM_PRNG_SEED", size: 8, younger: true},
	{attribute: lossGI, name: "NETEM_LOSS_GI", size: 20, optional: true},
	{attribute: lossGE, name: "NETEM_LOSS_GE", size: 16, optional: true},
}

// attributes are what goes to the kernel and comes back from it, in the kernel's structs and units, without the tables. Each
// number of it has its [field].
type attributes map[attribute][]byte

func (w attributes) has(a attribute) bool { return w[a] != nil }

// add makes room for an attribute.
func (w attributes) add(a attribute) {
	for _, l := range layout {
		if l.attribute == a {
			w[a] = make([]byte, l.size)
		}
	}
}

// read takes an attribute from the start of data.
func (w attributes) read(a attribute, data []byte) error {
	for _, l := range layout {
		switch {
		case l.attribute != a:
		case len(data) < l.size:
			return fmt.Errorf("%s: %d bytes, want at least %d", l.name, len(data), l.size)
		default:
			w[a] = slices.Clone(data[:l.size])
		}
	}
	return nil // what is not in the layout is of a later kernel
}

// A figure is where the kernel has a number.
type figure interface {
	put(w attributes, v uint64)
	get(w attributes) uint64
	text(v uint64) string // in the kernel's unit
}

// A place is a number in an attribute. Without the attribute the number is 0, and cannot be set.
type place struct {
	in     attribute
	offset int
	form   form
}

// A form is how a number is written.
type form int

const (
	u32         form = iota
	s32              // two's complement
	u64              //
	nanoseconds      // s64
)

func (f form) size() int {
	if f == u32 || f == s32 {
		return 4
	}
	return 8
}

func (p place) put(w attributes, v uint64) {
	switch data := w[p.in]; {
	case data == nil:
	case p.form.size() == 4:
		binary.NativeEndian.PutUint32(data[p.offset:], uint32(v))
	default:
		binary.NativeEndian.PutUint64(data[p.offset:], v)
	}
}

func (p place) get(w attributes) uint64 {
	data := w[p.in]
	if data == nil {
		return 0
	}
	switch p.form {
	case u32:
		return uint64(binary.NativeEndian.Uint32(data[p.offset:]))
	case s32:
		return uint64(int32(binary.NativeEndian.Uint32(data[p.offset:])))
	}
	return binary.NativeEndian.Uint64(data[p.offset:])
}

func (p place) text(v uint64) string {
	switch p.form {
	case s32:
		return strconv.FormatInt(int64(v), 10)
	case nanoseconds:
		return time.Duration(v).String()
	}
	return strconv.FormatUint(v, 10)
}

// tick is the unit of time in struct tc_netem_qopt, in nanoseconds (PSCHED_SHIFT 6).
const tick = 64

// ticks is a time that stands in struct tc_netem_qopt in units of 64 ns, and exactly in an attribute of younger kernels.
type ticks struct{ coarse, exact place }

func (t ticks) put(w attributes, v uint64) {
	t.coarse.put(w, min(v/tick, math.MaxUint32))
	t.exact.put(w, v)
}

func (t ticks) get(w attributes) uint64 {
	if w.has(t.exact.in) {
		return t.exact.get(w)
	}
	return t.coarse.get(w) * tick
}

func (t ticks) text(v uint64) string { return t.exact.text(v) }

// wideRate is a rate that has an attribute of its own where 32 bits do not do.
type wideRate struct{ narrow, wide place }

func (r wideRate) put(w attributes, v uint64) {
	r.narrow.put(w, min(v, math.MaxUint32))
	if v > math.MaxUint32 {
		w.add(r.wide.in)
		r.wide.put(w, v)
	}
}

func (r wideRate) get(w attributes) uint64 { return max(r.narrow.get(w), r.wide.get(w)) }

func (r wideRate) text(v uint64) string { return r.wide.text(v) }

// modelFigure is the loss model: which attribute there is in TCA_NETEM_LOSS. Without any it is the random one.
type modelFigure struct{}

func (modelFigure) put(w attributes, v uint64) {
	if v != 0 {
		w.add(attribute(v))
	}
}

func (modelFigure) get(w attributes) uint64 {
	for _, a := range []attribute{lossGI, lossGE} {
		if w.has(a) {
			return uint64(a)
		}
	}
	return 0
}

func (modelFigure) text(v uint64) string { return string(decodeModel(v)) }

// encode is the attribute of a model.
func (m lossModel) encode() uint64 {
	switch m {
	case fourStateModel:
		return uint64(lossGI)
	case gilbertModel:
		return uint64(lossGE)
	}
	return 0
}

func decodeModel(v uint64) lossModel {
	switch attribute(v) {
	case lossGI:
		return fourStateModel
	case lossGE:
		return gilbertModel
	}
	return randomModel
}

// encodePercent is iproute2's set_percent.
func encodePercent(p Percent) uint32 {
	return uint32(math.RoundToEven(float64(p) / 100 * math.MaxUint32))
}

// decodePercent finds the shortest percentage that is encoded as v.
func decodePercent(v uint32) Percent {
	exact := float64(v) / math.MaxUint32 * 100
	for decimals := range 10 { // nine are enough for steps of 2.3e-8
		short, err := strconv.ParseFloat(strconv.FormatFloat(exact, 'f', decimals, 64), 64)
		if err == nil && short <= 100 && encodePercent(Percent(short)) == v {
			return Percent(short)
		}
	}
	return Percent(exact)
}

// encode is what the kernel is to have. Every attribute is in it: netem_change leaves what is not sent as it was. The
// exception is TCA_NETEM_LOSS, whose absence stands for the random model.
func (r request) encode() attributes {
	w := attributes{}
	for _, l := range layout {
		if !l.optional {
			w.add(l.attribute)
		}
	}
	p := takeApart(r.asked)
	p.Limit = r.limit
	if r.change && p.Slot.hasRange() {
		// The same range, as a mean and a deviation, for the table that goes with it.
		p.Slot.Jitter = (p.Slot.MaxDelay - p.Slot.MinDelay) / 2
		p.Slot.Delay = p.Slot.MinDelay + p.Slot.Jitter
	}
	for _, f := range fields {
		if f.kernel != nil {
			f.kernel.put(w, f.encode(&p))
		}
	}
	return w
}

// marshal is the payload of TCA_OPTIONS.
func (w attributes) marshal(t tables) ([]byte, error) {
	ae := netlink.NewAttributeEncoder()
	for _, l := range layout {
		switch data := w[l.attribute]; {
		case l.attribute == qopt || data == nil:
		case l.attribute>>8 != 0:
			ae.Nested(uint16(l.attribute>>8), func(nested *netlink.AttributeEncoder) error {
				nested.Bytes(uint16(l.attribute&0xff), data)
				return nil
			})
		default:
			ae.Bytes(uint16(l.attribute), data)
		}
	}
	if t.delay != nil {
		ae.Bytes(uint16(attrDelayDist), qdisc.Pack(t.delay))
	}
	if t.slot != nil {
		ae.Bytes(uint16(attrSlotDist), qdisc.Pack(t.slot))
	}
	encoded, err := ae.Encode()
	if err != nil {
		return nil, fmt.Errorf("encode netem options: %w", err)
	}
	return append(slices.Clone(w[qopt]), encoded...), nil
}

// parseOptions reads the payload of TCA_OPTIONS as netem_dump writes it. Attributes that it does not know are of a later
// kernel, and are passed over.
func parseOptions(data []byte) (attributes, error) {
	w := attributes{}
	if err := w.read(qopt, data); err != nil {
		return nil, err
	}
	ad, err := netlink.NewAttributeDecoder(data[len(w[qopt]):])
	if err != nil {
		return nil, fmt.Errorf("netem options: %w", err)
	}
	for ad.Next() {
		if a := attribute(ad.Type()); a == attrLoss {
			err = w.readLoss(ad.Bytes())
		} else if a != qopt {
			err = w.read(a, ad.Bytes())
		}
		if err != nil {
			return nil, err
		}
	}
	if err := ad.Err(); err != nil {
		return nil, fmt.Errorf("netem options: %w", err)
	}
	return w, nil
}

func (w attributes) readLoss(data []byte) error {
	ad, err := netlink.NewAttributeDecoder(data)
	if err != nil {
		return fmt.Errorf("TCA_NETEM_LOSS: %w", err)
	}
	for ad.Next() {
		a := attrLoss<<8 | attribute(ad.Type())
		if a != lossGI && a != lossGE {
			return fmt.Errorf("TCA_NETEM_LOSS: unknown model %d", ad.Type())
		}
		delete(w, lossGI)
		delete(w, lossGE)
		if err := w.read(a, ad.Bytes()); err != nil {
			return err
		}
	}
	if err := ad.Err(); err != nil {
		return fmt.Errorf("TCA_NETEM_LOSS: %w", err)
	}
	return nil
}

// netem translates what the kernel has.
func (w attributes) netem() Netem {
	var p parts
	for _, f := range fields {
		if f.kernel != nil {
			f.decode(&p, f.kernel.get(w))
		}
	}
	if p.Jitter != 0 {
		p.Distribution = Unreported
	}
	if p.Slot.Jitter != 0 {
		p.Slot.Distribution = Unreported
	}
	if p.random == (RandomLoss{}) && p.model == randomModel {
		p.model = noLoss
	}
	return p.assemble()
}

// as is w without what a kernel that has dumped got does not dump.
func (w attributes) as(got attributes) attributes {
	known := maps.Clone(w)
	for _, l := range layout {
		if l.younger && !got.has(l.attribute) {
			delete(known, l.attribute)
		}
	}
	return known
}

// verify compares what was sent with what the kernel has, in the kernel's own
// units: there is nothing to be rounded any more.
func verify(sent, got attributes) error {
	sent = sent.as(got)
	var differences []string
	for _, f := range fields {
		if f.kernel == nil {
			continue
		}
		if want, have := f.kernel.get(sent), f.kernel.get(got); want != have {
			differences = append(differences,
				fmt.Sprintf("%s: sent %s, got %s", f.keptName(), f.kernel.text(want), f.kernel.text(have)))
		}
	}
	if differences != nil {
		return &MismatchError{Differences: differences}
	}
	return nil
}
