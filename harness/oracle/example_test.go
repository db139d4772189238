package oracle_test

import (
	"fmt"
	"time"

	"github.com/tcplab/tcplab/harness/kernelversion"
	"github.com/tcplab/tcplab/harness/oracle"
)

// When does connect(2) give up where nobody answers?
func Example() {
	version, err := kernelversion.Parse("6.12")
	if err != nil {
		panic(err)
	}
	k := oracle.Defaults(version)
	syns := k.Connect(oracle.Connecting{})
	fmt.Println(syns.Most, "SYNs again, and ETIMEDOUT after", syns.End)
	fmt.Println(syns.End.Source)
	fmt.Println(k.WithSYNCount(2).Connect(oracle.Connecting{UserTimeout: 5 * time.Second}).End)
	// Output:
	// 10 SYNs again, and ETIMEDOUT after 2m11s to 2m16.067s
	// RFC 6298, 5; tcp_write_timeout; tcp_syn_retries
	// 5s to 5.037s
}
