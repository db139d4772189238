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

var _ = It("drops far less than configured if loss is correlated: use a Markov model instead", Label("quick", "netem", "linux"), func(ctx SpecContext) {
	const share, correlation, probes = 0.15, 0.50, 6000
	lab := harness.NewLab(ctx)
	lab.AllowBusy() // thousands of probes at once; each is counted
	link := newLink(lab, impair.Netem{Loss: impair.RandomLoss{Percent: 100 * share, Correlation: 100 * correlation}})

	link.begin(peers.ProbeSender{Count: probes})
	seen := link.account()

	// get_crandom makes each number of half of the previous one and half of a fresh one: the sum of u(i)/2^i. It is
	// below a share only if the sum of its first four terms is, whose probability is the volume of a simplex with
	// edges of 2^i times the share. For every fourth packet these terms are independent.
	const chance = share * share * share * share * (2 * 4 * 8 * 16) / (1 * 2 * 3 * 4)
	_, fourth := statistics.Binomial(probes/4, chance, miss)
	lost := seen.losses()
	lab.Measure("lost", count(lost), bounds.Between(1, 4*fourth), "get_crandom: a sum of u(i)/2^i; binomial")
	Expect(float64(4 * fourth)).To(BeNumerically("<", share*probes)) // so that the bound has a meaning
	Expect(seen.queue.Drops).To(BeEquivalentTo(count(lost)))
})
