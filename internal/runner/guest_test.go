package runner

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/internal/testenv"
	"github.com/tcplab/tcplab/internal/vm"
	"github.com/tcplab/tcplab/internal/vm/vmtest"
	"github.com/tcplab/tcplab/results"
)

// needGuests skips the test unless it may boot guests, and can.
func needGuests(t *testing.T) {
	t.Helper()
	vmtest.NeedGuests(t)
	_, err := exec.LookPath("go")
	testenv.Need(t, err)
	_, _, err = Choose(Virtual)
	testenv.Need(t, err)
}

func runInGuests(t *testing.T, patterns []string, options RunOptions) (Summary, string) {
	t.Helper()
	var out bytes.Buffer
	options.Root = t.TempDir()
	summary, err := Run(t.Context(), SessionOptions{Patterns: patterns, Clock: Virtual, Log: &out}, options)
	if err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	t.Logf("%s", &out)
	return summary, out.String()
}

func find(t *testing.T, summary Summary, scenario string) *results.Record {
	t.Helper()
	for _, record := range summary.Records {
		if record.Scenario == scenario {
			return record
		}
	}
	t.Fatalf("no record of %q among %d", scenario, len(summary.Records))
	return nil
}

func TestInGuests(t *testing.T) {
	needGuests(t)
	g := NewWithT(t)
	const seed = 5
	guests := filepath.Join(t.TempDir(), "guests.test")
	g.Expect(compilePackage(t.Context(), runtime.GOARCH, "./testdata/guests", guests)).To(Succeed())
	all, log := runInGuests(t, []string{guests, "./testdata/bare", "./testdata/focused", "./testdata/plain"}, RunOptions{
		Filter: Filter{Labels: "!slow"}, Seed: seed, Fresh: true,
	})
	g.Expect(all.OK()).To(BeFalse())
	g.Expect(all.Focused).To(Equal([]string{"focused"}))
	g.Expect(all.Records).To(HaveLen(8))
	g.Expect(log).To(ContainSubstring("clock: virtual (as asked); seed: 5"))
	g.Expect(log).To(ContainSubstring("focused: has focused specs"))

	passed := find(t, all, "a spec passes")
	g.Expect(passed.Verdict).To(Equal(results.Passed))
	g.Expect(passed.Suite).To(Equal("guests"))
	g.Expect(passed.Labels).To(Equal([]string{"spec", "good", "quick"}))
	g.Expect(passed.Clock).To(Equal(results.ClockVirtual))
	g.Expect(passed.Seed).To(BeEquivalentTo(seed))
	g.Expect(passed.Impairments).To(HaveLen(2))
	g.Expect(passed.Queues).To(HaveLen(2))
	g.Expect(passed.Metrics).To(HaveLen(1))
	g.Expect(passed.Kernel.Version).NotTo(BeEmpty())
	g.Expect(passed.Kernel.Release).NotTo(Equal(results.ThisKernel().Release))
	g.Expect(passed.Inputs.QEMUVersion).NotTo(BeEmpty())
	g.Expect(passed.Inputs.QEMUSHA256).To(HaveLen(64))
	g.Expect(passed.Inputs.InitramfsSHA256).NotTo(BeEmpty())
	g.Expect(passed.Host.Cached).To(BeFalse())
	g.Expect(passed.Host.Kernel).To(Equal(results.ThisKernel()))
	g.Expect(passed.Host.Wall).To(BeNumerically(">", 0))
	var files []string
	for _, artefact := range passed.Artefacts {
		files = append(files, artefact.Path)
	}
	g.Expect(files).To(Equal([]string{"capture.pcapng", "console.txt", "counters.json", "ginkgo.json", "output.txt"}))

	g.Expect(find(t, all, "a spec passes too").Verdict).To(Equal(results.Passed))

	failed := find(t, all, "a spec fails")
	g.Expect(failed.Verdict).To(Equal(results.Failed))
	g.Expect(failed.Failure.Message).To(ContainSubstring("to equal"))
	g.Expect(failed.Failure.Location).To(HaveSuffix("/" + place(t, "guests/guests_test.go", `Equal("42")`)))
	g.Expect(failed.Topology).NotTo(BeNil())
	g.Expect(log).To(ContainSubstring("failed  guests: a spec fails\n"))
	g.Expect(log).To(ContainSubstring("<string>: the answer"), "the output of a spec that fails")

	skipped := find(t, all, "a spec is skipped")
	g.Expect(skipped.Verdict).To(Equal(results.Skipped))
	g.Expect(skipped.Reason).To(Equal("not on a Sunday"))

	died := find(t, all, "a spec takes the kernel along")
	g.Expect(died.Verdict).To(Equal(results.Failed))
	g.Expect(died.Failure.Message).To(And(HavePrefix(vm.ErrPanic.Error()), ContainSubstring("sysrq")))
	g.Expect(died.Labels).To(Equal([]string{"spec"}))
	g.Expect(died.Kernel.Release).To(Equal(passed.Kernel.Release))
	g.Expect(os.ReadFile(filepath.Join(died.Dir(), consoleFile))).To(ContainSubstring("Kernel panic"))

	bare := find(t, all, "passes without a harness")
	g.Expect(bare.Verdict).To(Equal(results.Passed))
	g.Expect(bare.Labels).To(Equal([]string{"alone"}))
	g.Expect(bare.Duration).To(BeNumerically(">", 0))
	g.Expect(find(t, all, "is in focus").Verdict).To(Equal(results.Passed))
	plain := find(t, all, "go test "+module+"plain")
	g.Expect(plain.Verdict).To(Equal(results.Passed))
	g.Expect(plain.Suite).To(Equal("plain"))

	unfinished, err := all.Run.Unfinished()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(unfinished).To(BeEmpty())

	// Alone, and run anew: every byte is the same. From the cache: as well, and it says so.
	alone := RunOptions{Filter: Filter{Focus: []string{"a spec passes$"}}, Seed: seed, Fresh: true}
	anew, _ := runInGuests(t, []string{guests}, alone)
	g.Expect(anew.OK()).To(BeTrue())
	g.Expect(anew.Records).To(HaveLen(1))
	g.Expect(anew.Records[0].Host.Cached).To(BeFalse())
	g.Expect(differences(t, all, anew)).To(BeEmpty())

	alone.Fresh = false
	cached, log := runInGuests(t, []string{guests}, alone)
	g.Expect(cached.OK()).To(BeTrue())
	g.Expect(cached.Records[0].Host.Cached).To(BeTrue())
	g.Expect(log).To(ContainSubstring("passed  guests: a spec passes (cached)\n"))
	g.Expect(differences(t, all, cached)).To(BeEmpty())

	// What failed is never taken from the cache.
	again, _ := runInGuests(t, []string{guests}, RunOptions{Filter: Filter{Focus: []string{"a spec fails$"}}, Seed: seed})
	g.Expect(again.OK()).To(BeFalse())
	g.Expect(again.Records[0].Host.Cached).To(BeFalse())
	g.Expect(differences(t, all, again)).To(BeEmpty())

	// Another seed is another run, whose packets are others.
	alone.Seed++
	other, _ := runInGuests(t, []string{guests}, alone)
	g.Expect(other.Records[0].Seed).To(BeEquivalentTo(seed + 1))
	g.Expect(differences(t, all, other)).To(ContainElement(HaveSuffix("/capture.pcapng")))
}

