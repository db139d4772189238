package results

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/internal/golden"
)

func reported(t testing.TB, format string, report Report) string {
	t.Helper()
	reporter, err := NewReporter(format, TableOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := reporter(&out, report); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// bothKernels are the lab's records once more on another kernel, as of two runs.
func bothKernels(t *testing.T) Report {
	t.Helper()
	first, second := lab(t), lab(t)
	for _, r := range second {
		r.Kernel.Release = "6.12.95+deb12-amd64"
	}
	all, err := Join(Report{Records: first}, Report{Records: second, Missing: 2})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Each format has the lab in a golden file, and one of two kernels, with scenarios that are missing.
func TestGoldenReports(t *testing.T) {
	records := lab(t)
	records[1].Busy = &Busy{Most: 99.3, For: 10 * time.Second, From: time.Second}
	records[3].Scenario = "BBR | CUBIC: 100 %, <b>"
	few := records[1:3] // all of a record is in a golden file of its own
	files := map[string]string{}
	t.Run("write", func(t *testing.T) {
		t.Chdir(sources(t))
		t.Setenv("GITHUB_WORKSPACE", "")
		for _, format := range Formats() {
			report := Report{Records: records}
			if format == "json" {
				report.Records = few
			}
			files["report-"+format+".txt"] = reported(t, format, report)
		}
		for _, format := range []string{"table", "github", "markdown"} { // the others have no other shape for them
			files["report-"+format+"-kernels.txt"] = reported(t, format, bothKernels(t))
		}
	})
	for name, text := range files {
		t.Run(name, func(t *testing.T) { golden.Compare(t, name, []byte(text)) })
	}
}

// sources is a folder with the file in which the lab's first scenario failed.
func sources(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, file := range []string{"scenarios/handshake/timeout_test.go", "x:1,_test.go"} {
		path := filepath.Join(dir, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestFormats(t *testing.T) {
	g := NewWithT(t)
	g.Expect(Formats()).To(Equal([]string{"table", "json", "junit", "github", "markdown"}))
	_, err := NewReporter("yaml", TableOptions{})
	g.Expect(err).To(MatchError(`format "yaml": allowed are table, json, junit, github, markdown`))
	for _, format := range Formats() {
		reporter, err := NewReporter(format, TableOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(reporter(fullDisk{}, Report{Records: lab(t)})).To(MatchError("no space left"), format)
		g.Expect(reported(t, format, Report{})).NotTo(BeEmpty(), format)
	}
}

// Whatever a report is written as, it does not look complete where it is not.
func TestEachFormatSaysWhatIsMissing(t *testing.T) {
	for _, format := range Formats() {
		missing := "2 of 3 scenarios did not run to their end"
		if format == "json" {
			missing = `"missing": 2`
		}
		NewWithT(t).Expect(reported(t, format, Report{Records: lab(t)[1:2], Missing: 2})).To(ContainSubstring(missing), format)
	}
}

// As with ginkgo, a run of which some specs are focused in their source does not count as passed.
func TestEachFormatSaysWhatIsFocused(t *testing.T) {
	for _, format := range Formats() {
		focused := "focused in their source (FIt, FDescribe, Focus) of handshake, queue"
		if format == "json" {
			focused = `"focused": [`
		}
		report := Report{Records: lab(t)[1:2], Focused: []string{"handshake", "queue"}}
		NewWithT(t).Expect(oneLine(reported(t, format, report))).To(ContainSubstring(focused), format)
	}
}

// oneLine undoes the wrapping of lines.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

func TestJSONHasWholeRecords(t *testing.T) {
	g := NewWithT(t)
	records := lab(t)
	var document jsonReport
	g.Expect(json.Unmarshal([]byte(reported(t, "json", Report{Records: records, Missing: 3})), &document)).To(Succeed())
	g.Expect(document.Schema).To(Equal(SchemaVersion))
	g.Expect([]int{document.Passed, document.Failed, document.Skipped, document.Missing}).To(Equal([]int{4, 2, 3, 3}))
	g.Expect(document.Scenarios).To(HaveLen(len(records)))
	g.Expect(document.Scenarios[0].Folder).To(Equal(records[0].Dir()))
	want, err := records[0].Encode()
	g.Expect(err).NotTo(HaveOccurred())
	got, err := document.Scenarios[0].Record.Encode()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(got)).To(Equal(string(want)))
}

func TestReportOfARun(t *testing.T) {
	g := NewWithT(t)
	run := newRun(t, "a")
	_, err := run.Report()
	g.Expect(err).To(MatchError(ContainSubstring("has no record")))
	g.Expect(os.MkdirAll(run.Dir("s", "killed"), 0o755)).To(Succeed())
	put(t, run, small("s", "x"), nil)
	report, err := run.Report()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(report.Records).To(HaveLen(1))
	g.Expect(report.Missing).To(Equal(1))

	// What was planned and never began is missing, too; what was planned and began is not counted twice.
	g.Expect(run.Plan(Plan{Scenarios: []string{Folder("s", "x"), Folder("s", "killed"), Folder("s", "later"), Folder("t", "later")}, Focused: []string{"s"}})).To(Succeed())
	report, err = run.Report()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(report.Records).To(HaveLen(1))
	g.Expect(report.Missing).To(Equal(3))
	g.Expect(report.Focused).To(Equal([]string{"s"}))
	for _, broken := range []string{"{", `{"scenarios": ["../other/s/x"]}`, `{"scenarios": ["/etc"]}`} {
		g.Expect(os.WriteFile(filepath.Join(run.Path(), planName), []byte(broken), 0o644)).To(Succeed())
		_, err = run.Report()
		g.Expect(err).To(MatchError(ContainSubstring("read its plan: plan.json: ")), broken)
	}
	g.Expect(os.Remove(filepath.Join(run.Path(), planName))).To(Succeed())

	g.Expect(os.WriteFile(filepath.Join(run.Dir("s", "killed"), FileName), []byte("{}"), 0o644)).To(Succeed())
	_, err = run.Report()
	g.Expect(err).To(MatchError(ContainSubstring("not a record")))
}

func TestJoinRefusesTheSameTwice(t *testing.T) {
	g := NewWithT(t)
	_, err := Join(Report{Records: lab(t)}, Report{Records: lab(t)[:1]})
	g.Expect(err).To(And(MatchError(ContainSubstring("is in the report twice")), MatchError(ContainSubstring("on kernel 6.1.0-40-amd64, virtual clock, seed 7, IPv4: give one of them"))))
	again := lab(t)[:1]
	again[0].Seed++
	all, err := Join(Report{Records: lab(t), Missing: 1, Focused: []string{"a", "b"}}, Report{Records: again, Missing: 2, Focused: []string{"b"}})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(all.Records).To(HaveLen(len(lab(t)) + 1))
	g.Expect(all.Missing).To(Equal(3))
	g.Expect(all.Focused).To(Equal([]string{"a", "b"}))
}

// Runs before and after a change of code have the same kernel and seed: their names tell them apart, where they have a scenario in common.
func TestJoinTellsRunsApart(t *testing.T) {
	g := NewWithT(t)
	other := lab(t)[:1]
	other[0].Seed += 9
	before := Report{Records: append(lab(t)[:1], other...), Run: "/results/before/x"}
	all, err := Join(before, Report{Records: lab(t)[:1], Run: "/results/after/x"})
	g.Expect(err).NotTo(HaveOccurred())
	var runs []string
	for _, r := range all.Records {
		runs = append(runs, r.Origin().Run)
	}
	g.Expect(runs).To(Equal([]string{"before/x", "", "after/x"}), "the seed tells the one in the middle apart")
	g.Expect(all.Records[2].Origin().String()).To(HaveSuffix(", seed 7, IPv4, run after/x"))
	g.Expect(before.Records[0].Origin().Run).To(BeEmpty(), "the run alone is as it was")
	g.Expect(reported(t, "junit", all)).To(And(ContainSubstring(`of run before/x"`), ContainSubstring(`<property name="run" value="after/x">`)))
	g.Expect(reported(t, "table", all)).To(And(ContainSubstring("run before/x"), ContainSubstring("run after/x")))

	_, err = Join(before, before)
	g.Expect(err).To(MatchError(ContainSubstring("is in the report twice")), "the same run")
	_, err = Join(before, Report{Records: lab(t)[:1]})
	g.Expect(err).To(MatchError(ContainSubstring("is in the report twice")), "a run without a name")
	_, err = Join(Report{Records: append(lab(t)[:1], lab(t)[:1]...), Run: "/results/a"})
	g.Expect(err).To(MatchError(ContainSubstring("is in the report twice")), "twice in one run")
}

// The escapes are those of GitHub's own toolkit.
func TestGitHubEscapes(t *testing.T) {
	g := NewWithT(t)
	g.Expect(githubData("50 %\r\n%0A: a, b")).To(Equal("50 %25%0D%0A%250A: a, b"))
	g.Expect(githubProperty("50 %\r\n%0A: a, b")).To(Equal("50 %25%0D%0A%250A%3A a%2C b"))
	r := &Record{Suite: "s, t", Scenario: "a: 5 %\n::error::b", Verdict: Failed, Failure: &Failure{Message: "5 %\r\n::error::x, y"}}
	g.Expect(reported(t, "github", Report{Records: []*Record{r}})).To(Equal("" +
		"::error title=s%2C t%3A a%3A 5 %25 %3A%3Aerror%3A%3Ab::5 %25%0A::error::x, y\n" +
		"::notice title=tcplab::0 passed, 1 failed, 0 skipped\n"))
}

func TestGitHubFindsTheSource(t *testing.T) {
	g := NewWithT(t)
	dir := sources(t)
	t.Chdir(dir)
	t.Setenv("GITHUB_WORKSPACE", "")
	const file = "scenarios/handshake/timeout_test.go"
	for location, want := range map[string]string{
		file + ":41": "file=" + file + ",line=41,",
		"github.com/tcplab/tcplab/" + file + ":7":     "file=" + file + ",line=7,",
		filepath.Join(dir, file) + ":7":               "file=" + file + ",line=7,",
		"example.com/mine/x:1,_test.go:3":             "file=x%3A1%2C_test.go,line=3,",
		"example.com/mine/other_test.go:3":            "",
		"/usr/lib/go/src/runtime/panic.go:9":          "",
		"scenarios/handshake:3":                       "", // a folder
		"../" + filepath.Base(dir) + "/" + file + ":": "",
		"": "",
	} {
		g.Expect(githubPlace(&Failure{Location: location})).To(Equal(want), location)
	}
	g.Expect(githubPlace(nil)).To(BeEmpty())
	t.Chdir("scenarios")
	t.Setenv("GITHUB_WORKSPACE", dir)
	g.Expect(githubPlace(&Failure{Location: "example.com/mine/handshake/timeout_test.go:41"})).To(Equal("file=" + file + ",line=41,"))
}

func TestFirstLines(t *testing.T) {
	g := NewWithT(t)
	g.Expect(firstLines("one\ntwo\n", 8)).To(Equal("one\ntwo\n"))
	g.Expect(firstLines("one\ntwo\nthree", 9)).To(Equal("one\ntwo\n... 6 more bytes in record.json"))
	g.Expect(firstLines("ééé", 3)).To(Equal("é\n... 4 more bytes in record.json"))
}

// cells counts the cells of a row of a Markdown table.
func cells(line string) int {
	return strings.Count(strings.ReplaceAll(strings.ReplaceAll(line, `\\`, ""), `\|`, ""), "|")
}

// checkMarkdown: each row of each table has as many cells as its head, and nothing is HTML but the break that is ours.
func checkMarkdown(t *testing.T, page string) {
	t.Helper()
	columns := 0
	for line := range strings.Lines(page) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case !strings.HasPrefix(line, "|"):
			columns = 0
		case columns == 0:
			columns = cells(line)
		case cells(line) != columns || !strings.HasSuffix(line, "|"):
			t.Errorf("%d cells instead of %d: %q", cells(line), columns, line)
		}
		if !strings.HasPrefix(line, "    ") && strings.Contains(strings.ReplaceAll(line, "<br>", ""), "<") {
			t.Errorf("HTML: %q", line)
		}
	}
}

// checkGitHub: each line is a command of ours, whatever a message says.
func checkGitHub(t *testing.T, log string) {
	t.Helper()
	for line := range strings.Lines(log) {
		command := compiled(`^::(error|warning|notice) (file=[^,:]+,line=\d+,)?title=[^,:]*::.*\n$`)
		if !command.MatchString(line) || compiled(`%(?:$|[^2031AD]|.[^5ADC0])`).MatchString(strings.TrimSuffix(line, "\n")) {
			t.Errorf("no command: %q", line)
		}
	}
}

// Whatever scenarios are called and say, a report is text of its format.
func FuzzReporters(f *testing.F) {
	f.Add("handshake", "A SYN | is retransmitted", "failed", "message\n  indented\x1b[31m ]]> & <b> 100 %\r\n::error::", 3)
	f.Add("", "\xff\u200d", "panicked", "", 0)
	f.Add("日本", "\n", "skipped", "\u0000\ufffe\\|", 1)
	f.Fuzz(func(t *testing.T, suite, scenario, verdict, text string, missing int) {
		report := Report{Missing: missing & 7, Records: []*Record{
			{Suite: suite, Scenario: scenario, Verdict: Verdict(verdict), Clock: ClockReal, Reason: text, Busy: &Busy{Most: 99},
				Failure: &Failure{Message: text, Location: text}, Kernel: Uname{Release: text}, Metrics: []Metric{{Name: text, Value: 1}, {Name: "n", Unit: text}}},
			{Suite: suite, Scenario: text, Verdict: Skipped, Clock: ClockVirtual, Reason: text},
			{Suite: text, Scenario: scenario, Verdict: Failed, Failure: &Failure{}},
		}}
		for _, format := range Formats() {
			out := reported(t, format, report)
			if !utf8.ValidString(out) || strings.ContainsAny(out, "\x00\x1b\x7f\r\u009b\u202e") {
				t.Errorf("%s: %q", format, out)
			}
			switch format {
			case "json":
				var document jsonReport
				if err := json.Unmarshal([]byte(out), &document); err != nil {
					t.Errorf("%v in %s", err, out)
				}
			case "github":
				checkGitHub(t, out)
			case "markdown":
				checkMarkdown(t, out)
			}
		}
	})
}

func ExampleNewReporter() {
	report := Report{Records: []*Record{{Suite: "handshake", Scenario: "opens", Verdict: Passed, Clock: ClockVirtual}}}
	reporter, err := NewReporter("github", TableOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := reporter(os.Stdout, report); err != nil {
		fmt.Println(err)
	}
	// Output: ::notice title=tcplab::1 passed, 0 failed, 0 skipped
}
