package profiles

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/impair"
)

func get(t *testing.T, name string) Profile {
	t.Helper()
	p, err := Get(name)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return p
}

func TestEveryProfileIsWhole(t *testing.T) {
	g := NewWithT(t)
	g.Expect(slices.Compact(Names())).To(HaveLen(len(profiles)), "names are unique")
	for _, p := range All() {
		g.Expect(p.Up().Validate()).To(Succeed(), p.Name)
		g.Expect(p.Down().Validate()).To(Succeed(), p.Name)
		g.Expect(p.Title).NotTo(BeEmpty(), p.Name)
		g.Expect(p.Source).NotTo(BeEmpty(), p.Name)
		g.Expect(p.Counted).To(BeElementOf(countedOneWay, countedRoundTrip), p.Name)
		g.Expect(p.mtu).To(Equal(1500), p.Name)
		g.Expect(p.Name).To(Equal(strings.ToLower(p.Name)))
		g.Expect(p.downLoss == p.upLoss).To(BeTrue(), "%s: Loss writes one for both", p.Name)
		g.Expect(p.DownRate >= p.UpRate).To(BeTrue(), p.Name)
	}
}

// Each source's own words: a label with both rates and the delay.
func TestFiguresAreTheSources(t *testing.T) {
	for _, c := range []struct {
		name, down, up string
		rtt            time.Duration
	}{
		{"wpt-cable", "5 Mbit/s", "1 Mbit/s", 28 * ms},        // Cable (5/1 Mbps 28ms RTT)
		{"wpt-dial", "49 kbit/s", "30 kbit/s", 120 * ms},      // 56K Dial-Up (49/30 Kbps 120ms RTT)
		{"wpt-3g-fast", "1.6 Mbit/s", "768 kbit/s", 150 * ms}, // (1.6 Mbps/768 Kbps 150ms RTT)
		{"chrome-slow-4g", "1.6 Mbit/s", "750 kbit/s", 150 * ms},
		{"chrome-fast-4g", "9 Mbit/s", "1.5 Mbit/s", 60 * ms},
		{"firefox-good-3g", "1.572864 Mbit/s", "768 kbit/s", 40 * ms}, // 1.5 and 750 of 1024
		{"apple-edge", "240 kbit/s", "200 kbit/s", 840 * ms},          // 400 and 440; WebPageTest's Edge has 840
		{"satellite-geo", "18.75 Mbit/s", "2.96 Mbit/s", 629 * ms},
	} {
		p := get(t, c.name)
		NewWithT(t).Expect([]any{Rate(p.DownRate), Rate(p.UpRate), p.RTT()}).To(Equal([]any{c.down, c.up, c.rtt}), c.name)
	}
}

func TestDirections(t *testing.T) {
	g := NewWithT(t)
	p := get(t, "apple-lte")
	g.Expect(p.Down().Delay).To(Equal(50 * ms))
	g.Expect(p.Up().Delay).To(Equal(65 * ms))
	g.Expect(p.Up().Rate.BitsPerSecond).To(Equal(10 * impair.Mbit))
	g.Expect(get(t, "chrome-3g").Up().Delay).To(Equal(200*ms), "half of the source's round trip")
	g.Expect(get(t, "bad-wifi").Down().Loss).To(Equal(impair.SimpleGilbert(1, 20)))
}

func TestLimit(t *testing.T) {
	g := NewWithT(t)
	// 50 Mbit/s are 4128.1 packets a second: 207 in 50 ms, 475 in the 115 ms of the round trip
	g.Expect(get(t, "apple-lte").Down().Limit).To(Equal(207 + 475))
	// 40 Mbit/s and 2 ms: less than a burst
	g.Expect(get(t, "apple-wifi").Down().Limit).To(Equal(4 + 64))
	// 30 kbit/s are 2.5 packets a second: an initial window
	g.Expect(get(t, "wpt-dial").Up().Limit).To(Equal(1 + 10))
	// 240 kbit/s are 19.8 a second, 16.6 in a round trip of 840 ms
	g.Expect(get(t, "apple-edge").Down().Limit).To(Equal(8 + 20))
	g.Expect(get(t, "apple-100-loss").Down().Limit).To(Equal(0), "impair's own")
}

