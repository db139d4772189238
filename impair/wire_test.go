package impair

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/mdlayher/netlink"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/impair/internal/qdisc"
	"github.com/tcplab/tcplab/netns/netdev"
)

func TestPercentIsEncodedAsInIproute2(t *testing.T) {
	// iproute2's set_percent: rint(per * UINT32_MAX)
	for _, test := range []struct {
		percent Percent
		want    uint32
	}{
		{0, 0},
		{100, math.MaxUint32},
		{50, 1 << 31}, // 2147483647.5, to even
		{1, 42949673}, // 42949672.95
		{0.1, 4294967},
		{1.2e-8, 1},
	} {
		NewWithT(t).Expect(encodePercent(test.percent)).To(Equal(test.want), "%v", test.percent)
	}
}

func TestPercentThatIsReadIsTheShortestThatIsStoredAlike(t *testing.T) {
	g := NewWithT(t)
	for _, p := range []Percent{0, 1, 0.1, 0.01, 12.5, 33.3, 50, 99.9, 99.99999, 100} {
		g.Expect(decodePercent(encodePercent(p))).To(Equal(p))
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 10_000 {
		v := random.Uint32()
		p := decodePercent(v)
		g.Expect(encodePercent(p)).To(Equal(v))
		g.Expect(p).To(And(BeNumerically(">=", 0), BeNumerically("<=", 100)))
	}
	for _, v := range []uint32{0, 1, 2, 1<<31 - 1, 1 << 31, math.MaxUint32 - 1, math.MaxUint32} {
		g.Expect(encodePercent(decodePercent(v))).To(Equal(v))
	}
}

const qoptSize = 24 // struct tc_netem_qopt

// overTheWire encodes netem's options for the kernel, and reads them as they would be read back.
func overTheWire(g *WithT, n Netem, change bool) (r request, sent, got attributes) {
	g.THelper()
	r, err := prepare(n, change)
	g.Expect(err).NotTo(HaveOccurred())
	sent = r.encode()
	payload, err := sent.marshal(r.tables)
	g.Expect(err).NotTo(HaveOccurred())
	got, err = parseOptions(payload)
	g.Expect(err).NotTo(HaveOccurred())
	return r, sent, got
}

func TestOptionsSurviveTheWire(t *testing.T) {
	for _, test := range valid(t) {
		for _, change := range []bool{false, true} {
			t.Run(test.name, func(t *testing.T) {
				g := NewWithT(t)
				_, sent, got := overTheWire(g, test.netem, change)
				g.Expect(got).To(Equal(sent))
				g.Expect(verify(sent, got)).To(Succeed())
			})
		}
	}
}

func TestOptionsBecomeTheNetemTheyWere(t *testing.T) {
	changed := map[string]func(*Netem){ // what the kernel has otherwise than asked
		"random loss, not representable": func(n *Netem) { n.Loss = RandomLoss{Percent: 33.33333333} },
		"random loss, least":             func(n *Netem) { n.Loss = RandomLoss{Percent: 0.00000002} },
		"random loss of 0 %":             func(n *Netem) { n.Loss = nil },
		"rate, not whole bytes":          func(n *Netem) { n.Rate.BitsPerSecond = 1_000_000 },
		"reorder":                        func(n *Netem) { n.Reorder.Gap = 1 },
		"four-state, halves": func(n *Netem) {
			n.Loss = FourState{P13: 49.99999999, P31: 49.99999999, P32: 50, P23: 100, P14: 50}
		},
	}
	for _, test := range valid(t) {
		t.Run(test.name, func(t *testing.T) {
			g := NewWithT(t)
			r, err := prepare(test.netem, false)
			g.Expect(err).NotTo(HaveOccurred())
			want := test.netem
			want.Limit, _ = want.packetLimit()
			if want.Jitter != 0 {
				want.Distribution = Unreported
			}
			if want.Slot.Jitter != 0 {
				want.Slot.Distribution = Unreported
			}
			if change := changed[test.name]; change != nil {
				change(&want)
			}
			g.Expect(r.encode().netem()).To(Equal(want))
		})
	}
}

// Two halves of 100 % are each rounded up; their 32-bit sum in the kernel would
// be 0, and the second of them would never happen.
func TestFourStateHalvesDoNotWrapAround(t *testing.T) {
	g := NewWithT(t)
	r, err := prepare(Netem{Loss: FourState{P13: 50, P14: 50, P31: 50, P32: 50}}, false)
	g.Expect(err).NotTo(HaveOccurred())
	sent := r.encode()
	sum := func(a, b string) uint64 { return kept(sent, a) + kept(sent, b) }
	g.Expect(sum("Loss.P13", "Loss.P14")).To(BeEquivalentTo(math.MaxUint32))
	g.Expect(sum("Loss.P31", "Loss.P32")).To(BeEquivalentTo(math.MaxUint32))
}

func TestEveryAttributeIsSent(t *testing.T) {
	g := NewWithT(t)
	r, err := prepare(Netem{}, true)
	g.Expect(err).NotTo(HaveOccurred())
	payload, err := r.encode().marshal(r.tables)
	g.Expect(err).NotTo(HaveOccurred())
	attributes, err := netlink.UnmarshalAttributes(payload[qoptSize:])
	g.Expect(err).NotTo(HaveOccurred())
	var types []attribute
	for _, a := range attributes {
		types = append(types, attribute(a.Type))
	}
	g.Expect(types).To(ConsistOf(attrCorr, attrReorder, attrCorrupt, attrRate, attrECN,
		attrLatency64, attrJitter64, attrSlot, attrSeed))
}

// fieldOf is the entry of a name.
func fieldOf(name string) field {
	for _, f := range fields {
		if f.name == name {
			return f
		}
	}
	panic(name)
}

// kept is what the kernel has of a field.
func kept(w attributes, name string) uint64 { return fieldOf(name).kernel.get(w) }

// changed is w with another value of a field, and without some attributes.
func changed(w attributes, name string, v uint64, without ...attribute) attributes {
	other := attributes{}
	for a, data := range w {
		if !slices.Contains(without, a) {
			other[a] = slices.Clone(data)
		}
	}
	fieldOf(name).kernel.put(other, v)
	return other
}

func TestVerifyNamesWhatDiffers(t *testing.T) {
	g := NewWithT(t)
	r, err := prepare(full(), false)
	g.Expect(err).NotTo(HaveOccurred())
	sent := r.encode()

	got := changed(changed(sent, "ECN", 0), "Delay", 5)
	g.Expect(verify(sent, got)).To(MatchError("the kernel has another netem than asked: Delay: sent 20ms, got 5ns; ECN: sent 1, got 0"))

	g.Expect(verify(sent, changed(sent, "Seed", 1))).To(MatchError(ContainSubstring("Seed: sent 18446744073709551615, got 1")))
	g.Expect(verify(sent, changed(sent, "Seed", 1, attrSeed))).To(Succeed())

	got = changed(sent, "Loss model", uint64(lossGE))
	g.Expect(verify(sent, got)).To(MatchError(ContainSubstring("Loss model: sent random, got gilbert-elliott")))

	sent = changed(sent, "Delay", 1000)
	g.Expect(verify(sent, changed(sent, "Delay", 1000-1000%tick))).To(MatchError(ContainSubstring("Delay: sent 1µs, got 960ns")))
	g.Expect(verify(sent, changed(sent, "Delay", 1000-1000%tick, attrLatency64, attrJitter64))).To(Succeed())
}

func TestNotesTellWhatBecameOfTheValues(t *testing.T) {
	g := NewWithT(t)
	n := Netem{
		Delay:     20 * ms,
		Jitter:    5 * ms,
		Loss:      RandomLoss{Percent: 100. / 3},
		Reorder:   Reorder{Percent: 1},
		Rate:      Rate{BitsPerSecond: 1_000_007},
		Slot:      Slot{Delay: ms, Jitter: ms, Distribution: Normal},
		Seed:      7,
		Duplicate: Duplicate{Percent: 1},
	}
	r, err := prepare(n, false)
	g.Expect(err).NotTo(HaveOccurred())
	a := r.report(changed(r.encode(), "Seed", 0, attrSeed))
	g.Expect(a.Asked).To(Equal(n))
	g.Expect(a.Got.Distribution).To(Equal(Uniform))
	g.Expect(a.Got.Slot.Distribution).To(Equal(Unreported))
	g.Expect(a.Notes).To(Equal([]string{
		"Loss.Percent: asked 33.333333333333336%, got 33.33333333%: the kernel keeps 32 bits of a probability",
		"Reorder.Gap: asked 0, got 1: netem's least gap: any packet",
		"Rate.BitsPerSecond: asked 1000007, got 1000000: the kernel counts whole bytes per second",
		"Limit: chosen 67 packets: 3 in the delay line and 64 in the queue, at 1000007bit, held for up to 30ms",
		"Slot.Distribution: sent normal (4096 values); the kernel does not report it",
		"Seed: 7 ignored by this kernel: needs Linux 6.6",
	}))

	exact := Netem{Delay: 20 * ms, Loss: RandomLoss{Percent: 1}, Limit: 100}
	r, err = prepare(exact, false)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(r.report(r.encode())).To(Equal(Applied{Asked: exact, Got: exact}))

	// What there is no reason for is not given one.
	g.Expect(r.report(changed(r.encode(), "ECN", 1)).Notes).To(Equal([]string{"ECN: asked false, got true"}))
}

func TestParseOptionsRefusesWhatIsShort(t *testing.T) {
	g := NewWithT(t)
	_, err := parseOptions(make([]byte, qoptSize-1))
	g.Expect(err).To(MatchError(ContainSubstring("23 bytes, want at least 24")))
	short, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: uint16(attrCorr), Data: []byte{1, 2, 3, 4}}})
	g.Expect(err).NotTo(HaveOccurred())
	_, err = parseOptions(append(make([]byte, qoptSize), short...))
	g.Expect(err).To(MatchError(ContainSubstring("TCA_NETEM_CORR: 4 bytes")))
}

