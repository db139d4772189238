package statistics_test

import (
	"fmt"

	"github.com/tcplab/tcplab/internal/statistics"
)

// How many of 10,000 packets a loss of 5 % can take, missed once in a million runs at most.
func ExampleBinomial() {
	fmt.Println(statistics.Binomial(10_000, 0.05, 1e-6))
	// Output:
	// 388 621
}
