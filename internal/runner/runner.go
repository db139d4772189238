package runner

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/tcplab/tcplab/internal/text"
	"github.com/tcplab/tcplab/results"
)

// SessionOptions are what all runs of a session have in common. Patterns are needed.
type SessionOptions struct {
	Patterns []string // packages as the go command knows them, or compiled tests (*.test)
	// BuildFlags are more flags for "go test -c", such as -overlay=FILE.
	BuildFlags []string
	// Made is a suite whose specs are known, in place of Patterns: see MadeSuite.
	Made  *Suite
	Clock Clock // empty: Auto
	// Kernels are names or paths of guest kernels, see vm.KernelOptions, of which each run takes one; empty: Debian's. Where
	// any is named, Auto takes the virtual clock.
	Kernels []string
	Modules []string // more kernel modules for the guests
	// Log receives the progress, a line for each event, and the suites' output where a spec
	// fails. May be nil.
	Log io.Writer
}

// RunOptions are what the runs of a session can differ in. Root is needed.
type RunOptions struct {
	Filter Filter   // which specs of Ginkgo suites
	Args   []string // more arguments for the test programs
	Seed   uint64   // of all that is random
	IPv6   bool     // scenarios that are not bound to IPv4 use IPv6

	Root string // where runs are kept; each makes a folder of its own in it
	ID   string // of the run; empty: made from the time and the seed

	// For the virtual clock:
	Kernel    string   // one of the session's; empty: the first
	Include   []string // more files for the guests, see vm.Contents
	MemoryMiB int      // of a guest; 0: vm.DefaultMemoryMiB
	MIPS      int      // of a guest; 0: vm.DefaultMIPS
	Jobs      int      // guests side by side; 0: one for each core
	// Share is how many specs of a suite may run in the same guest, one after the other; 0: one, or one Ordered container. That
	// spares their guests' starts and most of QEMU's translation; what a spec's bytes are depends on those before it, then.
	Share int
	Fresh bool // run even what has passed with the very same inputs
	// Ledger, if not nil, knows what came of earlier runs with the very same inputs, and learns of this one. What it
	// knows is not run again, whether it passed or not, and leaves no evidence. With Fresh it only learns: what comes of this
	// run takes the place of what it knew.
	Ledger    *results.Ledger
	WallLimit time.Duration // of a guest, in real time; 0: vm.DefaultWallLimit

	// Verbose passes on all output as it comes, each line with its scenario's name.
	Verbose bool
	// Quiet leaves out the lines about what passed.
	Quiet bool
}

// environment is what the suites are told, beside what tells them apart.
func (o RunOptions) environment(clock Clock, results string) []string {
	env := []string{"TCPLAB_REQUIRE=1", "TCPLAB_CLOCK=" + string(clock), "TCPLAB_RESULTS=" + results}
	if o.IPv6 {
		env = append(env, "TCPLAB_FAMILY=6")
	}
	return env
}

// record is what the runner knows of each scenario of a run, whoever tells the rest.
func (o RunOptions) record(clock Clock, kernel results.Uname) results.Record {
	return results.Record{Clock: string(clock), Kernel: kernel, Seed: o.Seed, IPv6: o.IPv6}
}

// A Summary is what a run came to.
type Summary struct {
	Run     *results.Run
	Clock   Clock
	Kernel  string // release of the kernel whose TCP was tested
	Records []*results.Record
	// Selected counts the scenarios that were to have a record. Fewer have one if the run was ended before its time.
	Selected int
	// Focused are the suites of which only specs ran that are focused in their source (FIt,
	// FDescribe, Focus). As with ginkgo, such a run never counts as one that passed.
	Focused []string
}

// Report is what came of the scenarios, and how many have no record.
func (s Summary) Report() results.Report {
	report := results.Report{Records: s.Records, Missing: max(0, s.Selected-len(s.Records)), Focused: s.Focused}
	if s.Run != nil {
		report.Run = s.Run.Path()
	}
	return report
}

// OK tells whether nothing failed and something passed.
func (s Summary) OK() bool {
	tally := results.Count(s.Records)
	return tally.Failed == 0 && tally.Passed > 0 && len(s.Focused) == 0 && len(s.Records) >= s.Selected
}

// Run compiles and runs suites once, and leaves one record for each scenario. It looks at all options before anything is
// compiled.
func Run(ctx context.Context, session SessionOptions, options RunOptions) (Summary, error) {
	if err := options.Check(); err != nil {
		return Summary{}, err
	}
	s, err := Open(ctx, session)
	if err != nil {
		return Summary{}, err
	}
	defer s.Close()
	return s.Run(ctx, options)
}

func checkSelection(suites []*Suite) error {
	var total int
	for _, suite := range suites {
		if suite.selected() {
			return nil
		}
		total += max(1, len(suite.Specs))
	}
	return fmt.Errorf("%w the filters, of %d in %d suites; tcplab list shows them", errNoSpecs, total, len(suites))
}

// A logger writes whole lines, from any goroutine. What scenarios print, and what they are called, cannot carry
// escape sequences to a terminal.
type logger struct {
	mutex sync.Mutex
	to    io.Writer
	said  map[string]bool
}

// once is printf for what need not be repeated for each guest.
func (l *logger) once(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	l.mutex.Lock()
	repeated := l.said[line]
	if l.said == nil {
		l.said = map[string]bool{}
	}
	l.said[line] = true
	l.mutex.Unlock()
	if !repeated {
		l.printf("%s", line)
	}
}

func (l *logger) printf(format string, args ...any) {
	if l.to == nil {
		return
	}
	l.mutex.Lock()
	defer l.mutex.Unlock()
	_, _ = l.to.Write([]byte(text.PrintableLines(fmt.Sprintf(format, args...)) + "\n")) // nobody waits for the log
}

// prefixed returns a writer that passes on whole lines with a name before each.
func (l *logger) prefixed(name string) *prefixWriter { return &prefixWriter{log: l, name: name} }

type prefixWriter struct {
	log     *logger
	name    string
	partial strings.Builder
}

func (w *prefixWriter) Write(p []byte) (int, error) {
	for line := range strings.Lines(string(p)) {
		w.partial.WriteString(line)
		if strings.HasSuffix(line, "\n") {
			w.flush()
		}
	}
	return len(p), nil
}

// flush passes on a line that has no end.
func (w *prefixWriter) flush() {
	if w.partial.Len() == 0 {
		return
	}
	w.log.printf("%s | %s", w.name, strings.TrimRight(w.partial.String(), "\r\n"))
	w.partial.Reset()
}

// writeRecord completes the record in a scenario's folder with the files beside it.
func writeRecord(record *results.Record, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	artefacts, err := results.Artefacts(dir)
	if err != nil {
		return err
	}
	record.Artefacts = artefacts
	return record.Write(dir)
}
