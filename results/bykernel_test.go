package results

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

func TestCompareKernels(t *testing.T) {
	g := NewWithT(t)
	root := t.TempDir()
	run := func(id, release string, syns, goodput float64) *Run {
		r, err := Create(root, id)
		g.Expect(err).NotTo(HaveOccurred())
		syn := small("handshake", "retransmits its SYN")
		syn.Metrics = []Metric{
			{Name: "SYNs", Value: syns, Whole: true, Bounds: within(syns, syns, 1, .5, "tcp_syn_linear_timeouts")},
			{Name: "gave up after", Value: 120 + syns, Unit: "s", Bounds: within(127, 140, 1, .1, "RFC 6298")},
			{Name: "goodput", Value: goodput, Unit: "Mbit/s", Bounds: within(goodput-1, goodput+1, 1, .5, "measured")},
		}
		fresh := small("handshake", "needs a | new kernel")
		if release == "6.1.0-1-amd64" {
			fresh.Verdict, fresh.Reason = Skipped, `it is for kernels >= 6.5.0; this is 6.1.0`
		}
		never := small("handshake", "is pending")
		never.Verdict = Pending
		for _, record := range []*Record{syn, fresh, never} {
			record.Kernel.Release = release
			g.Expect(record.Write(r.Dir(record.Suite, record.Scenario))).To(Succeed())
		}
		return r
	}
	old, newer := run("a", "6.1.0-1-amd64", 7, 20), run("b", "6.12.0-1-amd64", 11, 20.1)
	by, err := CompareKernels([]*Run{old, newer})
	g.Expect(err).NotTo(HaveOccurred())
	var text strings.Builder
	g.Expect(by.Markdown(&text)).To(Succeed())
	g.Expect(text.String()).To(Equal(`| Suite | Scenario | Metric | 6.1.0-1-amd64 | 6.12.0-1-amd64 | Source |
|---|---|---|---|---|---|
| handshake | needs a \| new kernel |  | is for >= 6.5.0 | passed |  |
| handshake | retransmits its SYN | SYNs | 7 | 11 | tcp_syn_linear_timeouts |
`))
	_, err = CompareKernels([]*Run{old, old})
	g.Expect(err).To(MatchError(ContainSubstring("two runs are of kernel 6.1.0-1-amd64")))
	empty, err := Create(root, "c")
	g.Expect(err).NotTo(HaveOccurred())
	_, err = CompareKernels([]*Run{old, empty})
	g.Expect(err).To(MatchError(ContainSubstring("has no record")))
}
