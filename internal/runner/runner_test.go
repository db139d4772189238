package runner

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/onsi/ginkgo/v2/types"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/internal/vm"
	"github.com/tcplab/tcplab/results"
)

func TestParseClock(t *testing.T) {
	for _, clock := range []Clock{Auto, Virtual, Real} {
		if got, err := ParseClock(string(clock)); got != clock || err != nil {
			t.Errorf("%s: %s, %v", clock, got, err)
		}
	}
	if _, err := ParseClock("fast"); err == nil || err.Error() != `clock "fast": allowed are auto, virtual and real` {
		t.Error(err)
	}
}

// What Choose chooses depends on the machine; that it agrees with what it is made from does not.
func TestChoose(t *testing.T) {
	g := NewWithT(t)
	realErr := RealClock()
	_, qemuErr := vm.FindQEMU()

	clock, why, err := Choose(Real)
	if realErr == nil {
		g.Expect(clock).To(Equal(Real))
		g.Expect(why).NotTo(BeEmpty())
	} else {
		g.Expect(err).To(MatchError(errCannotRun))
		g.Expect(err).To(MatchError(ContainSubstring(realErr.Error())))
		g.Expect(err.Error()).To(HaveSuffix("--clock virtual"))
	}

	clock, why, err = Choose(Virtual)
	if qemuErr == nil {
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(clock).To(Equal(Virtual))
		g.Expect(why).To(Equal("as asked"))
	} else {
		g.Expect(err).To(MatchError(errCannotRun))
	}

	clock, why, err = Choose(Auto)
	switch {
	case realErr == nil:
		g.Expect(clock).To(Equal(Real))
	case qemuErr == nil:
		g.Expect(clock).To(Equal(Virtual))
		g.Expect(why).To(Equal(because(realErr)))
	default:
		g.Expect(err).To(MatchError(errCannotRun))
		g.Expect(err).To(MatchError(ContainSubstring(realErr.Error())))
		g.Expect(err).To(MatchError(qemuErr))
	}
	g.Expect(why).NotTo(ContainSubstring("\n"))
}

// Whoever names a kernel wants a guest with it.
func TestChooseForAKernel(t *testing.T) {
	g := NewWithT(t)
	_, _, err := chooseFor(SessionOptions{Clock: Real, Kernels: []string{"6.1"}})
	g.Expect(err).To(MatchError(errCannotRun))
	g.Expect(err).To(MatchError(ContainSubstring("kernel 6.1 on the real clock")))
	_, qemuErr := vm.FindQEMU()
	for _, clock := range []Clock{"", Auto, Virtual} {
		got, why, err := chooseFor(SessionOptions{Clock: clock, Kernels: []string{"6.1"}})
		if qemuErr != nil {
			g.Expect(err).To(MatchError(qemuErr))
			continue
		}
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(got).To(Equal(Virtual))
		g.Expect(why).To(Equal("a guest kernel is named"))
	}
}

func TestSplitMisfits(t *testing.T) {
	g := NewWithT(t)
	suite := &Suite{Name: "s", Ginkgo: true, Specs: []Spec{
		{Text: "any", Selected: true},
		{Text: "new", Selected: true, Kernel: []string{">= 6.5.0"}},
		{Text: "old", Selected: true, Kernel: []string{">= 5.0.0", "< 6.5.0"}},
		{Text: "new, and not asked for", Kernel: []string{">= 6.5.0"}},
	}}
	for release, fit := range map[string][]string{
		"6.1.0-56-amd64":      {"any", "old"},
		"6.5.0-1-amd64":       {"any", "new"}, // not a pre-release of 6.5.0
		"6.12.95+deb12-amd64": {"any", "new"},
		"4.19.0-27-amd64":     {"any"},
	} {
		kernel := results.Uname{Release: release}
		suites, misfits, err := splitMisfits([]*Suite{suite}, kernel, Virtual)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(texts(suites[0], selected)).To(Equal(fit), release)
		g.Expect(misfits).To(HaveLen(3-len(fit)), release)
		g.Expect(texts(suite, selected)).To(Equal([]string{"any", "new", "old"}), "changed what it was given")
		for _, m := range misfits {
			g.Expect(m.spec.Selected).To(BeFalse())
			g.Expect(m.kernel).To(Equal(kernel))
		}
	}
	_, _, err := splitMisfits([]*Suite{suite}, results.Uname{Release: "next"}, Virtual)
	g.Expect(err).To(HaveOccurred())
}

