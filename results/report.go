package results

import (
	"cmp"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tcplab/tcplab/internal/text"
)

// A Report is what came of the scenarios of one or several runs.
type Report struct {
	Records []*Record // reporters keep their order
	// Missing counts the scenarios that were to leave a record and did not, because the run was ended before its time.
	Missing int
	// Focused are the suites of which only those specs ran that are focused in their source (FIt, FDescribe, Focus). As with
	// ginkgo, such a report is not one of a run that passed.
	Focused []string
	// Run is the folder of the run that it is of; empty if it is of several, or of none that is known.
	Run string
}

// A Reporter writes a report in one format. Its error is the writer's, or about a record that the format cannot hold.
type Reporter func(w io.Writer, report Report) error

// formats are the names of reporters, in the order in which people read of them.
var formats = []struct {
	name string
	make func(TableOptions) Reporter
}{
	{"table", Table},
	{"json", func(TableOptions) Reporter { return writeJSON }},
	{"junit", func(TableOptions) Reporter { return writeJUnit }},
	{"github", func(TableOptions) Reporter { return writeGitHub }},
	{"markdown", func(TableOptions) Reporter { return writeMarkdown }},
}

// Formats are the names that NewReporter takes.
func Formats() []string {
	var names []string
	for _, f := range formats {
		names = append(names, f.name)
	}
	return names
}

// NewReporter returns the reporter of a format:
//
//	table     for people, see [Table]
//	json      one document for programs: how many scenarios passed, failed, were skipped and are missing, and all records
//	junit     XML that tools of continuous integration read, valid by Ant's schema and by Jenkins's
//	github    annotations for the log of a step of GitHub Actions
//	markdown  a page for people, such as for $GITHUB_STEP_SUMMARY
//
// The options are for tables; the other formats do without. Another format is an error that names these.
func NewReporter(format string, o TableOptions) (Reporter, error) {
	for _, f := range formats {
		if f.name == format {
			return f.make(o), nil
		}
	}
	return nil, fmt.Errorf("format %q: allowed are %s", format, strings.Join(Formats(), ", "))
}

// Report returns what there is of the run: its records, and how many scenarios have none, be it that they never began or that
// they did not end. A run without any is an error.
func (r *Run) Report() (Report, error) {
	records, err := r.Records()
	if err != nil {
		return Report{}, err
	}
	plan, err := r.plan()
	if err != nil {
		return Report{}, err
	}
	unfinished, err := r.unfinished(plan)
	if err != nil {
		return Report{}, err
	}
	if len(records)+len(unfinished) == 0 {
		return Report{}, fmt.Errorf("run %s has no record", r.path)
	}
	return Report{Records: records, Missing: len(unfinished), Focused: plan.Focused, Run: r.path}, nil
}

// Join makes one report of several. Where two runs have one scenario on the same kernel, clock, seed and protocol, as before and after a change
// of code, their records of that origin are told apart by the names of the runs (see [Origin]). It is an error if nothing tells them apart: if a
// run is given twice, or has a scenario twice, or a report does not say of what run it is.
func Join(reports ...Report) (Report, error) {
	clashes, err := clashesOf(reports)
	if err != nil {
		return Report{}, err
	}
	names := runNames(reports)
	var all Report
	for i, report := range reports {
		for _, r := range report.Records {
			if clashes[r.Origin()] {
				named := *r
				named.run = names[i]
				r = &named
			}
			all.Records = append(all.Records, r)
		}
		all.Missing += report.Missing
		for _, suite := range report.Focused {
			if !slices.Contains(all.Focused, suite) {
				all.Focused = append(all.Focused, suite)
			}
		}
	}
	return all, nil
}

// clashesOf are the origins of which two reports have one scenario.
func clashesOf(reports []Report) (map[Origin]bool, error) {
	type key struct {
		suite, scenario string
		Origin
	}
	type found struct {
		run string
		*Record
	}
	clashes := map[Origin]bool{}
	seen := map[key][]found{}
	for _, report := range reports {
		for _, r := range report.Records {
			k := key{r.Suite, r.Scenario, r.Origin()}
			for _, other := range seen[k] {
				if report.Run == "" || other.run == "" || report.Run == other.run {
					return nil, fmt.Errorf("%s: %s is in the report twice (%s and %s), on %s: give one of them, or see with tcplab compare in what the two differ",
						r.Suite, r.Scenario, cmp.Or(other.dir, "-"), cmp.Or(r.dir, "-"), k.Origin)
				}
				clashes[k.Origin] = true
			}
			seen[k] = append(seen[k], found{report.Run, r})
		}
	}
	return clashes, nil
}

// runNames are names of runs: of each the last folder of its path, or, if two have that name, as many before it as it takes to tell all apart.
func runNames(reports []Report) []string {
	names := make([]string, len(reports))
	for folders, more := 1, true; more; folders++ {
		paths := map[string]string{} // by name
		more = false
		for i, report := range reports {
			parts := strings.Split(filepath.ToSlash(report.Run), "/")
			names[i] = strings.Join(parts[max(0, len(parts)-folders):], "/")
			other, taken := paths[names[i]]
			more = more || taken && other != report.Run
			paths[names[i]] = report.Run
		}
	}
	return names
}

// A doubt is why a report in which nothing failed is not one of a run that passed.
type doubt struct {
	kind  string // for programs
	wants string // what does not hold, as the name of a test
	text  string
}

// Doubts are why a report in which nothing failed is not one of a run that passed, for a person: that scenarios are missing, or
// focused in their source. There are none in one of a run that went as it should.
func (r Report) Doubts() []string {
	var all []string
	for _, d := range r.doubts() {
		all = append(all, d.text)
	}
	return all
}

