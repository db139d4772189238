package harness

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/formatter"
	"github.com/onsi/ginkgo/v2/reporters"
	"github.com/onsi/ginkgo/v2/types"
	"github.com/onsi/gomega"

	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/internal/outcome"
	"github.com/tcplab/tcplab/peers"
	"github.com/tcplab/tcplab/results"
)

// Main is TestMain of a suite: the test program is also the program of its peers.
func Main(m *testing.M) {
	peers.Main()
	os.Exit(m.Run())
}

// suiteName is the description of this program's suite: it names the folder of its records.
var suiteName string

// RunSpecs runs a suite's specs, and sees to their records. Its arguments are those of
// ginkgo.RunSpecs. The description names the suite and the folder of its records, and is a label of
// all its specs.
//
// In virtual time each spec has a guest of its own, with a process of its own: nothing that another spec left is there,
// neither package variables nor what a BeforeAll outside of an Ordered container has set. An Ordered container runs whole,
// in order, in one guest. With tcplab run --share, and so in make lab, several specs share a guest and its process.
func RunSpecs(t ginkgo.GinkgoTestingT, description string, args ...any) bool {
	suiteName = description
	gomega.RegisterFailHandler(ginkgo.Fail)
	ginkgo.BeforeEach(skipOtherKernel)
	ginkgo.BeforeEach(skipMissingPrograms)
	ginkgo.BeforeEach(requireKernel)
	ginkgo.BeforeEach(skipOtherFamily)
	all := 0
	ginkgo.ReportAfterEach(func(report types.SpecReport) {
		if outcome.WasToRun(report) {
			all++
		}
		if err := finishRecord(report); err != nil {
			ginkgo.Fail(fmt.Sprintf("record of %q: %v", report.FullText(), err))
		}
	})
	reporter := reporting()
	if suiteConfig, _ := ginkgo.GinkgoConfiguration(); clock() == results.ClockVirtual && !suiteConfig.DryRun {
		reportOnlyRun(reporter.JSONReport)
		reporter.JSONReport = "" // or Ginkgo would write it over with all
	}
	passed := ginkgo.RunSpecs(t, description, slices.Concat([]any{reporter}, args, []any{ginkgo.Label(description)})...)
	w, done := io.Writer(os.Stderr), func() {}
	if passed { // else the go command shows what it is told
		w, done = visibleErrors()
	}
	defer done()
	tellSkipped(w, all)
	return passed
}

// reporting is how Ginkgo was asked to report, without colours where nobody sees them: in a pipe, a file, or where
// NO_COLOR is set, of which Ginkgo does not know.
func reporting() types.ReporterConfig {
	_, reporter := ginkgo.GinkgoConfiguration()
	reporter.NoColor = reporter.NoColor || !results.Terminal(os.Stdout).Colour
	if reporter.NoColor { // Ginkgo's own messages, such as of a table's wrong parameters, are made without asking the reporter
		formatter.SingletonFormatter.ColorMode = formatter.ColorModeNone
	}
	return reporter
}

// reportOnlyRun has Ginkgo's JSON report written without the specs that were not to run. A guest is for one spec: to tell of all
// others of a large suite is a good part of what a guest does that has little to do.
func reportOnlyRun(path string) {
	if path == "" {
		return
	}
	ginkgo.ReportAfterSuite("Ginkgo's report of the specs that ran, for --json-report", func(report types.Report) {
		report.SpecReports = onlyRun(report.SpecReports)
		if err := reporters.GenerateJSONReport(report, path); err != nil {
			ginkgo.Fail(fmt.Sprintf("JSON report: %v", err))
		}
	})
}

// onlyRun are the reports without those of specs that were not to run. What is no spec, such as a BeforeSuite, stays.
func onlyRun(all types.SpecReports) types.SpecReports {
	var run types.SpecReports
	for _, report := range all {
		if !report.LeafNodeType.Is(types.NodeTypeIt) || outcome.WasToRun(report) {
			run = append(run, report)
		}
	}
	return run
}

var probe = sync.OnceValue(impair.Probe)

// requireKernel skips a spec that cannot run here. It probes by trying, once.
func requireKernel() {
	err := probe()
	if err == nil {
		return
	}
	unavailable(err)
}

// unavailable ends a spec that needs what this machine lacks: it is skipped with the reason, or
// fails with it where nothing may be missing.
func unavailable(err error) {
	ginkgo.GinkgoHelper()
	missing(err, fmt.Sprintf("%v\nThis works on any Linux machine: %s", err, guestCommand()))
}

// missing is unavailable with a reason of its own.
func missing(err error, reason string) {
	ginkgo.GinkgoHelper()
	if os.Getenv("TCPLAB_REQUIRE") == "1" {
		ginkgo.Fail(reason)
	}
	noteSkipped(err.Error())
	ginkgo.Skip(reason)
}

// guestCommand runs the suite in this directory in a guest.
func guestCommand() string {
	root, err := moduleRoot()
	if err != nil {
		return "tcplab run with this suite"
	}
	here, err := os.Getwd()
	if err != nil {
		return "tcplab run with this suite"
	}
	suite, err := filepath.Rel(root, here)
	if err != nil {
		return "tcplab run with this suite"
	}
	return fmt.Sprintf("cd %s && go run github.com/tcplab/tcplab/cmd/tcplab run ./%s", root, suite)
}

// moduleRoot is the folder of the go.mod that the working directory belongs to.
func moduleRoot() (string, error) {
	here, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := here; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no go.mod in %s or above", here)
		}
	}
}

// clock is the name of the clock that this suite runs on.
func clock() string {
	if name := strings.TrimSpace(os.Getenv("TCPLAB_CLOCK")); name != "" {
		return name
	}
	return "real"
}
