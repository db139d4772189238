package analysis

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

func TestTransits(t *testing.T) {
	at := func(name string, d Direction, ms int, seq uint32) Segment {
		return Segment{Interface: name, Direction: d, At: time.Duration(ms) * time.Millisecond, Seq: seq, Length: 1, TTL: uint8(64 - ms)}
	}
	segments := []Segment{
		at("a", Outbound, 0, 1), at("a", Outbound, 1, 2), at("b", Inbound, 10, 1), at("b", Inbound, 11, 1), // duplicated; 2 is lost
		at("a", Outbound, 20, 3), at("a", Outbound, 21, 3), at("b", Inbound, 30, 3), at("b", Inbound, 31, 3), at("b", Inbound, 32, 3), // sent twice
		at("a", Outbound, 40, 4), at("a", Outbound, 41, 4), at("b", Inbound, 50, 4), // the second is lost, or the first
		at("b", Inbound, 60, 5), at("b", Outbound, 60, 1), at("a", Inbound, 61, 1), // not sent from a; the other way
	}
	var got []string
	for _, transit := range Transits(slices.Values(segments), All(On("a"), Going(Outbound)), All(On("b"), Going(Inbound))) {
		var arrived []int64
		for _, s := range transit.Arrived {
			arrived = append(arrived, s.At.Milliseconds())
		}
		got = append(got, fmt.Sprint(transit.Sent.Seq, arrived, transit.Lost(), transit.Delay()))
	}
	want := []string{
		"1 [10 11] false 10ms", "2 [] true 0s", "3 [30] false 10ms", "3 [31 32] false 10ms", "4 [50] false 10ms", "4 [] true 0s",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q, expected %q", got, want)
	}
}
