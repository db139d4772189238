package impair

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

// full sets every field that can be set together, to values that the kernel
// keeps as they are.
func full() Netem {
	return Netem{
		Delay:            20 * time.Millisecond,
		Jitter:           2 * time.Millisecond,
		DelayCorrelation: 25,
		Distribution:     Normal,
		Loss:             RandomLoss{Percent: 1, Correlation: 12.5},
		ECN:              true,
		Reorder:          Reorder{Percent: 25, Correlation: 50, Gap: 5},
		Duplicate:        Duplicate{Percent: 0.1, Correlation: 5},
		Corrupt:          Corrupt{Percent: 0.01, Correlation: 3},
		Rate:             Rate{BitsPerSecond: 20 * Mbit, PacketOverhead: -14, CellSize: 48, CellOverhead: 5},
		Limit:            777,
		Slot:             Slot{Delay: 10 * time.Millisecond, Jitter: time.Millisecond, Distribution: Pareto, Packets: 10, Bytes: 15000},
		Seed:             math.MaxUint64,
	}
}

func TestNetemString(t *testing.T) {
	for _, test := range []struct {
		netem Netem
		want  string
	}{
		{Netem{}, "perfect link"},
		{Netem{Delay: 20 * time.Millisecond, Jitter: 2 * time.Millisecond, Loss: RandomLoss{Percent: 1}}, "delay 20ms 2ms loss 1%"},
		{Netem{Rate: Rate{BitsPerSecond: 2500 * Kbit}}, "rate 2500Kbit"},
		{Netem{Rate: Rate{BitsPerSecond: 2*Mbit + 8, PacketOverhead: 4}}, "rate 2000008bit packetoverhead 4"},
		{Netem{Loss: SimpleGilbert(1, 10)}, "loss gemodel 1% 10% 100% 0%"},
		{Netem{Loss: FourState{P13: 1, P31: 20, P32: 30, P23: 40, P14: 0.5}}, "loss state 1% 20% 30% 40% 0.5%"},
		{Netem{Slot: Slot{MinDelay: time.Millisecond, MaxDelay: 2 * time.Millisecond, Packets: 3}}, "slot 1ms 2ms packets 3"},
		{full(), "limit 777 delay 20ms 2ms 25% distribution normal loss 1% 12.5% ecn reorder 25% 50% gap 5 duplicate 0.1% 5% " +
			"corrupt 0.01% 3% rate 20Mbit packetoverhead -14 cellsize 48 celloverhead 5 slot distribution pareto 10ms 1ms packets 10 bytes 15000 " +
			"seed 18446744073709551615"},
	} {
		NewWithT(t).Expect(test.netem.String()).To(Equal(test.want))
	}
}

func TestJSONRoundTrip(t *testing.T) {
	gilbert, fourState, slots := full(), full(), full()
	gilbert.Loss = GilbertElliott{P: 1, R: 10, OneMinusH: 70, OneMinusK: 0.1}
	fourState.Loss = FourState{P13: 1, P31: 20, P32: 30, P23: 40, P14: 0.5}
	slots.Slot = Slot{MinDelay: time.Millisecond, MaxDelay: time.Second}
	slots.Distribution = File("wifi.dist")
	for _, n := range []Netem{{}, full(), gilbert, fourState, slots} {
		g := NewWithT(t)
		applied := Applied{Asked: n, Got: n, Notes: []string{"a note"}}
		text, err := json.Marshal(applied)
		g.Expect(err).NotTo(HaveOccurred())
		var back Applied
		g.Expect(json.Unmarshal(text, &back)).To(Succeed())
		g.Expect(back).To(Equal(applied))
	}
}

