package queue

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness/invalid"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/internal/golden"
)

// valid are queues of every kind: as the kernel has them, and with every field set.
func valid() []Queue {
	rate := Bottleneck{BitsPerSecond: 20 * impair.Mbit}
	return []Queue{
		{rate, DropTail{}},
		{rate, DropTail{Packets: 100}},
		{Bottleneck{BitsPerSecond: 50 * impair.Gbit, Burst: 1 << 20}, DropTail{Bytes: 150_000}},
		{Discipline: FQ{}},
		{Discipline: FQ{
			Limit: 5000, FlowLimit: 200, Quantum: 3000, InitialQuantum: 15000, MaxRate: 8 * impair.Mbit, Buckets: 512, RefillDelay: 20 * time.Millisecond,
			LowRateThreshold: impair.Mbit, CEThreshold: 5 * time.Millisecond, TimerSlack: 20 * time.Microsecond, Horizon: 5 * time.Second,
			HorizonDrop: Off, Pacing: Off,
		}},
		{rate, CoDel{}},
		{rate, CoDel{Limit: 500, Target: 10 * time.Millisecond, Interval: 200 * time.Millisecond, ECN: On, CEThreshold: 2 * time.Millisecond}},
		{rate, FQCoDel{}},
		{rate, FQCoDel{
			Limit: 2000, Flows: 64, Target: 3 * time.Millisecond, Interval: 50 * time.Millisecond, Quantum: 300, ECN: Off, CEThreshold: time.Millisecond,
			MemoryLimit: 4 << 20, DropBatch: 16,
		}},
		{rate, PIE{}},
		{rate, PIE{
			Limit: 500, Target: 20 * time.Millisecond, TUpdate: 32 * time.Millisecond, Alpha: 4, Beta: 30, ECN: On, ByteMode: On, DQRateEstimator: On,
		}},
		{rate, RED{}},
		{rate, RED{
			Limit: 400_000, Min: 30_000, Max: 90_000, AvgPacket: 1000, Burst: 55, Probability: 10, Bandwidth: 20 * impair.Mbit, ECN: true, HardDrop: true, Adaptive: true,
		}},
		{rate, RED{Limit: 400_000, Min: 30_000, Max: 30_001, Probability: 100, ECN: true, Instant: true}},
		{Discipline: Cake{}},
		{Discipline: Cake{
			BitsPerSecond: 20 * impair.Mbit, RTT: 40 * time.Millisecond, Diffserv: "besteffort", Flows: "dual-srchost", ACKFilter: "ack-filter", NAT: On, Wash: On,
			Ingress: On, SplitGSO: Off, Overhead: 18, MPU: 64, ATM: "ptm", Memory: 4 << 20,
		}},
		{Discipline: Cake{BitsPerSecond: 20 * impair.Mbit, RTT: time.Second, Target: 30 * time.Millisecond, Overhead: -14}},
		{rate, DualPI2{}},
		{rate, DualPI2{
			Limit: 5000, MemoryLimit: 1 << 20, Target: 10 * time.Millisecond, TUpdate: 8 * time.Millisecond, Alpha: 0.25, Beta: 4, StepThreshold: 2 * time.Millisecond,
			MinQueueStep: 3, Coupling: 3, DropOverload: Off, DropEnqueue: On, ClassicProtection: 20, AnyECT: On, SplitGSO: Off,
		}},
		{rate, DualPI2{StepPackets: 5}},
	}
}

func TestEveryFieldIsAnOption(t *testing.T) {
	for kind := range forms {
		d := formOf(kind).discipline()
		options := optionsOf(d)
		if options == nil { // drop-tail and RED are written by hand
			continue
		}
		of := reflect.TypeOf(d)
		attributes := map[uint16]bool{}
		for i, o := range options {
			if i < of.NumField() && of.Field(i).Name != o.field {
				t.Errorf("%s: option %d is %s, field %d %s", kind, i, o.field, i, of.Field(i).Name)
			}
			if attributes[o.attribute] {
				t.Errorf("%s: two options have attribute %d", kind, o.attribute)
			}
			attributes[o.attribute] = true
		}
		if len(options) != of.NumField() {
			t.Errorf("%s has %d fields, and %d options", kind, of.NumField(), len(options))
		}
	}
}

