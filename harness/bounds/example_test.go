package bounds_test

import (
	"fmt"

	"github.com/tcplab/tcplab/harness/bounds"
)

// A goodput that is within its bounds, and by how much.
func ExampleRange_Margin() {
	goodput := bounds.Mbit(18.9e6)
	expected := bounds.Between(16, 20).In("Mbit/s").From("RFC 9438, 5.2")
	fmt.Println(expected.Contains(goodput))
	fmt.Printf("%.2f of the way to the nearer edge\n", expected.Margin(goodput).Share)
	// Output:
	// true
	// 0.28 of the way to the nearer edge
}
