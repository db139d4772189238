package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/internal/cell"
	"github.com/tcplab/tcplab/internal/sweep"
	"github.com/tcplab/tcplab/results"
)

func TestReportOfRuns(t *testing.T) {
	g := NewWithT(t)
	run := record(t, "a", 7)
	output, err := tcplab("report", run)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(output).To(And(ContainSubstring("metric  7\n"), HaveSuffix("1 passed, 0 failed, 0 skipped\n")))

	g.Expect(os.MkdirAll(filepath.Join(run, "suite", "killed"), 0o755)).To(Succeed())
	output, err = tcplab("report", run, "--format", "github")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(output).To(Equal("::error title=tcplab::1 of 2 scenarios did not run to their end\n::notice title=tcplab::1 passed, 0 failed, 0 skipped\n"))

	// The same scenario on the same kernel with the same seed: the names of the runs tell them apart. Of one run nothing would.
	_, err = tcplab("report", run, run, "--format", "junit")
	g.Expect(err).To(MatchError(ContainSubstring("is in the report twice")))
	other := record(t, "b", 7)
	output, err = tcplab("report", run, other, "--format", "junit")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(output).To(And(ContainSubstring("of run %s\"", filepath.Base(run)), ContainSubstring(`<property name="run" value="%s">`, filepath.Base(other))))
	page := filepath.Join(t.TempDir(), "both.html")
	_, err = tcplab("report", run, other, "--format", "html", "--output", page)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(page).To(BeARegularFile())
}

// Without a run it is the newest one below the working directory.
func TestReportOfTheLatestRun(t *testing.T) {
	g := NewWithT(t)
	t.Chdir(t.TempDir())
	_, err := tcplab("report")
	g.Expect(err).To(MatchError(os.ErrNotExist))
	run, err := results.Create("results", "a")
	g.Expect(err).NotTo(HaveOccurred())
	r := &results.Record{Suite: "suite", Scenario: "scenario", Verdict: results.Failed, Failure: &results.Failure{Message: "it did not"}, Clock: results.ClockVirtual}
	g.Expect(r.Write(run.Dir("suite", "scenario"))).To(Succeed())
	g.Expect(run.MakeLatest()).To(Succeed())
	output, err := tcplab("report", "--format", "markdown")
	g.Expect(err).NotTo(HaveOccurred(), "of what failed, too")
	g.Expect(output).To(And(ContainSubstring("\n    it did not\n    evidence: results/a/suite/scenario\n"), ContainSubstring("\n| suite | scenario | **failed** |")))
}

// A run leaves the same reports that the command makes of it afterwards.
func TestReportFiles(t *testing.T) {
	g := NewWithT(t)
	run := record(t, "a", 7)
	report, err := reportOf([]string{run})
	g.Expect(err).NotTo(HaveOccurred())
	dir := t.TempDir()
	path := func(format string) string { return filepath.Join(dir, format) }
	var wanted []string
	for _, format := range results.Formats() {
		if format != "junit" {
			wanted = append(wanted, format+"="+path(format))
		}
	}
	files, err := reportFiles(path("junit"), append(wanted, "github=-"))
	g.Expect(err).NotTo(HaveOccurred())
	for range 2 {
		var out bytes.Buffer
		for _, file := range files {
			g.Expect(file.clear()).To(Succeed())
			g.Expect(file.path).NotTo(BeAnExistingFile(), "of an earlier run")
		}
		g.Expect(writeReports(files, report, &out)).To(Succeed())
		for _, format := range results.Formats() {
			printed, err := tcplab("report", run, "--format", format)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(os.ReadFile(path(format))).To(Equal([]byte(printed)), format)
			if format == "github" {
				g.Expect(out.String()).To(Equal(printed))
			}
		}
	}
	g.Expect(reportFiles("", nil)).To(BeEmpty())
}

// One that cannot be written does not keep the others back.
func TestReportsAreWrittenAllTheSame(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	files, err := reportFiles(filepath.Join(dir, "gone", "junit.xml"), []string{"json=" + filepath.Join(dir, "report.json")})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(writeReports(files, results.Report{}, io.Discard)).To(MatchError(os.ErrNotExist))
	g.Expect(filepath.Join(dir, "report.json")).To(BeAnExistingFile())
}

