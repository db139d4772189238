package runner

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dustin/go-humanize"
	"golang.org/x/sync/errgroup"

	"github.com/tcplab/tcplab/internal/vm"
	"github.com/tcplab/tcplab/internal/vm/guest"
	"github.com/tcplab/tcplab/results"
)

// Files that the runner adds to a scenario's folder.
const (
	outputFile  = "output.txt"  // what the test program printed
	consoleFile = "console.txt" // what the guest's kernel printed
	reportFile  = "ginkgo.json" // Ginkgo's own report
	// processesFile is what ran in a guest that did not end in time.
	processesFile = "processes.txt"
)

// filesDir is the folder in a scenario's own for what its program leaves elsewhere than the harness does.
const filesDir = "files"

// A work is what one guest does: one spec, an Ordered container, or all of a suite that is not Ginkgo's.
type work struct {
	suite  *Suite
	specs  []*Spec // in their order; nil: all of it
	image  func() (*vm.Image, error)
	kernel results.Kernel // what is known of it without the harness in the guest
}

// scenarios are the texts under which the work is recorded.
func (w work) scenarios() []string {
	if w.specs == nil {
		return []string{w.suite.scenario()}
	}
	var texts []string
	for _, spec := range w.specs {
		texts = append(texts, spec.Text)
	}
	return texts
}

// name is for a person.
func (w work) name() string {
	name := w.suite.Name + ": " + w.scenarios()[0]
	if more := len(w.scenarios()) - 1; more > 0 {
		name += fmt.Sprintf(", and %d more of its container", more)
	}
	return name
}

// dirs are the folders of the scenarios, below the run's and with slashes.
func (w work) dirs() []string {
	var dirs []string
	for _, scenario := range w.scenarios() {
		dirs = append(dirs, results.Folder(w.suite.Name, scenario))
	}
	return dirs
}

// dirsIn are the same of a run.
func (w work) dirsIn(run *results.Run) []string {
	var dirs []string
	for _, scenario := range w.scenarios() {
		dirs = append(dirs, run.Dir(w.suite.Name, scenario))
	}
	return dirs
}

// place says where in the run a file goes that the guest calls so. The harness puts a spec's evidence into the spec's own
// folder; whatever else the program leaves is kept apart from it, in the folder of the first. So nothing that one scenario
// leaves is ever taken for another's, or for the runner's own.
func (w work) place(name string) string {
	dirs := w.dirs()
	for _, dir := range dirs {
		if w.specs != nil && strings.HasPrefix(name, dir+"/") {
			return name
		}
	}
	return path.Join(dirs[0], filesDir, name)
}

// works are what the guests of a run have to do.
func (s *Session) works(suites []*Suite, kernel *vm.Kernel, options Options) []work {
	var works []work
	for _, suite := range suites {
		w := work{
			suite:  suite,
			image:  func() (*vm.Image, error) { return s.image(suite, options) },
			kernel: results.Kernel{Release: kernel.Release, Machine: "x86_64"},
		}
		if !suite.Ginkgo {
			works = append(works, w)
			continue
		}
		for _, group := range suite.together() {
			w.specs = group
			works = append(works, w)
		}
	}
	return works
}

func (s *Session) runVirtual(ctx context.Context, suites []*Suite, run *results.Run, kernel *vm.Kernel, options Options) ([]*results.Record, error) {
	cache, err := vm.CacheDir()
	if err != nil {
		return nil, err
	}
	works := s.works(suites, kernel, options)
	total := 0
	for _, w := range works {
		total += len(w.scenarios())
	}
	course := startCourse(ctx, s.log, options, total, len(suites))
	defer course.task.Done()
	var group errgroup.Group
	group.SetLimit(options.Jobs)
	store := runCache{dir: filepath.Join(cache, "runs")}
	limit, err := vm.RunsLimit()
	if err != nil {
		return nil, err
	}
	left := map[*Suite]int{}
	for _, w := range works {
		left[w.suite]++
	}
	var mutex sync.Mutex
	var all []*results.Record
	for _, w := range works {
		group.Go(func() error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			records, err := runGuest(ctx, w, run, options, store, course)
			if err != nil && ctx.Err() == nil && !errors.Is(err, errNoImage) {
				records, err = recordTrouble(w, run, options, course, err), nil
			}
			mutex.Lock()
			defer mutex.Unlock()
			all = append(all, records...)
			if left[w.suite]--; left[w.suite] == 0 {
				s.dropImage(w.suite, options)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", w.name(), err)
			}
			return nil
		})
	}
	err = group.Wait()
	if pruned := prune(store.dir, limit); pruned > 0 {
		s.log.once("cache: passed scenarios that were not used for long make room: at most %s are kept (%s)",
			humanize.Bytes(uint64(limit)), vm.RunsLimitVariable)
	}
	return all, err
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

