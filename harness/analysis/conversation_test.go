package analysis

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tcplab/tcplab/internal/golden"
)

func conversation(t *testing.T, lines []line) Conversation {
	t.Helper()
	segments, _ := segmentsOf(lines, client4, server4, 1000, 2000)
	all := Conversations(Classify(slices.Values(segments)))
	if len(all) != 1 {
		t.Fatalf("%d conversations, want 1", len(all))
	}
	return all[0]
}

func kinds(c Conversation) string {
	var names []string
	for _, f := range c.Findings {
		names = append(names, string(f.Kind))
	}
	return strings.Join(names, " ")
}

func TestFindings(t *testing.T) {
	for name, want := range map[string]string{
		"nothing wrong":                              "",
		"retransmission by timeout":                  "lossy-link",
		"fast retransmission with SACK":              "lossy-link",
		"fast retransmission without SACK":           "lossy-link",
		"spurious retransmission":                    "spurious-retransmission",
		"out of order within the initial round trip": "reordering",
		"closed window":                              "closed-window",
		"closed window, probes of Linux":             "closed-window",
		"SYN again and again":                        "lost-syn",
		"refused":                                    "refused",
		"reset in mid-stream":                        "reset",
		"both close at once":                         "",
		"acknowledged but not captured":              "incomplete-capture",
		"keep-alive":                                 "keep-alive-unanswered",
		"full window, not scaled":                    "", // once is no pattern
		"from mid-connection on":                     "spurious-retransmission",
	} {
		c := conversation(t, cases[name])
		if got := kinds(c); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
		for _, f := range c.Findings {
			if f.Seen == "" || f.Cause == "" || f.Next == "" || len(f.Frames) == 0 || f.Count < len(f.Frames) || !f.Host.IsValid() {
				t.Errorf("%s: %+v lacks something", name, f)
			}
		}
	}
}

func TestUnansweredSYN(t *testing.T) {
	var lines []line
	for _, after := range []time.Duration{0, 1000 * ms, 1000 * ms, 2000 * ms, 4000 * ms} {
		lines = append(lines, client(after, FlagSYN, 0, 0, 0, 0).opt(usual))
	}
	c := conversation(t, lines)
	if got := kinds(c); got != "unanswered-syn" || !strings.Contains(c.Findings[0].Seen, "5 times") {
		t.Errorf("found %v", c.Findings)
	}
	if want := []time.Duration{1000 * ms, 1000 * ms, 2000 * ms, 4000 * ms}; !slices.Equal(c.Client.BackOff, want) {
		t.Errorf("back-off %v, want %v", c.Client.BackOff, want)
	}
	if c.Client.SYN.ISN != 1000 || c.Client.SYN.Options.MSS != 1460 || c.Server.SYN != nil {
		t.Errorf("%+v", c)
	}
}

func TestMTUBlackHole(t *testing.T) {
	lines := join(opened(usual, usual), []line{
		client(ms, ackf|FlagPSH, 1, 1, 200, 0),
		server(20*ms, ackf, 1, 201, 0, 0),
		client(ms, ackf, 201, 1, 1460, 0),
		client(µs, ackf, 1661, 1, 1460, 0),
		client(300*ms, ackf, 201, 1, 1460, 0),
		client(600*ms, ackf, 201, 1, 1460, 0),
		client(1200*ms, ackf, 201, 1, 1460, 0),
	})
	c := conversation(t, lines)
	if got := kinds(c); got != "mtu-black-hole" {
		t.Errorf("found %v", c.Findings)
	}
	if want := []time.Duration{300 * ms, 600 * ms, 1200 * ms}; !slices.Equal(c.Client.BackOff, want) || !slices.Equal(c.Client.BackOffFrames, []int{8, 9, 10}) {
		t.Errorf("back-off %v in frames %v, want %v", c.Client.BackOff, c.Client.BackOffFrames, want)
	}
	// Once it arrives, it is a plain loss.
	c = conversation(t, append(lines, server(20*ms, ackf, 1, 3121, 0, 0)))
	if got := kinds(c); got != "lossy-link" {
		t.Errorf("found %v", c.Findings)
	}
}

