package oracle_test

import (
	"fmt"
	"log"

	"github.com/tcplab/tcplab/harness/kernelversion"
	"github.com/tcplab/tcplab/harness/oracle"
)

// When a Debian 12 retransmits a SYN that nobody answers, and when connect(2) gives up.
func ExampleKernel_Connect() {
	version, err := kernelversion.Parse("6.1.0")
	if err != nil {
		log.Fatal(err)
	}
	syns := oracle.Defaults(version).Connect(oracle.ConnectOptions{})
	for i, gap := range syns.Gaps[:2] {
		fmt.Printf("SYN %d comes after %v\n", i+2, gap)
	}
	fmt.Printf("%d retransmissions, then ETIMEDOUT after %v\n", syns.Most, syns.End)
	// Output:
	// SYN 2 comes after 1s to 1.033s
	// SYN 3 comes after 2s to 2.033s
	// 6 retransmissions, then ETIMEDOUT after 2m7s to 2m11.935s
}
