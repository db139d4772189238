package runner

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/onsi/ginkgo/v2/types"
	"golang.org/x/sync/errgroup"

	"github.com/tcplab/tcplab/harness/internal/outcome"
	"github.com/tcplab/tcplab/harness/vm"
	"github.com/tcplab/tcplab/harness/vm/guest"
	"github.com/tcplab/tcplab/results"
)

// Files that the runner adds to a scenario's folder.
const (
	outputFile  = "output.txt"  // what the test program printed
	consoleFile = "console.txt" // what the guest's kernel printed
	reportFile  = "ginkgo.json" // Ginkgo's own report
)

// A work is what one guest does: one spec, or all of a suite that is not Ginkgo's.
type work struct {
	suite  *Suite
	spec   *Spec // nil: all of it
	image  func() (*vm.Image, error)
	kernel results.Kernel // what is known of it without the harness in the guest
	keep   bool           // more guests of this image are to come: let them begin where the first one has booted
}

// scenario is the text under which the work is recorded.
func (w work) scenario() string {
	if w.spec == nil {
		return "go test " + w.suite.Path
	}
	return w.spec.Text
}

func (s *Session) runVirtual(ctx context.Context, suites []*Suite, run *results.Run, kernel *vm.Kernel, options Options) error {
	cache, err := vm.CacheDir()
	if err != nil {
		return err
	}
	var works []work
	for _, suite := range suites {
		w := work{
			suite:  suite,
			image:  func() (*vm.Image, error) { return s.image(suite, kernel, options) },
			kernel: results.Kernel{Release: kernel.Release, Machine: "x86_64"},
		}
		if !suite.Ginkgo {
			works = append(works, w)
			continue
		}
		first := len(works)
		for i := range suite.Specs {
			if suite.Specs[i].Selected {
				w.spec = &suite.Specs[i]
				works = append(works, w)
			}
		}
		for i := first; i < len(works); i++ {
			works[i].keep = s.runs > 1 || len(works)-first > 1
		}
	}

	course := startCourse(ctx, s.log, options, len(works), len(suites))
	defer course.task.Done()
	var group errgroup.Group
	group.SetLimit(options.Jobs)
	store := runCache{dir: filepath.Join(cache, "runs")}
	for _, w := range works {
		group.Go(func() error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err := runGuest(ctx, w, run, options, store, course); err != nil {
				return fmt.Errorf("%s: %s: %w", w.suite.Name, w.scenario(), err)
			}
			return nil
		})
	}
	err = group.Wait()
	store.prune()
	return err
}

// An imageSet closes what was made.
type imageSet struct {
	mutex  sync.Mutex
	images []*vm.Image
}

func (s *imageSet) add(image *vm.Image, err error) (*vm.Image, error) {
	if err == nil {
		s.mutex.Lock()
		defer s.mutex.Unlock()
		s.images = append(s.images, image)
	}
	return image, err
}

func (s *imageSet) close() {
	for _, image := range s.images {
		_ = image.Close() // files without a name: they are gone with this process at the latest
	}
	s.images = nil
}

func buildImage(suite *Suite, initProgram string, kernel *vm.Kernel, options Options) (*vm.Image, error) {
	include := options.Include
	if data := filepath.Join(suite.Dir, "testdata"); suite.Dir != "" {
		if _, err := os.Stat(data); err == nil {
			include = append([]string{data + "=" + guest.WorkDir + "/testdata"}, include...)
		}
	}
	return vm.Build(vm.Config{Kernel: kernel, Init: initProgram, Program: suite.Binary, Include: include, Modules: options.Modules})
}

