package matchers

import (
	"fmt"
	"strings"

	"github.com/onsi/gomega/types"

	"github.com/tcplab/tcplab/harness/kernel"
)

// HaveGrown succeeds if a counter of a difference ([kernel.Counters.Since]) has the value, or
// satisfies the matcher. A name that the kernel does not have is an error, not zero.
func HaveGrown(name string, growth any) types.GomegaMatcher {
	return &matcher{
		claim: "have grown in " + name + by(growth, " by %v", ""),
		judge: func(actual any) (finding, error) {
			counters, isCounters := actual.(kernel.Counters)
			if !isCounters {
				return finding{}, fmt.Errorf("HaveGrown takes kernel.Counters, not a %T", actual)
			}
			value, err := counters.Get(name)
			if err != nil {
				return finding{}, err
			}
			ok, seen, err := quantity(name, value, growth)
			return finding{ok: ok, seen: seen, evidence: grown(counters)}, err
		},
	}
}

// grown lists what has grown, since what one counter does not have is often in another.
func grown(counters kernel.Counters) string {
	var text strings.Builder
	text.WriteString("All that changed:")
	for _, name := range counters.Nonzero() {
		fmt.Fprintf(&text, "\n    %-32s %d", name, counters[name])
	}
	return text.String()
}
