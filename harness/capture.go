package harness

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2"

	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/capture"
	"github.com/tcplab/tcplab/impair/rules"
	"github.com/tcplab/tcplab/results"
)

// A Capture records what passes some link ends, from its start until its Stop.
type Capture struct {
	ending
	lab     *Lab
	file    string
	ends    []*End
	began   time.Time
	running packetRecorder
	summary capture.Summary // once it is stopped
	read    []analysis.Segment
}

// packetRecorder is what a Capture needs of a *capture.Capture.
type packetRecorder interface {
	AddDropped(...capture.Note) error
	AddComments(...capture.Note) error
	CopyTo(io.Writer) error
	Stop() (capture.Summary, error)
}

// A Place is where packets can be recorded: a link end, or a host, which stands for all its ends.
type Place interface{ Ends() []*End }

// Capture starts to record the packets at some places into one file of the spec's artefacts. What
// rules, schedules and injections do meanwhile ([End.Rule], [End.Schedule], [End.Inject]), at any end, is marked in it: a
// packet that a rule dropped is in the file on an interface of its own, a packet that it held or duplicated has
// a comment, and so have an injected packet and the first packet after a step of a schedule.
func (l *Lab) Capture(places ...Place) *Capture {
	ginkgo.GinkgoHelper()
	name := l.artefact("capture", "pcapng")
	var interfaces []capture.Interface
	var ends []*End
	for _, place := range places {
		for _, end := range place.Ends() {
			ends = append(ends, end)
			interfaces = append(interfaces, capture.Interface{Name: end.String(), Device: end.Device()})
		}
	}
	began := time.Now()
	running, err := capture.Start(filepath.Join(l.dir, name), capture.Config{SnapLength: rules.SnapLength}, interfaces...)
	check(err)
	c := &Capture{lab: l, file: name, ends: ends, began: began, running: running}
	l.add(c)
	return c
}

// Stop ends the capture, for it to be read. A capture that dropped packets fails the spec: nothing could be concluded from it.
func (c *Capture) Stop() *Capture {
	ginkgo.GinkgoHelper()
	check(c.stop())
	return c
}

// File is the name of the capture's file, in the folder of the spec's record.
func (c *Capture) File() string { return c.file }

// Segments are the capture's TCP segments that pass the filters.
//
// What a rule dropped before it was sent is not among them (see [analysis.NeverSent]), but
// counts in the numbers of the frames, which are those of the file.
func (c *Capture) Segments(filters ...analysis.Filter) []analysis.Segment {
	ginkgo.GinkgoHelper()
	segments, err := c.Read()
	check(err)
	return slices.Collect(analysis.Where(slices.Values(segments), filters...))
}

// SoFar are the TCP segments that were captured until now and pass the filters, while the capture goes on: to act by what was
// seen, as [End.Inject] does. Its frames have other numbers than in the file, where what rules dropped counts, too.
//
// What has passed a moment ago is among them: the kernel can take 100 ms to hand it over, which this waits for.
func (c *Capture) SoFar(filters ...analysis.Filter) []analysis.Segment {
	ginkgo.GinkgoHelper()
	check(c.lab.faulty("read capture " + c.file))
	var copied bytes.Buffer
	check(c.running.CopyTo(&copied))
	reader, err := analysis.NewReader(&copied)
	check(err)
	segments := slices.Collect(analysis.Where(reader.Segments(), filters...))
	check(reader.Err())
	return segments
}

// Read is Segments for a matcher, which has a place for an error.
func (c *Capture) Read() ([]analysis.Segment, error) {
	if err := c.over(c.file); err != nil {
		return nil, err
	}
	if c.read == nil { // a scenario asks for them again and again
		all, err := analysis.ReadFile(c.path())
		if err != nil {
			return nil, err
		}
		c.read = slices.DeleteFunc(all, analysis.NeverSent)
	}
	return c.read, nil
}

// From is [Capture.Segments] of what a host sent, by its addresses.
func (c *Capture) From(host *Host, filters ...analysis.Filter) []analysis.Segment {
	ginkgo.GinkgoHelper()
	return c.Segments(sentBy(host), analysis.All(filters...))
}

// DataFrom is [Capture.From] of segments with payload.
func (c *Capture) DataFrom(host *Host, filters ...analysis.Filter) []analysis.Segment {
	ginkgo.GinkgoHelper()
	return c.From(host, analysis.WithData, analysis.All(filters...))
}

