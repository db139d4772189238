package impair

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/mdlayher/netlink"
)

// Attributes of netem's TCA_OPTIONS; include/uapi/linux/pkt_sched.h.
const (
	attrCorr      = 1  // TCA_NETEM_CORR: struct tc_netem_corr
	attrDelayDist = 2  // TCA_NETEM_DELAY_DIST: __s16[]
	attrReorder   = 3  // TCA_NETEM_REORDER: struct tc_netem_reorder
	attrCorrupt   = 4  // TCA_NETEM_CORRUPT: struct tc_netem_corrupt
	attrLoss      = 5  // TCA_NETEM_LOSS: nested
	attrRate      = 6  // TCA_NETEM_RATE: struct tc_netem_rate
	attrECN       = 7  // TCA_NETEM_ECN: u32
	attrRate64    = 8  // TCA_NETEM_RATE64: u64
	attrLatency64 = 10 // TCA_NETEM_LATENCY64: s64
	attrJitter64  = 11 // TCA_NETEM_JITTER64: s64
	attrSlot      = 12 // TCA_NETEM_SLOT: struct tc_netem_slot
	attrSlotDist  = 13 // TCA_NETEM_SLOT_DIST: __s16[]
	attrSeed      = 14 // TCA_NETEM_PRNG_SEED: u64

	lossGI = 1 // NETEM_LOSS_GI: struct tc_netem_gimodel, the 4-state model
	lossGE = 2 // NETEM_LOSS_GE: struct tc_netem_gemodel, Gilbert-Elliott
)

// qoptSize is the size of struct tc_netem_qopt, which the attributes follow.
const qoptSize = 24

// tick is the unit of time in struct tc_netem_qopt (PSCHED_SHIFT 6).
const tick = 64

// options are what goes over the wire, in the kernel's units. Apart from the
// tables it is comparable value for value with what the kernel dumps.
type options struct {
	latency, jitter                int64 // ns
	limit, gap                     uint32
	delayCorr, lossCorr, dupCorr   uint32
	loss, duplicate                uint32
	reorder, reorderCorr           uint32
	corrupt, corruptCorr           uint32
	ecn                            uint32
	lossModel                      uint16 // 0 (random), lossGI, lossGE
	gi                             giModel
	ge                             geModel
	rate                           uint64 // bytes per second
	packetOverhead                 int32
	cellSize                       uint32
	cellOverhead                   int32
	slotMin, slotMax               int64 // ns
	slotPackets, slotBytes         int32
	slotDistDelay, slotDistJitter  int64 // ns
	seed                           uint64
	seedMissing, nanosecondMissing bool // the dump has no PRNG_SEED (before 6.6), no LATENCY64 (before 4.15)
}

// tables are sent, but never dumped.
type tables struct{ delay, slot []int16 }

type giModel struct{ P13, P31, P32, P14, P23 uint32 }
type geModel struct{ P, R, H, K1 uint32 }

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