func (r Report) doubts() []doubt {
	var all []doubt
	if r.Missing > 0 {
		all = append(all, doubt{"missing", "all scenarios have run",
			fmt.Sprintf("%d of %d scenarios did not run to their end", r.Missing, r.Missing+len(r.Records))})
	}
	if len(r.Focused) > 0 {
		all = append(all, doubt{"focused", "no spec is focused in its source",
			fmt.Sprintf("only the specs ran that are focused in their source (FIt, FDescribe, Focus) of %s: this does not count as passed",
				printable(strings.Join(r.Focused, ", ")))})
	}
	return all
}

// An Origin is what tells the runs of one scenario apart, and the records of one run have in common.
type Origin struct {
	Kernel string // release of the kernel that was tested
	Clock  string // ClockVirtual or ClockReal
	Seed   uint64
	IPv6   bool // else IPv4
	// Run is the name of the run: its folder. It is empty unless [Join] has found another run that has the same scenario with all of the above.
	Run string
}

// Origin is of what run a record is.
func (r *Record) Origin() Origin {
	return Origin{Kernel: r.Kernel.Release, Clock: r.Clock, Seed: r.Seed, IPv6: r.IPv6, Run: r.run}
}

// String is such as "kernel 6.1.0-56-amd64, virtual clock, seed 7, IPv4", with the name of the run behind it if there is one.
func (o Origin) String() string {
	name := fmt.Sprintf("kernel %s, %s clock, seed %d, %s", cmp.Or(printable(o.Kernel), "unknown"), cmp.Or(printable(o.Clock), "unknown"), o.Seed, o.protocol())
	if o.Run != "" {
		name += ", run " + printable(o.Run)
	}
	return name
}

func (o Origin) protocol() string {
	if o.IPv6 {
		return "IPv6"
	}
	return "IPv4"
}

// A section is the records of one origin. A run on several kernels has several.
type section struct {
	Origin
	records []*Record
}

// sections are the records by their origins, in the order of the first of each.
func sections(records []*Record) []section {
	var list []section
	for _, r := range records {
		o := r.Origin()
		i := slices.IndexFunc(list, func(s section) bool { return s.Origin == o })
		if i < 0 {
			i, list = len(list), append(list, section{Origin: o})
		}
		list[i].records = append(list[i].records, r)
	}
	return list
}

// explain is all that a record says of a failure: its message, where it was, the metrics, and where the evidence is. Lines
// stay lines. A message of more than most bytes is cut after a line.
func explain(r *Record, most int) string {
	var all strings.Builder
	if f := r.Failure; f != nil {
		all.WriteString(firstLines(f.Message, most))
		if f.Location != "" {
			all.WriteString("\nat " + f.Location)
		}
	}
	for _, metric := range r.Metrics {
		all.WriteString("\n" + metric.String())
	}
	if r.dir != "" {
		all.WriteString("\nevidence: " + r.dir)
	}
	return strings.TrimSpace(text.PrintableLines(all.String()))
}

// mostMessage is what services show of a message: GitHub takes 64 KB for an annotation, and 1 MB for all of a summary.
const mostMessage = 8 << 10

// firstLines are the lines of a message that have no more than so many bytes together.
func firstLines(message string, most int) string {
	if len(message) <= most {
		return message
	}
	head := strings.ToValidUTF8(message[:most], "")
	if end := strings.LastIndexByte(head, '\n'); end > 0 {
		head = head[:end]
	}
	return fmt.Sprintf("%s\n%s %d more bytes in %s", head, ellipsis, len(message)-len(head), FileName)
}

// headline is the first line of why a scenario failed, or how it ended.
func headline(r *Record) string {
	line := ""
	if r.Failure != nil {
		line, _, _ = strings.Cut(strings.TrimSpace(r.Failure.Message), "\n")
	}
	return cmp.Or(printable(strings.TrimSpace(line)), verdictName(r.Verdict))
}

// verdictName is a verdict for formats in which nothing may be empty.
func verdictName(v Verdict) string { return cmp.Or(printable(string(v)), "no verdict") }

// A skip is a reason for which scenarios did not run: on a machine without netem, most have the same.
type skip struct {
	reason string
	count  int
}

func skips(records []*Record) []skip {
	var list []skip
	for _, r := range records {
		if ran(r) {
			continue
		}
		reason := skipReason(r)
		i := slices.IndexFunc(list, func(s skip) bool { return s.reason == reason })
		if i < 0 {
			i, list = len(list), append(list, skip{reason: reason})
		}
		list[i].count++
	}
	return list
}

// String is such as "2 scenarios: netem is missing".
func (s skip) String() string {
	scenarios := "scenarios"
	if s.count == 1 {
		scenarios = "scenario"
	}
	return fmt.Sprintf("%d %s: %s", s.count, scenarios, s.reason)
}

// busyLimit is how busy, in percent, the processor of a guest may be for a metric to be TCP's: docs/virtual-time.md has what was
// measured.
const busyLimit = 80

// TooBusy reports whether the guest's processor was so busy that metrics may be the machine's, and not TCP's.
func (r *Record) TooBusy() bool { return r.Busy != nil && !r.Busy.Allowed && r.Busy.Most > busyLimit }

// tooBusy says that a record's metrics may be the machine's, or is empty.
func tooBusy(r *Record) string {
	if !r.TooBusy() {
		return ""
	}
	return fmt.Sprintf("the guest was busy for %.0f %% of %v, from %v on: its metrics may be the machine's. Give it a slower link, "+
		"or a faster machine (--mips, now %d)", r.Busy.Most, short(r.Busy.For), short(r.Busy.From), r.Inputs.MIPS)
}
