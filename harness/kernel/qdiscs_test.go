package kernel

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/internal/testenv"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/netns/netdev"
)

func TestReadQdiscs(t *testing.T) {
	topology := routed(t, netns.Config{})
	qdiscs, err := ReadQdiscs(topology.Server())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(qdiscs, func(q Qdisc) bool { return q.Device == "eth0" })
	if i < 0 || qdiscs[i].Kind != "noqueue" || qdiscs[i].Parent != "root" {
		t.Errorf("qdiscs %+v: want noqueue at the root of eth0", qdiscs)
	}
}

// What is sampled of netem's queue is what impair, which decodes the same messages with
// another library, reads of it.
func TestSamplingOfNetem(t *testing.T) {
	topology := routed(t, netns.Config{})
	end := topology.ToServer
	device := end.Device()
	const delay = 20 * time.Millisecond
	if _, err := impair.Apply(device, impair.Netem{Delay: delay, Loss: impair.RandomLoss{Percent: 20}, Seed: 1}); errors.Is(err, impair.ErrNoNetem) {
		testenv.Missing(t, err.Error())
	} else if err != nil {
		t.Fatal(err)
	}
	sampler, err := StartSamplingQdisc(end.Host(), end.Name(), time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	client, server := pair(t, topology, topology.Server().IPv4(), options{}, options{})
	transfer(t, client, server, 100_000)
	samples, err := sampler.Stop()
	if err != nil {
		t.Fatal(err)
	}
	stats, err := impair.ReadStats(device)
	if err != nil {
		t.Fatal(err)
	}
	first, last := samples[0], samples[len(samples)-1]
	if first.Packets != 0 || first.Drops != 0 {
		t.Errorf("first sample %+v: want nothing counted", first)
	}
	if last.Packets != stats.Packets || last.Bytes != stats.Bytes || last.Drops != stats.Drops || last.Drops == 0 {
		t.Errorf("last sample %+v, and then %+v", last, stats)
	}
	longest, backlog := uint64(0), uint64(0)
	for i, s := range samples {
		if i > 0 && (s.At <= samples[i-1].At || s.Packets < samples[i-1].Packets || s.Drops < samples[i-1].Drops) {
			t.Errorf("%+v after %+v", s, samples[i-1])
		}
		longest, backlog = max(longest, s.Length), max(backlog, s.Backlog)
	}
	// An initial window of segments (RFC 6928) is on its way at once, less what is lost of it.
	if longest < 2 || backlog < 2*1448 {
		t.Errorf("at most %d packets and %d bytes waited", longest, backlog)
	}
}

func TestSamplingOfAQdiscErrors(t *testing.T) {
	topology := routed(t, netns.Config{})
	if _, err := StartSamplingQdisc(topology.Client(), "eth7", time.Second); !errors.Is(err, netdev.ErrNoDevice) {
		t.Errorf("no device: %v", err)
	}
	if _, err := StartSamplingQdisc(topology.Client(), "eth0", time.Microsecond); err == nil {
		t.Error("a period of a microsecond is taken")
	}
}

func TestSeries(t *testing.T) {
	a, b := netip.MustParseAddrPort("10.0.1.1:1"), netip.MustParseAddrPort("10.0.2.2:2")
	samples := []Sample{
		{At: 1, Sockets: []Socket{{Local: b, Remote: a, State: Established}}},
		{At: 2, Sockets: []Socket{{Local: a, Remote: b, State: SynSent}, {Local: b, Remote: a, State: SynRecv}}},
		{At: 3, Sockets: []Socket{{Local: a, Remote: b, State: Established}}},
		{At: 4},
	}
	got := Series(samples, a, b)
	if len(got) != 2 || got[0].At != 2 || got[0].State != SynSent || got[1].At != 3 || got[1].State != Established {
		t.Errorf("series %+v", got)
	}
}
