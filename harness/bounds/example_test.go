package bounds_test

import (
	"fmt"
	"time"

	"github.com/tcplab/tcplab/harness/bounds"
)

// A figure, what is expected of it, and how near to an edge it is.
func Example() {
	expected := bounds.Between(49*time.Millisecond, 52*time.Millisecond).From("RFC 9293, 3.5: one RTT")
	seen, err := bounds.Of(50 * time.Millisecond)
	fmt.Printf("%v, %.0f %% of the width from an edge; %s, %v\n", expected.Contains(seen), 100*expected.Margin(seen).Share, expected.Source, err)
	// Output: true, 33 % of the width from an edge; RFC 9293, 3.5: one RTT, <nil>
}
