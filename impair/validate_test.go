package impair

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness/invalid"
	"github.com/tcplab/tcplab/internal/golden"
	"github.com/tcplab/tcplab/netns/netdev"
)

const ms = time.Millisecond

func TestValidateRefuses(t *testing.T) {
	short := filepath.Join(t.TempDir(), "short.dist")
	if err := os.WriteFile(short, []byte("# a comment\n1 2 x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	delayed := func(n Netem) Netem { n.Delay = 20 * ms; return n }
	var messages bytes.Buffer
	for _, test := range []struct {
		name    string
		netem   Netem
		field   string
		message string
	}{
		{"loss of 130 %", Netem{Loss: RandomLoss{Percent: 130}}, "Loss.Percent", "130% is not allowed: want 0% to 100%"},
		{"negative loss", Netem{Loss: RandomLoss{Percent: -1}}, "Loss.Percent", "-1%"},
		{"loss that is no number", Netem{Loss: RandomLoss{Percent: Percent(math.NaN())}}, "Loss.Percent", "NaN%"},
		{"infinite loss", Netem{Loss: RandomLoss{Percent: Percent(math.Inf(1))}}, "Loss.Percent", "Inf%"},
		{"loss too small for the kernel", Netem{Loss: RandomLoss{Percent: 1e-9}}, "Loss.Percent", "at least 0.000000012%"},
		{"loss correlation alone", Netem{Loss: RandomLoss{Correlation: 1}}, "Loss.Correlation", "0% without Loss.Percent"},
		{"loss correlation too large", Netem{Loss: RandomLoss{Percent: 1, Correlation: 101}}, "Loss.Correlation", "0% to 100%"},
		{"loss by pointer", Netem{Loss: &RandomLoss{Percent: 1}}, "Loss", "*impair.RandomLoss"},
		{"loss by nil pointer", Netem{Loss: (*RandomLoss)(nil)}, "Loss", "*impair.RandomLoss"},
		{"gilbert-elliott, bad p", Netem{Loss: GilbertElliott{P: 101}}, "Loss.P", "101%"},
		{"gilbert-elliott, bad r", Netem{Loss: GilbertElliott{P: 1, R: -1, OneMinusH: 1}}, "Loss.R", "-1%"},
		{"gilbert-elliott, bad 1-h", Netem{Loss: GilbertElliott{P: 1, OneMinusH: 101}}, "Loss.OneMinusH", "101%"},
		{"gilbert-elliott, bad 1-k", Netem{Loss: GilbertElliott{OneMinusK: 101}}, "Loss.OneMinusK", "101%"},
		{"gilbert-elliott that loses nothing", Netem{Loss: GilbertElliott{P: 1, R: 10}}, "Loss", "a model that can lose a packet"},
		{"four-state, bad p23", Netem{Loss: FourState{P13: 1, P23: 101}}, "Loss.P23", "101%"},
		{"four-state, too much out of 1", Netem{Loss: FourState{P13: 60, P14: 41}}, "Loss.P13+P14", "101%"},
		{"four-state, too much out of 3", Netem{Loss: FourState{P13: 1, P31: 60, P32: 41}}, "Loss.P31+P32", "101%"},
		{"four-state that loses nothing", Netem{Loss: FourState{P31: 1}}, "Loss", "a model that can lose a packet"},
		{"ecn without loss", Netem{ECN: true}, "ECN", "false without Loss"},
		{"ecn with a loss of 0 %", Netem{ECN: true, Loss: RandomLoss{}}, "ECN", "false without Loss"},

		{"negative delay", Netem{Delay: -1}, "Delay", "-1ns is not allowed: want 0 to 24h"},
		{"delay of more than a day", Netem{Delay: maxDelay + 1}, "Delay", "0 to 24h"},
		{"negative jitter", Netem{Jitter: -1}, "Jitter", "-1ns"},
		{"jitter above delay", Netem{Delay: 20 * ms, Jitter: 21 * ms}, "Jitter", "21ms is not allowed: want 0 to Delay, which is 20ms"},
		{"jitter without delay", Netem{Jitter: ms}, "Jitter", "0 to Delay, which is 0s"},
		{"jitter that the kernel would cut", Netem{Delay: time.Hour, Jitter: maxJitter + 1}, "Jitter", "0 to 2.147483647s"},
		{"delay correlation without jitter", delayed(Netem{DelayCorrelation: 25}), "DelayCorrelation", "0 without Jitter"},
		{"delay correlation too large", Netem{Delay: ms, Jitter: ms, DelayCorrelation: 101}, "DelayCorrelation", "0% to 100%"},
		{"distribution without jitter", delayed(Netem{Distribution: Normal}), "Distribution", "uniform without Jitter"},
		{"distribution that does not exist", Netem{Delay: ms, Jitter: ms, Distribution: "gauss"}, "Distribution", "gauss is not allowed: want uniform, normal, pareto"},
		{"distribution that was read", Netem{Delay: ms, Jitter: ms, Distribution: Unreported}, "Distribution", "unreported"},
		{"distribution file that does not exist", Netem{Delay: ms, Jitter: ms, Distribution: File("/does/not/exist.dist")}, "Distribution", "no such file"},
		{"distribution file with garbage", Netem{Delay: ms, Jitter: ms, Distribution: File(short)}, "Distribution", `line 2: "x" is not an integer`},

		{"reorder without delay", Netem{Reorder: Reorder{Percent: 25}}, "Reorder.Percent", "0 without Delay"},
		{"reorder too large", delayed(Netem{Reorder: Reorder{Percent: 101}}), "Reorder.Percent", "0% to 100%"},
		{"gap without reorder", delayed(Netem{Reorder: Reorder{Gap: 5}}), "Reorder.Gap", "0 without Reorder.Percent"},
		{"negative gap", delayed(Netem{Reorder: Reorder{Percent: 1, Gap: -1}}), "Reorder.Gap", "-1 is not allowed: want 0 to 2147483647 packets"},
		{"reorder correlation alone", delayed(Netem{Reorder: Reorder{Correlation: 1}}), "Reorder.Correlation", "without Reorder.Percent"},
		{"duplicate too large", Netem{Duplicate: Duplicate{Percent: 101}}, "Duplicate.Percent", "0% to 100%"},
		{"duplicate correlation alone", Netem{Duplicate: Duplicate{Correlation: 1}}, "Duplicate.Correlation", "without Duplicate.Percent"},
		{"corrupt too large", Netem{Corrupt: Corrupt{Percent: 101}}, "Corrupt.Percent", "0% to 100%"},
		{"corrupt correlation alone", Netem{Corrupt: Corrupt{Correlation: 1}}, "Corrupt.Correlation", "without Corrupt.Percent"},

		{"negative rate", Netem{Rate: Rate{BitsPerSecond: -1}}, "Rate.BitsPerSecond", "-1 is not allowed: want 0 (no bottleneck) or at least 8"},
		{"rate that the kernel would make unlimited", Netem{Rate: Rate{BitsPerSecond: 7}}, "Rate.BitsPerSecond", "at least 8"},
		{"overhead without rate", Netem{Rate: Rate{PacketOverhead: 1}}, "Rate.BitsPerSecond", "have no meaning without"},
		{"packets of negative length", Netem{Rate: Rate{BitsPerSecond: Mbit, PacketOverhead: -15}}, "Rate.PacketOverhead", "-14 to 2147483647 bytes"},
		{"negative cell size", Netem{Rate: Rate{BitsPerSecond: Mbit, CellSize: -1}}, "Rate.CellSize", "0 to 65535 bytes"},
		{"cell overhead without cell size", Netem{Rate: Rate{BitsPerSecond: Mbit, CellOverhead: 5}}, "Rate.CellOverhead", "0 without Rate.CellSize"},
		{"cells of no length", Netem{Rate: Rate{BitsPerSecond: Mbit, CellSize: 48, CellOverhead: -48}}, "Rate.CellOverhead", "-47 to 65535 bytes"},

		{"negative limit", Netem{Limit: -1}, "Limit", "-1 is not allowed: want 0 to 2147483647 packets"},

		{"slot, min above max", Netem{Slot: Slot{MinDelay: 2 * ms, MaxDelay: ms}}, "Slot.MaxDelay", "at least Slot.MinDelay, which is 2ms"},
		{"slot, negative min", Netem{Slot: Slot{MinDelay: -ms, MaxDelay: ms}}, "Slot.MinDelay", "-1ms"},
		{"slot, range too wide", Netem{Slot: Slot{MaxDelay: maxJitter + 1}}, "Slot.MaxDelay", "at most 2.147483647s above"},
		{"slot, jitter above delay", Netem{Slot: Slot{Delay: ms, Jitter: 2 * ms}}, "Slot.Jitter", "0 to Slot.Delay"},
		{"slot that netem would switch off", Netem{Slot: Slot{Delay: ms}}, "Slot.Jitter", "set MinDelay = MaxDelay"},
		{"slot, distribution without jitter", Netem{Slot: Slot{Distribution: Normal}}, "Slot.Distribution", "uniform without Jitter"},
		{"slot, both ways", Netem{Slot: Slot{MaxDelay: ms, Delay: ms, Jitter: ms}}, "Slot", "either MinDelay and MaxDelay, or"},
		{"slot, packets alone", Netem{Slot: Slot{Packets: 1}}, "Slot", "a time from slot to slot"},
		{"slot, negative packets", Netem{Slot: Slot{MaxDelay: ms, Packets: -1}}, "Slot.Packets", "0 to 2147483646"},
		{"slot, negative bytes", Netem{Slot: Slot{MaxDelay: ms, Bytes: -1}}, "Slot.Bytes", "0 to 2147483646"},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := NewWithT(t)
			err := test.netem.Validate()
			g.Expect(err).To(MatchError(ContainSubstring(test.message)))
			fmt.Fprintf(&messages, "# %s\n%s\n", test.name, strings.ReplaceAll(err.Error(), filepath.Dir(short), "DIR"))
			field, ok := errors.AsType[*invalid.FieldError](err)
			g.Expect(ok).To(BeTrue())
			g.Expect(field.Field).To(Equal(test.field))

			// Nor does it come as far as to look for the device.
			_, err = Apply(netdev.Device{Name: "no-such-device"}, test.netem)
			g.Expect(err).To(MatchError(ContainSubstring(test.message)))
			g.Expect(errors.Is(err, netdev.ErrNoDevice)).To(BeFalse())
			_, err = Change(netdev.Device{Name: "no-such-device"}, test.netem)
			g.Expect(err).To(MatchError(ContainSubstring(test.message)))
		})
	}
	if !t.Failed() {
		golden.Compare(t, "refused.golden", messages.Bytes())
	}
}

