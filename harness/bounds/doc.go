// Package bounds says between which values a metric must lie, where that is from, and how near to an edge a value was.
//
//	goodput := bounds.Mbit(result.Bulk.Goodput)
//	lab.Measure("goodput", goodput, bounds.Around(limit, limit/10), "RFC 7323, 1.1: window / RTT")
//	lab.Measure("SYNs", len(syns), bounds.Exactly(7), "tcp_syn_retries")
//	lab.Measure("probe after", waited, kernel.TailLossProbe(rtt, 2)) // an oracle.Span has bounds, unit and source
//
// Times are in seconds. A [Range] is a Gomega matcher, too.
//
// # Margins
//
// A value that lies within its bounds by a hair will lie outside them with the next compiler, kernel or machine. So a
// check does not only pass or fail: it has a [Margin]. Ten seeds tell by margins what a thousand tell by failures.
//
// It needs nothing: no root, no kernel. Its tests run anywhere with
//
//	go test ./harness/bounds
package bounds