func TestUnknownNames(t *testing.T) {
	g := NewWithT(t)
	for name, nearest := range map[string]string{
		"chrome-slow-3g": "chrome-slow-4g",
		"crome-3g":       "chrome-3g",
		"Apple-LTE":      "apple-lte",
		"wpt-3gfast":     "wpt-3g-fast",
		"satelite-leo":   "satellite-leo", //nolint:misspell // that is the point
		"data-center":    "data-centre",
		"lte":            "wpt-lte",
	} {
		_, err := Get(name)
		var unknown *UnknownError
		g.Expect(errors.As(err, &unknown)).To(BeTrue())
		g.Expect(unknown.Near).NotTo(BeEmpty(), name)
		g.Expect(unknown.Near[0]).To(Equal(nearest), name)
		g.Expect(err).To(MatchError(ContainSubstring("near it are " + nearest)))
	}
	_, err := Get("xyzzy")
	g.Expect(err).To(MatchError(ContainSubstring("there are apple-100-loss, apple-3g")))
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		d    int
	}{{"", "", 0}, {"", "abc", 3}, {"kitten", "sitting", 3}, {"flaw", "lawn", 2}, {"same", "same", 0}} {
		NewWithT(t).Expect(distance(c.a, c.b)).To(Equal(c.d))
		NewWithT(t).Expect(distance(c.b, c.a)).To(Equal(c.d))
	}
}

// markdown writes the table that docs/profiles.md has, and the sources below it.
func markdown() string {
	var text strings.Builder
	text.WriteString("| name | title | down | up | delay down, up (one way) | round trip | loss, each way | source counts |\n")
	text.WriteString("|---|---|---|---|---|---|---|---|\n")
	for _, p := range profiles {
		fmt.Fprintf(&text, "| `%s` | %s | %s | %s | %v, %v | %v | %s | %s |\n", p.Name, p.Title,
			Rate(p.DownRate), Rate(p.UpRate), p.downDelay, p.upDelay, p.RTT(), p.Loss(), p.Counted)
	}
	text.WriteString("\n## Sources\n\n")
	for i := 0; i < len(profiles); {
		names, first := []string{}, profiles[i]
		for ; i < len(profiles) && profiles[i].Source == first.Source && profiles[i].Doubt == first.Doubt; i++ {
			names = append(names, "`"+profiles[i].Name+"`")
		}
		fmt.Fprintf(&text, "- %s: %s.", strings.Join(names, ", "), first.Source)
		if first.Doubt != "" {
			fmt.Fprintf(&text, " **Not verified:** %s.", first.Doubt)
		}
		text.WriteString("\n")
	}
	return text.String()
}

// docs/profiles.md ends with the table that the code makes.
func TestDocumentation(t *testing.T) {
	g := NewWithT(t)
	const marker = "<!-- below: go test ./impair/profiles, with TCPLAB_UPDATE_DOCS=1 to write it -->\n"
	const path = "../../docs/profiles.md"
	text, err := os.ReadFile(path)
	g.Expect(err).NotTo(HaveOccurred())
	head, table, found := strings.Cut(string(text), marker)
	g.Expect(found).To(BeTrue(), "%s lacks the line %s", path, marker)
	want := markdown()
	if os.Getenv("TCPLAB_UPDATE_DOCS") == "1" {
		g.Expect(os.WriteFile(path, []byte(head+marker+"\n"+want), 0o644)).To(Succeed())
		return
	}
	g.Expect(strings.TrimSpace(table)).To(Equal(strings.TrimSpace(want)), "TCPLAB_UPDATE_DOCS=1 go test ./impair/profiles")
}
