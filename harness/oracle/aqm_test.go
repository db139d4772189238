package oracle

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

// TestCoDelDrops: the kernel's law comes to RFC 8289's, but for the first steps.
func TestCoDelDrops(t *testing.T) {
	g := NewWithT(t)
	const n = 60
	at, rfc := CoDelDrops(n, CoDelInterval), CoDelByRFC(n, CoDelInterval)
	gap := func(list []time.Duration, i int) float64 { return (list[i] - list[i-1]).Seconds() * 1000 }
	g.Expect(gap(at, 1)).To(BeNumerically("~", 100, 0.01))
	g.Expect(gap(at, 2)).To(BeNumerically("~", 50, 0.01)) // (3 - 2) / 2
	g.Expect(gap(rfc, 2)).To(BeNumerically("~", 70.7, 0.1))
	for i := 6; i < n; i++ {
		g.Expect(gap(at, i)).To(BeNumerically("~", gap(rfc, i), 0.02*gap(rfc, i)), "drop %d", i)
	}
}
