package runner

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/tcplab/tcplab/results"
)

// testFlags make a program of package testing say which tests run and how each ends, in lines that nothing it prints itself
// can be taken for, and fail when a test calls os.Exit(0). "go test -json" passes the same.
var testFlags = []string{panicOnExit, "-test.v=test2json"}

// panicOnExit: a test that calls os.Exit(0) has not passed.
const panicOnExit = "-test.paniconexit0"

// verboseFlag is what would take the place of the second of them. It says the same to a person.
var verboseFlag = regexp.MustCompile(`^--?test\.v(=.*)?$`)

// testArguments are the arguments of a program of package testing.
func testArguments(args []string) []string {
	return slices.Concat(testFlags, slices.DeleteFunc(slices.Clone(args), verboseFlag.MatchString))
}

// marker begins each line that package testing itself prints (testing.go: marker), wherever the line before it ended.
const marker = 0x16

// longestLine is the most that is kept of a line of package testing: a name is shorter.
const longestLine = 4 << 10

// A testLog passes on what a program of package testing prints, without the markers, and takes note of what became of
// its tests.
type testLog struct {
	to      io.Writer
	said    []byte   // a line of package testing that is not complete yet, without its marker
	marked  bool     // said has begun
	ran     []string // top-level tests, examples, fuzz tests and benchmarks, as they began
	ended   []string // those that have passed or failed
	failed  []string // those that have failed
	skipped []string
}

// Write takes the program's output in pieces of any size.
func (l *testLog) Write(p []byte) (int, error) {
	rest := p
	for len(rest) > 0 {
		if !l.marked {
			at := bytes.IndexByte(rest, marker)
			if at < 0 {
				break
			}
			l.marked, rest = true, rest[at+1:]
			continue
		}
		if len(l.said) == 0 && rest[0] == marker {
			l.marked, rest = false, rest[1:] // it is a test's own: package testing doubles those
			continue
		}
		if end := bytes.IndexAny(rest, "\n\x16"); end >= 0 {
			l.line(string(append(l.said, rest[:min(end, longestLine-len(l.said))]...)))
			l.said, l.marked = l.said[:0], false
			rest = rest[end:]
			continue
		}
		l.said = append(l.said, rest[:min(len(rest), longestLine-len(l.said))]...)
		break
	}
	if _, err := l.to.Write(bytes.ReplaceAll(p, []byte{marker}, nil)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// line takes note of a line of package testing. A subtest has a slash in its name, and its outcome is in that of its test.
func (l *testLog) line(text string) {
	what, name, _ := strings.Cut(text, ": ")
	if name == "" {
		what, name, _ = strings.Cut(text, "   ")
	}
	name, _, _ = strings.Cut(name, " ")
	if name == "" || strings.Contains(name, "/") {
		return
	}
	switch what {
	case "=== RUN":
		l.ran = append(l.ran, name)
	case "--- PASS":
		l.ended = append(l.ended, name)
	case "--- FAIL":
		l.ended, l.failed = append(l.ended, name), append(l.failed, name)
	case "--- SKIP":
		l.skipped = append(l.skipped, name)
	}
}

// unfinished is a test that has begun and has not ended, or "". Benchmarks do not say that they have.
func (l *testLog) unfinished() string {
	for _, name := range l.ran {
		if !strings.HasPrefix(name, "Benchmark") && !slices.Contains(l.ended, name) && !slices.Contains(l.skipped, name) {
			return name
		}
	}
	return ""
}

// judge completes the record of a program that has ended with status 0: that alone does not mean that anything was tested.
func (l *testLog) judge(record *results.Record, output string) {
	switch {
	case l.unfinished() != "":
		fail(record, fmt.Sprintf("the test program ended with status 0 while %s ran: something in it ends the process", l.unfinished()))
	case len(l.failed) > 0:
		fail(record, fmt.Sprintf("the test program ended with status 0, though %s failed: its TestMain has to end with the status of m.Run", l.failed[0]))
	case len(l.ran) == 0:
		record.Verdict = results.Skipped
		record.Reason = "no test ran: the package has none, the arguments leave all of them out, or its TestMain does not run them"
	case len(l.skipped) == len(l.ran):
		record.Verdict = results.Skipped
		record.Reason = fmt.Sprintf("all of its %d tests were skipped: %s", len(l.ran), output)
	}
}
