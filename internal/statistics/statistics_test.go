package statistics

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/tcplab/tcplab/harness/bounds"
)

// binomialTail is the exact chance of k or more successes.
func binomialTail(n, k int, p float64) float64 {
	var sum float64
	all, _ := math.Lgamma(float64(n) + 1)
	for i := k; i <= n; i++ {
		yes, _ := math.Lgamma(float64(i) + 1)
		no, _ := math.Lgamma(float64(n-i) + 1)
		sum += math.Exp(all - yes - no + float64(i)*math.Log(p) + float64(n-i)*math.Log1p(-p))
	}
	return sum
}

func TestBinomialIsWideEnoughAndNotMuchWider(t *testing.T) {
	for _, x := range []struct {
		n    int
		p    float64
		miss float64
	}{{1000, 0.05, 1e-3}, {10_000, 0.05, 1e-12}, {10_000, 0.5, 1e-6}, {500, 0.002, 1e-6}, {500, 0.998, 1e-6}} {
		least, most := Binomial(x.n, x.p, x.miss)
		outside := binomialTail(x.n, most+1, x.p) + binomialTail(x.n, x.n-least+1, 1-x.p)
		if outside > x.miss {
			t.Errorf("%+v: %d to %d are missed with a chance of %g", x, least, most, outside)
		}
		normal := Sigmas(x.miss) * math.Sqrt(float64(x.n)*x.p*(1-x.p))
		if mean := float64(x.n) * x.p; mean > 100 && mean < float64(x.n)-100 && float64(most)-mean > 1.3*normal {
			t.Errorf("%+v: up to %d, far above %.0f", x, most, mean+normal)
		}
	}
}

func TestSuccessesAreBounds(t *testing.T) {
	least, most := Binomial(1000, 0.05, 1e-6)
	got := Successes(1000, 0.05, 1e-6)
	want := bounds.Between(least, most).From("binomial: 1000 trials with a chance of 0.05")
	if got != want {
		t.Errorf("%+v, expected %+v", got, want)
	}
}

func TestBinomialAtItsEnds(t *testing.T) {
	for _, x := range []struct {
		n           int
		p           float64
		least, most int
	}{{100, 0, 0, 0}, {100, 1, 100, 100}, {1, 0.5, 0, 1}} {
		if least, most := Binomial(x.n, x.p, 1e-9); least != x.least || most != x.most {
			t.Errorf("%d trials of %v: %d to %d, expected %d to %d", x.n, x.p, least, most, x.least, x.most)
		}
	}
}

// With a chance to miss of 1 %, a bound that is right is missed at most some 10 times in 1000, and one
// that is of use is not far from it.
func TestErrorsAreSeldomMissed(t *testing.T) {
	const rounds, n, miss = 1000, 400, 0.01
	random := rand.New(rand.NewPCG(1, 1))
	means, distances := 0, 0
	uniform := func(x float64) float64 { return min(max(x, 0), 1) }
	for range rounds {
		samples := make([]float64, n)
		for i := range samples {
			samples[i] = random.Float64()
		}
		mean, _ := Moments(samples)
		if math.Abs(mean-0.5) > MeanError(n, 1/math.Sqrt(12), 0.5, miss) {
			means++
		}
		if Distance(samples, uniform) > DistributionError(n, miss) {
			distances++
		}
	}
	_, most := Binomial(rounds, miss, 1e-6)
	if means > most || distances > most || distances == 0 {
		t.Errorf("missed %d means and %d distances of %d, expected at most %d, and some distances", means, distances, rounds, most)
	}
}

func TestMeanErrorIsNearTheNormalOne(t *testing.T) {
	const n, miss = 10_000, 1e-12
	normal := Sigmas(miss) / math.Sqrt(n)
	if e := MeanError(n, 1, 4, miss); e < normal || e > 1.2*normal {
		t.Errorf("%v, normal would be %v", e, normal)
	}
}

func TestDistance(t *testing.T) {
	uniform := func(x float64) float64 { return x }
	for _, x := range []struct {
		samples []float64
		want    float64
	}{
		{[]float64{0.5}, 0.5},
		{[]float64{0.75, 0.25}, 0.25},
		{[]float64{0, 0, 0}, 1},
		{[]float64{0.1, 0.2, 0.3, 0.4}, 0.6},
	} {
		if got := Distance(x.samples, uniform); math.Abs(got-x.want) > 1e-12 {
			t.Errorf("%v: %v, expected %v", x.samples, got, x.want)
		}
	}
	if got := Distance(nil, uniform); !math.IsNaN(got) {
		t.Errorf("without samples: %v", got)
	}
}

