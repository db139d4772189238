package harness

import (
	"time"

	"github.com/onsi/ginkgo/v2"

	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/kernel"
)

// Report sums up the capture's conversations, as "tcplab analyze" does. With the events
// of the hosts that sent it knows the causes of retransmissions from the
// kernel rather than by conclusion.
func (c *Capture) Report(events ...*Events) *analysis.Report {
	ginkgo.GinkgoHelper()
	check(c.over(c.file))
	var told []analysis.KernelEvent
	for _, e := range events {
		told = append(told, kernelEvents(e.List(), c.lab.start)...)
	}
	reader, err := analysis.Open(c.path())
	check(err)
	report := analysis.Analyze(reader, told...)
	check(reader.Close())
	return report
}

// kernelEvents are those events that tell why segments were retransmitted. Their times count from the
// start of the spec.
func kernelEvents(events []kernel.Event, start time.Time) []analysis.KernelEvent {
	var told []analysis.KernelEvent
	for _, e := range events {
		k := analysis.KernelEvent{Time: start.Add(e.At), Local: e.Local, Remote: e.Remote}
		switch {
		case e.Kind == kernel.Retransmit && e.Err == 0:
			k.Kind, k.Established = analysis.KernelRetransmit, e.State == kernel.Established
		case e.Kind == kernel.CongestionChange && e.Congestion != nil:
			k.Kind, k.State = analysis.KernelCongestionState, *e.Congestion
		case e.Kind == kernel.Probe && e.Probe != nil:
			k.Kind, k.Window = analysis.KernelReceive, e.Probe.SndCwnd
		default:
			continue
		}
		told = append(told, k)
	}
	return told
}
