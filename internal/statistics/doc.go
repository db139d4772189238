// Package statistics says how far a metric may be from its expectation by chance alone, so that
// a scenario with random numbers in it has a threshold that is derived, and passes with any seed.
//
//	lab.Measure("lost", lost, statistics.Successes(10_000, 0.05, miss)) // losses among 10,000 packets
//
// Each function takes the chance to miss: that the metric is outside although all is as it
// should be. The bounds of [Binomial], [MeanError] and [DistributionError] hold for any number of
// samples; they are inequalities, not approximations, and some 1.2 times as wide as a normal
// distribution would have them. [Sigmas] and [LossChain] go by the central limit theorem.
//
// The package needs nothing. Its tests draw millions of samples with fixed seeds.
package statistics
