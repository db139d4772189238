package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/internal/cell"
	"github.com/tcplab/tcplab/internal/testenv"
	"github.com/tcplab/tcplab/internal/vm"
	"github.com/tcplab/tcplab/internal/vm/guest"
	"github.com/tcplab/tcplab/peers"
	"github.com/tcplab/tcplab/results"
)

func TestMain(m *testing.M) {
	guest.Main() // a test that boots guests packs this program as their /init
	peers.Main()
	cell.Main()
	if os.Getenv(commandVariable) != "" {
		main()
		return
	}
	// Tests compile suites of their own, which are to take nobody's place in the cache.
	_ = os.Setenv(vm.SuitesLimitVariable, "0")
	os.Exit(m.Run())
}

// tcplab runs a command line in this process.
func tcplab(args ...string) (output string, err error) {
	var out bytes.Buffer
	root := newRoot()
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetArgs(args)
	err = root.ExecuteContext(context.Background())
	return out.String(), err
}

func TestBadUseIsRefused(t *testing.T) {
	for _, c := range []struct {
		says string
		args []string
	}{
		{"allowed are auto, virtual and real", []string{"run", "--clock", "sundial"}},
		{"unknown flag", []string{"run", "--no-such-flag"}},
		{"no name before, after or between commas", []string{"run", "--kernel", "6.1,"}},
		{"a range goes up", []string{"seeds", "--seeds", "5-1"}},
		{"at most 10000", []string{"seeds", "--seeds", "1-5,1-99999999999"}},
		{`"x" is no number`, []string{"seeds", "--seeds", "1-x"}},
		{`"" is no number`, []string{"seeds", "--seeds", "1,"}},
		{"3 is there twice", []string{"seeds", "--seeds", "1-5,3"}},
		{"no such file", []string{"run", "--junit", "/no/such/folder/junit.xml"}},
		{"is a folder", []string{"run", "--junit", "testdata"}},
		{"give it as FORMAT=FILE", []string{"run", "--report", "junit"}},
		{"allowed are table, json, junit, github, markdown", []string{"run", "--report", "yaml=x"}},
		{"allowed are table, json, junit, github, markdown", []string{"report", "--format", "yaml"}},
		{"a file of its own", []string{"run", "--junit", "x", "--report", "json=./x"}},
		{"no regular file", []string{"run", "--report", "json=/dev/null"}},
		{"no such file", []string{"report", "/no/such/run"}},
		{"has no record", []string{"report", "testdata"}},
		{"requires at least 1 arg", []string{"kernels", "fetch"}},
		{"a name is a version", []string{"kernels", "fetch", "six"}},
		{"none of the others can be", []string{"compare", "--bytes", "--all", "one", "two"}},
		{"regular expression", []string{"list", "--focus", "("}},
		{"label filter", []string{"list", "--label", "a &&"}},
		{"1 runs: name two", []string{"compare", "one"}},
		{"unknown program", []string{"peer", "no-such-program"}},
		{"unknown command", []string{"no-such-command"}},
		{"no such file", []string{"compare", "/no/such/run", "/no/such/run"}},
	} {
		_, err := tcplab(c.args...)
		NewWithT(t).Expect(err).To(MatchError(ContainSubstring(c.says)), "%v", c.args)
	}
}

func TestListShowsScenarios(t *testing.T) {
	g := NewWithT(t)
	testenv.Program(t, "go", "to compile suites")
	output, err := tcplab("list", "../../scenarios/handshake", "--focus", "refused")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(output).To(Equal("handshake\n    is refused with RST by a closed port [quick netem tracefs rfc9293]\n"))
}

// make lab shows one scenario first: it has to be one, whatever becomes of the specs.
func TestFirstScenarioOfMakeLab(t *testing.T) {
	g := NewWithT(t)
	testenv.Program(t, "go", "to compile suites")
	makefile, err := os.ReadFile("../../Makefile")
	g.Expect(err).NotTo(HaveOccurred())
	first := regexp.MustCompile(`(?m)^FIRST +:= \./(\S+) --focus '(.*)'$`).FindSubmatch(makefile)
	g.Expect(first).To(HaveLen(3))
	output, err := tcplab("list", "../../"+string(first[1]), "--focus", string(first[2]))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(strings.Count(output, "\n")).To(Equal(2), output)
}

// The workflow that people copy asks this command for nothing that it does not have.
func TestWorkflowToCopy(t *testing.T) {
	g := NewWithT(t)
	workflow, err := os.ReadFile("../../docs/ci/github-actions.yml")
	g.Expect(err).NotTo(HaveOccurred())
	lines := regexp.MustCompile(`(?m)^ +\.cache/bin/tcplab ([^|\n]*)`).FindAllSubmatch(workflow, -1)
	g.Expect(len(lines)).To(BeNumerically(">=", 3))
	for _, line := range lines {
		command, args, err := newRoot().Find(strings.Fields(string(line[1])))
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(command.Runnable()).To(BeTrue(), "%s", line[1])
		g.Expect(command.ParseFlags(args)).To(Succeed(), "%s", line[1])
	}
}

// record writes a record of a scenario into a run of its own.
func record(t *testing.T, id string, metric float64) string {
	t.Helper()
	g := NewWithT(t)
	run, err := results.Create(t.TempDir(), id)
	g.Expect(err).NotTo(HaveOccurred())
	r := &results.Record{
		Suite: "suite", Scenario: "scenario", Verdict: results.Passed, Clock: results.ClockVirtual,
		Metrics: []results.Metric{{Name: "metric", Value: metric}},
	}
	g.Expect(r.Write(run.Dir("suite", "scenario"))).To(Succeed())
	return run.Path()
}

