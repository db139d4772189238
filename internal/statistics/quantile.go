package statistics

import "math"

// QuantileInterval returns between which two of n sorted samples, counted from 0 and both inclusive, the q-quantile of what they were drawn
// from lies, with at least that confidence (0.95). It takes nothing for granted of the distribution: how many samples are below the quantile is
// binomial. With too few samples there is no such interval, as for the 99th percentile of 20: ok is false.
func QuantileInterval(n int, q, confidence float64) (lower, upper int, ok bool) {
	tail := (1 - confidence) / 2
	lower, upper = -1, -1
	cumulative := 0. // the chance that no more than k samples are below the quantile
	for k := range n {
		cumulative += binomialChance(n, k, q)
		if cumulative <= tail {
			lower = k // sample k is below the quantile but for that chance
		}
		if upper < 0 && cumulative >= 1-tail {
			upper = k
		}
	}
	if lower < 0 || upper < 0 {
		return 0, 0, false
	}
	return lower, upper, true
}

// binomialChance is the chance of k successes in n trials of chance p.
func binomialChance(n, k int, p float64) float64 {
	if p <= 0 || p >= 1 {
		return 0
	}
	gamma := func(x int) float64 { l, _ := math.Lgamma(float64(x + 1)); return l }
	return math.Exp(gamma(n) - gamma(k) - gamma(n-k) + float64(k)*math.Log(p) + float64(n-k)*math.Log1p(-p))
}
