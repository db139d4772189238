package analysis

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
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
		names = append(names, f.Kind)
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
		"SYN again and again":                        "",
		"refused":                                    "refused",
		"reset in mid-stream":                        "reset",
		"both close at once":                         "",
		"acknowledged but not captured":              "incomplete-capture",
		"keep-alive":                                 "reset",
		"full window, not scaled":                    "full-window",
		"from mid-connection on":                     "spurious-retransmission",
	} {
		c := conversation(t, cases[name])
		if got := kinds(c); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
		for _, f := range c.Findings {
			if f.Text == "" || len(f.Frames) == 0 {
				t.Errorf("%s: %+v lacks text or frames", name, f)
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
	if got := kinds(c); got != "unanswered-syn" || !strings.Contains(c.Findings[0].Text, "5 times") {
		t.Errorf("found %v", c.Findings)
	}
	if want := []time.Duration{1000 * ms, 1000 * ms, 2000 * ms, 4000 * ms}; !slices.Equal(c.Client.BackOff, want) {
		t.Errorf("back-off %v, want %v", c.Client.BackOff, want)
	}
	if c.Client.ISN != 1000 || c.Client.Offered.MSS != 1460 || c.Server.SYN {
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
	if got := kinds(c); got != "lossy-link mtu-black-hole" {
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

func TestClose(t *testing.T) {
	c := conversation(t, cases["nothing wrong"])
	if c.ClosedFirst != client4 || c.Client.FIN != 8 || c.Server.FIN != 9 || !c.Completeness.Complete() {
		t.Errorf("closed first by %v, FIN in %d and %d, %v", c.ClosedFirst, c.Client.FIN, c.Server.FIN, c.Completeness)
	}
	if c.InitialRTT != 20*ms || c.Server.ACKTimes.Count != 1 || c.Server.ACKTimes.Mean() != ms {
		t.Errorf("initial RTT %v, ACK times %+v", c.InitialRTT, c.Server.ACKTimes)
	}
	c = conversation(t, cases["closed window"])
	if c.Server.Closed != 602*ms+ms {
		t.Errorf("closed for %v", c.Server.Closed)
	}
	c = conversation(t, cases["reset in mid-stream"])
	if c.ClosedFirst != server4 || !strings.Contains(c.Server.ResetReason, "no connection any more") {
		t.Errorf("closed first by %v, since %s", c.ClosedFirst, c.Server.ResetReason)
	}
}

func ExampleConversations() {
	segments, _ := segmentsOf(cases["refused"], client4, server4, 1000, 2000)
	for _, c := range Conversations(Classify(slices.Values(segments))) {
		for _, f := range c.Findings {
			fmt.Println(f.Kind, f.Frames)
			fmt.Println(f.Text)
		}
	}
	// Output:
	// refused [1 2]
	// 192.0.2.2:80 answered the SYN with a reset: nobody listens on port 80 there, or a firewall rejects it
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
