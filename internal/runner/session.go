package runner

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tcplab/tcplab/internal/scratch"
	"github.com/tcplab/tcplab/internal/vm"
	"github.com/tcplab/tcplab/internal/vm/guest"
	"github.com/tcplab/tcplab/results"
)

// A Session runs the same suites more than once, one run after the other: with several seeds, on several
// kernels. They are compiled once, and the guests of all runs with one kernel begin where one has booted.
type Session struct {
	clock  Clock
	why    string
	apart  bool   // guests are of another architecture than this machine: what they run is built apart
	dir    string // of what is compiled
	folder *scratch.Dir
	suites []*Suite // without their specs, which depend on a filter
	made   *Suite   // the only one, with its specs
	guests guests
	init   string // the guests' /init; empty: this very program
	listed map[string][]*Suite
	log    *logger

	mutex  sync.Mutex
	images map[string]func() (*vm.Image, error)
	built  imageSet
	base   *vm.Base // of the guests of all suites
	baseOf string   // what the base is of
}

// guests are what the guests of all runs have in common.
type guests struct {
	kernels  []string          // names, as in SessionOptions; one or more
	releases map[string]string // by name
	modules  []string
}

// Open chooses a clock, finds the kernels and compiles the suites. What it made goes with Close.
func Open(ctx context.Context, options SessionOptions) (*Session, error) {
	return open(ctx, options, runtime.GOARCH != guest.Arch)
}

