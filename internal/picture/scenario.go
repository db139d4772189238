package picture

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/results"
)

// maxEvidence is how much is read of one file of a scenario.
const maxEvidence = 256 << 20

// OfScenario is the picture of what a scenario has left in its folder. What of it cannot be read is in its Notes: a record is shown all
// the same.
func OfScenario(record *results.Record) *Picture {
	p := &Picture{network: newNetwork(record.Topology)}
	if p.network != nil {
		p.Hosts = p.network.hosts
	}
	e := &evidence{Picture: p, record: record}
	if record.Dir() != "" {
		e.read()
	}
	e.steps()
	p.finish()
	return p
}

// evidence reads the files of a scenario.
type evidence struct {
	*Picture
	record *results.Record
	root   *os.Root
	events []event
}

func (e *evidence) note(format string, args ...any) {
	e.Notes = append(e.Notes, fmt.Sprintf(format, args...))
}

func (e *evidence) read() {
	root, err := os.OpenRoot(e.record.Dir())
	if err != nil {
		e.note("%v", err)
		return
	}
	defer func() { _ = root.Close() }() // read only: there is nothing that an error could tell
	e.root = root
	hits := e.hits()
	e.Start = e.start(hits)
	e.kernelEvents()
	var kernel []analysis.KernelEvent
	if !e.Start.IsZero() {
		kernel = e.told()
	}
	for _, c := range e.record.Captures {
		if err := e.addCapture(filepath.Join(e.record.Dir(), filepath.FromSlash(path.Clean("/"+c.File))), c.File, kernel); err != nil {
			e.note("%v", err)
		}
	}
	e.act(hits)
	e.samples()
	e.queues()
	e.congestion()
}

// load decodes a file of JSON, or says that it cannot. One that is not there is no fault.
func (e *evidence) load(name string, into any) bool {
	f, err := e.root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	if err == nil {
		defer func() { _ = f.Close() }() // read only: there is nothing that an error could tell
		var info fs.FileInfo
		if info, err = f.Stat(); err == nil && info.Size() > maxEvidence {
			err = fmt.Errorf("it has %d bytes: more than %d are not read", info.Size(), maxEvidence)
		}
		if err == nil {
			err = json.NewDecoder(f).Decode(into)
		}
	}
	if err != nil {
		e.note("%s: %v", name, err)
		return false
	}
	return true
}

// numbered are the files of a kind that the record lists: queue.json, queue-2.json, ...
func (e *evidence) numbered(kind, extension string) []string {
	var names []string
	for _, a := range e.record.Artefacts {
		rest, found := strings.CutPrefix(a.Path, kind)
		middle, ended := strings.CutSuffix(rest, extension)
		if found && ended && (middle == "" || middle[0] == '-') && !strings.Contains(middle, "/") {
			names = append(names, a.Path)
		}
	}
	return names
}

// A hit is what rules.json has of a packet that a rule acted on.
type hit struct {
	At     time.Duration `json:"at_ns"`
	Rule   string        `json:"rule"`
	Action string        `json:"action"`
	Done   bool          `json:"done"`
	Length int           `json:"length"`
	Packet string        `json:"packet"` // in hex
}

