package impairments

import (
	"fmt"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/statistics"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/peers"
)

var _ = It("loses far less than asked where the loss is correlated: take a Markov model instead", Label("quick", "netem", "linux"), func(ctx SpecContext) {
	const share, correlation, probes = 0.05, 0.50, 6000
	lab := harness.NewLab(ctx)
	link := newLink(lab, impair.Netem{Loss: impair.RandomLoss{Percent: 100 * share, Correlation: 100 * correlation}})

	link.begin(peers.ProbeSender{Count: probes})
	seen := link.account()

	// get_crandom makes each number half of the one before and half of a fresh one: the sum of u(i)/2^i. It is below
	// 0.05 only if u(1) < 0.1, u(2) < 0.2 and u(3) < 0.4. Of every third packet these are independent.
	_, third := statistics.Binomial(probes/3, 0.1*0.2*0.4, miss)
	lost := seen.losses()
	Expect(count(lost)).To(BeNumerically("<=", 3*third), "lost, of %d", probes)
	Expect(float64(3 * third)).To(BeNumerically("<", share*probes)) // so that it says something
	Expect(seen.queue.Drops).To(BeEquivalentTo(count(lost)))
	lab.Figure("lost", float64(count(lost)), "", fmt.Sprintf("at most %d; asked %.0f", 3*third, share*probes))
})