func TestValidateAccepts(t *testing.T) {
	for _, test := range valid(t) {
		t.Run(test.name, func(t *testing.T) {
			NewWithT(t).Expect(test.netem.Validate()).To(Succeed())
		})
	}
}

func TestValidateTellsAllInOrder(t *testing.T) {
	g := NewWithT(t)
	err := Netem{Delay: -1, Loss: RandomLoss{Percent: 101}, Limit: -5}.Validate()
	g.Expect(err).To(MatchError(
		"impairment field Delay: -1ns is not allowed: want 0 to 24h0m0s\n" +
			"impairment field Loss.Percent: 101% is not allowed: want 0% to 100%\n" +
			"impairment field Limit: -5 is not allowed: want 0 to 2147483647 packets (0: sized to the bandwidth-delay product)"))
}

func TestTablesThatDoNotFitTogetherAreRefused(t *testing.T) {
	g := NewWithT(t)
	path := filepath.Join(t.TempDir(), "large.dist")
	large := make([]byte, 0, 2*distMax)
	for range distMax {
		large = append(large, "1 "...)
	}
	g.Expect(os.WriteFile(path, large, 0o600)).To(Succeed())

	n := Netem{Delay: ms, Jitter: ms, Distribution: File(path), Slot: Slot{Delay: ms, Jitter: ms, Distribution: File(path)}}
	g.Expect(n.Validate()).To(MatchError(ContainSubstring("at most 32511 values, not 32768")))

	n.Slot.Distribution = Normal
	g.Expect(n.Validate()).To(Succeed())
	r, err := prepare(n, false)
	g.Expect(err).NotTo(HaveOccurred())
	_, err = r.encode().marshal(r.tables)
	g.Expect(err).NotTo(HaveOccurred())
}