// A spec whose programs are not installed does not run; what those of others need is not packed for it.
func TestSpecsWithoutTheirProgramsAreMisfits(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	there := filepath.Join(dir, "there")
	g.Expect(os.WriteFile(there, []byte("#!/bin/sh\n"), 0o755)).To(Succeed())
	t.Setenv("PATH", dir)
	suite := &Suite{Name: "s", Ginkgo: true, Specs: []Spec{
		{Text: "none", Selected: true},
		{Text: "one", Selected: true, Programs: []string{"there"}},
		{Text: "two", Selected: true, Programs: []string{"nowhere-at-all", "there"}},
		{Text: "two, and not asked for", Programs: []string{"nowhere-at-all"}},
	}}
	kernel := results.Uname{Release: "6.1.0-56-amd64"}
	for _, clock := range []Clock{Virtual, Real} {
		suites, misfits, err := splitMisfits([]*Suite{suite}, kernel, clock)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(texts(suites[0], selected)).To(Equal([]string{"none", "one"}))
		g.Expect(misfits).To(HaveLen(1))
		g.Expect(misfits[0].reason).To(Equal("needs nowhere-at-all, which is not installed: apt-get install --no-install-recommends nowhere-at-all"))

		works, err := (&Session{}).works(suites, &vm.GuestKernel{Release: kernel.Release}, RunOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(works).To(HaveLen(2))
		g.Expect(works[0].files).To(BeEmpty())
		g.Expect(works[1].files).To(Equal([]string{there}))
	}
}

// Guests execute what is built for them only.
func TestProgramsOfAnotherArchitectureAreMisfitsInGuests(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	header := elf.Header64{Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_AARCH64), Version: 1, Ehsize: 64, Phentsize: 56, Shentsize: 64}
	copy(header.Ident[:], elf.ELFMAG)
	header.Ident[elf.EI_CLASS], header.Ident[elf.EI_DATA], header.Ident[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), 1
	var program bytes.Buffer
	g.Expect(binary.Write(&program, binary.LittleEndian, header)).To(Succeed())
	g.Expect(os.WriteFile(filepath.Join(dir, "foreign"), program.Bytes(), 0o755)).To(Succeed())
	t.Setenv("PATH", dir)
	spec := &Spec{Programs: []string{"foreign"}}
	g.Expect(lacking(spec, Virtual)).To(ContainSubstring("is a program for AARCH64"))
	g.Expect(lacking(spec, Real)).To(BeEmpty())
}

// Without QEMU the virtual clock cannot run; the error says what is missing.
func TestChooseWithoutQEMU(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	g := NewWithT(t)
	_, _, err := Choose(Virtual)
	g.Expect(err).To(MatchError(errCannotRun))
	g.Expect(err).To(MatchError(vm.ErrNoQEMU))
	if RealClock() != nil {
		_, _, err = Choose(Auto)
		g.Expect(err).To(MatchError(errCannotRun))
		g.Expect(err).To(MatchError(vm.ErrNoQEMU))
		_, err = Run(t.Context(), SessionOptions{Patterns: []string{"./testdata/no-such"}}, RunOptions{})
		g.Expect(err).To(MatchError(errCannotRun))
	}
}

func TestBecause(t *testing.T) {
	for err, expected := range map[error]string{
		fmt.Errorf("probe: %w", impair.ErrNoNetem): "this kernel, " + results.ThisKernel().Release + ", has no sch_netem",
		errNotRoot:                         "not root",
		errors.New("something unheard of"): "something unheard of",
	} {
		if got := because(err); got != expected {
			t.Errorf("%v: %q, expected %q", err, got, expected)
		}
	}
}

func TestSummary(t *testing.T) {
	passed, failed, skipped := &results.Record{Verdict: results.Passed}, &results.Record{Verdict: results.Failed}, &results.Record{Verdict: results.Skipped}
	for _, c := range []struct {
		summary Summary
		ok      bool
	}{
		{Summary{Records: []*results.Record{passed}}, true},
		{Summary{Records: []*results.Record{passed, skipped}}, true},
		{Summary{Records: []*results.Record{passed, failed}}, false},
		{Summary{Records: []*results.Record{skipped}}, false},
		{Summary{}, false},
		{Summary{Records: []*results.Record{passed}, Focused: []string{"suite"}}, false},
	} {
		if c.summary.OK() != c.ok {
			t.Errorf("%+v: %v", c.summary, !c.ok)
		}
	}
}

