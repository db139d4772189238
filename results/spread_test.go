package results

import (
	"bytes"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/internal/golden"
)

// within is a metric's bounds, with the margin that they give.
func within(lower, upper, margin, share float64, source string) *Bounds {
	return &Bounds{Lower: &lower, Upper: &upper, Margin: margin, Share: share, Source: source}
}

func TestSpreads(t *testing.T) {
	g := NewWithT(t)
	var records []*Record
	sevens := within(7, 7, 1, .5, "tcp_syn_retries")
	for seed, goodput := range []float64{3.5, 3.99, 3.25} {
		syn := small("handshake", "retransmits its SYN")
		syn.Seed, syn.Metrics = uint64(seed), []Metric{{Name: "SYNs", Value: 7, Whole: true, Bounds: sevens}}
		loss := small("congestion", "CUBIC fills less than half of the link")
		loss.Seed = uint64(seed)
		margin := min(goodput-3, 4-goodput)
		loss.Metrics = []Metric{{Name: "goodput", Value: goodput, Unit: "Mbit/s", Bounds: within(3, 4, margin, margin, "RFC 9438, 5.1")}}
		loss.Checks = []Metric{{Name: "connect", Value: 0.0205, Unit: "s", Bounds: within(0.02, 0.022, 0.0005, .25, "RTT")}}
		if seed > 0 {
			loss.Verdict, loss.Failure = Failed, &Failure{Message: "too fast"}
		}
		fresh := small("handshake", "needs a new kernel")
		fresh.Seed, fresh.Verdict, fresh.Reason = uint64(seed), Skipped, "is for others"
		records = append(records, syn, loss, fresh)
	}
	kernel := records[0].Kernel.Release
	spreads := Spreads(records)
	g.Expect(spreads).To(HaveLen(3))
	g.Expect(spreads[0].Failed).To(Equal([]Origin{records[3].Origin(), records[6].Origin()}))
	g.Expect(spreads[0].Metrics).To(Equal([]MetricSpread{{
		Name: "goodput", Unit: "Mbit/s", Min: 3.25, Max: 3.99, Nearest: records[4].Metrics[0], At: Origin{Kernel: kernel, Clock: ClockVirtual, Seed: 1},
	}}))
	g.Expect(spreads[1].Skipped).To(Equal(3))

	margins := Margins(spreads)
	g.Expect(margins).To(HaveLen(3))
	g.Expect(margins[0].Metric.Name).To(Equal("goodput"))
	g.Expect(Near(margins, .02)).To(Equal(margins[:1]))
	g.Expect(Near(margins, .001)).To(BeEmpty())

	var out bytes.Buffer
	g.Expect(SpreadTable(&out, spreads, .02, TableOptions{})).To(Succeed())
	golden.Compare(t, "spread.txt", out.Bytes())
	out.Reset()
	g.Expect(SpreadTable(&out, nil, .02, TableOptions{})).To(Succeed())
	g.Expect(out.String()).To(HaveSuffix("0 passed, 0 failed, 0 skipped\n"))
}

// A kernel's time has a grain: half a millisecond from an edge is not near, however wide the bounds are.
func TestNear(t *testing.T) {
	g := NewWithT(t)
	time := Metric{Name: "TIME-WAIT", Value: 60.001, Unit: "s", Bounds: within(60, 62, .001, .0005, "TCP_TIMEWAIT_LEN")}
	g.Expect(time.near(.02)).To(BeFalse())
	time.Bounds.Margin = .0001
	g.Expect(time.near(.02)).To(BeTrue())
	time.Bounds.Share = .1
	g.Expect(time.near(.02)).To(BeFalse())
	g.Expect(Metric{Name: "marks", Value: 3}.near(1)).To(BeFalse())
}

// A time that is far from its edge does not hide one that is near, whatever the widths of their bounds are.
func TestNearerThan(t *testing.T) {
	sixth := Metric{Name: "gap", Value: 4.01, Unit: "s", Bounds: within(4, 6, .010, .005, "tcp_retries2")}
	first := Metric{Name: "gap", Value: .2003, Unit: "s", Bounds: within(.2, .22, .0003, .015, "TCP_RTO_MIN")}
	nearest := Metric{Name: "gap", Value: .2001, Unit: "s", Bounds: within(.2, .22, .0001, .005, "TCP_RTO_MIN")}
	goodput := Metric{Name: "goodput", Value: 3.3, Unit: "Mbit/s", Bounds: within(3, 4, .3, .3, "RFC 9438")}
	free := Metric{Name: "gap", Value: 1, Unit: "s"}
	order := []Metric{nearest, first, goodput, sixth, free}
	for i, a := range order {
		for j, b := range order {
			if got := a.NearerThan(b); got != (i < j) {
				t.Errorf("%v nearer than %v: %v", a, b, got)
			}
		}
	}
	records := []*Record{small("s", "backs off"), small("s", "backs off")}
	records[0].Checks, records[1].Checks = []Metric{sixth}, []Metric{first}
	if near := Near(Margins(Spreads(records)), .02); len(near) != 1 || near[0].Metric.Value != first.Value {
		t.Errorf("%v", near)
	}
}