// drop closes one of them.
func (s *imageSet) drop(image *vm.Image) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.images = slices.DeleteFunc(s.images, func(other *vm.Image) bool { return other == image })
	_ = image.Close()
}

func (s *imageSet) close() {
	for _, image := range s.images {
		_ = image.Close() // files without a name: they are gone with this process at the latest
	}
	s.images = nil
}

func buildImage(base *vm.Base, suite *Suite, options Options) (*vm.Image, error) {
	include := options.Include
	if data := filepath.Join(suite.Dir, "testdata"); suite.Dir != "" {
		if _, err := os.Stat(data); err == nil {
			include = append([]string{data + "=" + guest.WorkDir + "/testdata"}, include...)
		}
	}
	return base.Image(vm.Contents{Program: suite.Binary, Include: include})
}

// guestJob is a work in the words of package vm.
func guestJob(w work, run *results.Run, options Options) vm.Job {
	job := vm.Job{
		Seed: options.Seed, MemoryMiB: options.MemoryMiB, MIPS: options.MIPS, WallLimit: options.WallLimit,
		Artefacts: run.Path(), Place: w.place,
		// The guest has what scenarios need: what is missing there is a fault, not a reason to skip.
		Env: options.environment(Virtual, guest.ArtefactsDir),
	}
	switch {
	case w.specs != nil:
		job.Args = slices.Concat(specArguments(options.Seed, path.Join(guest.ArtefactsDir, w.dirs()[0], reportFile)), []string{
			"--ginkgo.silence-skips", "--ginkgo.v",
			"--ginkgo.timeout=0", // of one hour, by default, which a minute on this side can be
		}, focusOn(w.suite, w.specs), options.Args)
	case w.suite.Testing:
		job.Args = testArguments(options.Args)
	default:
		job.Args = options.Args
	}
	return job
}

// errNoImage is for a suite whose guests cannot be made: that is no scenario's failure.
var errNoImage = errors.New("make its guests")

// runGuest does a work in a guest, or takes what came of it from the cache, and leaves a record of each scenario. Its
// error is for what keeps it from that; a scenario that fails is a record.
func runGuest(ctx context.Context, w work, run *results.Run, options Options, store runCache, course *course) ([]*results.Record, error) {
	image, err := w.image()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoImage, err)
	}
	job := guestJob(w, run, options)
	started := time.Now()
	inputs, err := image.Inputs(job)
	if err != nil {
		return nil, err
	}
	saved := savedWork{store: store, log: course.log, dirs: w.dirsIn(run)}
	for _, scenario := range w.scenarios() {
		saved.keys = append(saved.keys, cacheKey(inputs, w.suite.Name, scenario))
	}
	records, err := saved.known(options, w.suite)
	if err != nil {
		return nil, err
	}
	if records != nil {
		for _, record := range records {
			record.Host = hostPart(started)
			record.Host.Cached = true
		}
		if err := writeAll(records, saved.dirs); err != nil {
			return nil, err
		}
		for _, record := range records {
			course.report(record)
		}
		return records, nil
	}

	course.begin(w)
	records, err = runAnew(ctx, w, image, job, saved.dirs, course)
	if err != nil {
		return nil, err
	}
	for i, record := range records {
		record.Seed = options.Seed
		record.Host = hostPart(started)
		if err := writeRecord(record, saved.dirs[i]); err != nil {
			return nil, err
		}
	}
	if err := saved.enter(options, w.suite, records); err != nil {
		return nil, err
	}
	for _, record := range records {
		course.report(record)
	}
	if slices.ContainsFunc(records, failed) && !options.Verbose {
		output := filepath.Join(saved.dirs[0], outputFile)
		text, err := os.ReadFile(output)
		if err != nil {
			text = []byte(err.Error())
		}
		course.log.printf("%s", excerpt(text, output))
	}
	return records, nil
}