func TestLogger(t *testing.T) {
	var log logger // writes nowhere
	log.printf("nothing %d", 1)
	nowhere := log.prefixed("x")
	if n, err := nowhere.Write([]byte("a\nb")); n != 3 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	nowhere.flush()

	var out bytes.Buffer
	log.to = &out
	writer := log.prefixed("handshake")
	for _, part := range []string{"one\r\nt", "wo", "\n", "\n", "", "three"} {
		if n, err := writer.Write([]byte(part)); n != len(part) || err != nil {
			t.Errorf("%q: %d, %v", part, n, err)
		}
	}
	log.printf("between")
	writer.flush()
	writer.flush()
	expected := "handshake | one\nhandshake | two\nhandshake | \nbetween\nhandshake | three\n"
	if out.String() != expected {
		t.Errorf("%q, expected %q", out.String(), expected)
	}
}

func TestLoggerKeepsLinesWhole(t *testing.T) {
	var out bytes.Buffer
	log := &logger{to: &out}
	const lines = 100
	var writers sync.WaitGroup
	for _, name := range []string{"a", "b", "c"} {
		writers.Go(func() {
			writer := log.prefixed(name)
			for range lines {
				fmt.Fprintf(writer, "%s%s", name, name)
				fmt.Fprintln(writer, name)
			}
		})
	}
	writers.Wait()
	count := map[string]int{}
	for line := range strings.Lines(out.String()) {
		count[line]++
	}
	if len(count) != 3 || count["a | aaa\n"] != lines || count["b | bbb\n"] != lines || count["c | ccc\n"] != lines {
		t.Errorf("%v", count)
	}
}

// writeSpec puts a record, and a file beside it, into a folder, as a guest does.
func writeSpec(t *testing.T, dir string, record results.Record) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "sub", "capture.pcapng"), []byte("packets"), 0o644); err != nil {
		t.Fatal(err)
	}
	record.Suite, record.Scenario, record.Clock = "handshake", "opens", results.ClockVirtual
	if err := writeRecord(&record, dir); err != nil {
		t.Fatal(err)
	}
}

func TestCache(t *testing.T) {
	g := NewWithT(t)
	store := runCache{dir: filepath.Join(t.TempDir(), "runs")}
	original, copied := filepath.Join(t.TempDir(), "original"), filepath.Join(t.TempDir(), "copied")
	writeSpec(t, original, results.Record{Verdict: results.Passed, Seed: 42})

	_, err := store.load("key", copied)
	g.Expect(err).To(MatchError(os.ErrNotExist))
	g.Expect(copied).NotTo(BeADirectory())
	g.Expect(prune(store.dir, 0)).To(BeZero(), "there is nothing")

	g.Expect(store.save("key", original)).To(Succeed())
	g.Expect(store.save("key", original)).To(Succeed()) // again
	record, err := store.load("key", copied)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(record.Seed).To(BeEquivalentTo(42))
	g.Expect(os.ReadFile(filepath.Join(copied, "sub", "capture.pcapng"))).To(BeEquivalentTo("packets"))
	entries, err := os.ReadDir(store.dir)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(entries).To(HaveLen(1)) // nothing temporary
	_, err = store.load("other", filepath.Join(t.TempDir(), "other"))
	g.Expect(err).To(MatchError(os.ErrNotExist))
}