// sentBy is a filter for what has one of a host's addresses as its source.
func sentBy(host *Host) analysis.Filter {
	addresses := map[netip.Addr]bool{}
	for _, end := range host.Ends() {
		addresses[end.IPv4().Addr()], addresses[end.IPv6().Addr()] = true, true
	}
	return func(s analysis.Segment) bool { return addresses[s.Src.Addr()] }
}

// Datagrams are the capture's UDP datagrams, without those that a rule dropped before they were sent. One in fragments of IP is
// there once, when the last of them is.
func (c *Capture) Datagrams() []analysis.Datagram {
	ginkgo.GinkgoHelper()
	check(c.over(c.file))
	datagrams, err := analysis.ReadDatagrams(c.path())
	check(err)
	return slices.DeleteFunc(datagrams, func(d analysis.Datagram) bool { return strings.HasSuffix(d.Interface, analysis.DroppedSuffix) })
}

// Frames are the capture's packets of any kind, not decoded: for what is neither TCP nor UDP, and
// for what the link has damaged.
func (c *Capture) Frames() []analysis.Frame {
	ginkgo.GinkgoHelper()
	check(c.over(c.file))
	frames, err := analysis.ReadFrames(c.path())
	check(err)
	return frames
}

func (c *Capture) path() string { return filepath.Join(c.lab.dir, c.file) }

func (c *Capture) stage() stage { return stagePackets }

func (c *Capture) stop() error {
	return c.once(func() error {
		noted := c.annotate()
		summary, err := c.running.Stop()
		if err := errors.Join(noted, err); err != nil {
			return err
		}
		c.summary = summary
		if dropped := summary.Dropped(); dropped > 0 {
			return fmt.Errorf("capture %s: %d packets were dropped by the capture itself: nothing can be concluded from it", c.file, dropped)
		}
		return nil
	})
}

// annotate notes what the scenario did to the links while the capture ran.
func (c *Capture) annotate() error {
	if err := errors.Join(c.annotateSchedules(), c.annotateInjections(), c.annotateRules()); err != nil {
		return fmt.Errorf("capture %s: %w", c.file, err)
	}
	return nil
}

// annotateInjections notes which packets were injected, at both ends of their links.
func (c *Capture) annotateInjections() error {
	for _, i := range c.lab.injections {
		notes, err := i.notes()
		if err != nil {
			return err
		}
		for _, note := range notes {
			captured := slices.ContainsFunc(c.ends, func(e *End) bool { return e.String() == note.Interface })
			if !captured || note.At.Before(c.began) {
				continue
			}
			if err := c.running.AddComments(note); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *Capture) annotateSchedules() error {
	for _, s := range recordersOf[*Schedule](c.lab) {
		for _, step := range s.steps() {
			note := capture.Note{At: step.at, Interface: s.end.String(), Comment: step.comment(s.end)}
			if step.at.Before(c.began) {
				continue
			}
			if !slices.Contains(c.ends, s.end) {
				note.Interface = c.ends[0].String()
			}
			if err := c.running.AddComments(note); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *Capture) annotateRules() error {
	for _, s := range recordersOf[*ruleSet](c.lab) {
		hits, err := s.set.Hits()
		if err != nil && !errors.Is(err, rules.ErrIncomplete) { // which the record says
			return err
		}
		for _, hit := range hits {
			if hit.Time.Before(c.began) || !hit.Done {
				continue
			}
			note := capture.Note{
				At: hit.Time, Interface: s.end.String(), Data: hit.Packet, OriginalLength: int(hit.Length), Outbound: true,
				Comment: fmt.Sprintf("%s (rule %q)", hit.Action, hit.Rule),
			}
			switch {
			case hit.Dropped():
				err = c.running.AddDropped(note)
			case slices.Contains(c.ends, s.end):
				err = c.running.AddComments(note)
			default:
				err = nil // it passes no end of this capture
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// record is what the record has of a capture that was stopped; nothing if there is no file.
func (c *Capture) record() []results.Capture {
	if c.summary.Path == "" {
		return nil
	}
	record := results.Capture{File: c.file}
	for _, end := range c.summary.Interfaces {
		record.Interfaces = append(record.Interfaces, results.CaptureInterface{End: end.Name, Packets: end.Packets, Dropped: end.Dropped})
	}
	return []results.Capture{record}
}
