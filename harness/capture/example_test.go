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

// A filter for a Config, tried out here: it keeps IPv4 packets with TCP, by the EtherType at 12 and the protocol at 23.
func ExampleConfig_filter() {
	program := []bpf.Instruction{
		bpf.LoadAbsolute{Off: 12, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0x0800, SkipTrue: 3},
		bpf.LoadAbsolute{Off: 23, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 6, SkipTrue: 1},
		bpf.RetConstant{Val: 262144},
		bpf.RetConstant{Val: 0},
	}
	filter, err := bpf.Assemble(program)
	if err != nil {
		log.Fatal(err)
	}
	config := capture.Config{Filter: filter}

	vm, err := bpf.NewVM(program)
	if err != nil {
		log.Fatal(err)
	}
	tcp, udp := make([]byte, 54), make([]byte, 54)
	tcp[12], tcp[23] = 0x08, 6
	udp[12], udp[23] = 0x08, 17
	kept, _ := vm.Run(tcp)
	dropped, _ := vm.Run(udp)
	fmt.Println(len(config.Filter), kept, dropped) // bytes that are kept of a packet, 0 for none of it
	// Output: 6 262144 0
}