func (e *evidence) hits() []hit {
	var accounts []struct {
		End  string `json:"end"`
		Hits []hit  `json:"hits"`
	}
	e.load("rules.json", &accounts)
	var all []hit
	for _, a := range accounts {
		for _, h := range a.Hits {
			if h.Done {
				all = append(all, h)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b hit) int { return int(a.At - b.At) })
	return all
}

// start is when the spec began, by the clock of the captures. What a rule dropped has both times; else it is when Ginkgo began the spec's
// body, which makes its Lab first.
func (e *evidence) start(hits []hit) time.Time {
	for _, h := range hits {
		if h.Action != "drop" {
			continue
		}
		for _, c := range e.record.Captures {
			if at, found := e.droppedAt(c.File, h); found {
				return at.Add(-h.At)
			}
		}
		break
	}
	var suites []struct {
		SpecReports []struct {
			LeafNodeText            string
			ContainerHierarchyTexts []string
			StartTime               time.Time
			SpecEvents              []struct {
				SpecEventType, NodeType string
				TimelineLocation        struct{ Time time.Time }
			}
		}
	}
	if !e.load("ginkgo.json", &suites) {
		return time.Time{}
	}
	for _, suite := range suites {
		for _, spec := range suite.SpecReports {
			text := strings.TrimSpace(strings.Join(append(slices.Clone(spec.ContainerHierarchyTexts), spec.LeafNodeText), " "))
			if text != e.record.Scenario {
				continue
			}
			for _, event := range spec.SpecEvents {
				if event.SpecEventType == "Node" && event.NodeType == "It" {
					return event.TimelineLocation.Time
				}
			}
			return spec.StartTime
		}
	}
	return time.Time{}
}

// droppedAt is when a capture has the first packet that a rule dropped, if that is this one.
func (e *evidence) droppedAt(file string, h hit) (time.Time, bool) {
	reader, err := analysis.Open(filepath.Join(e.record.Dir(), filepath.FromSlash(path.Clean("/"+file))))
	if err != nil {
		return time.Time{}, false // who reads it says so
	}
	defer func() { _ = reader.Close() }() // read only: there is nothing that an error could tell
	for f := range reader.Frames() {
		if strings.HasSuffix(f.Interface, analysis.DroppedSuffix) {
			return f.Time, f.Length == h.Length && strings.HasPrefix(h.Packet, hex.EncodeToString(f.Data[:min(len(f.Data), len(h.Packet)/2)]))
		}
	}
	return time.Time{}, false
}

// act gives each packet the rule that acted on it.
func (e *evidence) act(hits []hit) {
	segments := decodeHits(hits)
	if len(segments) == 0 {
		return
	}
	const here = "rule"
	all := func(yield func(analysis.Segment) bool) {
		for i, s := range segments {
			if s.Frame == 0 {
				continue
			}
			s.Frame, s.Interface = i, here
			if !yield(s) {
				return
			}
		}
		for i, s := range e.segments {
			s.Frame, s.Interface = i, ""
			if !yield(s) {
				return
			}
		}
	}
	on := func(name string) func(analysis.Segment) bool {
		return func(s analysis.Segment) bool { return s.Interface == name }
	}
	for _, t := range analysis.Transits(all, on(here), on("")) {
		h := hits[t.Sent.Frame]
		name := h.Action
		if h.Rule != "" && h.Rule != h.Action {
			name += " (" + h.Rule + ")"
		}
		rule := slices.Index(e.Rules, name)
		if rule < 0 {
			rule = len(e.Rules)
			e.Rules = append(e.Rules, name)
		}
		for _, s := range t.Arrived {
			e.Packets[s.Frame].Rule = rule
		}
	}
}

// decodeHits are the segments of hits, at their indices; Frame is 0 of those that are none. The reader of captures decodes them.
func decodeHits(hits []hit) []analysis.Segment {
	var file bytes.Buffer
	w := pcapgo.NewWriterNanos(&file)
	if err := w.WriteFileHeader(1<<16, layers.LinkTypeEthernet); err != nil {
		return nil
	}
	for _, h := range hits {
		data, err := hex.DecodeString(h.Packet)
		if err != nil || len(data) == 0 {
			data = []byte{0}
		}
		info := gopacket.CaptureInfo{Timestamp: time.Unix(0, int64(max(0, h.At))), CaptureLength: len(data), Length: max(h.Length, len(data))}
		if err := w.WritePacket(info, data); err != nil {
			return nil
		}
	}
	reader, err := analysis.NewReader(&file)
	if err != nil {
		return nil
	}
	segments := make([]analysis.Segment, len(hits))
	for s := range reader.Segments() {
		segments[s.Frame-1] = s
	}
	return segments
}

// steps are the changes of links, and what was injected.
func (e *evidence) steps() {
	for _, i := range e.record.Impairments {
		text := "cleared"
		if len(i.Asked) > 0 {
			text = compact(i.Asked)
		}
		e.Steps = append(e.Steps, Step{At: i.At, End: i.End, Text: text})
	}
}

// compact is JSON without what people do not need to see: "delay_ns: 10000000" is "delay 10ms".
func compact(document json.RawMessage) string {
	decoder := json.NewDecoder(bytes.NewReader(document))
	decoder.UseNumber()
	if t, err := decoder.Token(); err != nil || t != json.Delim('{') {
		return string(document)
	}
	var parts []string
	for decoder.More() {
		key, err := decoder.Token()
		if err != nil {
			return string(document)
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return string(document)
		}
		name, _ := key.(string)
		parts = append(parts, member(name, value))
	}
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), ", ")
}

func member(name string, value json.RawMessage) string {
	text := string(value)
	var s string
	if json.Unmarshal(value, &s) == nil {
		text = s
	}
	if short, isTime := strings.CutSuffix(name, "_ns"); isTime {
		var d time.Duration
		if json.Unmarshal(value, &d) == nil {
			return short + " " + d.String()
		}
	}
	switch {
	case name == "seed" || name == "frame" || text == "":
		return ""
	case strings.HasPrefix(text, "{"):
		return name + " {" + compact(value) + "}"
	}
	return name + " " + text
}
