package peers_test

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/tcplab/tcplab/peers"
)

// probeReceiver starts a receiver and returns it with its address.
func probeReceiver(t *testing.T, at netip.AddrPort) (*peers.Peer, netip.AddrPort) {
	t.Helper()
	receiver := start(t, testContext(t), "receiver", peers.ProbeReceiver{Listen: at})
	return receiver, readyAddr(t, testContext(t), receiver)
}

// stopped stops a receiver. The loopback delivers within the sender's write(2): all that was sent is in its socket.
func stopped(t *testing.T, receiver *peers.Peer) peers.ProbeResult {
	t.Helper()
	result, err := receiver.Stop(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	return *result.Probe
}

func TestProbesArrive(t *testing.T) {
	ctx := testContext(t)
	for _, at := range []netip.AddrPort{loopback, netip.MustParseAddrPort("[::1]:0")} {
		if at.Addr().Is6() && !hasIPv6() {
			t.Log("not on IPv6, which this machine has not")
			continue
		}
		receiver, addr := probeReceiver(t, at)
		const interval = time.Millisecond
		began := time.Now()
		sent := wait(t, ctx, start(t, ctx, "sender", peers.ProbeSender{
			Connect: addr, Count: 100, Size: 1000, Interval: interval, TrafficClass: 2,
		}))
		if took := time.Since(began); took < 99*interval {
			t.Errorf("100 probes took %v, expected at least 99 intervals of %v", took, interval)
		}
		if sent.Err != nil || *sent.Probe != (peers.ProbeResult{Sent: 100}) {
			t.Errorf("sender: %+v, %v", sent.Probe, sent.Err)
		}
		if got := stopped(t, receiver); got != (peers.ProbeResult{Received: 100, Distinct: 100}) {
			t.Errorf("receiver: %+v", got)
		}
	}
}

// The zero values: one probe of eight bytes.
func TestOneProbe(t *testing.T) {
	ctx := testContext(t)
	receiver, addr := probeReceiver(t, loopback)
	wait(t, ctx, start(t, ctx, "sender", peers.ProbeSender{Connect: addr}))
	if got := stopped(t, receiver); got != (peers.ProbeResult{Received: 1, Distinct: 1}) {
		t.Errorf("receiver: %+v", got)
	}
}

func TestProbeReceiverTellsWhatCameHow(t *testing.T) {
	receiver, addr := probeReceiver(t, loopback)
	conn, err := net.Dial("udp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// RFC 4737, section 3.3: 3 and 4 come after 7, and are reordered; the copy of 3 and of 7 are not.
	for _, number := range []uint64{0, 1, 7, 3, 3, 7, 4, 8, 1 << 40} {
		if _, err := conn.Write(binary.BigEndian.AppendUint64(nil, number)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := conn.Write([]byte("short")); err != nil {
		t.Fatal(err)
	}
	want := peers.ProbeResult{Received: 8, Distinct: 6, Reordered: 2, Foreign: 2}
	if got := stopped(t, receiver); got != want {
		t.Errorf("receiver: %+v, expected %+v", got, want)
	}
}

func TestProbeNumber(t *testing.T) {
	for _, x := range []struct {
		payload []byte
		number  int
		ok      bool
	}{
		{[]byte{0, 0, 0, 0, 0, 0, 1, 2}, 0x102, true},
		{[]byte{0, 0, 0, 0, 0, 0, 1, 2, 99}, 0x102, true},
		{[]byte{0, 0, 0, 0, 0, 0, 1}, 0, false},
		{[]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, 0, false},
		{nil, 0, false},
	} {
		number, ok := peers.ProbeNumber(x.payload)
		if ok != x.ok || ok && number != x.number {
			t.Errorf("%v: %d, %v", x.payload, number, ok)
		}
	}
}

// A datagram to a closed port is answered by ICMP, which the next write(2) on a connected socket tells.
func TestProbesToNobody(t *testing.T) {
	ctx := testContext(t)
	receiver, addr := probeReceiver(t, loopback)
	stopped(t, receiver)
	sender := start(t, ctx, "sender", peers.ProbeSender{Connect: addr, Count: 3, Interval: 10 * time.Millisecond})
	result, err := sender.Wait(ctx)
	contains(t, err, "write "+addr.String(), "ECONNREFUSED")
	if result.Probe == nil || result.Probe.Sent != 1 {
		t.Errorf("%+v", result.Probe)
	}
}

func TestProbeSenderStops(t *testing.T) {
	ctx := testContext(t)
	receiver, addr := probeReceiver(t, loopback)
	sender := start(t, ctx, "sender", peers.ProbeSender{Connect: addr, Count: 10, Interval: time.Hour, AwaitBegin: true})
	if _, err := sender.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	if err := sender.Begin(); err != nil {
		t.Fatal(err)
	}
	if _, err := receiver.Started(ctx); err != nil { // the first probe is there
		t.Fatal(err)
	}
	result, err := sender.Stop(ctx)
	if err != nil || result.Probe.Sent != 1 {
		t.Errorf("%+v, %v", result.Probe, err)
	}
	if got := stopped(t, receiver); got.Received != 1 {
		t.Errorf("receiver: %+v", got)
	}
}

func TestProbeConfigIsRefused(t *testing.T) {
	to := netip.MustParseAddrPort("127.0.0.1:1")
	for _, x := range []struct {
		program peers.Program
		field   string
	}{
		{peers.ProbeSender{}, "Connect"},
		{peers.ProbeSender{Connect: loopback}, "Connect"},
		{peers.ProbeSender{Connect: to, Count: 1_000_001}, "Count"},
		{peers.ProbeSender{Connect: to, Count: -1}, "Count"},
		{peers.ProbeSender{Connect: to, Size: 7}, "Size"},
		{peers.ProbeSender{Connect: to, Size: 65508}, "Size"},
		{peers.ProbeSender{Connect: to, Interval: -1}, "Interval"},
		{peers.ProbeSender{Connect: to, TrafficClass: 256}, "TrafficClass"},
		{peers.ProbeReceiver{}, "Listen"},
	} {
		contains(t, x.program.Validate(), " field "+x.field)
	}
}