func TestMoments(t *testing.T) {
	if mean, deviation := Moments([]float64{1, 1, 3, 3}); mean != 2 || deviation != 1 {
		t.Errorf("%v, %v", mean, deviation)
	}
	if mean, deviation := Moments(nil); !math.IsNaN(mean) || !math.IsNaN(deviation) {
		t.Errorf("without samples: %v, %v", mean, deviation)
	}
}

func TestSigmas(t *testing.T) {
	// Two-sided, as in any table of the normal distribution.
	for miss, want := range map[float64]float64{0.3173: 1, 0.0455: 2, 0.0027: 3} {
		if got := Sigmas(miss); math.Abs(got-want) > 1e-3 {
			t.Errorf("%v: %v, expected %v", miss, got, want)
		}
	}
}

// chains with the share that they lose, by hand.
var chains = map[string]struct {
	chain LossChain
	share float64
}{
	"independent": {LossChain{[][]float64{{1}}, []float64{0.1}}, 0.1},
	"every other": {LossChain{[][]float64{{0, 1}, {1, 0}}, []float64{0, 1}}, 0.5},
	// Simple Gilbert: p/(p+r).
	"Gilbert": {LossChain{[][]float64{{0.95, 0.05}, {0.25, 0.75}}, []float64{0, 1}}, 0.05 / 0.30},
	// Gilbert-Elliott: a quarter of the packets meets the bad state.
	"Gilbert-Elliott": {LossChain{[][]float64{{0.9, 0.1}, {0.3, 0.7}}, []float64{0.02, 0.6}}, 0.75*0.02 + 0.25*0.6},
}

func TestLossChain(t *testing.T) {
	for name, x := range chains {
		if got := x.chain.Share(); math.Abs(got-x.share) > 1e-9 {
			t.Errorf("%s: share %v, expected %v", name, got, x.share)
		}
	}
	independent := chains["independent"].chain
	if got, want := independent.deviation(10_000), math.Sqrt(0.1*0.9/10_000); math.Abs(got-want) > 1e-9 {
		t.Errorf("deviation of independent losses: %v, expected %v", got, want)
	}
}

func TestLostIsTheShareOfMostRuns(t *testing.T) {
	got := chains["independent"].chain.Lost(10_000, 0.0027) // three deviations of 0.3 %
	if math.Abs(got.Lower-9.1) > 1e-3 || math.Abs(got.Upper-10.9) > 1e-3 || got.Unit != "%" || got.Source == "" {
		t.Errorf("%+v, expected 9.1 to 10.9 %%, and where that is from", got)
	}
}

// The deviation is that of the shares of many links.
func TestLossChainDeviates(t *testing.T) {
	const links, n = 1000, 2000
	for name, x := range chains {
		if name == "every other" {
			continue // nothing is random in it
		}
		random := rand.New(rand.NewPCG(1, 1))
		shares := make([]float64, links)
		for i := range shares {
			shares[i] = x.chain.simulate(random, n)
		}
		_, got := Moments(shares)
		// The deviation of a deviation, for a normal distribution.
		const tolerance = 4 / math.Sqrt2 / 31.6
		if want := x.chain.deviation(n); math.Abs(got-want) > tolerance*want {
			t.Errorf("%s: deviation %v, expected %v", name, got, want)
		}
	}
}

// simulate returns the share of n packets that a link loses.
func (c LossChain) simulate(random *rand.Rand, n int) float64 {
	state, lost := 0, 0
	for range n {
		if random.Float64() < c.Loss[state] {
			lost++
		}
		u, next := random.Float64(), 0
		for next < len(c.Next)-1 && u >= c.Next[state][next] {
			u -= c.Next[state][next]
			next++
		}
		state = next
	}
	return float64(lost) / float64(n)
}

// The interval of so many draws holds the quantile as often as it says, and is there only if it can.
func TestQuantileInterval(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	const rounds, confidence = 5000, 0.95
	for _, c := range []struct {
		n  int
		q  float64
		ok bool
	}{{0, 0.5, false}, {5, 0.5, false}, {6, 0.5, true}, {20, 0.5, true}, {100, 0.9, true}, {300, 0.99, false}, {400, 0.99, true}} {
		lower, upper, ok := QuantileInterval(c.n, c.q, confidence)
		if ok != c.ok {
			t.Errorf("%+v: ok is %v", c, ok)
		}
		if !ok {
			continue
		}
		held := 0
		for range rounds {
			samples := make([]float64, c.n)
			for i := range samples {
				samples[i] = random.Float64() // its q-quantile is q
			}
			slices.Sort(samples)
			if samples[lower] <= c.q && c.q <= samples[upper] {
				held++
			}
		}
		if least, _ := Binomial(rounds, confidence, 1e-6); held < least {
			t.Errorf("%+v: samples %d to %d held it in %d of %d rounds", c, lower, upper, held, rounds)
		}
	}
}
