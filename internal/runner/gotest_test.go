package runner

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/results"
)

// A TestMain that throws away what m.Run returns makes no pass of a failure.
func TestStatusThatHidesAFailure(t *testing.T) {
	log := &testLog{to: io.Discard}
	fmt.Fprint(log, "\x16=== RUN   TestA\n\x16--- FAIL: TestA (0.00s)\n\x16=== RUN   TestB\n\x16--- PASS: TestB (0.00s)\n")
	record := &results.Record{Verdict: results.Passed}
	log.judge(record, "see output.txt")
	NewWithT(t).Expect(record.Verdict).To(Equal(results.Failed))
	NewWithT(t).Expect(record.Failure.Message).To(HavePrefix("the test program ended with status 0, though TestA failed"))
}

// Status 0 alone says nothing: a test may have ended the process, none may have run, all may have been skipped.
func TestPlainTests(t *testing.T) {
	for _, c := range []struct {
		name, pattern string
		args          []string
		expected      results.Verdict
		why           string // failure or reason
	}{
		{"passes", "exits", []string{"-test.run=^TestPasses$"}, results.Passed, ""},
		{"one of two is skipped", "exits", []string{"-test.run=^TestPasses$|^TestSkipped$"}, results.Passed, ""},
		{"an example", "exits", []string{"-test.run=^Example$"}, results.Passed, ""},
		{"a fuzz test's seeds", "exits", []string{"-test.run=^FuzzNothing$"}, results.Passed, ""},
		{"a benchmark", "exits", []string{"-test.run=^$", "-test.bench=.", "-test.benchtime=1x"}, results.Passed, ""},
		{"all are skipped", "exits", []string{"-test.run=^TestSkipped$"}, results.Skipped, "all of its 1 tests were skipped"},
		{"none ran", "exits", []string{"-test.run=NoSuch"}, results.Skipped, "no test ran"},
		{"os.Exit(0)", "exits", []string{"-test.run=^TestExits$"}, results.Failed, "the test program ended with status 2"},
		{"exit(0)", "exits", []string{"-test.run=^TestExitsUnseen$"}, results.Failed, "the test program ended with status 0 while TestExitsUnseen ran"},
		{"verbose", "exits", []string{"-test.v", "--test.v=true", "-test.run=NoSuch"}, results.Skipped, "no test ran"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := NewWithT(t)
			var out bytes.Buffer
			records, err := onReal(t, t.Context(), &logger{to: &out}, []string{"./testdata/" + c.pattern}, RunOptions{Args: c.args})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(records).To(HaveLen(1))
			g.Expect(records[0].Verdict).To(Equal(c.expected), out.String())
			switch c.expected {
			case results.Failed:
				g.Expect(records[0].Failure.Message).To(HavePrefix(c.why))
			case results.Skipped:
				g.Expect(records[0].Reason).To(HavePrefix(c.why))
			}
			g.Expect(out.String()).NotTo(ContainSubstring("\x16"))
		})
	}
}

// A run of skips says nothing, and does not take the place of one that does.
func TestRunOfSkips(t *testing.T) {
	needGo(t)
	g := NewWithT(t)
	options := RunOptions{Root: t.TempDir()}
	dir := t.TempDir()
	suites, err := compiler{dir: dir}.suites(t.Context(), []string{"./testdata/exits"}, runtime.GOARCH)
	g.Expect(err).NotTo(HaveOccurred())
	session := &Session{clock: Real, dir: dir, suites: suites, listed: map[string][]*Suite{}, log: &logger{}}
	for _, c := range []struct{ id, run, latest string }{
		{"none", "NoSuch", ""},
		{"passed", "TestPasses", "passed"},
		{"skipped", "TestSkipped", "passed"},
		{"failed", "TestExits$", "failed"},
	} {
		options.ID, options.Args = c.id, []string{"-test.run=" + c.run}
		_, err := session.Run(t.Context(), options)
		g.Expect(err).NotTo(HaveOccurred())
		latest, _ := os.Readlink(filepath.Join(options.Root, results.Latest))
		g.Expect(latest).To(Equal(c.latest), c.id)
	}
}

