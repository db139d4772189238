package schedule_test

import (
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/impair/schedule"
	"github.com/tcplab/tcplab/internal/testenv"
	"github.com/tcplab/tcplab/netns"
)

// TestKernelTakesEachStep drives a real netem through a trace, and asks the kernel after each step what it has.
func TestKernelTakesEachStep(t *testing.T) {
	testenv.Need(t, impair.Probe())
	g := NewWithT(t)
	net, err := netns.Direct(netns.Config{})
	g.Expect(err).NotTo(HaveOccurred())
	defer net.Close()
	device := net.Client().Ends()[0].Device()

	// 2, 0, 1 and 3 opportunities in 100 ms each
	trace, err := schedule.ParseTrace(strings.NewReader("10\n20\n250\n310\n320\n400\n"))
	g.Expect(err).NotTo(HaveOccurred())
	s, err := trace.Schedule(impair.Netem{Delay: 20 * time.Millisecond, Seed: 7}, 100*time.Millisecond)
	g.Expect(err).NotTo(HaveOccurred())
	s.Period = 0
	_, err = impair.Apply(device, s.Steps[0].Netem)
	g.Expect(err).NotTo(HaveOccurred())

	var read []impair.Netem
	done, err := schedule.Run(t.Context(), s, func(n impair.Netem) error {
		if _, err := impair.Change(device, n); err != nil {
			return err
		}
		n, err := impair.Read(device)
		read = append(read, n)
		return err
	})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(done).To(HaveLen(4))
	for i, d := range done {
		t.Logf("%v: began %v, ended %v: %v", d.At, d.Began, d.Ended, read[i])
		g.Expect(d.Skipped).To(BeFalse())
		g.Expect(d.Began - d.At).To(BeNumerically(">=", 0))
		g.Expect(read[i].Delay).To(Equal(20 * time.Millisecond))
		g.Expect(read[i].Loss == d.Netem.Loss).To(BeTrue(), "%v", read[i])
		// The kernel counts whole bytes a second.
		g.Expect(read[i].Rate.BitsPerSecond).To(BeNumerically("~", d.Netem.Rate.BitsPerSecond, 8))
	}
}
