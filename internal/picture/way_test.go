package picture

import (
	"slices"
	"testing"
	"time"
)

// Of what was sent is counted what was seen at the other place, with how long it took, by direction and by place.
func TestWays(t *testing.T) {
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	p := &Picture{
		Places: []Place{{Name: "client/eth0"}, {Name: "server/eth0"}, {Name: "router/eth1 (dropped)", Dropped: true}},
		Packets: []Packet{
			{At: ms(0), Place: 0, Sent: None},
			{At: ms(10), Place: 1, Sent: 0},
			{At: ms(11), Place: 1, Sent: 0}, // again, or its other half
			{At: ms(20), Place: 0, Sent: None, Fate: Dropped},
			{At: ms(25), Place: 2, Sent: 3},
			{At: ms(30), Place: 0, Sent: None, Fate: Lost},
			{At: ms(40), Place: 0, Sent: None},
			{At: ms(70), Place: 1, Sent: 6},
			{At: ms(50), Place: 1, Sent: None, FromServer: true},
			{At: ms(55), Place: 0, Sent: 8, FromServer: true},
			{At: ms(60), Place: 0, Sent: None, Connection: 1}, // was captured here only
		},
	}
	want := []Way{
		{From: 0, To: 1, Sent: 4, Arrived: 2, Dropped: 1, Least: ms(10), Median: ms(11), Most: ms(30)},
		{From: 1, To: 0, Sent: 1, Arrived: 1, Least: ms(5), Median: ms(5), Most: ms(5)},
	}
	if got := p.Ways(); !slices.Equal(got, want) {
		t.Errorf("ways are\n%+v, want\n%+v", got, want)
	}
	if got := (&Picture{}).Ways(); len(got) != 0 {
		t.Errorf("nothing has the ways %+v", got)
	}
}
