package results

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/internal/golden"
)

// lab is what make lab could have left behind.
func lab(t testing.TB) []*Record {
	ms := time.Millisecond
	timeout := full(t)
	timeout.dir = "results/20260101-120000/handshake/" + Slug(timeout.Scenario)
	records := []*Record{
		timeout,
		{Suite: "handshake", Scenario: "The three-way handshake is seen in the capture and in the counters", Verdict: Passed, Clock: ClockVirtual,
			Duration: 120_345_678, Host: &HostPart{Wall: 6123 * ms}},
		{Suite: "handshake", Scenario: "A closed port refuses with RST", Verdict: Passed, Clock: ClockVirtual, Duration: 80_123_000, Host: &HostPart{Wall: 5900 * ms},
			Metrics: []Metric{{Name: "RST", Value: 1, Unit: "segment", Whole: true, Bounds: within(1, 1, 1, .5, "RFC 9293, 3.10.7.1")}}},
		{Suite: "congestion", Scenario: "BBR holds a link of 20 Mbit/s and 40 ms at 1 % loss, where CUBIC does not", Verdict: Passed, Clock: ClockVirtual,
			Duration: 20_400 * ms, Host: &HostPart{Wall: 21_700 * ms},
			Metrics: []Metric{
				{Name: "BBR goodput", Value: 17.4412345, Unit: "Mbit/s", Bounds: &Bounds{Lower: new(16.), Margin: 1.4412345, Share: .0826, Source: "80 % of the link"}},
				{Name: "CUBIC goodput", Value: 4.0171, Unit: "Mbit/s", Bounds: &Bounds{Upper: new(10.), Margin: 5.9829, Share: .6, Source: "50 % of the link; RFC 9438, 5.1 gives 3.9"}},
				{Name: "segments sent", Value: 45123},
			}},
		{Suite: "congestion", Scenario: "A second BBR flow gets its share", Verdict: Panicked, Clock: ClockVirtual, Duration: 312 * ms, Host: &HostPart{Wall: 5 * ms},
			Failure: &Failure{Message: "runtime error: index out of range [3] with length 3\n\n" + strings.Repeat("goroutine 41 [running]: github.com/tcplab/tcplab/harness.(*Lab).Pair(0xc0001b2000)\n", 20)},
			dir:     "results/20260101-120000/congestion/a-second-bbr-flow-gets-its-share_0123456789"},
		{Suite: "retransmission", Scenario: "A lossless link has no retransmissions", Verdict: Skipped, Clock: ClockVirtual,
			Reason: "netem is missing: \"qdisc kind is unknown\" on kernel 6.18.0; run it in a guest kernel: tcplab run --clock virtual"},
		{Suite: "retransmission", Scenario: "Loss leads to retransmissions", Verdict: Skipped, Clock: ClockVirtual,
			Reason: "netem is missing: \"qdisc kind is unknown\" on kernel 6.18.0; run it in a guest kernel: tcplab run --clock virtual"},
		{Suite: "retransmission", Scenario: "Tail loss is repaired by a probe", Verdict: Pending, Clock: ClockVirtual},
		{Suite: "retransmission", Scenario: "Reordering is not taken for loss", Verdict: Passed, Clock: ClockVirtual, Duration: 1500 * 1000},
	}
	for _, r := range records { // of one run
		r.Kernel.Release, r.Seed = "6.1.0-40-amd64", 7
	}
	return records
}

func render(t testing.TB, records []*Record, o TableOptions) string {
	t.Helper()
	var out bytes.Buffer
	if err := Table(o)(&out, Report{Records: records}); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestGoldenTable(t *testing.T) {
	for name, o := range map[string]TableOptions{
		"table-80.txt":     {},
		"table-140.txt":    {Width: 140},
		"table-colour.txt": {Width: 100, Colour: true},
	} {
		t.Run(name, func(t *testing.T) { golden.Compare(t, name, []byte(render(t, lab(t), o))) })
	}
}

// unbreakable are lines that are printed whole, however wide: they are for copying.
var unbreakable = regexp.MustCompile(`^  (evidence: |at )`)

func checkTable(t *testing.T, text string, o TableOptions, width int) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for _, line := range lines {
		if o.Colour {
			line = regexp.MustCompile("\x1b\\[[0-9;]*m").ReplaceAllString(line, "")
		}
		if displayWidth(line) > width && !unbreakable.MatchString(line) {
			t.Errorf("%d columns instead of %d: %q", displayWidth(line), width, line)
		}
		if strings.HasSuffix(line, " ") || strings.ContainsAny(line, "\x1b\x07\r\t") {
			t.Errorf("space at the end or control characters: %q", line)
		}
	}
	if last := lines[len(lines)-1]; !o.Colour && !regexp.MustCompile(`^\d+ passed, \d+ failed, \d+ skipped$`).MatchString(last) {
		t.Errorf("last line is %q", last)
	}
}

