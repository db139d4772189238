package impairments

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/bounds"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/internal/statistics"
	"github.com/tcplab/tcplab/peers"
)

// bursts returns the lengths of the runs of lost packets.
func bursts(lost []bool) []int {
	var lengths []int
	for i, is := range lost {
		switch {
		case !is:
		case i > 0 && lost[i-1]:
			lengths[len(lengths)-1]++
		default:
			lengths = append(lengths, 1)
		}
	}
	return lengths
}

var _ = It("loses packets in bursts, by a simple Gilbert model", Label("quick", "netem", "linux"), func(ctx SpecContext) {
	const p, r, probes = 0.05, 0.25, 6000
	lab := harness.NewLab(ctx)
	model := impair.SimpleGilbert(100*p, 100*r)
	link := newLink(lab, impair.Netem{Loss: model})

	link.begin(peers.ProbeSender{Count: probes})
	seen := link.account()

	// In the bad state all packets are lost, in the good one none (loss_gilb_ell): a burst begins after a received
	// packet with probability p, and ends with probability r. So the mean burst is 1/r long, and the loss rate is
	// p/(p+r).
	lost := seen.losses()
	afterLost, afterReceived := after(lost)
	continued := allowed(afterLost, 1-r)
	lab.Check("bursts that continued", count(afterLost), continued)
	lab.Check("bursts that began", count(afterReceived), allowed(afterReceived, p))
	Expect(seen.queue.Drops).To(BeEquivalentTo(count(lost)))
	Expect(seen.received.Distinct).To(Equal(probes - count(lost)))
	lab.Measure("lost", bounds.Percent(float64(count(lost))/probes), gilbertElliott(model).Lost(probes, miss), "p/(p+r)")
	// A loss that was not followed by another was the last of its burst.
	all := float64(count(lost))
	lab.Measure("packets in a burst", all/float64(len(bursts(lost))),
		bounds.Between(all/(all-continued.Lower), all/(all-continued.Upper)), "1/r; binomial")
})

// gilbertElliott is the Markov chain of the model: state 1 is good, 2 bad.
func gilbertElliott(l impair.GilbertElliott) statistics.LossChain {
	p, r := float64(l.P)/100, float64(l.R)/100
	return statistics.LossChain{
		Next: [][]float64{{1 - p, p}, {r, 1 - r}},
		Loss: []float64{float64(l.OneMinusK) / 100, float64(l.OneMinusH) / 100},
	}
}

// fourState is the Markov chain of the model: 1 received in a gap, 2 received in a burst, 3 lost in a burst, 4
// isolated loss.
func fourState(l impair.FourState) statistics.LossChain {
	p13, p31, p32, p23, p14 := float64(l.P13)/100, float64(l.P31)/100, float64(l.P32)/100, float64(l.P23)/100, float64(l.P14)/100
	return statistics.LossChain{
		Next: [][]float64{
			{1 - p13 - p14, 0, p13, p14},
			{0, 1 - p23, p23, 0},
			{p31, p32, 1 - p31 - p32, 0},
			{1, 0, 0, 0},
		},
		Loss: []float64{0, 0, 1, 1},
	}
}

var (
	bothStates = impair.GilbertElliott{P: 10, R: 30, OneMinusH: 60, OneMinusK: 2}
	allStates  = impair.FourState{P13: 5, P31: 20, P32: 20, P23: 40, P14: 2}
	alone      = impair.FourState{P14: 20}
)

var _ = DescribeTable("has the loss rate of the model's Markov chain", Label("quick", "netem", "linux"),
	func(ctx SpecContext, model impair.Loss, chain statistics.LossChain, inBursts bool) {
		const probes = 12_000
		lab := harness.NewLab(ctx)
		lab.AllowBusy() // thousands of probes at once; each is counted
		link := newLink(lab, impair.Netem{Loss: model})

		link.begin(peers.ProbeSender{Count: probes})
		seen := link.account()

		// The stationary distribution of the chain, and the central limit theorem with its covariances.
		lost := seen.losses()
		lab.Measure("lost", bounds.Percent(float64(count(lost))/probes), chain.Lost(probes, miss))
		// In bursts, more is lost right after a loss than with independent losses.
		afterLost, _ := after(lost)
		if inBursts {
			independent := int(allowed(afterLost, chain.Share()).Upper)
			lab.Check("lost after a loss", count(afterLost), bounds.AtLeast(independent+1), "more than independent losses allow")
		} else {
			Expect(count(afterLost)).To(BeZero(), "losses after a loss")
		}
		Expect(seen.queue.Drops).To(BeEquivalentTo(count(lost)))
		Expect(seen.received.Distinct).To(Equal(probes - count(lost)))
	},
	Entry("Gilbert-Elliott: some in the good state, more in the bad one", bothStates, gilbertElliott(bothStates), true),
	Entry("4-state: bursts with gaps in them, and isolated losses", allStates, fourState(allStates), true),
	Entry("4-state, P14 only: isolated losses", alone, fourState(alone), false),
)
