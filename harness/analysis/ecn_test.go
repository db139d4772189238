package analysis

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

const (
	noECN    Flags = 0
	echo           = FlagECE // a SYN-ACK of RFC 3168
	asks           = FlagECE | FlagCWR
	asksMore       = FlagECE | FlagCWR | FlagAE
)

// The table of RFC 9768, section 3.1.2, and what RFC 3168 makes of answers that it does not know.
func TestECNThatAHandshakeAgreesOn(t *testing.T) {
	for _, tt := range []struct {
		name       string
		syn, reply Flags
		want       ECNMode
	}{
		{"accurate, SYN not ECN-capable", asksMore, FlagCWR, ECNAccurate},
		{"accurate, SYN with ECT(1)", asksMore, FlagCWR | FlagECE, ECNAccurate},
		{"accurate, SYN with ECT(0)", asksMore, FlagAE, ECNAccurate},
		{"accurate, SYN with CE", asksMore, FlagAE | FlagCWR, ECNAccurate},
		{"a later protocol's answer", asksMore, FlagAE | FlagECE, ECNAccurate},
		{"a later protocol's SYN", FlagAE, FlagCWR, ECNAccurate},
		{"the server knows RFC 3168 only", asksMore, echo, ECNClassic},
		{"the server knows no ECN", asksMore, noECN, ECNNone},
		{"the server sends the bits back as they came", asksMore, asksMore, ECNNone},
		{"classic", asks, echo, ECNClassic},
		{"classic, with the nonce of RFC 3540", asks, FlagAE | FlagECE, ECNClassic},
		{"classic, not answered", asks, noECN, ECNNone},
		{"classic, answered by what nobody asked for", asks, FlagCWR, ECNNone},
		{"nobody asks", noECN, echo, ECNNone},
	} {
		lines := opened(usual, usual)
		lines[0].Flags |= tt.syn
		lines[1].Flags |= tt.reply
		segments, _ := segmentsOf(lines, client4, server4, 1000, 2000)
		if got := Handshakes(slices.Values(segments))[0].ECN(); got != tt.want {
			t.Errorf("%s: the handshake has %v, want %v", tt.name, got, tt.want)
		}
		if got := Conversations(Classify(slices.Values(segments)))[0].ECN; got != tt.want {
			t.Errorf("%s: the conversation has %v, want %v", tt.name, got, tt.want)
		}
	}
}

