package oracle

import (
	"math"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness/bounds"
)

// TestRenoCycleGoesToTheLaw: the more segments between two losses, the less the recovery counts.
func TestRenoCycleGoesToTheLaw(t *testing.T) {
	g := NewWithT(t)
	before := 0.
	for _, n := range []int{100, 1000, 10_000, 1_000_000} {
		law := RenoCycle(n).Law()
		g.Expect(law).To(And(BeNumerically(">", before), BeNumerically("<", MathisPeriodic)), "n = %d", n)
		before = law
	}
	g.Expect(before).To(BeNumerically("~", math.Sqrt(1.5), 0.003))
	g.Expect(MathisPeriodic).To(BeNumerically("~", math.Sqrt(1.5), 1e-4))
	g.Expect(MathisDelayedACK).To(BeNumerically("~", math.Sqrt(.75), 1e-4))
}

// TestCubicCycleGoesToRFC9438: for long cycles, the same; it is in the middle of the range for all.
func TestCubicCycleGoesToRFC9438(t *testing.T) {
	g := NewWithT(t)
	for _, c := range []struct {
		n   int
		rtt time.Duration
	}{{10_000, 100 * time.Millisecond}, {100_000, 100 * time.Millisecond}, {1000, 400 * time.Millisecond}} {
		window := CubicResponse(1/float64(c.n), c.rtt)
		cycles := CubicCycles(c.n, c.rtt)
		g.Expect(bounds.In(window, "segments")).To(cycles.Window(), "n = %d", c.n)
		g.Expect(bounds.In(float64(c.n)/window, "RTT")).To(cycles.Period())
	}
	// Table 1 of RFC 9438: 1054 segments at 1e-5 and 0.1 s.
	g.Expect(cubicCycle(100_000, 100*time.Millisecond, 0).Window()).To(BeNumerically("~", 1054, 0.04*1054))
	// Table 2: Reno's window where the RTT is short.
	g.Expect(RenoFriendly(1000, 10*time.Millisecond)).To(BeTrue())
	g.Expect(RenoFriendly(100_000, 100*time.Millisecond)).To(BeFalse())
	g.Expect(cubicRenoCycle(1_000_000).Law()).To(BeNumerically("~", MathisPeriodic, 0.02))
}

// TestRenoAtRandomGoesToTheLaw of Ott, Kemperman and Mathis.
func TestRenoAtRandomGoesToTheLaw(t *testing.T) {
	g := NewWithT(t)
	const p = 1e-6
	mean, deviation := RenoAtRandom(p, 2_000_000_000, 3)
	t.Log(mean*math.Sqrt(p), deviation*math.Sqrt(p))
	g.Expect(mean * math.Sqrt(p)).To(BeNumerically("~", MathisRandom, 0.04))
	_, short := RenoAtRandom(.01, 10_000, 400)
	_, long := RenoAtRandom(.01, 90_000, 400)
	g.Expect(short / long).To(BeNumerically("~", 3, 0.5)) // as the root of the number of losses
}

// TestFINBeyondTheWindow: the final FIN is exempt before Linux 6.10, if it is the only one that is left.
func TestFINBeyondTheWindow(t *testing.T) {
	g := NewWithT(t)
	g.Expect(defaults(t, "6.1").SlowStartClosing(11)).To(Equal([]int{11}))
	g.Expect(defaults(t, "6.12").SlowStartClosing(11)).To(Equal([]int{10, 1}))
	g.Expect(defaults(t, "6.1").SlowStartClosing(12)).To(Equal([]int{10, 2}))
	g.Expect(defaults(t, "6.1").SlowStartClosing(1)).To(Equal([]int{1}))
}

func TestJain(t *testing.T) {
	g := NewWithT(t)
	g.Expect(Jain(5, 5, 5)).To(BeNumerically("~", 1, 1e-9))
	g.Expect(Jain(9, 0, 0)).To(BeNumerically("~", 1./3, 1e-9))
	g.Expect(Jain(0, 0)).To(Equal(1.))
}