func TestTableKeepsToTheWidth(t *testing.T) {
	records := append(lab(t),
		&Record{Suite: strings.Repeat("suite", 10), Scenario: strings.Repeat("unbroken", 50), Verdict: TimedOut, Clock: ClockVirtual, Duration: 1<<63 - 1,
			Failure: &Failure{Message: "\x1b[31mred\x1b[0m\a\t" + strings.Repeat("message", 100)},
			Metrics: []Metric{{Name: strings.Repeat("name", 30), Value: -1.23456789e-300, Unit: strings.Repeat("unit", 30), Bounds: within(-1e-300, 1e300, 0, 0, strings.Repeat("expected", 90))}}},
		&Record{Suite: "日本", Scenario: strings.Repeat("再送タイムアウト ", 20), Verdict: Interrupted, Clock: ClockReal, Duration: 1})
	for width := minWidth; width <= maxWidth; width++ {
		for _, colour := range []bool{false, true} {
			o := TableOptions{Width: width, Colour: colour}
			checkTable(t, render(t, records, o), o, width)
		}
	}
}

func TestTableBringsTheWidthIntoRange(t *testing.T) {
	g := NewWithT(t)
	records := lab(t)
	g.Expect(render(t, records, TableOptions{Width: 1})).To(Equal(render(t, records, TableOptions{Width: minWidth})))
	g.Expect(render(t, records, TableOptions{Width: -1})).To(Equal(render(t, records, TableOptions{Width: minWidth})))
	g.Expect(render(t, records, TableOptions{Width: 1000})).To(Equal(render(t, records, TableOptions{Width: maxWidth})))
	g.Expect(render(t, records, TableOptions{})).To(Equal(render(t, records, TableOptions{Width: 80})))
}

func TestTableOfNothing(t *testing.T) {
	NewWithT(t).Expect(render(t, nil, TableOptions{})).To(Equal("0 passed, 0 failed, 0 skipped\n"))
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func TestTableReturnsTheWritersError(t *testing.T) {
	NewWithT(t).Expect(Table(TableOptions{})(fullDisk{}, Report{Records: lab(t)})).To(MatchError("no space left"))
}

func TestCount(t *testing.T) {
	var records []*Record
	for _, v := range verdicts {
		records = append(records, &Record{Verdict: v})
	}
	NewWithT(t).Expect(Count(records)).To(Equal(Tally{Passed: 1, Failed: 5, Skipped: 2}))
}

func TestTerminalOfAFile(t *testing.T) {
	g := NewWithT(t)
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	g.Expect(err).NotTo(HaveOccurred())
	defer f.Close()
	t.Setenv("COLUMNS", "")
	g.Expect(Terminal(f)).To(Equal(TableOptions{}))
	t.Setenv("COLUMNS", "120")
	g.Expect(Terminal(f)).To(Equal(TableOptions{Width: 120}))
}

func TestTimes(t *testing.T) {
	for _, c := range []struct {
		record        Record
		virtual, wall string
	}{
		{Record{Clock: ClockReal, Duration: 1500 * 1000}, "-", "1.5ms"},
		{Record{Clock: ClockVirtual, Duration: 1500 * 1000}, "1.5ms", "-"},
		{Record{Clock: ClockVirtual, Duration: 1500 * 1000, Host: &HostPart{Wall: time.Second}}, "1.5ms", "1s"},
		{Record{Clock: ClockVirtual, Verdict: Skipped}, "-", "-"},
	} {
		if virtual, wall := virtualTime(&c.record), wallTime(&c.record); virtual != c.virtual || wall != c.wall {
			t.Errorf("%+v: %s and %s, expected %s and %s", c.record, virtual, wall, c.virtual, c.wall)
		}
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 6: "6", -1: "-1", 45123: "45123", 17.4412345: "17.44", 0.33333: "0.3333", 16312345.5: "16312346", 0.000012345: "1.234e-05", 1e20: "1e+20",
	} {
		if got := number(v); got != want {
			t.Errorf("number(%v) = %q, want %q", v, got, want)
		}
	}
}

func TestShort(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 1: "1ns", 1234: "1.23µs", 120_345_678: "120ms", 1_234_567_890: "1.23s", 12_345 * time.Millisecond: "12.3s", 129_512 * time.Millisecond: "2m10s", -1234: "-1.23µs", 1<<63 - 1: "2562047h",
	} {
		if got := short(d); got != want {
			t.Errorf("short(%d) = %q, want %q", d, got, want)
		}
	}
}