// A host that is not answered asks for less (RFC 9768, section 3.1.4).
func TestECNOfRepeatedHandshakes(t *testing.T) {
	for _, tt := range []struct {
		name    string
		syns    []Flags
		synacks []Flags
		want    ECNMode
	}{
		{"the third SYN asks for nothing and is answered", []Flags{asksMore, asksMore, noECN}, []Flags{noECN}, ECNNone},
		{"an earlier SYN is answered", []Flags{asksMore, noECN}, []Flags{FlagCWR}, ECNAccurate},
		{"the SYN-ACK is retransmitted without ECN", []Flags{asksMore}, []Flags{FlagCWR, noECN}, ECNAccurate},
		{"the first SYN-ACK was for a SYN without ECN", []Flags{noECN, asks}, []Flags{noECN, echo}, ECNClassic},
	} {
		var lines []line
		for _, f := range tt.syns {
			lines = append(lines, client(1000*ms, FlagSYN|f, 0, 0, 0, 0))
		}
		for _, f := range tt.synacks {
			lines = append(lines, server(ms, FlagSYN|ackf|f, 0, 1, 0, 0))
		}
		segments, _ := segmentsOf(append(lines, client(ms, ackf, 1, 1, 0, 0)), client4, server4, 1000, 2000)
		if got := Conversations(Classify(slices.Values(segments)))[0].ECN; got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// counter is the ACE of a host that has received so many packets with CE.
func counter(ce int) Flags { return Flags((aceStart+ce)&7) * FlagECE }

// accurate is a handshake that agrees on accurate ECN; its ACK tells that the SYN-ACK was not ECN-capable.
func accurate() []line {
	lines := opened(usual, usual)
	lines[0].Flags |= asksMore
	lines[1].Flags |= FlagCWR
	lines[2].Flags |= FlagCWR
	return lines
}

func ceb(bytes uint32) Options {
	return Options{HasAccECN: true, AccECN: AccECN{E0B: 1, CEB: bytes, E1B: 1, Fields: 3, Order: 1}}
}

func TestFeedbackOfAccurateECN(t *testing.T) {
	data := []line{client(ms, ackf|counter(0), 1, 1, 100, 0), client(ms, ackf|counter(0), 101, 1, 100, 0)}
	const nobody = "" // no finding
	for _, tt := range []struct {
		name   string
		lines  []line
		frames []int
		ce     int
		bytes  int64
		kinds  string
	}{
		{"nothing was marked", join(accurate(), data, []line{server(ms, ackf|counter(0), 1, 201, 0, 0)}), nil, 0, 0, nobody},
		{"one, and the counter stays", join(accurate(), data, []line{
			server(ms, ackf|counter(1), 1, 101, 0, 0), server(ms, ackf|counter(1), 1, 201, 0, 0),
		}), []int{6}, 1, 0, "ecn-congestion"},
		{"three at once, by both", join(accurate(), data, []line{server(ms, ackf|counter(3), 1, 201, 0, 0).opt(ceb(300))}), []int{6}, 3, 300, "ecn-congestion"},
		{"the counter goes round", join(accurate(), data, []line{
			server(ms, ackf|counter(6), 1, 101, 0, 0), server(ms, ackf|counter(9), 1, 201, 0, 0),
		}), []int{6, 7}, 9, 0, "ecn-congestion"},
		{"an ACK that is late is not counted back", join(accurate(), data, []line{
			server(ms, ackf|counter(2), 1, 201, 0, 0), server(ms, ackf|counter(1), 1, 101, 0, 0), server(ms, ackf|counter(2), 1, 201, 0, 0),
		}), []int{6}, 2, 0, "ecn-congestion"},
		{"the SYN-ACK came marked", func() []line {
			lines := accurate()
			lines[2].Flags = ackf | FlagAE | FlagCWR // by the handshake's own code, not the counter's
			return join(lines, []line{client(ms, ackf|counter(1), 1, 1, 100, 0)})
		}(), []int{4}, 1, 0, "ecn-congestion"},
		{"ECE is a bit of the counter, and CWR too", join(accurate(), []line{
			client(ms, ackf|counter(2), 1, 1, 100, 0), server(ms, ackf|counter(0), 1, 101, 0, 0),
		}), []int{4}, 2, 0, "ecn-congestion"},
		{"TIME-WAIT has no counter", join(accurate(), data, []line{
			server(ms, ackf|counter(1), 1, 201, 0, 0), server(ms, ackf|FlagFIN|counter(1), 1, 201, 0, 0),
			client(ms, ackf|FlagFIN|counter(0), 201, 2, 0, 0), server(ms, ackf, 2, 202, 0, 0),
		}), []int{6}, 1, 0, "ecn-congestion"},
		{"the handshake is missing: the first value is where it begins", join(data, []line{
			server(ms, ackf|counter(3), 1, 101, 0, 0), server(ms, ackf|counter(4), 1, 201, 0, 0),
		}), []int{4}, 1, 0, "ecn-congestion"},
		{"the handshake is missing, nothing was marked", join(data, []line{server(ms, ackf|counter(0), 1, 201, 0, 0)}), nil, 0, 0, nobody},
	} {
		segments, _ := segmentsOf(tt.lines, client4, server4, 1000, 2000)
		for i := range segments {
			if segments[i].Length > 0 {
				segments[i].ECN = 2 // ECT(0)
			}
		}
		c := Conversations(Classify(slices.Values(segments)))[0]
		reported, bytes := c.Client.CEReported+c.Server.CEReported, c.Client.CEBytesReported+c.Server.CEBytesReported
		frames := found(c.Client.ACE, c.Server.ACE).First
		if c.ECN != ECNAccurate || reported != tt.ce || bytes != tt.bytes || !slices.Equal(frames, tt.frames) || kinds(c) != tt.kinds {
			t.Errorf("%s: %v, %d packets and %d bytes in frames %v, %q; want %d, %d, %v, %q",
				tt.name, c.ECN, reported, bytes, frames, kinds(c), tt.ce, tt.bytes, tt.frames, tt.kinds)
		}
		if c.Client.ECE.Count+c.Server.ECE.Count != 0 {
			t.Errorf("%s: ACE is taken for ECE in %v and %v", tt.name, c.Client.ECE, c.Server.ECE)
		}
	}
}

// Bits that look like ECN are none where the handshake did not agree on it.
func TestMarksWithoutECN(t *testing.T) {
	for _, asked := range []Flags{noECN, asks, asksMore} {
		lines := join(opened(usual, usual), []line{
			client(ms, ackf, 1, 1, 100, 0), server(10*ms, ackf|FlagECE, 1, 101, 0, 0), client(ms, ackf|FlagCWR|FlagAE, 101, 1, 100, 0),
		})
		lines[0].Flags |= asked
		segments, _ := segmentsOf(lines, client4, server4, 1000, 2000)
		segments[3].ECN = 3
		c := Conversations(Classify(slices.Values(segments)))[0]
		if c.ECN != ECNNone || kinds(c) != "" || c.Server.ECE.Count+c.Server.ACE.Count+c.Client.ACE.Count != 0 {
			t.Errorf("%v: %v, %+v", asked, c.ECN, c.Findings)
		}
	}
}

func TestECNInTextAndJSON(t *testing.T) {
	segments, _ := segmentsOf(join(accurate(), []line{
		client(ms, ackf|counter(0), 1, 1, 100, 0), server(ms, ackf|counter(1), 1, 101, 0, 0).opt(ceb(100)),
	}), client4, server4, 1000, 2000)
	c := Conversations(Classify(slices.Values(segments)))[0]
	var text strings.Builder
	if err := (&Report{Conversations: []Conversation{c}}).WriteText(&text, false); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"accurate: counters (RFC 9768)", "The server says in 1 segment that 1 more packet had arrived marked (ACE)."} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is not in\n%s", want, text.String())
		}
	}
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	if want := `"ecn":"accurate"`; !strings.Contains(string(b), want) {
		t.Errorf("%s is not in %s", want, b)
	}
	var back Conversation
	if err := json.Unmarshal(b, &back); err != nil || back.ECN != ECNAccurate || back.Server.CEReported != 1 || back.Server.CEBytesReported != 100 {
		t.Errorf("%v: %+v", err, back)
	}
	var mode ECNMode
	if err := mode.UnmarshalText([]byte("other")); err == nil {
		t.Error("an unknown mode is taken")
	}
	if _, err := ECNMode(9).MarshalText(); err == nil {
		t.Error("an unknown mode is written")
	}
}