func TestCauses(t *testing.T) {
	sent := join(opened(usual, usual), []line{
		client(ms, ackf, 1, 1, 100, 0),
		server(20*ms, ackf, 1, 101, 0, 0),
		client(ms, ackf, 101, 1, 100, 0),
		client(µs, ackf, 201, 1, 100, 0),
		client(µs, ackf, 301, 1, 100, 0),
	})
	for _, tt := range []struct {
		name  string
		lines []line
		want  []Cause
	}{
		{"SACK asks", []line{
			server(20*ms, ackf, 1, 101, 0, 0).opt(sack(201, 401)),
			client(µs, ackf, 101, 1, 100, 0),
		}, []Cause{CauseFast}},
		{"tail loss probe", []line{client(40*ms, ackf, 301, 1, 100, 0)}, []Cause{CauseTLP}},
		{"timeout", []line{
			client(230*ms, ackf, 101, 1, 100, 0),
			server(20*ms, ackf, 1, 201, 0, 0),
			client(µs, ackf, 201, 1, 100, 0),
			client(µs, ackf, 301, 1, 100, 0),
		}, []Cause{CauseRTO, CauseRecovery, CauseRecovery}},
		{"spurious", []line{
			server(20*ms, ackf, 1, 401, 0, 0),
			client(µs, ackf, 301, 1, 100, 0),
		}, []Cause{CauseSpurious}},
	} {
		c := conversation(t, append(slices.Clone(sent), tt.lines...))
		var got []Cause
		for cause, f := range c.Client.Causes {
			for range f.Count {
				got = append(got, Cause(cause))
			}
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// checkConversations makes sure of what must hold for any segments: bounds of memory,
// figures that make sense, text, and JSON that can be read back.
func checkConversations(t *testing.T, all []Classified) *Report {
	t.Helper()
	report := &Report{}
	b := newBuilder(nil, func(c *Conversation) { report.Conversations = append(report.Conversations, *c) })
	for i := range all {
		b.add(&all[i])
	}
	for _, f := range b.open {
		for _, d := range b.follow(f).trackers() {
			if len(d.passed.ranges) > maxRanges || len(d.flight.live()) > maxUnacked || cap(d.flight.list) > 4*maxUnacked || len(d.row) > maxFrames {
				t.Fatalf("%+v grows", d)
			}
		}
	}
	b.finish()
	for _, c := range report.Conversations {
		for _, d := range c.sides() {
			if len(d.BackOff) > maxFrames || len(d.Repeated.First) > maxFrames || len(d.BackOff) != len(d.BackOffFrames) {
				t.Fatalf("%+v grows", d)
			}
			for cause, f := range d.Causes {
				if f.Count < len(f.First) || f.Count < 0 {
					t.Fatalf("%v: %+v", Cause(cause), f)
				}
			}
			if d.RTT.Count > 0 && (d.RTT.Min > d.RTT.Mean || d.RTT.Mean > d.RTT.Max || d.RTT.Min < 0) || d.BytesAgain > d.Bytes || d.Goodput < 0 {
				t.Fatalf("%+v", d)
			}
		}
		if c.Close.HalfClosed < 0 || c.ServerRTT < 0 || c.ClientRTT < 0 {
			t.Fatalf("%+v", c)
		}
		for _, f := range c.Findings {
			if f.Seen == "" || f.Cause == "" || f.Next == "" || len(f.Frames) == 0 || f.Count < len(f.Frames) {
				t.Fatalf("%+v lacks something", f)
			}
			if !slices.IsSorted(f.Frames) {
				t.Fatalf("%+v is not in order", f)
			}
		}
	}
	return report
}

// checkRendering makes sure of text and JSON.
func checkRendering(t *testing.T, report *Report) {
	t.Helper()
	var text bytes.Buffer
	for _, findingsOnly := range []bool{false, true} {
		if err := report.WriteText(&text, findingsOnly); err != nil {
			t.Fatal(err)
		}
	}
	if !utf8.Valid(text.Bytes()) || strings.ContainsFunc(strings.ReplaceAll(text.String(), "\n", ""), unicode.IsControl) {
		t.Fatalf("odd characters: %q", text.String())
	}
	written, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(written, &back); err != nil {
		t.Fatalf("%v: %s", err, written)
	}
	again, err := json.Marshal(&back)
	if err != nil || !bytes.Equal(written, again) {
		t.Fatalf("%s\nbecame\n%s, %v", written, again, err)
	}
}

// TestReportText shows the text of every case: read the file, whenever it changes, as
// somebody who has the problem.
func TestReportText(t *testing.T) {
	var out bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(cases)) {
		segments, _ := segmentsOf(cases[name], client4, server4, 1000, 2000)
		for i := range segments {
			segments[i].Time = epoch.Add(segments[i].At)
		}
		report := &Report{File: name, Conversations: Conversations(Classify(slices.Values(segments)))}
		report.Segments, report.Packets = len(segments), len(segments)
		if err := report.WriteText(&out, false); err != nil {
			t.Fatal(err)
		}
		out.WriteString("\n\n")
		checkRendering(t, report)
	}
	golden.Compare(t, "cases.txt", out.Bytes())
	for line := range strings.Lines(out.String()) {
		if n := utf8.RuneCountInString(line) - 1; n > textWidth {
			t.Errorf("%d characters wide: %s", n, line)
		}
	}
}

func ExampleConversations() {
	segments, _ := segmentsOf(cases["refused"], client4, server4, 1000, 2000)
	for _, c := range Conversations(Classify(slices.Values(segments))) {
		for _, f := range c.Findings {
			fmt.Println(f.Kind, f.Frames)
			fmt.Println(f.Seen, f.Cause)
		}
	}
	// Output:
	// refused [1 2]
	// The server's host answered the SYN with a reset. Nobody listens on port 80 there, or a firewall rejects the connection.
}

func ExampleClassify() {
	segments, _ := segmentsOf(cases["fast retransmission with SACK"], client4, server4, 1000, 2000)
	for c := range Classify(slices.Values(segments)) {
		if c.Marks != 0 {
			fmt.Println(c.Frame, c.Marks)
		}
	}
	// Output:
	// 9 duplicate_ack
	// 10 duplicate_ack
	// 11 retransmission fast_retransmission
}