// Text, JSON, and the bytes that go to the kernel. After a change that is meant: go test ./impair/queue -run Golden -update
func TestGolden(t *testing.T) {
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("the golden file has the bytes of a little-endian machine")
	}
	var listing bytes.Buffer
	for _, q := range valid() {
		g := NewWithT(t)
		g.Expect(q.Validate()).To(Succeed(), "%v", q)
		text, err := json.Marshal(q)
		g.Expect(err).NotTo(HaveOccurred())
		form := q.Discipline.form()
		sent, err := form.encode()
		g.Expect(err).NotTo(HaveOccurred())
		fmt.Fprintf(&listing, "text: %v\njson: %s\nbytes: %x\n", q, text, sent)
		for _, note := range form.chosen() {
			fmt.Fprintf(&listing, "note: %s\n", note)
		}

		var again Queue
		g.Expect(json.Unmarshal(text, &again)).To(Succeed())
		g.Expect(again).To(Equal(q))
		g.Expect(form.differences(sent, sent)).To(BeEmpty())
		if sent != nil {
			got := formOf(q.Discipline.Kind())
			g.Expect(got.decode(sent)).To(Succeed())
			g.Expect(got.discipline()).To(haveWhatWasAsked(q.Discipline), "%v", q)
		}
	}
	bottleneck, err := Bottleneck{BitsPerSecond: 50 * impair.Gbit, Burst: 1 << 20}.encode()
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	policer, err := Policer{BitsPerSecond: 10 * impair.Mbit, Burst: 100_000}.encode()
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	fmt.Fprintf(&listing, "bottleneck: %x\n%v: %x\n", bottleneck, Policer{BitsPerSecond: 10 * impair.Mbit, Burst: 100_000}, policer[:100])
	golden.Compare(t, "queues.golden", listing.Bytes())
}

// haveWhatWasAsked is the same discipline, but for what the kernel does not tell of RED and what was chosen of CAKE.
func haveWhatWasAsked(asked Discipline) OmegaMatcher {
	switch q := asked.(type) {
	case RED:
		q, _ = q.filled()
		q.AvgPacket, q.Burst, q.Bandwidth = 0, 0, 0
		return Equal(q)
	case Cake:
		if q.Target == 0 {
			q.Target = q.RTT / rttOfTarget
		}
		return Equal(q)
	}
	return Equal(asked)
}