// encode translates a valid Netem. A change differs from a new qdisc in that
// the old one may have a table, which cannot be unloaded: see [Change].
func encode(n Netem, change bool) (options, tables, error) {
	limit, _ := n.packetLimit()
	o := options{
		latency:        int64(n.Delay),
		jitter:         int64(n.Jitter),
		limit:          uint32(limit),
		delayCorr:      encodePercent(n.DelayCorrelation),
		dupCorr:        encodePercent(n.Duplicate.Correlation),
		duplicate:      encodePercent(n.Duplicate.Percent),
		reorder:        encodePercent(n.Reorder.Percent),
		reorderCorr:    encodePercent(n.Reorder.Correlation),
		corrupt:        encodePercent(n.Corrupt.Percent),
		corruptCorr:    encodePercent(n.Corrupt.Correlation),
		rate:           uint64(n.Rate.BitsPerSecond) / 8,
		packetOverhead: n.Rate.PacketOverhead,
		cellSize:       uint32(n.Rate.CellSize),
		cellOverhead:   n.Rate.CellOverhead,
		slotMin:        int64(n.Slot.MinDelay),
		slotMax:        int64(n.Slot.MaxDelay),
		slotPackets:    int32(n.Slot.Packets),
		slotBytes:      int32(n.Slot.Bytes),
		slotDistDelay:  int64(n.Slot.Delay),
		slotDistJitter: int64(n.Slot.Jitter),
		seed:           n.Seed,
	}
	if o.reorder > 0 {
		o.gap = uint32(max(n.Reorder.Gap, 1)) // with gap 0 the kernel does not reorder
	}
	if n.ECN {
		o.ecn = 1
	}
	switch l := n.Loss.(type) {
	case RandomLoss:
		o.loss, o.lossCorr = encodePercent(l.Percent), encodePercent(l.Correlation)
	case GilbertElliott:
		o.lossModel = lossGE
		o.ge = geModel{
			P:  encodePercent(l.P),
			R:  encodePercent(l.R),
			H:  math.MaxUint32 - encodePercent(l.OneMinusH), // the kernel wants h, but 1-k
			K1: encodePercent(l.OneMinusK),
		}
	case FourState:
		o.lossModel = lossGI
		o.gi = giModel{P32: encodePercent(l.P32), P23: encodePercent(l.P23), P14: encodePercent(l.P14)}
		// The kernel adds P31 to P32, and P13 to P14, in 32 bits. Two halves of
		// 100 % are each rounded up, and their sum would be 0.
		o.gi.P31 = min(encodePercent(l.P31), math.MaxUint32-o.gi.P32)
		o.gi.P13 = min(encodePercent(l.P13), math.MaxUint32-o.gi.P14)
	}

	var t tables
	var err error
	if t.delay, err = n.Distribution.table(); err != nil {
		return options{}, tables{}, err
	}
	if t.slot, err = n.Slot.Distribution.table(); err != nil {
		return options{}, tables{}, err
	}
	if change && o.jitter != 0 && t.delay == nil {
		t.delay = uniformTable()
	}
	if change && n.Slot.hasRange() {
		// Once there is a table the kernel looks only at dist_delay and
		// dist_jitter: the same range, as a mean and a deviation.
		t.slot = uniformTable()
		o.slotDistJitter = (o.slotMax - o.slotMin) / 2
		o.slotDistDelay = o.slotMin + o.slotDistJitter
	}
	if n.Slot.hasDistribution() && t.slot == nil {
		t.slot = uniformTable() // without one the kernel would look at the range
	}
	return o, t, nil
}

// marshal is the payload of TCA_OPTIONS. Every attribute is in it: netem_change
// leaves what is not sent as it was. The exception is TCA_NETEM_LOSS, whose
// absence stands for the random model.
func (o options) marshal(t tables) ([]byte, error) {
	qopt := struct{ Latency, Limit, Loss, Gap, Duplicate, Jitter uint32 }{
		Latency:   uint32(min(o.latency/tick, math.MaxUint32)),
		Limit:     o.limit,
		Loss:      o.loss,
		Gap:       o.gap,
		Duplicate: o.duplicate,
		Jitter:    uint32(min(o.jitter/tick, math.MaxUint32)),
	}

	ae := netlink.NewAttributeEncoder()
	ae.Bytes(attrCorr, pack(struct{ Delay, Loss, Dup uint32 }{o.delayCorr, o.lossCorr, o.dupCorr}))
	ae.Bytes(attrReorder, pack(struct{ P, Corr uint32 }{o.reorder, o.reorderCorr}))
	ae.Bytes(attrCorrupt, pack(struct{ P, Corr uint32 }{o.corrupt, o.corruptCorr}))
	ae.Bytes(attrRate, pack(wireRate{uint32(min(o.rate, math.MaxUint32)), o.packetOverhead, o.cellSize, o.cellOverhead}))
	if o.rate > math.MaxUint32 {
		ae.Uint64(attrRate64, o.rate)
	}
	ae.Uint32(attrECN, o.ecn)
	ae.Int64(attrLatency64, o.latency)
	ae.Int64(attrJitter64, o.jitter)
	ae.Bytes(attrSlot, pack(wireSlot{o.slotMin, o.slotMax, o.slotPackets, o.slotBytes, o.slotDistDelay, o.slotDistJitter}))
	ae.Uint64(attrSeed, o.seed)
	switch o.lossModel {
	case lossGI:
		ae.Nested(attrLoss, func(nested *netlink.AttributeEncoder) error {
			nested.Bytes(lossGI, pack(o.gi))
			return nil
		})
	case lossGE:
		ae.Nested(attrLoss, func(nested *netlink.AttributeEncoder) error {
			nested.Bytes(lossGE, pack(o.ge))
			return nil
		})
	}
	if t.delay != nil {
		ae.Bytes(attrDelayDist, pack(t.delay))
	}
	if t.slot != nil {
		ae.Bytes(attrSlotDist, pack(t.slot))
	}
	attributes, err := ae.Encode()
	if err != nil {
		return nil, fmt.Errorf("encode netem options: %w", err)
	}
	return append(pack(qopt), attributes...), nil
}