func FuzzParseOptions(f *testing.F) {
	for _, n := range []Netem{{}, full(), {Loss: SimpleGilbert(1, 10)}, {Loss: FourState{P13: 1, P31: 9}}} {
		r, err := prepare(n, false)
		if err != nil {
			f.Fatal(err)
		}
		payload, err := r.encode().marshal(r.tables)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(payload)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		o, err := parseOptions(data)
		if err != nil {
			return
		}
		// What could be read can be told, and compares with itself.
		_ = o.netem().String()
		if err := verify(o, o); err != nil {
			t.Fatal(err)
		}
	})
}

func TestStatsOfNetemHaveItsOwnCounters(t *testing.T) {
	g := NewWithT(t)
	q := qdisc.Qdisc{Stats: netdev.Stats{Packets: 2}}
	g.Expect(statsOf(q)).To(Equal(netdev.Stats{Packets: 2}))
	q.App = qdisc.Pack([7]uint64{1, 2, 3, 4, 5, 6, 7}) // in the order of include/uapi/linux/pkt_sched.h
	g.Expect(statsOf(q)).To(Equal(netdev.Stats{
		Packets: 2, Injected: &netdev.Injected{Delayed: 1, Lost: 2, Corrupted: 3, Duplicated: 4, Reordered: 5, Marked: 6, Failed: 7},
	}))
	q.App = q.App[:55]
	_, err := statsOf(q)
	g.Expect(err).To(MatchError("struct tc_netem_xstats: 55 bytes, want at least 56"))
}