func TestValidateRefuses(t *testing.T) {
	rate := Bottleneck{BitsPerSecond: impair.Mbit}
	for want, q := range map[string]Queue{
		"Discipline":                {rate, nil},
		"Bottleneck":                {rate, Cake{}},
		"Bottleneck.BitsPerSecond":  {Bottleneck{BitsPerSecond: 7}, CoDel{}},
		"Bottleneck.Burst":          {Bottleneck{Burst: 3000}, CoDel{}},
		"DropTail.Bytes":            {rate, DropTail{Packets: 1, Bytes: 1}},
		"DropTail.Packets":          {rate, DropTail{Packets: -1}},
		"FQ.Buckets":                {rate, FQ{Buckets: 1000}},
		"FQ.MaxRate":                {rate, FQ{MaxRate: 40 * impair.Gbit}},
		"FQ.Pacing":                 {rate, FQ{Pacing: "maybe"}},
		"CoDel.Target":              {rate, CoDel{Target: time.Nanosecond}},
		"CoDel.Interval":            {rate, CoDel{Interval: -time.Second}},
		"FQCoDel.Quantum":           {rate, FQCoDel{Quantum: 255}},
		"FQCoDel.Flows":             {rate, FQCoDel{Flows: 65537}},
		"PIE.Alpha":                 {rate, PIE{Alpha: 33}},
		"RED.Min":                   {rate, RED{Min: 5000, Max: 4000}},
		"RED.Max":                   {rate, RED{Limit: 4000, Max: 5000, Min: 1}},
		"RED.Burst":                 {rate, RED{Min: 90_000, Max: 100_000, Burst: 2}},
		"RED.Probability":           {rate, RED{Probability: impair.Percent(math.NaN())}},
		"RED.HardDrop":              {rate, RED{HardDrop: true}},
		"RED.Instant":               {rate, RED{Instant: true, Burst: 5}},
		"Cake.Flows":                {Discipline: Cake{Flows: "fair"}},
		"Cake.Overhead":             {Discipline: Cake{Overhead: 257}},
		"DualPI2.StepPackets":       {rate, DualPI2{StepPackets: 1, StepThreshold: time.Millisecond}},
		"DualPI2.Alpha":             {rate, DualPI2{Alpha: math.NaN()}},
		"DualPI2.ClassicProtection": {rate, DualPI2{ClassicProtection: 101}},
	} {
		err := q.Validate()
		if refused, ok := errors.AsType[*invalid.FieldError](err); !ok || refused.Field != want {
			t.Errorf("%v: %v, want %s", q, err, want)
		}
	}
	g := NewWithT(t)
	g.Expect(Queue{rate, &CoDel{}}.Validate()).To(MatchError(ContainSubstring("want a value (not a pointer) of DropTail")))
	_, err := json.Marshal(Queue{rate, &CoDel{}})
	g.Expect(err).To(HaveOccurred())
	for _, p := range []Policer{{}, {BitsPerSecond: 5}, {BitsPerSecond: impair.Mbit, Burst: -1}, {BitsPerSecond: 8, Burst: 1 << 20}} {
		g.Expect(p.Validate()).NotTo(Succeed(), "%v", p)
	}
}

func TestUnmarshalRefusesWhatItDoesNotKnow(t *testing.T) {
	for _, text := range []string{
		`{"kind": "sfq"}`, `{"kind": "codel", "options": {"Tarket_ns": 1}}`, `{"kind": "red", "options": {"x": 1}}`, `{"kind": "pfifo", "options": {"x": 1}}`, `{}`, `[]`,
	} {
		var q Queue
		if err := json.Unmarshal([]byte(text), &q); err == nil {
			t.Errorf("%s: %v", text, q)
		}
	}
}

// The first example of tc-red(8), by the formulas of iproute2's tc/tc_red.c, computed by hand.
func TestREDIsComputedAsTCDoes(t *testing.T) {
	g := NewWithT(t)
	q := RED{Limit: 400_000, Min: 30_000, Max: 90_000, AvgPacket: 1000, Burst: 55, Bandwidth: 10 * impair.Mbit, Probability: 2}
	// (1 - (1-W)^55)/W at least 26: W = 1/32 gives 26.4, 1/16 gives 15.5.
	g.Expect(q.weight()).To(Equal(5))
	// 0.02/60000, doubled 22 times, is 1.4.
	g.Expect(q.slope()).To(Equal(22))
	cell, steps := q.idle(5)
	// A packet takes 800 µs, and each lets the average fall by a factor of 31/32: -ln(31/32)/800 = 3.97e-5 for each µs. 31 of that are
	// 0.78 s, which 512 steps of 2^11 µs cover.
	g.Expect(cell).To(Equal(11))
	g.Expect(steps[1]).To(BeEquivalentTo(0))
	g.Expect(steps[100]).To(BeEquivalentTo(8)) // 100 * 2048 * 3.97e-5 = 8.13
	g.Expect(steps[255]).To(BeEquivalentTo(31))

	q.Instant, q.Burst, q.Bandwidth = true, 0, 0
	g.Expect(q.weight()).To(Equal(0))
}