// What is damaged in the cache is not taken, and nothing of it is left.
func TestCacheThatIsDamaged(t *testing.T) {
	for name, damage := range map[string]func(entry string) error{
		"a file that is gone": func(entry string) error { return os.Remove(filepath.Join(entry, entryFolder, "sub", "capture.pcapng")) },
		"a file that is another": func(entry string) error {
			return os.WriteFile(filepath.Join(entry, entryFolder, "sub", "capture.pcapng"), []byte("pickets"), 0o644)
		},
		"a file too many": func(entry string) error { return os.WriteFile(filepath.Join(entry, entryFolder, "more"), nil, 0o644) },
		"half a record":   func(entry string) error { return os.Truncate(filepath.Join(entry, entryFolder, results.FileName), 20) },
		"a record of the future": func(entry string) error {
			return os.WriteFile(filepath.Join(entry, entryFolder, results.FileName), []byte(`{"schema":99}`), 0o644)
		},
		"a record that went first": func(entry string) error { return os.Remove(filepath.Join(entry, entryFolder, results.FileName)) },
		"a record that is another": func(entry string) error {
			record, err := results.Read(filepath.Join(entry, entryFolder, results.FileName))
			if err != nil {
				return err
			}
			record.Duration = 9 * time.Hour
			return record.Write(filepath.Join(entry, entryFolder))
		},
		"no hash of the record": func(entry string) error { return os.Remove(filepath.Join(entry, entryHash)) },
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			store := runCache{dir: t.TempDir()}
			original, copied := filepath.Join(t.TempDir(), "original"), filepath.Join(t.TempDir(), "copied")
			writeSpec(t, original, results.Record{Verdict: results.Passed})
			g.Expect(store.save("key", original)).To(Succeed())
			g.Expect(damage(filepath.Join(store.dir, "key"))).To(Succeed())
			_, err := store.load("key", copied)
			g.Expect(err).To(MatchError(errDamaged))
			g.Expect(copied).NotTo(BeADirectory())

			// The next result takes its place.
			g.Expect(store.save("key", original)).To(Succeed())
			_, err = store.load("key", copied)
			g.Expect(err).NotTo(HaveOccurred())
		})
	}
}

func TestCacheForgets(t *testing.T) {
	g := NewWithT(t)
	store := runCache{dir: t.TempDir()}
	original := filepath.Join(t.TempDir(), "original")
	writeSpec(t, original, results.Record{Verdict: results.Passed})
	old := time.Now().Add(-cacheAge - time.Hour)
	for _, key := range []string{"old", "young", "used"} {
		g.Expect(store.save(key, original)).To(Succeed())
		if key != "young" {
			g.Expect(os.Chtimes(filepath.Join(store.dir, key), old, old)).To(Succeed())
		}
	}
	abandoned := filepath.Join(store.dir, "tcplab-scratch-of-one-that-was-killed")
	g.Expect(os.MkdirAll(filepath.Join(abandoned, "entry"), 0o755)).To(Succeed())
	g.Expect(os.WriteFile(filepath.Join(abandoned, ".lock"), nil, 0o600)).To(Succeed())
	_, err := store.load("used", filepath.Join(t.TempDir(), "copied"))
	g.Expect(err).NotTo(HaveOccurred())

	g.Expect(prune(store.dir, 1<<40)).To(BeZero(), "as to age there is no limit of size")
	entries, err := os.ReadDir(store.dir)
	g.Expect(err).NotTo(HaveOccurred())
	var left []string
	for _, entry := range entries {
		left = append(left, entry.Name())
	}
	g.Expect(left).To(ConsistOf("young", "used"))
}

func TestCacheKey(t *testing.T) {
	inputs := vm.Inputs{QEMU: "7.2", Kernel: "k", Initramfs: "i", CommandLine: "c", Seed: 1}
	other := inputs
	other.Seed = 2
	keys := []string{
		cacheKey(inputs, "suite", "scenario"), cacheKey(other, "suite", "scenario"),
		cacheKey(inputs, "suit", "escenario"), cacheKey(inputs, "suite", "another"),
	}
	if slices.Sort(keys); len(slices.Compact(keys)) != 4 {
		t.Errorf("%v", keys)
	}
	if same := inputs; cacheKey(same, "suite", "scenario") != cacheKey(inputs, "suite", "scenario") {
		t.Error("not the same twice")
	}
}

const reportOfOneSpec = `[{"SuiteSucceeded": true, "SpecReports": [
	{"LeafNodeType": "BeforeSuite", "State": "passed"},
	{"LeafNodeType": "It", "LeafNodeText": "another", "State": "failed", "Failure": {"Message": "not this"}},
	{"LeafNodeType": "It", "ContainerHierarchyTexts": ["a spec"], "LeafNodeText": "opens", "LeafNodeLabels": ["quick"], "RunTime": 5, %s}
]}]`