func TestTestLog(t *testing.T) {
	const printed = "\x16=== RUN   TestA\nlogged\x16=== RUN   TestA/sub\n\x16--- PASS: TestA/sub (0.00s)\n" +
		"\x16\x16--- PASS: TestB (0.00s)\n--- PASS: TestC (0.00s)\n\x16--- PASS: TestA (1.00s)\n\x16=== RUN   TestB\n" +
		"\x16--- SKIP: TestB (0.00s)\n\x16=== RUN   TestD\n\x16=== NAME  TestD\nPASS"
	// In pieces of any size, as pipes give them.
	for size := 1; size <= len(printed); size++ {
		g := NewWithT(t)
		var out bytes.Buffer
		log := testLog{to: &out}
		for rest := []byte(printed); len(rest) > 0; rest = rest[min(size, len(rest)):] {
			n, err := log.Write(rest[:min(size, len(rest))])
			g.Expect(n, err).To(Equal(min(size, len(rest))))
		}
		g.Expect(log.ran).To(Equal([]string{"TestA", "TestB", "TestD"}))
		g.Expect(log.ended).To(Equal([]string{"TestA"}))
		g.Expect(log.skipped).To(Equal([]string{"TestB"}))
		g.Expect(log.unfinished()).To(Equal("TestD"))
		g.Expect(out.Bytes()).To(Equal(bytes.ReplaceAll([]byte(printed), []byte{marker}, nil)))
	}
}

// What a program leaves is in its record, and is not taken for the runner's own.
func TestArtefactsOfAPlainTest(t *testing.T) {
	g := NewWithT(t)
	records, err := onReal(t, t.Context(), &logger{}, []string{"./testdata/leaves", "./testdata/plain"}, RunOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(records).To(HaveLen(2))
	g.Expect(records[0].Verdict).To(Equal(results.Passed))
	g.Expect(paths(records[0])).To(Equal([]string{"files/capture.pcapng", "files/other/scenario/record.json", "files/output.txt", "files/record.json"}))
	g.Expect(filepath.Join(records[1].Dir(), filesDir)).NotTo(BeADirectory())
}

func paths(record *results.Record) []string {
	var list []string
	for _, artefact := range record.Artefacts {
		list = append(list, artefact.Path)
	}
	return list
}

// A guest's files go below its own scenarios' folders, whatever they are called.
func TestPlace(t *testing.T) {
	suite := &Suite{Name: "pair", Path: "example.org/pair", Ginkgo: true}
	spec, container := work{suite: suite, specs: []*Spec{{Text: "first"}}}, work{suite: suite, specs: []*Spec{{Text: "first"}, {Text: "second"}}}
	plain := work{suite: &Suite{Name: "pair", Path: "example.org/pair"}}
	first, second := results.Slug("first"), results.Slug("second")
	for _, c := range []struct {
		name     string
		work     work
		left, in string
	}{
		{"the spec's own", spec, "pair/" + first + "/record.json", "pair/" + first + "/record.json"},
		{"another's", spec, "pair/" + second + "/record.json", "pair/" + first + "/files/pair/" + second + "/record.json"},
		{"a longer name", spec, "pair/" + first + "x/record.json", "pair/" + first + "/files/pair/" + first + "x/record.json"},
		{"of its container", container, "pair/" + second + "/record.json", "pair/" + second + "/record.json"},
		{"the run's", container, "record.json", "pair/" + first + "/files/record.json"},
		{"a folder's name", spec, "pair/" + first, "pair/" + first + "/files/pair/" + first},
		{"a plain test's", plain, "record.json", plain.dirs()[0] + "/files/record.json"},
		{"a plain test's in its own folder", plain, plain.dirs()[0] + "/record.json", plain.dirs()[0] + "/files/" + plain.dirs()[0] + "/record.json"},
	} {
		if got := c.work.place(c.left); got != c.in {
			t.Errorf("%s: %s goes to %s, expected %s", c.name, c.left, got, c.in)
		}
	}
}
