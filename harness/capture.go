package harness

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

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
	running stopper
	told    bool // that it dropped packets
}

// stopper is what a Capture needs of a *capture.Capture at its end.
type stopper interface {
	Stop() (capture.Summary, error)
}

// A Place is where packets can be recorded: a link end, or a host, which stands for all its ends.
type Place interface{ Ends() []*netns.End }

// Capture starts to record the packets at some places into one file of the spec's artefacts.
func (l *Lab) Capture(places ...Place) *Capture {
	ginkgo.GinkgoHelper()
	name := l.artefact("capture", "pcapng")
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

// File is the name of the capture's file, in the folder of the spec's record.
func (c *Capture) File() string { return c.file }

// Segments ends the capture and returns its TCP segments that pass the filters. A capture that
// dropped packets fails the spec: nothing could be concluded from it.
//
// What a rule dropped before it was sent is not among them (see [capture.DroppedSuffix]), but
// counts in the numbers of the frames, which are those of the file.
func (c *Capture) Segments(filters ...analysis.Filter) []analysis.Segment {
	ginkgo.GinkgoHelper()
	_, err := c.stop()
	check(err)
	all, err := analysis.ReadFile(filepath.Join(c.lab.dir, c.file))
	check(err)
	return slices.Collect(analysis.Where(slices.Values(all), analysis.Not(neverSent), analysis.All(filters...)))
}

// neverSent chooses the segments that were dropped before they were sent.
func neverSent(s analysis.Segment) bool { return strings.HasSuffix(s.Interface, capture.DroppedSuffix) }

// stop ends the capture. That it dropped packets is an error, once.
func (c *Capture) stop() (capture.Summary, error) {
	summary, err := c.running.Stop()
	if err != nil {
		return summary, err
	}
	if dropped := summary.Dropped(); dropped > 0 && !c.told {
		c.told = true
		return summary, fmt.Errorf("capture %s: %d packets were dropped by the capture itself: nothing can be concluded from it", c.file, dropped)
	}
	return summary, nil
}

func (l *Lab) recordCapture(c *Capture) error {
	summary, err := c.stop()
	if summary.Path == "" {
		return err // there is no file
	}
	record := results.Capture{File: c.file}
	for _, end := range summary.Interfaces {
		record.Interfaces = append(record.Interfaces, results.CaptureInterface{End: end.Name, Packets: end.Packets, Dropped: end.Dropped})
	}
	l.record.Captures = append(l.record.Captures, record)
	return err
}
