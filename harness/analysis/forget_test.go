package analysis

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

// TestConversationsThatAreOverAreForgotten: what is kept is what is open, and each conversation is summed up once, as it would have been.
func TestConversationsThatAreOverAreForgotten(t *testing.T) {
	const conversations = 3*sweepEvery + 5
	kinds := [][]line{
		{client(0, FlagSYN, 0, 0, 0, 0), server(ms, FlagRST|ackf, 0, 1, 0, 0)}, // refused
		cases["nothing wrong"],
		{client(0, FlagSYN, 0, 0, 0, 0)}, // unanswered
	}
	var classifier Classifier
	var list []Conversation
	b := newBuilder(nil, func(c *Conversation) { list = append(list, *c) })
	most := 0
	classifier.over = func(streams []int) {
		b.over(streams)
		most = max(most, len(classifier.connections), len(b.open))
	}
	frame := 0
	for i := range conversations {
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 40000)
		segments, _ := segmentsOf(kinds[i%len(kinds)], from, server4, 1000, 2000)
		for _, s := range segments {
			frame++
			s.Frame = frame
			s.At += time.Duration(i) * 100 * ms // sweepEvery of them take 1000 s
			c := classifier.Add(s)
			b.add(&c)
		}
	}
	if limit := sweepEvery/2 + 1; most > limit || len(classifier.byAddress) > sweepEvery+limit {
		t.Errorf("%d conversations are kept, at most %d are of the last five minutes", most, limit)
	}
	b.finish()
	if len(list) != conversations {
		t.Fatalf("%d conversations of %d", len(list), conversations)
	}
	slices.SortFunc(list, func(a, b Conversation) int { return a.Stream - b.Stream })
	want := []string{"refused", "", "unanswered-syn"}
	for i := range list {
		var got string
		for _, f := range list[i].Findings {
			got += string(f.Kind)
		}
		if list[i].Stream != i || got != want[i%len(want)] && i < conversations-20 { // the last SYNs may be answered after the end
			t.Fatalf("conversation %d is stream %d with %q, want %q", i, list[i].Stream, got, want[i%len(want)])
		}
	}
}

// What is still open stays, however long it is silent, and what comes of a connection that was forgotten is another stream.
func TestOpenConversationsAreNotForgotten(t *testing.T) {
	var classifier Classifier
	var over []int
	classifier.over = func(streams []int) { over = append(over, streams...) }
	syn := func(from netip.AddrPort, at time.Duration) Segment {
		return Segment{Src: from, Dst: server4, At: at, Flags: FlagSYN, Seq: 1}
	}
	reset := func(from netip.AddrPort, at time.Duration) Segment {
		return Segment{Src: server4, Dst: from, At: at, Flags: FlagRST | FlagACK, Ack: 2}
	}
	data := func(from netip.AddrPort, at time.Duration) Segment {
		return Segment{Src: from, Dst: server4, At: at, Flags: FlagACK, Seq: 2, Length: 1}
	}
	open := netip.MustParseAddrPort("192.0.2.77:1")
	closed := netip.MustParseAddrPort("192.0.2.78:1")
	classifier.Add(data(open, 0))
	classifier.Add(syn(closed, 0))
	classifier.Add(reset(closed, ms))
	for i := range sweepEvery {
		classifier.Add(syn(netip.AddrPortFrom(client4.Addr(), uint16(i+2)), time.Hour))
	}
	if !slices.Equal(over, []int{1}) {
		t.Fatalf("streams %v are over, want 1", over)
	}
	if c := classifier.Add(data(open, 2*time.Hour)); c.Stream != 0 {
		t.Errorf("stream %d goes on as %d", 0, c.Stream)
	}
	if c := classifier.Add(data(closed, 2*time.Hour)); c.Stream != sweepEvery+2 {
		t.Errorf("what comes after the end is of stream %d, want a new one", c.Stream)
	}
}
