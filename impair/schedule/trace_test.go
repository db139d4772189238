package schedule

import (
	"errors"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/impair"
)

func parse(t *testing.T, text string) Trace {
	t.Helper()
	trace, err := ParseTrace(strings.NewReader(text))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return trace
}

func TestParseTraceRefuses(t *testing.T) {
	for _, c := range []struct{ text, says string }{
		{"", "want a line at least"},
		{"0\n0\n", "want a last line above 0"},
		{"1\n\n2\n", `line 2: "": want a time in milliseconds`},
		{"1\n3\n2\n", `line 3: "2": want a time that is not before the line above, 3`},
		{"1\nten\n", `line 2: "ten"`},
		{"-1\n", `line 1: "-1"`},
		{"1.5\n", `line 1: "1.5"`},
		{" 1\n", `line 1: " 1"`},
		{"99999999999999999999\n", "line 1"},
		{"31536000001\n", "0 to 31536000000"},
		{strings.Repeat("1", 100_000), "line 1"},
	} {
		_, err := ParseTrace(strings.NewReader(c.text))
		NewWithT(t).Expect(err).To(MatchError(ContainSubstring(c.says)))
		NewWithT(t).Expect(errors.Is(err, ErrInvalid)).To(BeTrue())
	}
}

// The manual's examples: a single "1" is 12 Mbit/s, one packet a millisecond.
func TestTraceOfOneLine(t *testing.T) {
	g := NewWithT(t)
	trace := parse(t, "1\n")
	g.Expect(trace.length()).To(Equal(time.Millisecond))
	s, err := trace.Schedule(impair.Netem{}, 100*time.Millisecond)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(s.Period).To(Equal(time.Millisecond))
	g.Expect(s.Steps).To(HaveLen(1))
	g.Expect(s.Steps[0].Netem.Rate).To(Equal(impair.Rate{BitsPerSecond: 12_032_000, PacketOverhead: -10}))
}

func TestTraceRates(t *testing.T) {
	g := NewWithT(t)
	// 0 to 10 ms: 3 (0, 4, 10); to 20: none; to 30: 1; to 34: 2
	trace := parse(t, "0\n4\n10\n25\n34\n34")
	rates, err := trace.rates(10 * ms)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(rates).To(Equal([]windowRate{{0, 10 * ms, 3}, {10 * ms, 10 * ms, 0}, {20 * ms, 10 * ms, 1}, {30 * ms, 4 * ms, 2}}))
	g.Expect(rates[0].bitsPerSecond()).To(BeEquivalentTo(3_609_600)) // 3 * 1504 * 8 / 10 ms
	g.Expect(trace.LongestGap()).To(Equal(15 * ms))

	s, err := trace.Schedule(impair.Netem{Delay: 20 * ms}, 10*ms)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(s.Steps[1].Netem.Loss).To(Equal(impair.RandomLoss{Percent: 100}), "netem has no rate of 0")
	// The fastest is 2 in 4 ms: 10 packets in the delay line.
	for _, step := range s.Steps {
		g.Expect(step.Netem.Limit).To(Equal(10 + 64))
	}
	s, err = trace.Schedule(impair.Netem{}, trace.LongestGap())
	g.Expect(err).NotTo(HaveOccurred())
	for _, step := range s.Steps {
		g.Expect(step.Netem.Loss).To(BeNil())
	}

	_, err = trace.rates(ms - 1)
	g.Expect(err).To(MatchError(ErrInvalid))
	_, err = trace.Schedule(impair.Netem{Rate: impair.Rate{BitsPerSecond: impair.Mbit}}, 10*ms)
	g.Expect(err).To(MatchError(ContainSubstring("the rate is the trace's")))
	_, err = Trace{}.Schedule(impair.Netem{}, 10*ms)
	g.Expect(err).To(MatchError(ErrInvalid))
}

func TestEqualWindowsAreOneStep(t *testing.T) {
	g := NewWithT(t)
	s, err := parse(t, "5\n15\n25\n35\n36\n40\n").Schedule(impair.Netem{}, 10*ms)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(s.Steps).To(HaveLen(2))
	g.Expect(s.Steps[1].At).To(Equal(30 * ms))
}

// Whatever is taken gives windows that hold each opportunity once, and a schedule that is valid.
func FuzzParseTrace(f *testing.F) {
	for _, seed := range []string{"1\n", "0\n4\n10\n25\n34\n34", "", "x", "1\n\n", "5\r\n", "3\n2", "1000\n100000"} {
		f.Add(seed, int64(10))
	}
	f.Fuzz(func(t *testing.T, text string, window int64) {
		trace, err := ParseTrace(strings.NewReader(text))
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		width := time.Duration(window) * time.Millisecond
		if window < 1 || window > 1_000_000_000 || trace.length()/width > 10_000 {
			return
		}
		rates, err := trace.rates(width)
		if err != nil {
			t.Fatal(err)
		}
		sum, length := 0, time.Duration(0)
		for _, r := range rates {
			sum += r.opportunities
			length += r.length
		}
		if sum != len(trace.opportunities) || length != trace.length() {
			t.Fatalf("%d opportunities in %v, want %d in %v", sum, length, len(trace.opportunities), trace.length())
		}
		if width >= trace.LongestGap() {
			for i, r := range rates[:len(rates)-1] {
				if r.opportunities == 0 {
					t.Fatalf("window %d is silent, though no gap is longer", i)
				}
			}
		}
		if _, err := trace.Schedule(impair.Netem{}, width); err != nil {
			t.Fatal(err)
		}
	})
}
