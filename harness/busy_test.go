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
	g.Expect(howBusy([]moment{{5 * s, 3 * s}})).To(BeNil())

	// Busy for 1 of 10 s, and for all of it in one part.
	transfer := []moment{{10 * s, 8 * s}, {13 * s, 11 * s}, {14 * s, 11 * s}, {20 * s, 17 * s}}
	g.Expect(howBusy(transfer)).To(Equal(&results.Busy{Share: 10, Most: 100, From: results.Duration(3 * s), For: results.Duration(s)}))

	// A short part counts together with what follows.
	short := []moment{{10 * s, 0}, {10*s + 100*time.Millisecond, 0}, {12 * s, 1900 * time.Millisecond}}
	g.Expect(howBusy(short)).To(Equal(&results.Busy{Share: 5, Most: 5, For: results.Duration(2 * s)}))

	g.Expect(howBusy([]moment{{s, 0}, {s + s/2, 0}})).To(Equal(&results.Busy{Share: 100}), "less than a second")
	g.Expect(howBusy([]moment{{s, s}, {2 * s, 2*s + 10*time.Millisecond}})).To(Equal(&results.Busy{}), "idle, and rounded")
	g.Expect(howBusy([]moment{{s, s}, {s, s}})).To(Equal(&results.Busy{}))
}

func TestParseUptime(t *testing.T) {
	g := NewWithT(t)
	g.Expect(parseUptime("11.31 9.81\n")).To(Equal(moment{11310 * time.Millisecond, 9810 * time.Millisecond}))
	for _, text := range []string{"", "11.31", "11.31 x", "1 2 3"} {
		_, err := parseUptime(text)
		g.Expect(err).To(MatchError(ContainSubstring("uptime")), text)
	}
}