// The page is written beside the records, or where --output says, and is the same however it is asked for.
func TestReportAsAPage(t *testing.T) {
	g := NewWithT(t)
	t.Chdir(t.TempDir())
	run := record(t, "a", 7)
	output, err := tcplab("report", run, "--format", "html")
	g.Expect(err).NotTo(HaveOccurred())
	file := filepath.Join(run, "report.html")
	g.Expect(output).To(HavePrefix("report: " + file))
	page, err := os.ReadFile(file)
	g.Expect(err).NotTo(HaveOccurred())
	printed, stderr, err := connected("report", run, "--format", "html", "--output", "-")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(stderr).To(BeEmpty())
	g.Expect(printed == string(page)).To(BeTrue(), "what is printed is what is written, or its scripts would not run")

	files, err := reportFiles("", []string{"html=run.html"})
	g.Expect(err).NotTo(HaveOccurred())
	report, err := reportOf([]string{run})
	g.Expect(err).NotTo(HaveOccurred())
	var out bytes.Buffer
	g.Expect(writeReports(files, report, &out)).To(Succeed())
	g.Expect(out.String()).To(Equal("report: run.html\n"))
	g.Expect(os.ReadFile("run.html")).To(Equal(page))
}

func TestReportOfACapture(t *testing.T) {
	g := NewWithT(t)
	capture, err := filepath.Abs("../../internal/picture/testdata/tailloss/capture.pcapng")
	g.Expect(err).NotTo(HaveOccurred())
	t.Chdir(t.TempDir())
	output, err := tcplab("report", capture)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(output).To(HavePrefix("report: capture.html ("))
	g.Expect(os.ReadFile("capture.html")).To(ContainSubstring("<!doctype html>"))
	_, err = tcplab("report", capture, "--format", "json")
	g.Expect(err).To(MatchError(ContainSubstring("of captures there is html only")))
	_, err = tcplab("report", os.Args[0])
	g.Expect(err).To(MatchError(ContainSubstring("not a pcapng or pcap file")))
}

// What tcplab sweep --json prints is read: each of its points is in the page, and leads to its scenario.
func TestReportOfASweep(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	run := record(t, "a", 7)
	opened, err := results.Open(run)
	g.Expect(err).NotTo(HaveOccurred())
	records, err := opened.Records()
	g.Expect(err).NotTo(HaveOccurred())
	name := records[0].Scenario
	result := sweep.Result{Kernel: records[0].Kernel.Release, Seeds: []uint64{records[0].Seed}, Points: []sweep.Point{
		{Cell: cell.Cell{Rate: 1e7, RTT: 20 * time.Millisecond, Loss: 0.01, Flows: []cell.Flow{{Congestion: "bbr", Count: 2}}}, Name: name, Figures: map[string]sweep.Figure{"goodput": {Values: []float64{9}, Median: 9, Low: 9, High: 9, Unit: "Mbit/s"}}},
		{Cell: cell.Cell{Rate: 1e7, RTT: 20 * time.Millisecond, Flows: []cell.Flow{{Congestion: "cubic"}}}, Name: "other", Figures: map[string]sweep.Figure{"goodput": {Values: []float64{5}, Median: 5, Low: 5, High: 5}}},
	}}
	var document bytes.Buffer
	g.Expect(writeJSON(&document, result)).To(Succeed())
	file := filepath.Join(dir, "loss.json")
	g.Expect(os.WriteFile(file, document.Bytes(), 0o644)).To(Succeed())
	page := filepath.Join(dir, "loss.html")
	output, err := tcplab("report", file, run, "-o", page)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(output).To(HavePrefix("report: " + page))
	g.Expect(os.ReadFile(page)).To(And(ContainSubstring(`id="bundle0"`), Not(ContainSubstring(`id="block1"`))))

	t.Chdir(dir)
	_, err = tcplab("report", file)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect("loss.html").To(BeAnExistingFile())
	_, err = tcplab("report", file, "--format", "junit")
	g.Expect(err).To(MatchError(ContainSubstring("of a sweep there is html only")))
	g.Expect(os.WriteFile(file, []byte(`{"points": []}`), 0o644)).To(Succeed())
	_, err = tcplab("report", file)
	g.Expect(err).To(MatchError(ContainSubstring("loss.json: it is not what tcplab sweep --json prints: it has no points")))
}