func TestVerdict(t *testing.T) {
	suite := &Suite{Name: "handshake", Path: "example.org/handshake", Ginkgo: true}
	spec := &Spec{Text: "a spec opens", Labels: []string{"quick"}}
	kernel := results.Uname{Release: "6.1.0-40-amd64", Machine: "x86_64"}
	panicked := &vm.GuestError{Kind: vm.ErrPanic, Detail: "Kernel panic - not syncing: sysrq", Console: []string{"last words"}}
	failure := &results.Failure{Message: "Expected 1 to equal 2", Location: "x_test.go:7"}

	for _, c := range []struct {
		name     string
		plain    bool
		focused  bool
		record   *results.Record // that the guest left
		report   string          // fields of the spec in Ginkgo's report; empty: there is none
		end      ending
		expected results.Verdict
		message  string // in the failure
		location string
		reason   string
		duration time.Duration
	}{
		{name: "a record", record: &results.Record{Verdict: results.Passed, Duration: 7}, expected: results.Passed, duration: 7},
		{name: "a record of a failure", record: &results.Record{Verdict: results.Failed, Failure: failure}, end: ending{status: 1},
			expected: results.Failed, message: failure.Message, location: failure.Location},
		{name: "a record of an interrupt", record: &results.Record{Verdict: results.Interrupted, Failure: failure}, end: ending{status: 1},
			expected: results.Interrupted, message: failure.Message, location: failure.Location},
		{name: "a record of a skip", record: &results.Record{Verdict: results.Skipped, Reason: "not on a Sunday"},
			expected: results.Skipped, reason: "not on a Sunday"},
		{name: "a status without a failure", record: &results.Record{Verdict: results.Passed}, end: ending{status: 3},
			expected: results.Failed, message: "the test program ended with status 3: see output.txt"},
		{name: "a status after a skip", record: &results.Record{Verdict: results.Skipped, Reason: "not on a Sunday"}, end: ending{status: 1},
			expected: results.Failed, message: "the test program ended with status 1"},
		{name: "a signal", record: &results.Record{Verdict: results.Passed}, end: ending{status: -1, signal: "killed"},
			expected: results.Failed, message: "the test program was ended by a signal: killed"},
		{name: "a guest that died after the record", record: &results.Record{Verdict: results.Passed}, end: ending{fault: panicked},
			expected: results.Failed, message: "the guest's kernel panicked: Kernel panic - not syncing: sysrq; the last 1 lines of its console:\n    last words"},
		{name: "a guest that died", end: ending{fault: panicked}, expected: results.Failed, message: "the guest's kernel panicked"},
		{name: "a guest that died with a report", end: ending{fault: panicked}, report: `"State": "passed"`, expected: results.Failed, message: "the guest's kernel panicked"},

		{name: "a record that says otherwise than the report", record: &results.Record{Verdict: results.Passed}, report: `"State": "failed"`,
			expected: results.Failed, message: `the record that the spec has left says "passed", and Ginkgo's report "failed"`},
		{name: "a record of a spec that did not run", record: &results.Record{Verdict: results.Passed}, report: `"State": "skipped"`,
			expected: results.Failed, message: "it did not run"},

		{name: "a report that it passed", report: `"State": "passed"`, expected: results.Passed, duration: 5},
		{name: "a report of a failure", end: ending{status: 1},
			report:   `"State": "failed", "Failure": {"Message": "Expected", "Location": {"FileName": "y_test.go", "LineNumber": 9}}`,
			expected: results.Failed, message: "Expected", location: "y_test.go:9", duration: 5},
		{name: "a report of a panic", end: ending{status: 1},
			report:   `"State": "panicked", "Failure": {"Message": "Test Panicked", "ForwardedPanic": "out of cheese"}`,
			expected: results.Panicked, message: "Test Panicked: out of cheese", location: ":0", duration: 5},
		{name: "a report of a skip", report: `"State": "skipped", "Failure": {"Message": "not on a Sunday"}`, expected: results.Skipped, reason: "not on a Sunday", duration: 5},
		{name: "a report that it did not run", report: `"State": "skipped"`, expected: results.Failed, message: "it did not run"},
		{name: "a report that it is pending", report: `"State": "pending"`, expected: results.Failed, message: "it did not run"},
		{name: "a report without it", report: `"LeafNodeText": "closes", "State": "passed"`, expected: results.Failed, message: "Ginkgo's report does not have the spec"},
		{name: "neither record nor report", expected: results.Failed, message: "Ginkgo left no report"},
		{name: "neither, and a status", end: ending{status: 2}, expected: results.Failed, message: "Ginkgo left no report"},
		{name: "focused in the source", focused: true, report: `"State": "passed"`, end: ending{status: types.GINKGO_FOCUS_EXIT_CODE}, expected: results.Passed, duration: 5},
		{name: "the status of a focus without one", report: `"State": "passed"`, end: ending{status: types.GINKGO_FOCUS_EXIT_CODE},
			expected: results.Failed, message: "the test program ended with status 197", duration: 5},

		{name: "a dry run", record: &results.Record{Verdict: results.Passed}, report: `"State": "passed"}], "SuiteConfig": {"DryRun": true}, "SpecReports": [{"LeafNodeType": "It", "LeafNodeText": "a spec opens", "State": "passed"`,
			expected: results.Failed, message: "it did not run: the arguments of the test program make it a dry run"},
		{name: "a suite that failed after its specs", report: `"State": "passed"}], "SuiteSucceeded": false, "SpecReports": [{"LeafNodeType": "It", "LeafNodeText": "a spec opens", "LeafNodeLabels": ["quick"], "RunTime": 5, "State": "passed"`,
			duration: 5, expected: results.Failed, message: "Ginkgo's report says that the suite has failed, though the test program ended with status 0: see output.txt"},
		{name: "a spec that passed before the suite was interrupted", end: ending{interrupted: true},
			report:   `"State": "passed"}], "SuiteSucceeded": false, "SpecReports": [{"LeafNodeType": "It", "LeafNodeText": "a spec opens", "LeafNodeLabels": ["quick"], "RunTime": 5, "State": "passed"`,
			duration: 5, expected: results.Passed},
		{name: "a suite that is skipped whole", report: `"State": "skipped"}, {"LeafNodeType": "BeforeSuite", "State": "skipped", "Failure": {"Message": "not on a Sunday"}`,
			expected: results.Skipped, reason: "not on a Sunday", duration: 5},
		{name: "a suite whose setup failed", end: ending{status: 1}, report: `"LeafNodeText": "of another suite"}], "SuiteSucceeded": false, "SpecReports": [{"LeafNodeType": "BeforeSuite", "State": "failed", "Failure": {"Message": "no netns"}`,
			expected: results.Failed, message: "it did not run, since the suite's BeforeSuite has failed (failed): no netns"},

		{name: "go test passed", plain: true, end: ending{ran: 11}, expected: results.Passed, duration: 11},
		{name: "go test failed", plain: true, end: ending{status: 1, ran: 11}, expected: results.Failed, message: "the test program ended with status 1: see output.txt", duration: 11},
		{name: "go test died", plain: true, end: ending{fault: panicked}, expected: results.Failed, message: "the guest's kernel panicked"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := NewWithT(t)
			dir := t.TempDir()
			suite := *suite
			suite.Focused = c.focused
			specs := []*Spec{spec}
			if c.plain {
				specs = nil
			}
			report := c.report
			if c.record != nil {
				record := *c.record
				record.Kernel = results.Uname{Release: "of the guest"}
				record.Suite, record.Scenario, record.Clock = suite.Name, spec.Text, results.ClockVirtual
				g.Expect(writeRecord(&record, dir)).To(Succeed())
				if report == "" { // as the harness and Ginkgo do, who are of one mind
					report = fmt.Sprintf(`"State": %q, "Failure": {"Message": "-"}`, record.Verdict)
				}
			}
			if report != "" {
				text := fmt.Sprintf(reportOfOneSpec, report)
				g.Expect(os.WriteFile(filepath.Join(dir, reportFile), []byte(text), 0o644)).To(Succeed())
			}
			c.end.output = "see output.txt"
			known := results.Record{Clock: results.ClockVirtual, Kernel: kernel}
			record := judge(&suite, specs, []string{dir}, filepath.Join(dir, reportFile), known, c.end)[0]
			g.Expect(record.Verdict).To(Equal(c.expected))
			g.Expect(record.Reason).To(Equal(c.reason))
			g.Expect(record.Duration).To(Equal(c.duration))
			if c.message == "" {
				g.Expect(record.Failure).To(BeNil())
			} else {
				g.Expect(record.Failure.Message).To(HavePrefix(c.message))
				g.Expect(record.Failure.Location).To(Equal(c.location))
			}
			if c.record == nil {
				g.Expect(record.Suite).To(Equal("handshake"))
				g.Expect(record.Kernel).To(Equal(kernel))
				if c.plain {
					g.Expect(record.Scenario).To(Equal("go test example.org/handshake"))
				} else {
					g.Expect(record.Scenario).To(Equal(spec.Text))
					g.Expect(record.Labels).To(Equal([]string{"quick"}))
				}
			}
			g.Expect(writeRecord(record, dir)).To(Succeed()) // it is a valid one
		})
	}
}