func TestDifferencesAreTheKernelsOwn(t *testing.T) {
	g := NewWithT(t)
	differ := func(asked, got Discipline) []string {
		sent, err := asked.form().encode()
		g.Expect(err).NotTo(HaveOccurred())
		has, err := got.form().encode()
		g.Expect(err).NotTo(HaveOccurred())
		list, err := asked.form().differences(sent, has)
		g.Expect(err).NotTo(HaveOccurred())
		return list
	}
	// CoDel counts in 1.024 µs: of 5 ms there are 4882, which are 4999 µs.
	g.Expect(differ(CoDel{Target: 5 * time.Millisecond}, CoDel{Target: 4999 * time.Microsecond})).To(BeEmpty())
	g.Expect(differ(CoDel{Target: 5 * time.Millisecond}, CoDel{Target: 4998 * time.Microsecond})).To(HaveLen(1))
	g.Expect(roundings(CoDel{Target: 5 * time.Millisecond}, CoDel{Target: 4999 * time.Microsecond, Limit: 1000})).
		To(Equal([]string{"Target: asked 5ms, got 4.999ms: the kernel counts in 1.024 µs"}))
	// With 250 ticks a second 15 ms are 4 of them.
	g.Expect(differ(PIE{TUpdate: 15 * time.Millisecond}, PIE{TUpdate: 16 * time.Millisecond})).To(BeEmpty())
	g.Expect(differ(PIE{TUpdate: 15 * time.Millisecond}, PIE{TUpdate: 14 * time.Millisecond})).To(HaveLen(1))
	g.Expect(differ(FQ{Limit: 5}, FQ{Limit: 6})).To(Equal([]string{"Limit: sent 5, got 6"}))
	g.Expect(differ(FQCoDel{ECN: On}, FQCoDel{Limit: 6})).To(Equal([]string{"ECN: sent on, and this kernel does not know it"}))
	g.Expect(differ(DropTail{Packets: 5}, DropTail{Packets: 6})).To(Equal([]string{"limit: sent 5, got 6"}))
	g.Expect(differ(RED{}, RED{ECN: true})).To(HaveLen(1))
	g.Expect(differ(RED{Probability: 3}, RED{Probability: 4})).To(HaveLen(2)) // its exponent, too
	g.Expect(differ(RED{Probability: 3, Adaptive: true}, RED{Probability: 3.1, Adaptive: true})).To(BeEmpty())
}

func TestStats(t *testing.T) {
	g := NewWithT(t)
	words := func(n int) []byte {
		var data []byte
		for i := range n {
			data = binary.NativeEndian.AppendUint32(data, uint32(i))
		}
		return data
	}
	of := read(layouts["fq_codel"], words(10))
	g.Expect(of).To(And(HaveKeyWithValue("ecn_mark", uint64(3)), HaveKeyWithValue("new_flow_count", uint64(4)), HaveKeyWithValue("drop_overmemory", uint64(9)), HaveLen(9)))
	g.Expect(Stats{Own: of}.Marks()).To(Equal(uint64(3 + 7)))
	// A kernel with a shorter struct.
	g.Expect(read(layouts["codel"], words(3))).To(Equal(map[string]uint64{"maxpacket": 0, "count": 1, "lastcount": 2}))
	g.Expect(Stats{}.Marks()).To(BeZero())
}

func FuzzParse(f *testing.F) {
	for _, q := range valid() {
		data, err := q.Discipline.form().encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(q.Discipline.Kind(), data)
	}
	bottleneck, _ := Bottleneck{BitsPerSecond: impair.Mbit, Burst: 3028}.encode()
	f.Add(tbf, bottleneck)
	policer, _ := Policer{BitsPerSecond: impair.Mbit, Burst: 3028}.encode()
	f.Add("police", policer)
	f.Fuzz(func(t *testing.T, kind string, data []byte) {
		var b Bottleneck
		_ = b.decode(data)
		_, _, _ = parsePolicer(data)
		_, _ = cakeStats(data)
		_ = read(layouts[kind], data)
		form := formOf(kind)
		if form == nil || form.decode(data) != nil {
			return
		}
		// What could be read can be told, and compares with itself.
		_ = form.discipline().String()
		if list, err := form.differences(data, data); err == nil && len(list) > 0 {
			t.Fatalf("%s: %v", kind, list)
		}
	})
}
