package capture_test

import (
	"fmt"
	"log"

	"golang.org/x/net/bpf"

	"github.com/tcplab/tcplab/harness/capture"
	"github.com/tcplab/tcplab/netns/netdev"
)

// Here the devices are in the namespace of the calling thread, so NetNS is not set.
func Example() {
	c, err := capture.Start("lo.pcapng", capture.Config{SnapLength: 128},
		capture.Interface{Name: "host/lo", Device: netdev.Device{Name: "lo"}})
	if err != nil {
		log.Fatal(err)
	}
	// ... traffic ...
	summary, err := c.Stop()
	if err != nil {
		log.Fatal(err)
	}
	for _, i := range summary.Interfaces {
		fmt.Println(i.Name, i.Packets, i.Dropped)
	}
}

// The filter keeps IPv4 packets with TCP: EtherType at 12, protocol at 23.
func ExampleConfig_filter() {
	filter, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: 12, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0x0800, SkipTrue: 3},
		bpf.LoadAbsolute{Off: 23, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 6, SkipTrue: 1},
		bpf.RetConstant{Val: 262144},
		bpf.RetConstant{Val: 0},
	})
	if err != nil {
		log.Fatal(err)
	}
	c, err := capture.Start("tcp.pcapng", capture.Config{Filter: filter},
		capture.Interface{Name: "host/lo", Device: netdev.Device{Name: "lo"}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Stop()
}