// runGuest runs one scenario in a guest, or takes it from the cache, and leaves a record. Its
// error is for what keeps it from that; a scenario that fails is a record.
func runGuest(ctx context.Context, w work, run *results.Run, options Options, store runCache, course *course) error {
	log := course.log
	image, err := w.image()
	if err != nil {
		return err
	}
	dir := run.Dir(w.suite.Name, w.scenario())
	relative, err := filepath.Rel(run.Path(), dir)
	if err != nil {
		return err
	}
	job := vm.Job{
		Seed: options.Seed, Keep: w.keep, MemoryMiB: options.MemoryMiB, WallLimit: options.WallLimit, Artefacts: run.Path(),
		// The guest has what scenarios need: what is missing there is a fault, not a reason to skip.
		Env: options.environment(Virtual, guest.ArtefactsDir),
	}
	if w.spec != nil {
		job.Args = []string{
			// Ginkgo would take its seed from the clock, which starts at the same time in every guest.
			"--ginkgo.seed=" + strconv.FormatInt(ginkgoSeed(options.Seed), 10),
			focusOn(w.suite, *w.spec),
			"--ginkgo.no-color", "--ginkgo.silence-skips", "--ginkgo.v",
			"--ginkgo.json-report=" + filepath.Join(guest.ArtefactsDir, relative, reportFile),
		}
	}
	job.Args = append(job.Args, options.Args...)

	started := time.Now()
	inputs, err := image.Inputs(job)
	if err != nil {
		return err
	}
	key := cacheKey(inputs, w.suite.Name, w.scenario())
	if record := options.known(key); record != nil {
		record.Host = hostPart(started)
		record.Host.Cached = true
		course.report(record)
		return record.Write(dir)
	}
	if !options.Fresh {
		if record, err := store.load(key, dir); err == nil {
			record.Host = hostPart(started)
			record.Host.Cached = true
			course.report(record)
			return errors.Join(record.Write(dir), options.enter(key, w.suite, record))
		}
	}

	course.begin(w.suite.Name, w.scenario())
	var output bytes.Buffer
	job.Output = &output
	if options.Verbose {
		stream := log.prefixed(w.suite.Name + ": " + w.scenario())
		defer stream.flush()
		job.Output = io.MultiWriter(&output, stream)
	}
	result, guestErr := image.Run(ctx, job)
	var failure *vm.GuestError
	if guestErr != nil && !errors.As(guestErr, &failure) {
		return guestErr
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, outputFile), output.Bytes(), 0o644); err != nil {
		return err
	}
	if len(result.Console) > 0 {
		if err := os.WriteFile(filepath.Join(dir, consoleFile), result.Console, 0o644); err != nil {
			return err
		}
	}
	if result.Flaw != "" {
		log.once("warning: %s; tcplab doctor says where there is a newer one", result.Flaw)
	}
	if result.Unkept != nil {
		log.once("note: each guest boots, which takes longer: %v", result.Unkept)
	}
	record, err := verdict(w, dir, result, guestErr)
	if err != nil {
		return err
	}
	record.Seed = options.Seed
	record.Inputs = results.Inputs{
		QEMUVersion: result.Inputs.QEMU, KernelSHA256: result.Inputs.Kernel, InitramfsSHA256: result.Inputs.Initramfs,
		CommandLineSHA256: result.Inputs.CommandLine, Seed: result.Inputs.Seed,
	}
	record.Host = hostPart(started)
	if err := writeRecord(record, dir); err != nil {
		return err
	}
	if record.Verdict == results.Passed {
		if err := store.save(key, dir); err != nil {
			log.printf("cache: %v", err) // the result stands without it
		}
	}
	if err := options.enter(key, w.suite, record); err != nil {
		return err
	}
	course.report(record)
	if record.Verdict.Failed() && !options.Verbose {
		log.printf("%s", excerpt(output.Bytes(), filepath.Join(dir, outputFile)))
	}
	return nil
}

// ginkgoSeed keeps what a seed means within the range of Ginkgo's.
func ginkgoSeed(seed uint64) int64 { return int64(seed &^ (1 << 63)) }

// verdict is the record that the harness left in the guest, or one made from what else is
// known: of a suite that does not use the harness, or of a guest that died.
func verdict(w work, dir string, result vm.Result, guestErr error) (*results.Record, error) {
	record, err := results.Read(filepath.Join(dir, results.FileName))
	if errors.Is(err, fs.ErrNotExist) {
		record = &results.Record{
			Suite: w.suite.Name, Scenario: w.scenario(), Clock: results.ClockVirtual, Verdict: results.Passed,
			Kernel: w.kernel, Duration: results.Duration(result.Virtual),
		}
		if w.spec != nil {
			record.Labels = w.spec.Labels
			if guestErr == nil {
				fromReport(record, filepath.Join(dir, reportFile))
			}
		}
	} else if err != nil {
		return nil, err
	}
	switch {
	case guestErr != nil:
		fail(record, guestErr.Error())
	case result.Signal != "":
		fail(record, "the test program was ended by a signal: "+result.Signal)
	case w.suite.Focused && result.ExitCode == types.GINKGO_FOCUS_EXIT_CODE:
		// It passed; that it does not count is in the summary.
	case result.ExitCode != 0:
		fail(record, fmt.Sprintf("the test program ended with status %d: see %s", result.ExitCode, outputFile))
	}
	return record, nil
}

// fromReport takes a spec's verdict from Ginkgo's report.
func fromReport(record *results.Record, path string) {
	reports, err := readReport(path)
	if err != nil {
		fail(record, "Ginkgo left no report: "+err.Error())
		return
	}
	for _, spec := range reports[0].SpecReports {
		if !spec.LeafNodeType.Is(types.NodeTypeIt) || spec.FullText() != record.Scenario {
			continue
		}
		if !outcome.WasToRun(spec) {
			fail(record, "it did not run: the arguments of the test program leave it out, or the suite ended before it")
			return
		}
		outcome.Set(record, spec)
		return
	}
	fail(record, "Ginkgo's report does not have the spec: it did not run")
}

func hostPart(started time.Time) *results.HostPart {
	part := results.ThisHost()
	part.Started = started
	part.Wall = results.Duration(time.Since(started))
	return &part
}

func report(log *logger, record *results.Record, options Options) {
	if options.Quiet && record.Verdict == results.Passed {
		return
	}
	cached := ""
	if record.Host != nil && record.Host.Cached {
		cached = " (cached)"
	}
	log.printf("%-7s %s: %s%s", record.Verdict, record.Suite, record.Scenario, cached)
}
