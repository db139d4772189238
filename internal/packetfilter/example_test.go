package packetfilter_test

import (
	"fmt"

	"github.com/tcplab/tcplab/internal/packetfilter"
)

// A program is for what packets begin with.
func ExampleCompile() {
	program, err := packetfilter.Compile("tcp port 443 or icmp", packetfilter.Ethernet)
	fmt.Println(len(program) > 0, err)
	_, err = packetfilter.Compile("tcp port https", packetfilter.Raw)
	fmt.Println(err)
	// Output:
	// true <nil>
	// filter "tcp port https": port "https": want 0 to 65535
}