// Specs that share a guest are judged one by one, come again byte for byte, and have each a record of its own.
func TestSharedGuests(t *testing.T) {
	needGuests(t)
	g := NewWithT(t)
	options := RunOptions{Filter: Filter{Focus: []string{"a spec (passes|fails|is skipped)"}}, Share: 3, Fresh: true, Jobs: 1}
	first, log := runInGuests(t, []string{"./testdata/guests"}, options)
	g.Expect(log).To(ContainSubstring("guests: a spec passes\n"))
	g.Expect(results.Count(first.Records)).To(Equal(results.Tally{Passed: 2, Failed: 1, Skipped: 1}))
	inOne := []string{"a spec passes", "a spec passes too", "a spec fails"}
	for _, text := range inOne {
		g.Expect(find(t, first, text).Together).To(Equal(inOne), text)
	}
	g.Expect(find(t, first, "a spec fails").Failure.Message).To(ContainSubstring("to equal"))
	g.Expect(paths(find(t, first, "a spec passes"))).To(ContainElement("capture.pcapng"))
	g.Expect(paths(find(t, first, "a spec fails"))).NotTo(ContainElement("capture.pcapng"), "that is another's")
	g.Expect(find(t, first, "a spec is skipped").Together).To(BeEmpty(), "three have one guest, and the fourth another")

	again, _ := runInGuests(t, []string{"./testdata/guests"}, options)
	found, err := results.Compare(first.Run, again.Run)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(found).To(BeEmpty())

	// A guest in which one failed is not taken from the cache; one in which some passed and some were skipped is.
	options.Fresh, options.Share = false, 4
	options.Filter = Filter{Focus: []string{"a spec (passes$|is skipped)"}}
	for range 2 {
		again, _ = runInGuests(t, []string{"./testdata/guests"}, options)
	}
	g.Expect(results.Count(again.Records)).To(Equal(results.Tally{Passed: 1, Skipped: 1}))
	for _, record := range again.Records {
		g.Expect(record.Host.Cached).To(BeTrue(), record.Scenario)
	}
}

