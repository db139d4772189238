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

// A work is what one guest does: one spec, an Ordered container, several of them that share the guest, or all of a suite that
// is not Ginkgo's.
type work struct {
	suite  *Suite
	specs  []*Spec  // in their order; nil: all of it
	files  []string // that it needs beside its suite and what is included for all
	image  func() (*vm.Image, error)
	kernel results.Uname // what is known of it without the harness in the guest
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
		name += fmt.Sprintf(", and %d more in the same guest", more)
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
func (s *Session) works(suites []*Suite, kernel *vm.GuestKernel, options RunOptions) ([]work, error) {
	var works []work
	for _, suite := range suites {
		if !suite.selected() {
			continue
		}
		groups := [][]*Spec{nil}
		if suite.Ginkgo {
			var err error
			if groups, err = share(suite.together(), options.Share); err != nil {
				return nil, fmt.Errorf("%s: %w", suite.Name, err)
			}
		}
		for _, group := range groups {
			files, err := filesOf(group)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", suite.Name, err)
			}
			works = append(works, work{
				suite: suite, specs: group, files: files,
				image:  func() (*vm.Image, error) { return s.image(suite, options, files) },
				kernel: results.Uname{Release: kernel.Release, Machine: "x86_64"},
			})
		}
	}
	return works, nil
}