func TestCompare(t *testing.T) {
	g := NewWithT(t)
	output, err := tcplab("compare", record(t, "a", 1), record(t, "b", 1))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(output).To(Equal("1 scenarios: every byte the same\n"))

	output, err = tcplab("compare", record(t, "a", 1), record(t, "b", 2))
	g.Expect(err).To(MatchError(errFailed))
	g.Expect(output).To(ContainSubstring("metrics[0].value 1 != 2"))
}

// Runs that cannot be the same byte for byte are compared as a reader would.
func TestCompareChooses(t *testing.T) {
	g := NewWithT(t)
	older, newer := record(t, "a", 7), record(t, "b", 11)
	other := filepath.Join(newer, "suite", "scenario", results.FileName)
	text, err := os.ReadFile(other)
	g.Expect(err).NotTo(HaveOccurred())
	text = bytes.Replace(text, []byte(`"release": ""`), []byte(`"release": "6.12.0"`), 1)
	g.Expect(os.WriteFile(other, text, 0o644)).To(Succeed())

	output, err := tcplab("compare", older, newer)
	g.Expect(err).To(MatchError(errFailed))
	g.Expect(output).To(ContainSubstring("suite: scenario\n    metric  7  ->  11  +57 %\n"))
	output, err = tcplab("compare", "--bytes", older, newer)
	g.Expect(err).To(MatchError(errFailed))
	g.Expect(output).To(ContainSubstring("metrics[0].value 7 != 11"))
	output, err = tcplab("compare", "--behaviour", older, older)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(output).To(HavePrefix("0 of 1 scenarios differ"))
}

func TestParseSeeds(t *testing.T) {
	g := NewWithT(t)
	g.Expect(parseSeeds("7")).To(Equal([]uint64{7}))
	g.Expect(parseSeeds("1-3, 42,0-0")).To(Equal([]uint64{1, 2, 3, 42, 0}))
	g.Expect(parseSeeds("18446744073709551614-18446744073709551615")).To(HaveLen(2))
	g.Expect(parseSeeds("1-10000")).To(HaveLen(mostSeeds))
}

func TestKernelsLists(t *testing.T) {
	g := NewWithT(t)
	t.Setenv("TCPLAB_CACHE", t.TempDir())
	output, err := tcplab("kernels")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(output).To(And(ContainSubstring("  none\n"), ContainSubstring("tcplab kernels fetch 6.1\n"), ContainSubstring("tcplab kernels fetch newest\n")))
}

func TestIDOfAKernel(t *testing.T) {
	for _, c := range []struct{ name, release, want string }{
		{"6.1", "6.1.0-56-amd64", "6.1"},
		{"6.12.95+deb12-amd64", "6.12.95+deb12-amd64", "6.12.95-deb12-amd64"},
		{"/boot/vmlinuz-6.1.0", "6.1.0", "6.1.0"},
	} {
		if got := idOf(c.name, c.release); got != c.want {
			t.Errorf("%s: %s, expected %s", c.name, got, c.want)
		}
	}
}

func TestDoctorNamesWhatItLooksAt(t *testing.T) {
	output, _ := tcplab("doctor") // its verdict depends on the machine
	for _, name := range []string{"go ", "root ", "sch_netem ", "tracefs ", "QEMU ", "kernel "} {
		NewWithT(t).Expect(output).To(ContainSubstring(name))
	}
}

// TestRealClock runs a suite on the real clock of a kernel that has netem: that of a guest, so
// that it can run anywhere.
func TestRealClock(t *testing.T) {
	testenv.BootsGuests(t)
	g := NewWithT(t)
	dir := t.TempDir()
	program, suite := filepath.Join(dir, "tcplab"), filepath.Join(dir, "handshake.test")
	for _, args := range [][]string{
		{"build", "-o", program, "."},
		{"test", "-c", "-ldflags=-s -w", "-o", suite, "../../scenarios/handshake"},
	} {
		command := exec.Command("go", args...)
		command.Env = append(os.Environ(), "CGO_ENABLED=0")
		output, err := command.CombinedOutput()
		g.Expect(err).NotTo(HaveOccurred(), string(output))
	}
	kernel, err := vm.FindKernel(t.Context(), vm.KernelOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	base, err := vm.NewBase(vm.Config{Kernel: kernel, Init: program})
	g.Expect(err).NotTo(HaveOccurred())
	defer base.Close()
	image, err := base.Image(vm.Contents{Program: program, Include: []string{suite + "=" + guest.WorkDir + "/handshake.test"}})
	g.Expect(err).NotTo(HaveOccurred())
	defer image.Close()
	var output bytes.Buffer
	result, err := image.Run(t.Context(), vm.Job{
		Args: []string{"run", "handshake.test", "--focus", "refused|three-way", "--results", guest.ArtefactsDir, "--id", "real",
			"--junit", guest.ArtefactsDir + "/junit.xml"},
		Seed: 1, Output: &output, Artefacts: dir,
	})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(result.ExitCode).To(Equal(0), output.String())
	g.Expect(output.String()).To(ContainSubstring("clock: real"))
	run, err := results.Open(filepath.Join(dir, "real"))
	g.Expect(err).NotTo(HaveOccurred())
	records, err := run.Records()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(records).To(HaveLen(2))
	for _, r := range records {
		g.Expect(r.Verdict).To(Equal(results.Passed))
		g.Expect(r.Clock).To(Equal(results.ClockReal))
		g.Expect(r.Host).NotTo(BeNil())
	}
	report, err := os.ReadFile(filepath.Join(dir, "junit.xml"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(bytes.Count(report, []byte("<testcase "))).To(Equal(2), string(report))
}
