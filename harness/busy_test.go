package harness

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/results"
)

func TestHowBusy(t *testing.T) {
	g := NewWithT(t)
	const s = time.Second
	g.Expect(howBusy(nil)).To(BeNil())
	g.Expect(howBusy([]moment{{at: 5 * s, idle: 3 * s}})).To(BeNil())

	// Busy for 1 of 10 s, and for all of it in one part.
	transfer := []moment{{at: 10 * s, idle: 8 * s}, {at: 13 * s, idle: 11 * s}, {at: 14 * s, idle: 11 * s}, {at: 20 * s, idle: 17 * s}}
	g.Expect(howBusy(transfer)).To(Equal(&results.Busy{Share: 10, Most: 100, From: 3 * s, For: s}))

	// A short part counts together with what follows.
	short := []moment{{at: 10 * s, idle: 0}, {at: 10*s + 100*time.Millisecond, idle: 0}, {at: 12 * s, idle: 1900 * time.Millisecond}}
	g.Expect(howBusy(short)).To(Equal(&results.Busy{Share: 5, Most: 5, For: 2 * s}))

	// What the spec computes when all peers have ended is no matter.
	after := []moment{{at: 0, idle: 0}, {at: 4 * s, idle: 3 * s, over: true}, {at: 10 * s, idle: 3 * s}, {at: 12 * s, idle: 4 * s}}
	g.Expect(howBusy(after)).To(Equal(&results.Busy{Share: 100 * 2. / 12, Most: 50, From: 10 * s, For: 2 * s}))

	g.Expect(howBusy([]moment{{at: s, idle: 0}, {at: s + s/2, idle: 0}})).To(Equal(&results.Busy{Share: 100}), "less than a second")
	g.Expect(howBusy([]moment{{at: s, idle: s}, {at: 2 * s, idle: 2*s + 10*time.Millisecond}})).To(Equal(&results.Busy{}), "idle, and rounded")
	g.Expect(howBusy([]moment{{at: s, idle: s}, {at: s, idle: s}})).To(Equal(&results.Busy{}))
}

func TestParseUptime(t *testing.T) {
	g := NewWithT(t)
	g.Expect(parseUptime("11.31 9.81\n")).To(Equal(moment{at: 11310 * time.Millisecond, idle: 9810 * time.Millisecond}))
	for _, text := range []string{"", "11.31", "11.31 x", "1 2 3"} {
		_, err := parseUptime(text)
		g.Expect(err).To(MatchError(ContainSubstring("uptime")), text)
	}
}
