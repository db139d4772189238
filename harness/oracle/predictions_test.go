package oracle

import (
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

func TestPredictions(t *testing.T) {
	g := NewWithT(t)
	for _, release := range []string{"6.1", "6.12", "6.18"} {
		for _, rtt := range []time.Duration{0, 20 * time.Millisecond, 600 * time.Millisecond} {
			seen := map[string]bool{}
			for _, p := range defaults(t, release).Predictions(rtt) {
				g.Expect(p.Source).NotTo(BeEmpty(), p.Behaviour)
				g.Expect(p.Expected).NotTo(Or(BeEmpty(), ContainSubstring("NaN"), ContainSubstring("Inf")), p.Behaviour)
				g.Expect(seen).NotTo(HaveKey(p.Behaviour))
				seen[p.Behaviour] = true
				for _, span := range p.Times {
					g.Expect(span.Earliest).To(BeNumerically("<=", span.Latest), p.Behaviour)
				}
			}
		}
	}
}

// The kernels differ where they should, and there only.
func TestPredictionsDiffer(t *testing.T) {
	g := NewWithT(t)
	// A round trip above 200 ms, so that the bounds of the delayed ACK show.
	old, newer := defaults(t, "6.1").Predictions(300*time.Millisecond), defaults(t, "6.12").Predictions(300*time.Millisecond)
	var differ []string
	for i, p := range old {
		if p.Expected != newer[i].Expected {
			differ = append(differ, p.Behaviour)
		}
	}
	g.Expect(strings.Join(differ, "; ")).To(Equal("SYN retransmissions at; connect(2) gives up after; delayed ACK after"))
}