type wireRate struct {
	Rate           uint32
	PacketOverhead int32
	CellSize       uint32
	CellOverhead   int32
}

type wireSlot struct {
	MinDelay, MaxDelay    int64
	MaxPackets, MaxBytes  int32
	DistDelay, DistJitter int64
}

// parseOptions reads the payload of TCA_OPTIONS as netem_dump writes it.
// Attributes that it does not know are of a later kernel, and are passed over.
func parseOptions(data []byte) (options, error) {
	var qopt struct{ Latency, Limit, Loss, Gap, Duplicate, Jitter uint32 }
	if err := unpack("struct tc_netem_qopt", data, &qopt); err != nil {
		return options{}, err
	}
	o := options{
		latency:           int64(qopt.Latency) * tick,
		limit:             qopt.Limit,
		loss:              qopt.Loss,
		gap:               qopt.Gap,
		duplicate:         qopt.Duplicate,
		jitter:            int64(qopt.Jitter) * tick,
		seedMissing:       true,
		nanosecondMissing: true,
	}
	ad, err := netlink.NewAttributeDecoder(data[qoptSize:])
	if err != nil {
		return options{}, fmt.Errorf("netem options: %w", err)
	}
	for ad.Next() {
		switch ad.Type() {
		case attrCorr:
			var corr struct{ Delay, Loss, Dup uint32 }
			err = unpack("TCA_NETEM_CORR", ad.Bytes(), &corr)
			o.delayCorr, o.lossCorr, o.dupCorr = corr.Delay, corr.Loss, corr.Dup
		case attrReorder:
			var reorder struct{ P, Corr uint32 }
			err = unpack("TCA_NETEM_REORDER", ad.Bytes(), &reorder)
			o.reorder, o.reorderCorr = reorder.P, reorder.Corr
		case attrCorrupt:
			var corrupt struct{ P, Corr uint32 }
			err = unpack("TCA_NETEM_CORRUPT", ad.Bytes(), &corrupt)
			o.corrupt, o.corruptCorr = corrupt.P, corrupt.Corr
		case attrRate:
			var r wireRate
			err = unpack("TCA_NETEM_RATE", ad.Bytes(), &r)
			o.rate = max(o.rate, uint64(r.Rate)) // RATE64, when there is one, comes first
			o.packetOverhead, o.cellSize, o.cellOverhead = r.PacketOverhead, r.CellSize, r.CellOverhead
		case attrRate64:
			var rate uint64
			err = unpack("TCA_NETEM_RATE64", ad.Bytes(), &rate)
			o.rate = max(o.rate, rate)
		case attrECN:
			err = unpack("TCA_NETEM_ECN", ad.Bytes(), &o.ecn)
		case attrLatency64:
			err = unpack("TCA_NETEM_LATENCY64", ad.Bytes(), &o.latency)
			o.nanosecondMissing = false
		case attrJitter64:
			err = unpack("TCA_NETEM_JITTER64", ad.Bytes(), &o.jitter)
		case attrSlot:
			var s wireSlot
			err = unpack("TCA_NETEM_SLOT", ad.Bytes(), &s)
			o.slotMin, o.slotMax = s.MinDelay, s.MaxDelay
			o.slotPackets, o.slotBytes = s.MaxPackets, s.MaxBytes
			o.slotDistDelay, o.slotDistJitter = s.DistDelay, s.DistJitter
		case attrSeed:
			err = unpack("TCA_NETEM_PRNG_SEED", ad.Bytes(), &o.seed)
			o.seedMissing = false
		case attrLoss:
			err = o.parseLoss(ad.Bytes())
		}
		if err != nil {
			return options{}, err
		}
	}
	if err := ad.Err(); err != nil {
		return options{}, fmt.Errorf("netem options: %w", err)
	}
	return o, nil
}

