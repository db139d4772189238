package analysis

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/testenv"
)

// TestOverview: equal findings are one line, the worst first, and the lines are few whatever the capture has.
func TestOverview(t *testing.T) {
	var segments []Segment
	at := time.Duration(0)
	add := func(c, s netip.AddrPort, lines []line) {
		some, _ := segmentsOf(lines, c, s, 1000, 2000)
		for _, x := range some {
			x.At += at
			segments = append(segments, x)
		}
		at += time.Millisecond
	}
	for i := range 1000 {
		add(netip.AddrPortFrom(client4.Addr(), uint16(10_000+i)), server4, []line{client(0, FlagSYN, 0, 0, 0, 0), server(ms, FlagRST|ackf, 0, 1, 0, 0)})
	}
	add(netip.MustParseAddrPort("192.0.2.7:40000"), server4, cases["nothing wrong"])
	add(netip.MustParseAddrPort("192.0.2.8:40000"), server4, cases["closed window"])
	slices.SortStableFunc(segments, func(a, b Segment) int { return int(a.At - b.At) })
	report := &Report{Conversations: Conversations(Classify(slices.Values(segments)))}
	var out bytes.Buffer
	if err := report.WriteOverview(&out); err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(out.String()) {
		got = append(got, strings.Join(strings.Fields(line), " "))
	}
	want := []string{
		"1,000 to 192.0.2.2:80, #0 to #999 refused",
		"#1001 192.0.2.8:40000 > 192.0.2.2:80 closed-window",
		"#1000 192.0.2.7:40000 > 192.0.2.2:80 no findings",
	}
	if !slices.Equal(got[len(got)-3:], want) {
		t.Errorf("%q, want %q", got, want)
	}

	// A scan of many servers.
	segments, at = nil, 0
	for i := range 1000 {
		server := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, byte(i >> 8), byte(i)}), 22)
		add(client4, server, again(client(0, FlagSYN, 0, 0, 0, 0), time.Second))
	}
	slices.SortStableFunc(segments, func(a, b Segment) int { return int(a.At - b.At) })
	report = &Report{Conversations: Conversations(Classify(slices.Values(segments)))}
	out.Reset()
	if err := report.WriteOverview(&out); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), "\n"); n > 10 || !strings.Contains(out.String(), "1,000  #0 to #999  unanswered-syn") {
		t.Errorf("%d lines: %.300s", n, &out)
	}
}

// TestManyConversationsTakeLittle: a flood of SYNs. A conversation's Report has 3 KB, and what it takes on the way is less than four times that.
func TestManyConversationsTakeLittle(t *testing.T) {
	const conversations, most = 20_000, 12 << 10
	segments := func(yield func(Segment) bool) {
		for i := range conversations {
			s := Segment{
				Frame: i + 1, At: time.Duration(i) * time.Millisecond, Src: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 40000),
				Dst: server4, Flags: FlagSYN, TTL: 64,
			}
			if !yield(s) {
				return
			}
		}
	}
	var all []Conversation
	taken := testenv.Allocated(func() { all = Conversations(Classify(segments)) })
	if len(all) != conversations || taken > conversations*most {
		t.Errorf("%d conversations took %s, at most %d bytes each are meant", len(all), fmt.Sprint(taken/conversations, " bytes each"), most)
	}
}
