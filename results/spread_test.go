package results

import (
	"bytes"
	"testing"

	. "github.com/onsi/gomega"
)

func TestSpreads(t *testing.T) {
	g := NewWithT(t)
	var records []*Record
	for seed, goodput := range []float64{3.5, 3.75, 3.25} {
		syn := small("handshake", "repeats its SYN")
		syn.Seed, syn.Figures = uint64(seed), []Figure{{Name: "SYNs", Value: 7, Expected: "7: tcp_syn_retries"}}
		loss := small("congestion", "CUBIC fills less than half of the link")
		loss.Seed, loss.Figures = uint64(seed), []Figure{{Name: "goodput", Value: goodput, Unit: "Mbit/s"}}
		if seed > 0 {
			loss.Verdict, loss.Failure = Failed, &Failure{Message: "too fast"}
		}
		fresh := small("handshake", "needs a new kernel")
		fresh.Seed, fresh.Verdict, fresh.Reason = uint64(seed), Skipped, "is for others"
		records = append(records, syn, loss, fresh)
	}
	spreads := Spreads(records)
	g.Expect(spreads).To(Equal([]Spread{
		{
			Suite: "congestion", Scenario: "CUBIC fills less than half of the link", Passed: 1, Failed: []uint64{1, 2},
			Figures: []FigureSpread{{Name: "goodput", Unit: "Mbit/s", Min: 3.25, Max: 3.75}},
		},
		{Suite: "handshake", Scenario: "needs a new kernel", Skipped: 3},
		{
			Suite: "handshake", Scenario: "repeats its SYN", Passed: 3,
			Figures: []FigureSpread{{Name: "SYNs", Min: 7, Max: 7, Expected: "7: tcp_syn_retries"}},
		},
	}))
	var out bytes.Buffer
	g.Expect(SpreadTable(&out, spreads, TableOptions{})).To(Succeed())
	g.Expect(out.String()).To(Equal(`SUITE       SCENARIO                                 PASSED
congestion  CUBIC fills less than half of the link   1 of 3
              failed with seed 1, 2
              goodput  3.25 to 3.75 Mbit/s
handshake   needs a new kernel                      skipped
            repeats its SYN                          3 of 3
              SYNs  7  expected 7: tcp_syn_retries

4 passed, 2 failed, 3 skipped
`))
	out.Reset()
	g.Expect(SpreadTable(&out, nil, TableOptions{})).To(Succeed())
	g.Expect(out.String()).To(HaveSuffix("0 passed, 0 failed, 0 skipped\n"))
}
