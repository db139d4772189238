package harness

import (
	"fmt"
	"path/filepath"

	"github.com/onsi/ginkgo/v2"

	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/capture"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/results"
)

// snapLength of a lab's captures: all headers, and enough of the payload to know it by.
// What a scenario asserts is in the headers, and a guest's files lie in its memory.
const snapLength = 160

// A Capture records what passes some link ends, from its start until it is read.
type Capture struct {
	lab     *Lab
	file    string
	running *capture.Capture
}

// A Place is where packets can be recorded: a link end, or a host, which stands for all its ends.
type Place interface{ Ends() []*netns.End }

// Capture starts to record the packets at some places into one file of the spec's artefacts.
func (l *Lab) Capture(places ...Place) *Capture {
	ginkgo.GinkgoHelper()
	name := "capture.pcapng"
	if n := len(l.captures); n > 0 {
		name = fmt.Sprintf("capture-%d.pcapng", n+1)
	}
	var interfaces []capture.Interface
	for _, place := range places {
		for _, end := range place.Ends() {
			interfaces = append(interfaces, capture.Interface{In: end.Host(), Name: end.String(), Device: end.Name(), Index: end.Index()})
		}
	}
	running, err := capture.Start(filepath.Join(l.dir, name), capture.Config{SnapLength: snapLength}, interfaces...)
	check(err)
	c := &Capture{lab: l, file: name, running: running}
	l.captures = append(l.captures, c)
	return c
}

// Segments ends the capture and returns its TCP segments. A capture that dropped packets
// fails the spec: nothing could be concluded from it.
func (c *Capture) Segments() []analysis.Segment {
	ginkgo.GinkgoHelper()
	summary, err := c.running.Stop()
	check(err)
	if dropped := summary.Dropped(); dropped > 0 {
		check(fmt.Errorf("capture %s: %d packets were dropped by the capture itself", c.file, dropped))
	}
	segments, err := analysis.ReadFile(filepath.Join(c.lab.dir, c.file))
	check(err)
	return segments
}

func (l *Lab) recordCapture(c *Capture) error {
	summary, err := c.running.Stop()
	if err != nil {
		return err
	}
	record := results.Capture{File: c.file}
	for _, end := range summary.Interfaces {
		record.Interfaces = append(record.Interfaces, results.CaptureInterface{End: end.Name, Packets: end.Packets, Dropped: end.Dropped})
	}
	l.record.Captures = append(l.record.Captures, record)
	return nil
}