func TestJSONIsReadable(t *testing.T) {
	g := NewWithT(t)
	text, err := json.Marshal(Netem{
		Delay: 20 * time.Millisecond,
		Loss:  SimpleGilbert(1, 10),
		Rate:  Rate{BitsPerSecond: 20 * Mbit},
	})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(text)).To(Equal(`{"delay_ns":20000000,"loss":{"model":"gilbert-elliott","p":1,"r":10,"one_minus_h":100},"rate":{"bits_per_second":20000000}}`))

	var n Netem
	g.Expect(json.Unmarshal([]byte(`{"distribution":"uniform"}`), &n)).To(Succeed())
	g.Expect(n).To(Equal(Netem{}))
	g.Expect(json.Unmarshal([]byte(`{"loss":{"model":"bernoulli"}}`), &n)).To(MatchError(ContainSubstring(`loss model "bernoulli"`)))
	g.Expect(json.Unmarshal([]byte(`{"delay_ns":"20ms"}`), &n)).NotTo(Succeed())
	_, err = json.Marshal(Netem{Loss: &RandomLoss{Percent: 1}})
	g.Expect(err).To(MatchError(ContainSubstring("*impair.RandomLoss")))
}

func TestLimitIsSizedToTheBandwidthDelayProduct(t *testing.T) {
	const ms = time.Millisecond
	for _, test := range []struct {
		name  string
		netem Netem
		want  int
	}{
		{"as given", Netem{Limit: 5, Delay: time.Hour}, 5},
		{"a perfect link has tc's default", Netem{}, 1000},
		// 10 Gbit/s * 20 ms = 25 MB = 16513 packets of 1514 bytes
		{"without a rate 10 Gbit/s", Netem{Delay: 20 * ms}, 16513},
		{"without a rate bounded", Netem{Delay: time.Hour}, 1 << 20},
		{"a rate without a delay has a queue", Netem{Rate: Rate{BitsPerSecond: 20 * Mbit}}, 64},
		// 20 Mbit/s * 20 ms = 33.03 packets in the line, 66.05 in the queue
		{"line and queue", Netem{Rate: Rate{BitsPerSecond: 20 * Mbit}, Delay: 20 * ms}, 34 + 67},
		{"jitter counts as delay", Netem{Rate: Rate{BitsPerSecond: 20 * Mbit}, Delay: 15 * ms, Jitter: 5 * ms}, 34 + 67},
		// 10 + 4*10 ms
		{"a table reaches four times as far", Netem{Rate: Rate{BitsPerSecond: 20 * Mbit}, Delay: 10 * ms, Jitter: 10 * ms, Distribution: Normal}, 83 + 166},
		{"slots hold packets", Netem{Rate: Rate{BitsPerSecond: 20 * Mbit}, Delay: 15 * ms, Slot: Slot{MaxDelay: 5 * ms}}, 34 + 67},
		// 1514 bytes are 32 cells of 53 bytes, 1696 on the wire: 29.5 and 59
		{"cells make packets longer", Netem{Rate: Rate{BitsPerSecond: 20 * Mbit, CellSize: 48, CellOverhead: 5}, Delay: 20 * ms}, 30 + 64},
		{"int32 is the end", Netem{Rate: Rate{BitsPerSecond: math.MaxInt64}, Delay: maxDelay}, math.MaxInt32},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := NewWithT(t)
			g.Expect(test.netem.Validate()).To(Succeed())
			limit, note := test.netem.packetLimit()
			g.Expect(limit).To(Equal(test.want))
			g.Expect(note != "").To(Equal(test.netem.Limit == 0))
		})
	}
}

func TestParseRate(t *testing.T) {
	g := NewWithT(t)
	for text, want := range map[string]int64{"20mbit": 20e6, "1.5Gbit": 15e8, "64kbit": 64e3, "9600bit": 9600} {
		g.Expect(ParseRate(text)).To(Equal(want))
	}
	for _, text := range []string{"", "20", "mbit", "-1mbit", "0bit", "1e30gbit", "NaNbit", "1tbit", "20 mbit/s"} {
		_, err := ParseRate(text)
		g.Expect(err).To(MatchError(ContainSubstring("is no rate: write it as 20mbit")), text)
	}
}
