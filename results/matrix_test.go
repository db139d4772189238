package results

import (
	"regexp"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

func TestMatrix(t *testing.T) {
	g := NewWithT(t)
	cell := func(scenario string, verdict Verdict, metrics ...Metric) *Record {
		r := small("programs", scenario)
		r.Verdict, r.Metrics = verdict, metrics
		return r
	}
	skipped := cell("when dark: a|b", Skipped)
	skipped.Reason = "it is for kernels >= 6.15.0; this is 6.1.0"
	report := Report{Records: []*Record{
		cell("when killed: read", Passed, Metric{Name: "EOF after", Value: .02, Unit: "s", Bounds: within(0, .025, 1, .1, "RFC 9293")}, Metric{Name: "probes", Value: 2}),
		cell("when dark: read", Failed),
		skipped,
		cell("something else", Passed),
	}}
	m, err := NewMatrix(report, regexp.MustCompile(`^when (?P<column>.*): (?P<row>.*)`))
	g.Expect(err).NotTo(HaveOccurred())
	var text strings.Builder
	g.Expect(m.Markdown(&text)).To(Succeed())
	g.Expect(text.String()).To(Equal(`|  | dark | killed |
|---|---|---|
| a\|b | is for >= 6.15.0 | absent |
| read | **failed** | EOF after 20 ms<br>probes 2 |
`))

	_, err = NewMatrix(report, regexp.MustCompile("when (?P<row>.*)"))
	g.Expect(err).To(MatchError(ContainSubstring("has no groups (?P<row>...) and (?P<column>...)")))
	_, err = NewMatrix(report, regexp.MustCompile("(?P<row>nothing)(?P<column>.*)"))
	g.Expect(err).To(MatchError("no scenario of the run matches (?P<row>nothing)(?P<column>.*)"))
	_, err = NewMatrix(report, regexp.MustCompile("(?P<row>when) (?P<column>d.*?):"))
	g.Expect(err).To(MatchError(ContainSubstring(`row "when", column "dark": "when dark: read" and "when dark: a|b" are both there`)))
}