// differences are the files of the only scenario of b that are not as in a.
func differences(t *testing.T, a, b Summary) []string {
	t.Helper()
	found, err := results.Compare(a.Run, b.Run)
	if err != nil {
		t.Fatal(err)
	}
	folder, err := filepath.Rel(b.Run.Path(), b.Records[0].Dir())
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, difference := range found {
		if strings.HasPrefix(difference.File, folder+"/") {
			files = append(files, difference.File)
		}
	}
	return files
}

// The runs of a session differ in their seeds, and share what they are made from. A spec that is for
// other kernels needs no guest.
func TestSession(t *testing.T) {
	needGuests(t)
	g := NewWithT(t)
	var out bytes.Buffer
	session, err := Open(t.Context(), SessionOptions{Patterns: []string{"./testdata/kernels"}, Clock: Virtual, Log: &out})
	g.Expect(err).NotTo(HaveOccurred())
	defer session.Close()
	root := t.TempDir()
	for _, seed := range []uint64{3, 4} {
		summary, err := session.Run(t.Context(), RunOptions{Root: root, Seed: seed, IPv6: true, Quiet: true})
		g.Expect(err).NotTo(HaveOccurred(), out.String())
		g.Expect(summary.OK()).To(BeTrue())
		g.Expect(results.Count(summary.Records)).To(Equal(results.Tally{Passed: 1, Skipped: 2}))
		g.Expect(find(t, summary, "is for all").Seed).To(Equal(seed))
		left := find(t, summary, "is for those from the far future")
		g.Expect(left.Reason).To(Equal("is for kernels >= 4.0.0 and >= 999.0.0; this is " + summary.Kernel))
		g.Expect(left.Kernel.Release).To(Equal(summary.Kernel))
		g.Expect(left.Host.Wall).To(BeZero())
		for _, r := range summary.Records {
			g.Expect(r.IPv6).To(BeTrue(), r.Scenario)
		}
		g.Expect(session.Release("")).To(Equal(summary.Kernel))
		g.Expect(session.built.images).To(BeEmpty(), "the last scenario of the suite has ended")
		g.Expect(session.images).To(BeEmpty())
	}
	g.Expect(out.String()).NotTo(ContainSubstring("passed  kernels: "))
	g.Expect(strings.Count(out.String(), "guest kernel: ")).To(Equal(1))
	_, err = session.Run(t.Context(), RunOptions{Root: root, Kernel: "6.0"})
	g.Expect(err).To(MatchError(ContainSubstring("kernel 6.0 is none of the session's")))
}

func TestArgumentsThatLeaveTheSpecOut(t *testing.T) {
	needGuests(t)
	g := NewWithT(t)
	summary, _ := runInGuests(t, []string{"./testdata/bare"}, RunOptions{
		Filter: Filter{Labels: "alone"}, Args: []string{"--ginkgo.label-filter=slow"},
	})
	g.Expect(summary.Records).To(HaveLen(1))
	g.Expect(summary.Records[0].Verdict).To(Equal(results.Failed))
	g.Expect(summary.Records[0].Failure.Message).To(HavePrefix("it did not run"))
}

func TestKernelThatIsNotThere(t *testing.T) {
	needGo(t)
	if _, _, err := Choose(Virtual); err != nil {
		t.Skip(err)
	}
	_, err := Run(t.Context(), SessionOptions{
		Patterns: []string{"./testdata/plain"}, Clock: Virtual, Kernels: []string{filepath.Join(t.TempDir(), "vmlinuz")},
	}, RunOptions{Root: t.TempDir()})
	if !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}
