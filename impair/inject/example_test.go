package inject_test

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/impair/inject"
	"github.com/tcplab/tcplab/netns/netdev"
)

// seen is a segment as a capture has it.
var seen = analysis.Segment{
	Src: netip.MustParseAddrPort("10.0.2.2:80"), Dst: netip.MustParseAddrPort("10.0.1.1:4711"),
	Seq: 1000, Ack: 500, Flags: analysis.FlagPSH | analysis.FlagACK, Window: 502, Length: 100,
}

// A reset at exactly the number that the receiver expects next, and one that is in its window only.
func ExampleAfter() {
	reset := inject.After(seen)
	reset.Flags = analysis.FlagRST
	fmt.Println(reset)
	reset.Seq++
	fmt.Println(reset)
	// Output:
	// RST 10.0.2.2:80 > 10.0.1.1:4711 seq 1100 ack 500 len 0 win 502
	// RST 10.0.2.2:80 > 10.0.1.1:4711 seq 1101 ack 500 len 0 win 502
}

// A router says that a segment was too big. That goes to who sent it.
func ExampleICMPError() {
	fmt.Println(inject.ICMPError{Reason: inject.TooBig, MTU: 1300, Src: netip.MustParseAddr("10.0.2.1"), Quote: inject.Like(seen)})
	// Output:
	// ICMP from 10.0.2.1: packet too big, MTU 1300, about PSH ACK 10.0.2.2:80 > 10.0.1.1:4711 seq 1000 ack 500 len 100 win 502
}

// The whole use: it needs root.
func ExampleSend() {
	duplicate := inject.Like(seen)
	sent, err := inject.Send(netdev.Device{Name: "eth0"}, net.HardwareAddr{2, 0, 0, 0, 1, 1}, duplicate)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(sent.At, len(sent.Frame))
}