// writeAll writes records into their folders.
func writeAll(records []*results.Record, dirs []string) error {
	for i, record := range records {
		if err := record.Write(dirs[i]); err != nil {
			return err
		}
	}
	return nil
}

// runAnew runs a guest, and leaves what it and its kernel have printed in each scenario's folder.
func runAnew(ctx context.Context, w work, image *vm.Image, job vm.Job, dirs []string, course *course) ([]*results.Record, error) {
	var output bytes.Buffer
	end := ending{output: "see " + outputFile}
	job.Output = &output
	if course.options.Verbose {
		stream := course.log.prefixed(w.name())
		defer stream.flush()
		job.Output = io.MultiWriter(&output, stream)
	}
	if w.specs == nil && w.suite.Testing {
		end.tests = &testLog{to: job.Output}
		job.Output = end.tests
	}
	result, err := image.Run(ctx, job)
	var failure *vm.GuestError
	if errors.As(err, &failure) {
		end.fault = failure
	} else if err != nil {
		return nil, err
	}
	end.status, end.signal, end.ran = result.ExitCode, result.Signal, result.Virtual
	report := filepath.Join(dirs[0], reportFile)
	for i, dir := range dirs {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
		shared := map[string][]byte{outputFile: output.Bytes(), consoleFile: result.Console, processesFile: result.Processes}
		if text, err := os.ReadFile(report); err == nil && i > 0 {
			shared[reportFile] = text
		}
		for name, text := range shared {
			if len(text) == 0 && name != outputFile {
				continue
			}
			if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
				return nil, err
			}
		}
	}
	if result.Flaw != "" {
		course.log.once("warning: %s; tcplab doctor says where there is a newer one", result.Flaw)
	}
	if result.Unkept != nil {
		course.log.once("note: each guest boots, which takes longer: %v", result.Unkept)
	}
	known := results.Record{Clock: results.ClockVirtual, Kernel: w.kernel}
	records := judge(w.suite, w.specs, dirs, report, known, end)
	markTogether(records)
	blameGuest(w, records, result)
	for _, record := range records {
		record.LeftOut = result.Cut
		record.Inputs = results.Inputs{
			QEMUVersion: result.Inputs.QEMU, KernelSHA256: result.Inputs.Kernel, InitramfsSHA256: result.Inputs.Initramfs,
			CommandLineSHA256: result.Inputs.CommandLine, MIPS: cmp.Or(job.MIPS, vm.DefaultMIPS), Seed: result.Inputs.Seed,
		}
	}
	return records, nil
}

// blameGuest adds to records what the guest itself has to do with their failures. A file that was left and could not be taken
// is a failure: who reads the record would not miss it.
func blameGuest(w work, records []*results.Record, result vm.Result) {
	for _, lost := range result.Lost {
		owner := records[0]
		for i, dir := range w.dirs() {
			if strings.HasPrefix(w.place(lost.Name), dir+"/") {
				owner = records[i]
			}
		}
		blame(owner, "a file that it left was not taken: "+lost.String())
	}
	if result.Full == "" {
		return
	}
	for _, record := range records {
		if failed(record) {
			blame(record, result.Full+": give it more memory with --memory, of which half is for files")
		}
	}
}

// recordTrouble leaves records of scenarios that this machine could not run, or of which it could not keep what came of them:
// they have failed, and the others go on. Where not even a record can be written, the run knows of it all the same.
func recordTrouble(w work, run *results.Run, options Options, course *course, cause error) []*results.Record {
	var records []*results.Record
	for i, scenario := range w.scenarios() {
		record := &results.Record{
			Suite: w.suite.Name, Scenario: scenario, Clock: results.ClockVirtual, Kernel: w.kernel, Seed: options.Seed, Host: hostPart(time.Now()),
		}
		if w.specs != nil {
			record.Labels = w.specs[i].Labels
		}
		fail(record, "on this machine, not in the guest: "+cause.Error())
		dir := run.Dir(w.suite.Name, scenario)
		if err := writeRecord(record, dir); err != nil {
			blame(record, err.Error())
			record.Artefacts = nil
			_ = record.Write(dir) // without a list of files; if that fails as well, it is said above why
		}
		records = append(records, record)
		course.report(record)
	}
	return records
}

// ginkgoSeed keeps what a seed means within the range of Ginkgo's.
func ginkgoSeed(seed uint64) int64 { return int64(seed &^ (1 << 63)) }

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