func TestWrap(t *testing.T) {
	for _, tc := range []struct {
		text    string
		n, most int
		want    []string
	}{
		{"", 10, 3, nil},
		{"one two three", 7, 3, []string{"one two", "three"}},
		{"one two three four", 7, 2, []string{"one two", "thre..."}},
		{"abcdefghij", 4, 3, []string{"abcd", "efgh", "ij"}},
		{"abcdefghij", 4, 2, []string{"abcd", "e..."}},
		{"a b c d", 4, 1, []string{"a..."}},
		{"再送 タイムアウト", 6, 3, []string{"再送", "タイム", "アウト"}},
		{"abcdef", -3, 2, []string{"abcd", "ef"}},
		{"e\u0301tude", 5, 1, []string{"e\u0301tude"}},
		{"a\nb\x1b[31mc", 10, 1, []string{"a b?[31mc"}},
	} {
		got := wrap(tc.text, tc.n, tc.most)
		if strings.Join(got, "\n") != strings.Join(tc.want, "\n") {
			t.Errorf("wrap(%q, %d, %d) = %q, want %q", tc.text, tc.n, tc.most, got, tc.want)
		}
	}
}

func FuzzTable(f *testing.F) {
	f.Add("handshake", "A SYN is retransmitted", "failed", "message\n  indented\x1b[31m", "time", "s", "1: RFC 6298", 1.5, 80)
	f.Add("日本", "\u200d\u0301", "", "\xff", "a\tb", "µs", strings.Repeat("x", 300), 1e300, 140)
	f.Fuzz(func(t *testing.T, suite, scenario, verdict, text, name, unit, expected string, value float64, width int) {
		records := []*Record{
			{Suite: suite, Scenario: scenario, Verdict: Verdict(verdict), Clock: ClockVirtual, Reason: text, Failure: &Failure{Message: text}, Busy: &Busy{Most: value},
				Metrics: []Metric{{Name: name, Value: value, Unit: unit, Bounds: within(min(value, 0), max(value, 1), 0, 0, expected)}, {Name: "n", Value: 1}}},
			{Suite: suite, Scenario: text, Verdict: Skipped, Reason: text},
		}
		if !known(records[0].Verdict) {
			records[0].Verdict = Failed // Validate lets no other through
		}
		width = minWidth + (width%101+101)%101
		o := TableOptions{Width: width}
		checkTable(t, render(t, records, o), o, width)
	})
}

func TestTableSaysWhatWasBusy(t *testing.T) {
	records := []*Record{
		{Suite: "congestion", Scenario: "fills 20 Mbit/s", Verdict: Passed, Clock: ClockVirtual, Busy: &Busy{Share: 20, Most: busyLimit, For: 10 * time.Second}},
		{Suite: "congestion", Scenario: "fills 200 Mbit/s", Verdict: Passed, Clock: ClockVirtual, Inputs: Inputs{MIPS: 500},
			Busy: &Busy{Share: 60, Most: 99.3, From: time.Second, For: 10 * time.Second}},
	}
	o := TableOptions{Width: 100}
	text := render(t, records, o)
	checkTable(t, text, o, 100)
	want := "BUSY congestion: fills 200 Mbit/s: the guest was busy for 99 % of 10s, from 1s on: its metrics may be the machine's. " +
		"Give it a slower link, or a faster machine (--mips, now 500)"
	if got := strings.Join(strings.Fields(text), " "); strings.Count(got, "BUSY") != 1 || !strings.Contains(got, want) {
		t.Errorf("the table says\n%s\nand not\n%s", text, want)
	}
}