// What a spec leaves as its record is not believed if it is none, or another's.
func TestRecordsThatAreNoRecords(t *testing.T) {
	suite, specs := &Suite{Name: "handshake", Ginkgo: true}, []*Spec{{Text: "a spec opens"}}
	for _, c := range []struct{ name, record, message string }{
		{"half of one", "{", "the record that the spec has left cannot be read"},
		{"another's", `{"schema":4,"suite":"handshake","scenario":"closes","verdict":"passed","clock":"virtual","seed":"1"}`,
			"the record that the spec has left is that of another: handshake: closes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := NewWithT(t)
			dir := t.TempDir()
			g.Expect(os.WriteFile(filepath.Join(dir, results.FileName), []byte(c.record), 0o644)).To(Succeed())
			report := filepath.Join(dir, reportFile)
			g.Expect(os.WriteFile(report, fmt.Appendf(nil, reportOfOneSpec, `"State": "passed"`), 0o644)).To(Succeed())
			record := judge(suite, specs, []string{dir}, report, results.Record{Clock: results.ClockVirtual}, ending{})[0]
			g.Expect(record.Scenario).To(Equal("a spec opens"))
			g.Expect(record.Verdict).To(Equal(results.Failed))
			g.Expect(record.Failure.Message).To(HavePrefix(c.message))
		})
	}
}