func (s *Session) runVirtual(ctx context.Context, suites []*Suite, run *results.Run, kernel *vm.GuestKernel, options RunOptions) ([]*results.Record, error) {
	cache, err := vm.CacheDir()
	if err != nil {
		return nil, err
	}
	works, err := s.works(suites, kernel, options)
	if err != nil {
		return nil, err
	}
	total := 0
	for _, w := range works {
		total += len(w.scenarios())
	}
	course := startCourse(ctx, s.log, options, total, len(works), len(suites))
	defer course.task.Done()
	var group errgroup.Group
	group.SetLimit(options.Jobs)
	g := guestRun{run: run, options: options, store: runCache{dir: filepath.Join(cache, "runs")}, course: course}
	limit, err := vm.RunsLimit()
	if err != nil {
		return nil, err
	}
	left := map[string]int{} // works of an image
	for _, w := range works {
		left[imageKey(w.suite, options, w.files)]++
	}
	var mutex sync.Mutex
	var all []*results.Record
	for _, w := range works {
		group.Go(func() error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			records, err := g.do(ctx, w)
			if err != nil && ctx.Err() == nil && !errors.Is(err, errNoImage) {
				records, err = g.recordTrouble(w, err), nil
			}
			mutex.Lock()
			defer mutex.Unlock()
			all = append(all, records...)
			key := imageKey(w.suite, options, w.files)
			if left[key]--; left[key] == 0 {
				s.dropImage(key)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", w.name(), err)
			}
			return nil
		})
	}
	err = group.Wait()
	if pruned := prune(g.store.dir, limit); pruned > 0 {
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

func buildImage(base *vm.Base, suite *Suite, options RunOptions, files []string) (*vm.Image, error) {
	include := slices.Concat(options.Include, files)
	if data := filepath.Join(suite.Dir, "testdata"); suite.Dir != "" {
		if _, err := os.Stat(data); err == nil {
			include = append([]string{data + "=" + guest.WorkDir + "/testdata"}, include...)
		}
	}
	return base.Image(vm.Contents{Program: suite.Binary, Include: include})
}

// guestJob is a work in the words of package vm.
func guestJob(w work, run *results.Run, options RunOptions) vm.Job {
	job := vm.Job{
		Seed: options.Seed, MemoryMiB: options.MemoryMiB, MIPS: options.MIPS, WallLimit: options.WallLimit,
		Artefacts: run.Path(), Place: w.place,
		// The guest has what scenarios need: what is missing there is a fault, not a reason to skip.
		Env: options.environment(Virtual, guest.ArtefactsDir),
	}
	for _, spec := range w.specs {
		job.Env = append(job.Env, spec.Env...)
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

// A guestRun does the works of a run, each in a guest. It is used by several goroutines, and does not change.
type guestRun struct {
	run     *results.Run
	options RunOptions
	store   runCache
	course  *course
}

// A task is a work with all that doing it takes.
type task struct {
	work
	image   *vm.Image
	job     vm.Job
	saved   savedWork
	started time.Time
}

// A guestEnd is what came out of a guest.
type guestEnd struct {
	ending
	vm.Result
	printed []byte // by the program
}

// do does a work in a guest, or takes what came of it from the cache, and leaves a record of each scenario. Its
// error is for what keeps it from that; a scenario that fails is a record.
func (g guestRun) do(ctx context.Context, w work) ([]*results.Record, error) {
	t, err := g.prepare(w)
	if err != nil {
		return nil, err
	}
	if records, err := g.fromCache(t); err != nil || records != nil {
		g.report(records)
		return records, err
	}
	g.course.begin(w)
	out, err := g.boot(ctx, t)
	if err != nil {
		return nil, err
	}
	if err := keep(t, out); err != nil {
		return nil, err
	}
	records := g.judge(t, out)
	if err := g.complete(t, out, records); err != nil {
		return nil, err
	}
	g.report(records)
	if slices.ContainsFunc(records, failed) && !g.options.Verbose {
		g.course.log.printf("%s", excerpt(out.printed, filepath.Join(t.saved.dirs[0], outputFile)))
	}
	return records, nil
}

func (g guestRun) report(records []*results.Record) {
	for _, record := range records {
		g.course.report(record)
	}
}

// prepare makes the image, if this is the first work that needs it, and finds out under which keys the cache has the work.
func (g guestRun) prepare(w work) (task, error) {
	image, err := w.image()
	if err != nil {
		return task{}, fmt.Errorf("%w: %w", errNoImage, err)
	}
	t := task{
		work: w, image: image, job: guestJob(w, g.run, g.options), started: time.Now(),
		saved: savedWork{store: g.store, log: g.course.log, dirs: w.dirsIn(g.run)},
	}
	inputs, err := image.Inputs(t.job)
	if err != nil {
		return task{}, err
	}
	for _, scenario := range w.scenarios() {
		t.saved.keys = append(t.saved.keys, cacheKey(inputs, w.suite.Name, scenario))
	}
	return t, nil
}

// fromCache leaves the records of all of a task's scenarios, if they are known; else there are none.
func (g guestRun) fromCache(t task) ([]*results.Record, error) {
	records, err := t.saved.known(g.options, t.suite)
	if err != nil {
		return nil, err
	}
	for i, record := range records {
		record.Host = hostPart(t.started)
		record.Host.Cached = true
		if err := record.Write(t.saved.dirs[i]); err != nil { // with the files that were listed when they were hashed
			return nil, err
		}
	}
	return records, nil
}

// boot runs a guest to its end. A guest that died is none of its errors.
func (g guestRun) boot(ctx context.Context, t task) (guestEnd, error) {
	var output bytes.Buffer
	out := guestEnd{ending: ending{output: "see " + outputFile}}
	job := t.job
	job.Output = &output
	if g.options.Verbose {
		stream := g.course.log.prefixed(t.name())
		defer stream.flush()
		job.Output = io.MultiWriter(&output, stream)
	}
	if t.specs == nil && t.suite.Testing {
		out.tests = &testLog{to: job.Output}
		job.Output = out.tests
	}
	var err error
	out.Result, err = t.image.Run(ctx, job)
	var fault *vm.GuestError
	if errors.As(err, &fault) {
		out.fault = fault
	} else if err != nil {
		return guestEnd{}, err
	}
	out.printed = output.Bytes()
	out.status, out.signal, out.ran = out.ExitCode, out.Signal, out.Virtual
	if out.Flaw != "" {
		g.course.log.once("warning: %s; tcplab doctor says where there is a newer one", out.Flaw)
	}
	if out.Unkept != nil {
		g.course.log.once("note: each guest boots, which takes longer: %v", out.Unkept)
	}
	return out, nil
}

// keep leaves what a guest and its kernel have printed, and Ginkgo's report, in the folder of each scenario.
func keep(t task, out guestEnd) error {
	shared := map[string][]byte{outputFile: out.printed, consoleFile: out.Console, processesFile: out.Processes}
	for i, dir := range t.saved.dirs {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if i == 1 { // the guest has left it in the first folder only
			if text, err := os.ReadFile(t.report()); err == nil {
				shared[reportFile] = text
			}
		}
		for name, text := range shared {
			if len(text) == 0 && name != outputFile {
				continue
			}
			if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// report is where Ginkgo's is.
func (t task) report() string { return filepath.Join(t.saved.dirs[0], reportFile) }

// judge makes the records of a task's scenarios, which are not complete yet.
func (g guestRun) judge(t task, out guestEnd) []*results.Record {
	records := judge(t.suite, t.specs, t.saved.dirs, t.report(), g.options.record(Virtual, t.kernel), out.ending)
	markTogether(records)
	blameGuest(t.work, records, out.Result)
	return records
}

// complete adds what is known outside of the guest only, writes the records with their files' hashes, and has the cache
// take in what passed.
func (g guestRun) complete(t task, out guestEnd, records []*results.Record) error {
	for i, record := range records {
		record.Seed = g.options.Seed // of Ginkgo's, which the harness knows, a suite's own arguments can be the author
		record.Host = hostPart(t.started)
		record.Host.Wall /= time.Duration(len(records)) // its share of the guest's
		record.LeftOut = out.Cut
		record.Inputs = results.Inputs{
			QEMUVersion: out.Inputs.QEMU, QEMUSHA256: out.Inputs.QEMUBuild, KernelSHA256: out.Inputs.Kernel, InitramfsSHA256: out.Inputs.Initramfs,
			CommandLineSHA256: out.Inputs.CommandLine, MIPS: cmp.Or(t.job.MIPS, vm.DefaultMIPS), Seed: out.Inputs.Seed,
		}
		if err := writeRecord(record, t.saved.dirs[i]); err != nil {
			return err
		}
	}
	return t.saved.enter(g.options, t.suite, records, out.fault)
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
func (g guestRun) recordTrouble(w work, cause error) []*results.Record {
	var records []*results.Record
	for i, scenario := range w.scenarios() {
		record := g.options.record(Virtual, w.kernel)
		record.Suite, record.Scenario, record.Host = w.suite.Name, scenario, hostPart(time.Now())
		if w.specs != nil {
			record.Labels = w.specs[i].Labels
		}
		fail(&record, "on this machine, not in the guest: "+cause.Error())
		dir := g.run.Dir(w.suite.Name, scenario)
		if err := writeRecord(&record, dir); err != nil {
			blame(&record, err.Error())
			record.Artefacts = nil
			_ = record.Write(dir) // without a list of files; if that fails as well, it is said above why
		}
		records = append(records, &record)
	}
	g.report(records)
	return records
}

// ginkgoSeed keeps what a seed means within the range of Ginkgo's.
func ginkgoSeed(seed uint64) int64 { return int64(seed &^ (1 << 63)) }

func hostPart(started time.Time) *results.HostPart {
	part := results.ThisHost()
	part.Started = started
	part.Wall = time.Since(started)
	return &part
}

func report(log *logger, record *results.Record, options RunOptions) {
	if options.Quiet && record.Verdict == results.Passed {
		return
	}
	cached := ""
	if record.Host != nil && record.Host.Cached {
		cached = " (cached)"
	}
	log.printf("%-7s %s: %s%s", record.Verdict, record.Suite, record.Scenario, cached)
}
