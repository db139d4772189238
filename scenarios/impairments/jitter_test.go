package impairments

import (
	"math"
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/bounds"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/internal/statistics"
	"github.com/tcplab/tcplab/peers"
)

// A shape is a distribution by its quantile function: a share u of the packets has at most that delay, relative to
// the configured one and in units of jitter. netem draws from tables of 16-bit numbers in units of 1/8192: up to 4
// jitters.
type shape func(u float64) float64

func inTable(x float64) float64 { return min(max(x, -4), 4) }

// uniform is almost netem's distribution without a table. netem takes 32 random bits modulo twice the jitter in
// nanoseconds (tabledist), which makes the lower values up to a twentieth more probable at 100 ms.
func uniform(u float64) float64 { return 2*u - 1 }

func normal(u float64) float64 { return inTable(gauss(u)) }

// gauss is the normal distribution between the first and the last point of the tables (iproute2, netem/normal.c).
func gauss(u float64) float64 {
	const first = 0.5 / 16384
	return math.Sqrt2 * math.Erfinv(2*min(max(u, first), 1-first)-1)
}

// pareto has shape 3. iproute2 shifts and scales it to a mean of 0 and a deviation of about 1 (netem/pareto.c).
func pareto(u float64) float64 { return inTable((math.Pow(1-u, -1./3) - 1.5) * 4 / 3) }

// paretonormal is a quarter normal and three quarters pareto (netem/paretonormal.c).
func paretonormal(u float64) float64 { return inTable((gauss(u) + 3*pareto(u)) / 4) }

// points is the number of samples of a shape that its moments are computed from.
const points = 100_000

// moments returns the mean, the deviation, and the largest distance from the mean.
func (s shape) moments() (mean, deviation, far float64) {
	samples := make([]float64, points)
	for i := range samples {
		samples[i] = s((float64(i) + 0.5) / points)
	}
	mean, deviation = statistics.Moments(samples)
	return mean, deviation, max(mean-s(0), s(1)-mean)
}

// cumulative is the share of packets with a delay of at most x.
func (s shape) cumulative(x float64) float64 {
	low, high := 0., 1.
	for high-low > 1./points {
		if middle := (low + high) / 2; s(middle) <= x {
			low = middle
		} else {
			high = middle
		}
	}
	return high
}

// late is how much the cumulative distribution changes if the host adds to each delay.
func (s shape) late(by float64) float64 {
	most := 0.
	for i := range 1000 {
		x := s(float64(i) / 1000)
		most = max(most, s.cumulative(x+by)-float64(i)/1000)
	}
	return most
}

// measureShape checks the delays against a shape: range, mean, deviation and the whole distribution, each within the
// error of that many samples. The host may add to each delay.
func (a account) measureShape(lab *harness.Lab, delay, jitter time.Duration, asked shape) {
	GinkgoHelper()
	inTime := func(jitters float64) time.Duration { return time.Duration(jitters * float64(jitter)) }
	inJitters := func(d time.Duration) float64 { return float64(d) / float64(jitter) }
	delays := a.delays()
	samples := make([]float64, len(delays))
	for i, d := range delays {
		samples[i] = inJitters(d - delay)
	}
	table := oracle.Between(delay+inTime(asked(0)), delay+inTime(asked(1))).LateBy(a.late).From("tabledist")
	lab.Check("shortest delay", slices.Min(delays), table)
	lab.Check("longest delay", slices.Max(delays), table)

	mean, deviation, far := asked.moments()
	seenMean, _ := statistics.Moments(samples)
	meanError := statistics.MeanError(len(samples), deviation, far, miss)
	lab.Measure("mean", delay+inTime(seenMean),
		oracle.Between(delay+inTime(mean-meanError), delay+inTime(mean+meanError)).LateBy(hostDelay).From("Bernstein's inequality"))

	// The variance is the mean of the squares, which are samples as well.
	square := func(x float64) float64 { return (x - mean) * (x - mean) }
	var variance float64
	for _, x := range samples {
		variance += square(x) / float64(len(samples))
	}
	_, deviation2, _ := shape(func(u float64) float64 { return square(asked(u)) }).moments()
	varianceError := statistics.MeanError(len(samples), deviation2, square(mean+far), miss) + 2*far*inJitters(hostDelay)
	root := func(variance float64) time.Duration { return inTime(math.Sqrt(max(variance, 0))) }
	lab.Measure("deviation", root(variance),
		bounds.Between(root(deviation*deviation-varianceError), root(deviation*deviation+varianceError)), "Bernstein's inequality")

	distance := statistics.DistributionError(len(samples), miss) + asked.late(inJitters(hostDelay))
	lab.Check("distance from the distribution", statistics.Distance(samples, asked.cumulative), bounds.AtMost(distance),
		"Dvoretzky, Kiefer and Wolfowitz")
}

var _ = DescribeTable("delays by a distribution", Label("quick", "netem", "linux"),
	func(ctx SpecContext, distribution impair.Distribution, asked shape) {
		const delay, jitter, probes = 500 * time.Millisecond, 100 * time.Millisecond, 4000
		lab := harness.NewLab(ctx)
		link := newLink(lab, impair.Netem{Delay: delay, Jitter: jitter, Distribution: distribution})

		link.begin(peers.ProbeSender{Count: probes, Interval: 100 * time.Microsecond})
		seen := link.account()

		Expect(seen.delays()).To(HaveLen(probes))
		seen.measureShape(lab, delay, jitter, asked)
		Expect(seen.queue.Drops).To(BeZero())
	},
	Entry("uniform: from delay - jitter to delay + jitter", impair.Uniform, shape(uniform)),
	Entry("normal: jitter as the standard deviation", impair.Normal, shape(normal)),
	Entry("pareto: little below the mean, a long tail above", impair.Pareto, shape(pareto)),
	Entry("paretonormal: in between", impair.ParetoNormal, shape(paretonormal)),
)
