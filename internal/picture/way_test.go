package picture

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/tcplab/tcplab/results"
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

// On links that delay by 10 ms packets take so long, and a little more; what did not arrive was dropped by the spec's rule.
func TestWaysOfAScenario(t *testing.T) {
	record, err := results.Read(filepath.Join("testdata", "deadreceiver", results.FileName))
	if err != nil {
		t.Fatal(err)
	}
	p := OfScenario(record)
	ways := p.Ways()
	if len(ways) != 2 {
		t.Fatalf("ways are %+v, want one for each direction", ways)
	}
	const delay, hosts = 10 * time.Millisecond, 500 * time.Microsecond // what the record says the links do, and what hosts may add
	for _, w := range ways {
		if w.Least < delay || w.Most > delay+hosts || w.Median < w.Least || w.Median > w.Most {
			t.Errorf("from %s to %s takes %v, %v, %v", p.Places[w.From].Name, p.Places[w.To].Name, w.Least, w.Median, w.Most)
		}
		if w.Sent != w.Arrived+w.Dropped {
			t.Errorf("of %d packets %d arrived, and %d were dropped", w.Sent, w.Arrived, w.Dropped)
		}
	}
	if ways[0].Dropped != 3 || ways[1].Dropped != 0 {
		t.Errorf("dropped were %d and %d, and the kernel gave up after three probes", ways[0].Dropped, ways[1].Dropped)
	}
}