func (o *options) parseLoss(data []byte) error {
	ad, err := netlink.NewAttributeDecoder(data)
	if err != nil {
		return fmt.Errorf("TCA_NETEM_LOSS: %w", err)
	}
	for ad.Next() {
		switch ad.Type() {
		case lossGI:
			err = unpack("NETEM_LOSS_GI", ad.Bytes(), &o.gi)
		case lossGE:
			err = unpack("NETEM_LOSS_GE", ad.Bytes(), &o.ge)
		default:
			err = fmt.Errorf("TCA_NETEM_LOSS: unknown model %d", ad.Type())
		}
		if err != nil {
			return err
		}
		o.lossModel = ad.Type()
	}
	if err := ad.Err(); err != nil {
		return fmt.Errorf("TCA_NETEM_LOSS: %w", err)
	}
	return nil
}

// pack writes a value of fixed size as the kernel has it in memory. The structs
// in use have no padding.
func pack(v any) []byte {
	data, err := binary.Append(nil, binary.NativeEndian, v)
	if err != nil {
		panic(err) // a type without a fixed size: a mistake in this file
	}
	return data
}

// unpack reads a value of fixed size from the start of data.
func unpack(what string, data []byte, v any) error {
	if _, err := binary.Decode(data, binary.NativeEndian, v); err != nil {
		return fmt.Errorf("%s: %d bytes, want at least %d", what, len(data), binary.Size(v))
	}
	return nil
}

// netem translates what the kernel has.
func (o options) netem() Netem {
	n := Netem{
		Delay:            time.Duration(o.latency),
		Jitter:           time.Duration(o.jitter),
		DelayCorrelation: decodePercent(o.delayCorr),
		ECN:              o.ecn != 0,
		Reorder:          Reorder{Percent: decodePercent(o.reorder), Correlation: decodePercent(o.reorderCorr), Gap: int(o.gap)},
		Duplicate:        Duplicate{Percent: decodePercent(o.duplicate), Correlation: decodePercent(o.dupCorr)},
		Corrupt:          Corrupt{Percent: decodePercent(o.corrupt), Correlation: decodePercent(o.corruptCorr)},
		Rate: Rate{
			BitsPerSecond:  int64(min(o.rate, math.MaxInt64/8)) * 8,
			PacketOverhead: o.packetOverhead,
			CellSize:       int32(min(o.cellSize, math.MaxInt32)),
			CellOverhead:   o.cellOverhead,
		},
		Limit: int(o.limit),
		Slot: Slot{
			MinDelay: time.Duration(o.slotMin),
			MaxDelay: time.Duration(o.slotMax),
			Packets:  int(o.slotPackets),
			Bytes:    int(o.slotBytes),
		},
		Seed: o.seed,
	}
	if n.Jitter != 0 {
		n.Distribution = Unreported
	}
	if !n.Slot.hasRange() {
		n.Slot.Delay, n.Slot.Jitter = time.Duration(o.slotDistDelay), time.Duration(o.slotDistJitter)
		if n.Slot.Jitter != 0 {
			n.Slot.Distribution = Unreported
		}
	}
	switch {
	case o.lossModel == lossGI:
		n.Loss = FourState{
			P13: decodePercent(o.gi.P13),
			P31: decodePercent(o.gi.P31),
			P32: decodePercent(o.gi.P32),
			P23: decodePercent(o.gi.P23),
			P14: decodePercent(o.gi.P14),
		}
	case o.lossModel == lossGE:
		n.Loss = GilbertElliott{
			P:         decodePercent(o.ge.P),
			R:         decodePercent(o.ge.R),
			OneMinusH: decodePercent(math.MaxUint32 - o.ge.H),
			OneMinusK: decodePercent(o.ge.K1),
		}
	case o.loss != 0 || o.lossCorr != 0:
		n.Loss = RandomLoss{Percent: decodePercent(o.loss), Correlation: decodePercent(o.lossCorr)}
	}
	return n
}
