package matchers_test

import (
	"fmt"
	"strings"
	"time"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness/analysis"
	. "github.com/tcplab/tcplab/harness/matchers"
)

// Patterns compose with filters, numbers and Gomega's own matchers.
func ExampleContain() {
	segments := connection()
	for _, claim := range []OmegaMatcher{
		Contain(Handshake(BeNumerically("~", 50*time.Millisecond, time.Millisecond))),
		Contain(Segments("data", analysis.WithData, analysis.From(client.Addr())), 3),
		Contain(Reset(), BeNumerically(">", 0)),
	} {
		ok, err := claim.Match(segments)
		fmt.Println(ok, err)
		if !ok {
			said, _, _ := strings.Cut(claim.FailureMessage(segments), "\nPackets")
			fmt.Println(said)
		}
	}
	// Output:
	// true <nil>
	// true <nil>
	// false <nil>
	// Expected to contain resets
	// Seen: 0 of 6 segments are resets; how often: Expected <int>: 0 to be > <int>: 0
}