func TestDeviceIsValidated(t *testing.T) {
	for _, test := range []struct {
		device  netdev.Device
		message string
	}{
		{netdev.Device{}, "Device.Name"},
		{netdev.Device{Name: "lo", NetNS: -1}, "Device.NetNS: -1 is not allowed"},
		{netdev.Device{Name: "sixteen-letters-"}, "1 to 15 bytes"},
		{netdev.Device{Name: "a\x00b"}, "1 to 15 bytes"},
		{netdev.Device{Index: -1}, "Device.Index"},
	} {
		g := NewWithT(t)
		_, err := Read(test.device)
		g.Expect(err).To(MatchError(ContainSubstring(test.message)))
		g.Expect(Clear(test.device)).To(MatchError(ContainSubstring(test.message)))
	}
}

type validNetem struct {
	name  string
	netem Netem
}

// valid is a list of impairments with each option of netem in at least one.
func valid(t testing.TB) []validNetem {
	table := filepath.Join(t.TempDir(), "two.dist")
	if err := os.WriteFile(table, []byte("# two points\n-8192 8192\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	jittered := Netem{Delay: 100 * ms, Jitter: 10 * ms}
	with := func(n Netem, f func(*Netem)) Netem { f(&n); return n }
	return []validNetem{
		{"nothing", Netem{}},
		{"everything", full()},
		{"delay", Netem{Delay: 20 * ms}},
		{"delay of an odd number of nanoseconds", Netem{Delay: 20*ms + 1}},
		{"delay of a day", Netem{Delay: maxDelay, Jitter: maxJitter}},
		{"jitter", jittered},
		{"jitter, correlated", with(jittered, func(n *Netem) { n.DelayCorrelation = 100 })},
		{"jitter, normal", with(jittered, func(n *Netem) { n.Distribution = Normal })},
		{"jitter, uniform after normal", jittered},
		{"jitter, pareto", with(jittered, func(n *Netem) { n.Distribution = Pareto })},
		{"jitter, paretonormal", with(jittered, func(n *Netem) { n.Distribution = ParetoNormal })},
		{"jitter, from a file", with(jittered, func(n *Netem) { n.Distribution = File(table) })},
		{"random loss", Netem{Loss: RandomLoss{Percent: 1}}},
		{"random loss of 0 %", Netem{Loss: RandomLoss{}}},
		{"random loss, all", Netem{Loss: RandomLoss{Percent: 100, Correlation: 100}}},
		{"random loss, least", Netem{Loss: RandomLoss{Percent: 1.2e-8}}},
		{"random loss, not representable", Netem{Loss: RandomLoss{Percent: 100. / 3}}},
		{"gilbert-elliott", Netem{Loss: GilbertElliott{P: 1, R: 10, OneMinusH: 70, OneMinusK: 0.1}}},
		{"simple gilbert", Netem{Loss: SimpleGilbert(1, 10)}},
		{"four-state", Netem{Loss: FourState{P13: 1, P31: 20, P32: 30, P23: 40, P14: 0.5}}},
		{"four-state, halves", Netem{Loss: FourState{P13: 50, P31: 50, P32: 50, P23: 100, P14: 50}}},
		{"random loss after four-state", Netem{Loss: RandomLoss{Percent: 2}}},
		{"ecn", Netem{Loss: SimpleGilbert(1, 10), ECN: true}},
		{"reorder", Netem{Delay: 20 * ms, Reorder: Reorder{Percent: 25}}},
		{"reorder with a gap", Netem{Delay: 20 * ms, Reorder: Reorder{Percent: 25, Correlation: 50, Gap: 5}}},
		{"duplicate", Netem{Duplicate: Duplicate{Percent: 1, Correlation: 10}}},
		{"corrupt", Netem{Corrupt: Corrupt{Percent: 1, Correlation: 10}}},
		{"rate", Netem{Rate: Rate{BitsPerSecond: 20 * Mbit}}},
		{"rate above 32 bits", Netem{Rate: Rate{BitsPerSecond: 100 * Gbit}}},
		{"rate of 2^32-1 bytes", Netem{Rate: Rate{BitsPerSecond: 8 * math.MaxUint32}}},
		{"rate of 2^32 bytes", Netem{Rate: Rate{BitsPerSecond: 8 << 32}}},
		{"rate, least", Netem{Rate: Rate{BitsPerSecond: 8}}},
		{"rate, not whole bytes", Netem{Rate: Rate{BitsPerSecond: 1_000_007}}},
		{"rate with overheads", Netem{Rate: Rate{BitsPerSecond: 2 * Mbit, PacketOverhead: -14, CellSize: 48, CellOverhead: 5}}},
		{"limit", Netem{Limit: 5}},
		{"limit, most", Netem{Limit: math.MaxInt32}},
		{"slot, range", Netem{Slot: Slot{MinDelay: ms, MaxDelay: 3*ms + 1, Packets: 10, Bytes: 20000}}},
		{"slot, constant", Netem{Slot: Slot{MinDelay: ms, MaxDelay: ms}}},
		{"slot, distribution", Netem{Slot: Slot{Delay: 10 * ms, Jitter: ms, Distribution: ParetoNormal, Packets: 3}}},
		{"slot, range after distribution", Netem{Slot: Slot{MinDelay: ms, MaxDelay: 2 * ms}}},
		{"slot, uniform distribution", Netem{Slot: Slot{Delay: 10 * ms, Jitter: ms}}},
		{"seed", Netem{Seed: 42}},
		{"nothing, after all that", Netem{}},
	}
}