// Of specs that run together, each has its own verdict; what befalls the guest befalls all.
func TestVerdictsOfAContainer(t *testing.T) {
	suite, specs := &Suite{Name: "pair", Ginkgo: true}, []*Spec{{Text: "first"}, {Text: "second"}}
	const reports = `[{"SuiteSucceeded": true, "SpecReports": [
		{"LeafNodeType": "It", "LeafNodeText": "first", "State": "passed"},
		{"LeafNodeType": "It", "LeafNodeText": "second", "State": %q, "Failure": {"Message": "why"}}
	]}]`
	for _, c := range []struct {
		name     string
		second   string
		end      ending
		expected []results.Verdict
	}{
		{"both passed", "passed", ending{}, []results.Verdict{results.Passed, results.Passed}},
		{"one failed", "failed", ending{status: 1}, []results.Verdict{results.Passed, results.Failed}},
		{"one was skipped", "skipped", ending{}, []results.Verdict{results.Passed, results.Skipped}},
		{"none failed, and the program did", "passed", ending{status: 3}, []results.Verdict{results.Failed, results.Failed}},
		{"the guest died", "passed", ending{fault: vm.ErrPanic}, []results.Verdict{results.Failed, results.Failed}},
		{"a signal", "passed", ending{signal: "killed"}, []results.Verdict{results.Failed, results.Failed}},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := NewWithT(t)
			report := filepath.Join(t.TempDir(), reportFile)
			g.Expect(os.WriteFile(report, fmt.Appendf(nil, reports, c.second), 0o644)).To(Succeed())
			records := judge(suite, specs, []string{t.TempDir(), t.TempDir()}, report, results.Record{Clock: results.ClockVirtual}, c.end)
			markTogether(records)
			for i, record := range records {
				g.Expect(record.Verdict).To(Equal(c.expected[i]), record.Scenario)
				g.Expect(record.Together).To(Equal([]string{"first", "second"}))
				g.Expect(record.Validate()).To(Succeed())
			}
		})
	}
}

func TestGinkgoSeed(t *testing.T) {
	for seed, expected := range map[uint64]int64{0: 0, 1: 1, 1<<63 - 1: 1<<63 - 1, 1 << 63: 0, 1<<64 - 1: 1<<63 - 1} {
		if got := ginkgoSeed(seed); got != expected {
			t.Errorf("%d: %d, expected %d", seed, got, expected)
		}
	}
}