func open(ctx context.Context, options SessionOptions, apart bool) (*Session, error) {
	if err := options.check(); err != nil {
		return nil, err
	}
	clock, why, err := chooseFor(options)
	if err != nil {
		return nil, err
	}
	s := &Session{
		clock: clock, why: why, log: &logger{to: options.Log}, apart: apart,
		listed: map[string][]*Suite{}, images: map[string]func() (*vm.Image, error){},
		guests: guests{kernels: options.Kernels, releases: map[string]string{}, modules: options.Modules},
	}
	if len(s.guests.kernels) == 0 {
		s.guests.kernels = []string{""}
	}
	if s.folder, err = scratch.Make(os.TempDir()); err != nil {
		return nil, err
	}
	s.dir = s.folder.Path()
	// A kernel that is not there is found out before minutes go by.
	if s.clock == Virtual {
		err = s.findKernels(ctx)
	}
	if err == nil {
		err = s.compile(ctx, options)
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// findKernels finds the kernels of all runs, or downloads them, before the first of them begins.
func (s *Session) findKernels(ctx context.Context) error {
	seen := map[string]string{}
	for _, name := range s.guests.kernels {
		kernel, err := s.guestKernel(ctx, name)
		if err != nil {
			return err
		}
		if other, twice := seen[kernel.SHA256]; twice {
			return fmt.Errorf("--kernel: %s and %s are the same, %s", other, name, kernel.Release)
		}
		seen[kernel.SHA256] = name
		s.guests.releases[name] = kernel.Release
	}
	return nil
}

// Kernels are the names of the session's guest kernels, one or more, as the options have them: "" is the default one.
func (s *Session) Kernels() []string { return slices.Clone(s.guests.kernels) }

// Release is that of one of the session's guest kernels, by the name that the options have for it. It is empty on the real
// clock, and for others.
func (s *Session) Release(kernel string) string { return s.guests.releases[kernel] }

// compile builds all that runs, here or in guests.
func (s *Session) compile(ctx context.Context, options SessionOptions) error {
	arch := runtime.GOARCH
	if s.clock == Virtual {
		arch = guest.Arch
	}
	if options.Made != nil {
		return s.make(ctx, *options.Made)
	}
	c := compiler{dir: s.dir, flags: options.BuildFlags}
	// What is compiled in a way of one's own, such as with an overlay, is not what anybody else will ask for.
	if len(options.BuildFlags) == 0 {
		var err error
		if c.kept, err = openKept(s.log); err != nil {
			return err
		}
		defer c.kept.prune()
	}
	var err error
	if s.suites, err = c.suites(ctx, options.Patterns, arch); err != nil {
		return err
	}
	if s.clock != Virtual || !s.apart {
		return nil
	}
	if err := c.listers(ctx, s.suites); err != nil {
		return err
	}
	s.init, err = c.initProgram(ctx)
	return err
}

// chooseFor chooses the clock. A kernel that is named is one to boot.
func chooseFor(options SessionOptions) (Clock, string, error) {
	wanted := cmp.Or(options.Clock, Auto)
	named := strings.Join(options.Kernels, ",")
	if named == "" {
		return Choose(wanted)
	}
	if wanted == Real {
		return "", "", fmt.Errorf("kernel %s on the real clock: %w: that is the clock of this machine's own kernel; leave out one or the other", named, errCannotRun)
	}
	clock, _, err := Choose(Virtual)
	return clock, "a guest kernel is named", err
}

// Close removes what was compiled and built. It is for when no run is under way.
func (s *Session) Close() {
	s.dropBase()
	_ = s.folder.Remove() // what stays is removed by the next one
}

// Run runs the suites and leaves one record for each scenario.
func (s *Session) Run(ctx context.Context, options RunOptions) (Summary, error) {
	if err := options.Check(); err != nil {
		return Summary{}, err
	}
	if options.Jobs <= 0 {
		options.Jobs = runtime.NumCPU()
	}
	if options.Quiet {
		s.log.once("clock: %s (%s)", s.clock, s.why)
	} else {
		s.log.printf("clock: %s (%s); seed: %d", s.clock, s.why, options.Seed)
	}
	if options.IPv6 {
		s.log.once("Internet protocol: IPv6")
	}
	suites, err := s.list(ctx, options.Filter)
	if err != nil {
		return Summary{}, err
	}
	if err := checkSelection(suites); err != nil {
		return Summary{}, err
	}
	guest, kernel, err := s.kernel(ctx, options.Kernel)
	if err != nil {
		return Summary{}, err
	}
	if options.ID == "" {
		options.ID = NewID(options.Seed)
	}
	run, err := results.Create(options.Root, options.ID)
	if err != nil {
		return Summary{}, err
	}
	summary := Summary{Run: run, Clock: s.clock, Kernel: kernel.Release}
	var plan results.Plan
	for _, suite := range suites {
		summary.Selected += suite.count()
		plan.Scenarios = append(plan.Scenarios, suite.folders()...)
		if suite.Focused {
			summary.Focused = append(summary.Focused, suite.Name)
			s.log.once("%s: has focused specs in its source (FIt, FDescribe, Focus): the others are left out, and the run does not count as passed", suite.Name)
		}
	}
	plan.Focused = summary.Focused
	if err := run.Plan(plan); err != nil {
		return summary, err
	}
	suites, misfits, err := splitMisfits(suites, kernel, s.clock)
	if err != nil {
		return summary, err
	}
	left, err := s.recordMisfits(misfits, run, options)
	if err != nil {
		return summary, err
	}
	// What the runner knows, not what lies in the run's folder: a suite on the real clock could write anything there.
	var ran []*results.Record
	if s.clock == Real {
		ran, err = s.runReal(ctx, suites, run, options)
	} else {
		ran, err = s.runVirtual(ctx, suites, run, guest, options)
	}
	summary.Records = slices.Concat(ran, left)
	results.Sort(summary.Records)
	if err == nil && slices.ContainsFunc(ran, func(r *results.Record) bool { return r.Verdict == results.Passed || r.Verdict.Failed() }) {
		err = run.MakeLatest()
	}
	return summary, err
}

// NewID names a run by the time and its seed.
func NewID(seed uint64) string {
	return fmt.Sprintf("%s-seed%d", time.Now().UTC().Format("20060102T150405.000"), seed)
}

// list asks the suites for the specs that a filter selects, once.
func (s *Session) list(ctx context.Context, filter Filter) ([]*Suite, error) {
	if s.made != nil {
		made := *s.made
		made.Specs = slices.Clone(made.Specs)
		return []*Suite{&made}, nil
	}
	key := strings.Join(filter.args(), "\x00")
	if suites, ok := s.listed[key]; ok {
		return suites, nil
	}
	suites, err := list(ctx, s.suites, filter, s.dir)
	if err == nil {
		s.listed[key] = suites
		for _, suite := range suites {
			if n := suite.completing(); n > 0 {
				s.log.printf("%s: %d more specs run than the filters select: the rest of their Ordered containers", suite.Name, n)
			}
		}
	}
	return suites, err
}

// kernel finds the kernel to run on: a guest's, or on the real clock this machine's.
func (s *Session) kernel(ctx context.Context, name string) (*vm.GuestKernel, results.Uname, error) {
	if s.clock == Real {
		return nil, results.ThisKernel(), nil
	}
	name = cmp.Or(name, s.guests.kernels[0])
	if _, ok := s.guests.releases[name]; !ok {
		return nil, results.Uname{}, fmt.Errorf("kernel %s is none of the session's: %s", name, strings.Join(s.guests.kernels, ", "))
	}
	guest, err := s.guestKernel(ctx, name) // once more: a run can be hours after the one before it
	if err != nil {
		return nil, results.Uname{}, err
	}
	s.log.once("guest kernel: %s (%s)", guest.Release, guest.Source)
	if err := s.makeBase(guest); err != nil {
		return nil, results.Uname{}, err
	}
	return guest, results.Uname{Release: guest.Release, Machine: "x86_64"}, nil
}

// guestKernel finds a guest's kernel, which has the modules that are asked for.
func (s *Session) guestKernel(ctx context.Context, name string) (*vm.GuestKernel, error) {
	kernel, err := vm.FindKernel(ctx, vm.KernelOptions{
		Name: name, Progress: func(line string) { s.log.printf("%s", line) },
	})
	if err != nil {
		return nil, err
	}
	if err := kernel.CheckModules(s.guests.modules); err != nil {
		return nil, fmt.Errorf("--modules: %w", err)
	}
	return kernel, nil
}

// makeBase makes what the guests of all suites share, unless it is there.
func (s *Session) makeBase(kernel *vm.GuestKernel) error {
	of := fmt.Sprintf("%q %q", kernel.SHA256, s.guests.modules)
	if s.base != nil && s.baseOf == of {
		return nil
	}
	s.dropBase() // it has some 20 MB in the temporary directory
	cache, err := vm.CacheDir()
	if err != nil {
		return err
	}
	s.base, err = vm.NewBase(vm.Config{
		Kernel: kernel, Init: s.init, Modules: s.guests.modules, Cache: cache, Progress: func(line string) { s.log.once("%s", line) },
	})
	if err != nil {
		return err
	}
	s.baseOf = of
	return nil
}

// dropBase is for when no run is under way.
func (s *Session) dropBase() {
	s.built.close()
	clear(s.images)
	if s.base != nil {
		_ = s.base.Close() // files without a name: they are gone with this process at the latest
		s.base = nil
	}
}

func imageKey(suite *Suite, options RunOptions, files []string) string {
	return fmt.Sprintf("%q %q %q", suite.Binary, options.Include, files)
}

// dropImage closes an image when the last of its guests has ended: it has 20 MB, and what is included, in the temporary directory.
func (s *Session) dropImage(key string) {
	s.mutex.Lock()
	build, ok := s.images[key]
	delete(s.images, key)
	s.mutex.Unlock()
	if !ok {
		return
	}
	if image, err := build(); err == nil {
		s.built.drop(image)
	}
}

// image makes the image of a suite's guests with some files, when the first of them needs it.
func (s *Session) image(suite *Suite, options RunOptions, files []string) (*vm.Image, error) {
	key := imageKey(suite, options, files)
	s.mutex.Lock()
	build, ok := s.images[key]
	if !ok {
		build = sync.OnceValues(func() (*vm.Image, error) { return s.built.add(buildImage(s.base, suite, options, files)) })
		s.images[key] = build
	}
	s.mutex.Unlock()
	return build()
}
