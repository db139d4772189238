package analysis

import (
	"fmt"
	"slices"
	"strings"
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
		got = append(got, fmt.Sprint(transit.Sent.Seq, arrived, transit.Lost(), transit.Delay(), transit.Duplicated(), transit.Reordered()))
	}
	want := []string{
		"1 [10 11] false 10ms true false", "2 [] true 0s false false", "3 [30] false 10ms false false", "3 [31 32] false 10ms true false",
		"4 [50] false 10ms false false", "4 [] true 0s false false",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q, expected %q", got, want)
	}
}

// Of datagrams that are sent as 0, 1, 2, ... a millisecond apart.
func TestTransitsOfDatagrams(t *testing.T) {
	for name, x := range map[string]struct {
		arrivals string // numbers, 10 ms after the first was sent and then a millisecond apart
		want     string
	}{
		"in order":             {"012", "0: 10 1: 10 2: 10"},
		"lost":                 {"02", "0: 10 1: lost 2: 9"},
		"duplicated":           {"0012", "0: 10 duplicated 1: 11 2: 11"},
		"one late":             {"1203", "0: 12 reordered 1: 9 2: 9 3: 10"},
		"several late":         {"201", "0: 11 reordered 1: 11 reordered 2: 8"},
		"a late copy":          {"0120", "0: 10 duplicated 1: 10 2: 10"},
		"late, and duplicated": {"1001", "0: 11 duplicated reordered 1: 9 duplicated"},
		"late behind a loss":   {"3.1", "0: lost 1: 11 reordered 2: lost 3: 7"},
		"not sent":             {"90", "0: 11"},
	} {
		t.Run(name, func(t *testing.T) {
			var all []Datagram
			sent := 1 + int(slices.Max([]byte(strings.ReplaceAll(x.arrivals, "9", "0")))-'0')
			for i := range sent {
				all = append(all, Datagram{Interface: "a", At: time.Duration(i) * time.Millisecond, Payload: fmt.Sprint(i), TTL: 64})
			}
			for i, number := range x.arrivals {
				all = append(all, Datagram{Interface: "b", At: time.Duration(10+i) * time.Millisecond, Payload: string(number), TTL: 63, ECN: 3})
			}
			on := func(name string) func(Datagram) bool { return func(d Datagram) bool { return d.Interface == name } }
			var got []string
			for _, transit := range Transits(slices.Values(all), on("a"), on("b")) {
				s := fmt.Sprintf("%s: %d", transit.Sent.Payload, transit.Delay().Milliseconds())
				if transit.Lost() {
					s = transit.Sent.Payload + ": lost"
				}
				if transit.Duplicated() {
					s += " duplicated"
				}
				if transit.Reordered() {
					s += " reordered"
				}
				got = append(got, s)
			}
			if strings.Join(got, " ") != x.want {
				t.Errorf("%q, expected %q", got, x.want)
			}
		})
	}
}
