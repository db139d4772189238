package matchers

import (
	"fmt"
	"strings"

	"github.com/onsi/gomega"
	"github.com/onsi/gomega/types"

	"github.com/tcplab/tcplab/harness/kernel"
)

// HaveState succeeds if as many sockets as said, or as satisfy the matcher, are in a state; at
// least one if no number is given. It takes a slice of sockets or what lists them
// (Host.Sockets), which it asks each time that Eventually does. That they cannot be read ends an Eventually.
func HaveState(state kernel.State, count ...any) types.GomegaMatcher {
	return &matcher{
		claim: "have sockets in " + state.String() + times(count),
		judge: func(actual any) (finding, error) {
			var sockets []kernel.Socket
			switch a := actual.(type) {
			case []kernel.Socket:
				sockets = a
			case interface {
				Read() ([]kernel.Socket, error)
			}:
				var err error
				if sockets, err = a.Read(); err != nil {
					return finding{}, gomega.StopTrying("sockets cannot be told").Wrap(err)
				}
			default:
				return finding{}, fmt.Errorf("HaveState takes sockets, or what lists them, not a %T", actual)
			}
			n := 0
			for _, s := range sockets {
				if s.State == state {
					n++
				}
			}
			ok, seen, err := quantity("sockets in "+state.String(), n, atLeastOne(count))
			return finding{ok: ok, seen: seen, evidence: list(sockets)}, err
		},
	}
}

// list shows sockets with what the kernel tells of each.
func list(sockets []kernel.Socket) string {
	const most = 20
	if len(sockets) == 0 {
		return "No sockets."
	}
	var text strings.Builder
	fmt.Fprintf(&text, "Sockets, %d:", len(sockets))
	for i, s := range sockets {
		if i == most {
			fmt.Fprintf(&text, "\n    and %d more", len(sockets)-most)
			break
		}
		fmt.Fprintf(&text, "\n    %v", s)
		for line := range strings.Lines(s.Details()) {
			text.WriteString("\n        " + strings.TrimSuffix(line, "\n"))
		}
	}
	return text.String()
}
