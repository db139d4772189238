package statistics

import (
	"fmt"
	"math"
	"slices"

	"github.com/tcplab/tcplab/harness/bounds"
)

// Binomial returns between which two numbers, inclusive, the successes among n independent trials
// of chance p are, but for a chance of miss. By Chernoff's bound: k or more (or fewer) of them have
// at most the chance exp(-n D(k/n, p)), where D is the relative entropy.
func Binomial(n int, p, miss float64) (least, most int) {
	likely := func(k int) bool { return math.Exp(-float64(n)*relativeEntropy(float64(k)/float64(n), p)) > miss/2 }
	least, most = int(math.Ceil(float64(n)*p)), int(math.Floor(float64(n)*p))
	for least > 0 && likely(least-1) {
		least--
	}
	for most < n && likely(most+1) {
		most++
	}
	return least, most
}

// Successes is [Binomial] as bounds of their number.
func Successes(n int, p, miss float64) bounds.Range {
	least, most := Binomial(n, p, miss)
	return bounds.Between(least, most).From(fmt.Sprintf("binomial: %d trials with a chance of %.4g", n, p))
}

// relativeEntropy of two coins, in nats.
func relativeEntropy(q, p float64) float64 {
	term := func(q, p float64) float64 {
		if q == 0 {
			return 0
		}
		return q * math.Log(q/p)
	}
	return term(q, p) + term(1-q, 1-p)
}

// MeanError returns how far the mean of n independent samples is from its expectation at most, but
// for a chance of miss. The samples have the given standard deviation, and none is further
// than reach from the expectation. By Bernstein's inequality.
func MeanError(n int, deviation, reach, miss float64) float64 {
	// n t^2 = log(2/miss) (2 deviation^2 + 2/3 reach t), for t.
	entropy := math.Log(2 / miss)
	b := 2. / 3 * reach * entropy
	return (b + math.Sqrt(b*b+8*float64(n)*entropy*deviation*deviation)) / (2 * float64(n))
}

// DistributionError returns how far the distribution of n independent samples is from the one they
// are drawn from, at most, but for a chance of miss: in terms of [Distance]. By the
// inequality of Dvoretzky, Kiefer and Wolfowitz with Massart's constant.
func DistributionError(n int, miss float64) float64 {
	return math.Sqrt(math.Log(2/miss) / (2 * float64(n)))
}

// Distance is how far samples are from a cumulative distribution, at the point where it is most:
// Kolmogorov's and Smirnov's statistic, 0 to 1. It is NaN without samples.
func Distance(samples []float64, cumulative func(float64) float64) float64 {
	if len(samples) == 0 {
		return math.NaN()
	}
	n, far := float64(len(samples)), 0.
	for i, x := range slices.Sorted(slices.Values(samples)) {
		f := cumulative(x)
		far = max(far, float64(i+1)/n-f, f-float64(i)/n)
	}
	return far
}

// Moments returns the mean and the standard deviation of samples. They are NaN without samples.
func Moments(samples []float64) (mean, deviation float64) {
	n := float64(len(samples))
	for _, x := range samples {
		mean += x / n
	}
	var square float64
	for _, x := range samples {
		square += (x - mean) * (x - mean) / n
	}
	if len(samples) == 0 {
		return math.NaN(), math.NaN()
	}
	return mean, math.Sqrt(square)
}

// Sigmas is how many standard deviations a normally distributed metric is from its mean at most,
// but for a chance of miss.
func Sigmas(miss float64) float64 { return math.Sqrt2 * math.Erfcinv(miss) }
