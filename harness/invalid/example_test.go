package invalid_test

import (
	"fmt"

	"github.com/tcplab/tcplab/harness/invalid"
)

func Example() {
	fmt.Println(&invalid.FieldError{Of: "impairment", Field: "Limit", Value: -5, Allowed: "want 0 to 2147483647 packets"})
	fmt.Println(&invalid.FieldError{Of: "bulk-server", Field: "Listen", Allowed: "needs an address and a port"})
	fmt.Println(&invalid.FieldError{Field: "Match.First", Value: 0, Allowed: "want numbers from 1"})
	// Output:
	// impairment field Limit: -5 is not allowed: want 0 to 2147483647 packets
	// bulk-server field Listen is not set: needs an address and a port
	// Match.First: 0 is not allowed: want numbers from 1
}
