package statistics

import (
	"math"

	"github.com/tcplab/tcplab/harness/bounds"
)

// A LossChain is a link that loses packets by a hidden Markov chain: it has a state for each packet,
// loses it with the chance that the state has, and goes on to another state.
type LossChain struct {
	Next [][]float64 // the chances to go from a state to each, for the next packet; a row sums to 1
	Loss []float64   // the chance to lose a packet, in each state
}

// settled is how small a difference of probabilities is none any more.
const settled = 1e-15

// stationary returns the share of packets that meet the chain in each state, in the long run, if it
// starts in the first.
func (c LossChain) stationary() []float64 {
	share := make([]float64, len(c.Next))
	share[0] = 1
	for {
		next := c.step(share)
		var change float64
		for i := range next {
			next[i] = (share[i] + next[i]) / 2 // or a chain that goes round in a circle would never settle
			change = max(change, math.Abs(next[i]-share[i]))
		}
		if share = next; change < settled {
			return share
		}
	}
}

// step takes weights of the states one packet on.
func (c LossChain) step(weights []float64) []float64 {
	next := make([]float64, len(weights))
	for i, row := range c.Next {
		for j, p := range row {
			next[j] += weights[i] * p
		}
	}
	return next
}

// Share is the share of packets that are lost, in the long run.
func (c LossChain) Share() float64 {
	var share float64
	for i, p := range c.stationary() {
		share += p * c.Loss[i]
	}
	return share
}

// deviation is the standard deviation of the share among n packets, for many packets: with the
// covariance of each packet with all that come after it.
func (c LossChain) deviation(n int) float64 {
	share := c.Share()
	variance := share * (1 - share)
	weights := c.stationary()
	for i := range weights {
		weights[i] *= c.Loss[i] // of the states of packets that are lost
	}
	for range n {
		weights = c.step(weights)
		var both float64
		for i, w := range weights {
			both += w * c.Loss[i]
		}
		covariance := both - share*share
		if math.Abs(covariance) < settled {
			break
		}
		variance += 2 * covariance
	}
	return math.Sqrt(variance / float64(n))
}

// Lost is between which shares of n packets, in percent, are lost, but for a chance of miss: by the central limit theorem.
func (c LossChain) Lost(n int, miss float64) bounds.Range {
	far := Sigmas(miss) * c.deviation(n)
	return bounds.Around(100*c.Share(), 100*far).In("%").From("the chain's stationary distribution")
}
