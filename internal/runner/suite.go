package runner

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2/types"
	"golang.org/x/sync/errgroup"

	"github.com/tcplab/tcplab/internal/programs"
	"github.com/tcplab/tcplab/internal/progress"
	"github.com/tcplab/tcplab/internal/scratch"
	"github.com/tcplab/tcplab/internal/subprocess"
	"github.com/tcplab/tcplab/internal/vm/guest"
	"github.com/tcplab/tcplab/results"
)

// runSpecs identifies a Ginkgo suite: every binary that links Ginkgo contains this NUL-terminated symbol name. (The build
// information of a test binary does not name its modules.) The literal is split so that importers of this package do not
// contain it.
var runSpecs = append([]byte("github.com/onsi/ginkgo/v2"), ".RunSpecs\x00"...)

// mainStart identifies every program that "go test" has built, in the same way.
var mainStart = append([]byte("testing"), ".MainStart\x00"...)

// A Suite is a compiled test package.
type Suite struct {
	Name   string // the suite's description (Ginkgo) or the last part of its import path
	Path   string // import path, or the file that was named
	Binary string // built for where it runs: guests, or this machine
	Code   string // SHA-256 of Binary: the same source gives the same, on any machine
	Lister string // the same built for this machine, to list its specs; empty: Binary does
	Dir    string // of its source, or empty
	Ginkgo bool
	// Testing says that it is a program of package testing: a compiled one can be any program.
	Testing bool
	// LeftOut says that a filter does not select it: see [Filter]. Of a Ginkgo suite that is in its specs.
	LeftOut bool
	// Focused says that specs are focused in the source: only those are selected.
	Focused bool
	Specs   []Spec // of a Ginkgo suite
}

// selected tells whether there is anything to run.
func (s *Suite) selected() bool {
	return s.count() > 0
}

// count is how many records the suite is to leave.
func (s *Suite) count() int {
	if !s.Ginkgo && s.LeftOut {
		return 0
	}
	if !s.Ginkgo {
		return 1
	}
	count := 0
	for _, spec := range s.Specs {
		if spec.Selected {
			count++
		}
	}
	return count
}

// folders are where in a run those records go.
func (s *Suite) folders() []string {
	if !s.Ginkgo {
		return slices.Repeat([]string{results.Folder(s.Name, s.scenario())}, s.count())
	}
	var folders []string
	for _, spec := range s.Specs {
		if spec.Selected {
			folders = append(folders, results.Folder(s.Name, spec.Text))
		}
	}
	return folders
}

// A Spec is one scenario of a suite.
type Spec struct {
	Text     string // full text: its containers' and its own
	Labels   []string
	Location string // file:line
	Selected bool   // by the filters, and not pending
	Pending  bool
	// Container names the Ordered container that it is in, which runs whole in one guest; or is empty.
	Container string
	// Completes says that it is selected for the sake of its container, and not by the filters.
	Completes bool
	// Kernel are the conditions on the kernel's version that the spec and its containers have:
	// ComponentSemVerConstraint("kernel", ">= 6.5.0").
	Kernel []string
	// Programs are those that it needs beside its suite (harness.Programs), by name.
	Programs []string
	// Env is what the program is told of it, as "KEY=value".
	Env []string
}

// Filter selects specs, with the meaning of Ginkgo's flags of the same names. A suite that is not Ginkgo's is to it as one spec
// without labels, whose text is the suite's name and what it is recorded as: "mypackage go test example.com/mypackage".
type Filter struct {
	Focus  []string // regular expressions
	Skip   []string // regular expressions
	Labels string   // a label filter, such as "quick && !netem"
}

func (f Filter) args() []string {
	var args []string
	for _, expression := range f.Focus {
		args = append(args, "--ginkgo.focus="+expression)
	}
	for _, expression := range f.Skip {
		args = append(args, "--ginkgo.skip="+expression)
	}
	if f.Labels != "" {
		args = append(args, "--ginkgo.label-filter="+f.Labels)
	}
	return args
}

// takes tells whether the filter, which is a valid one, selects what has no labels and that text.
func (f Filter) takes(text string) bool {
	matches := func(expression string) bool { return regexp.MustCompile(expression).MatchString(text) }
	if len(f.Focus) > 0 && !slices.ContainsFunc(f.Focus, matches) || slices.ContainsFunc(f.Skip, matches) {
		return false
	}
	return f.Labels == "" || types.MustParseLabelFilter(f.Labels)(nil)
}

// validate finds out what Ginkgo would refuse.
func (f Filter) validate() error {
	for _, expression := range append(append([]string{}, f.Focus...), f.Skip...) {
		if _, err := regexp.Compile(expression); err != nil {
			return fmt.Errorf("focus and skip take regular expressions: %w", err)
		}
	}
	if f.Labels != "" {
		if _, err := types.ParseLabelFilter(f.Labels); err != nil {
			return fmt.Errorf("label filter %q: %w", f.Labels, inOneLine(err))
		}
	}
	return nil
}

// inOneLine is the last line of what Ginkgo has laid out for a terminal, in colours: that says what is wrong.
func inOneLine(err error) error {
	var laidOut types.GinkgoError
	if !errors.As(err, &laidOut) {
		return err
	}
	message := strings.TrimSpace(laidOut.Message)
	return errors.New(message[strings.LastIndexByte(message, '\n')+1:])
}

// A compiler makes programs of packages.
type compiler struct {
	dir   string   // where programs go, and what the go command needs meanwhile
	flags []string // more of "go test -c"
	kept  keptPrograms
}

// suites turns patterns (packages as the go command knows them, or compiled tests, *.test)
// into suites for one architecture. Packages without tests are passed over.
func (c compiler) suites(ctx context.Context, patterns []string, arch string) ([]*Suite, error) {
	var suites []*Suite
	var packages []string
	for _, pattern := range patterns {
		if !strings.HasSuffix(pattern, compiledSuffix) {
			packages = append(packages, pattern)
			continue
		}
		suite, err := openCompiled(pattern, arch)
		if err != nil {
			return nil, fmt.Errorf("compiled suite: %w", err)
		}
		suites = append(suites, suite)
	}
	if len(packages) > 0 {
		packages, err := resolve(ctx, packages, c.dir, arch)
		if err != nil {
			return nil, plain(err, "find suites")
		}
		found, err := listPackages(ctx, packages, c.dir, arch)
		if err != nil {
			return nil, err
		}
		compiled, err := c.compile(ctx, found, arch, arch)
		if err != nil {
			return nil, err
		}
		suites = append(suites, compiled...)
	}
	if len(suites) == 0 {
		return nil, fmt.Errorf("no tests in %s", strings.Join(patterns, " "))
	}
	return suites, nil
}

// listers builds the Ginkgo suites that were compiled for guests once more, for this machine, which
// cannot ask the others for their specs.
func (c compiler) listers(ctx context.Context, suites []*Suite) error {
	var packages []goPackage
	var listed []*Suite
	for _, suite := range suites {
		if !suite.Ginkgo {
			continue
		}
		if strings.HasSuffix(suite.Path, compiledSuffix) {
			return fmt.Errorf("compiled suite %s: its specs are listed by running it, which this machine (%s) cannot, as it is for "+
				"guests (%s): name its package instead", suite.Path, runtime.GOARCH, guest.Arch)
		}
		packages = append(packages, goPackage{ImportPath: suite.Path, Dir: suite.Dir})
		listed = append(listed, suite)
	}
	listers, err := c.compile(ctx, packages, runtime.GOARCH, "list-"+runtime.GOARCH)
	for i, lister := range listers {
		listed[i].Lister = lister.Binary
	}
	return err
}

// compile compiles the tests of packages, for one architecture, in a folder that has the name of their kind.
func (c compiler) compile(ctx context.Context, packages []goPackage, arch, kind string) ([]*Suite, error) {
	if len(packages) == 0 {
		return nil, nil
	}
	dir := filepath.Join(c.dir, kind)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("compile suites: %w", err)
	}
	programs := make([]program, len(packages))
	names := binaryNames(packages)
	_ = each(packages, func(i int, p goPackage) error {
		programs[i] = program{key: keyOf(p.Dir, p.ImportPath, kind), path: filepath.Join(dir, names[i])}
		c.kept.take(&programs[i])
		return nil
	})
	task := progress.Start(ctx, "compiling suites")
	defer task.Done()
	began := time.Now()
	task.Measure(func() string { return fmt.Sprintf("%d of %d done", writtenSince(programs, began), len(programs)) })
	if err := c.compileTogether(ctx, packages, programs, arch, dir); err != nil {
		return nil, err
	}
	suites := make([]*Suite, len(packages))
	err := each(packages, func(i int, p goPackage) error {
		suites[i] = &Suite{Name: path.Base(p.ImportPath), Path: p.ImportPath, Binary: programs[i].path, Dir: p.Dir}
		if err := suites[i].inspect(); err != nil {
			return err
		}
		c.kept.keep(programs[i], suites[i].Code)
		return nil
	})
	return suites, err
}

// each does something for each package, for some at a time: it is to read large files.
func each(packages []goPackage, do func(i int, p goPackage) error) error {
	var group errgroup.Group
	group.SetLimit(runtime.NumCPU())
	for i, p := range packages {
		group.Go(func() error { return do(i, p) })
	}
	return group.Wait()
}

// compileTogether compiles packages with one call of the go command, which takes as long to find out that nothing has
// changed for one as for many, and those that it would write to one file with one call each.
func (c compiler) compileTogether(ctx context.Context, packages []goPackage, programs []program, arch, dir string) error {
	var together []string
	for i, p := range packages {
		if programs[i].path == filepath.Join(dir, path.Base(p.ImportPath)+compiledSuffix) {
			together = append(together, p.ImportPath)
		} else if err := compilePackage(ctx, arch, p.ImportPath, programs[i].path, c.flags...); err != nil {
			return err
		}
	}
	if len(together) == 0 {
		return nil
	}
	return compileTests(ctx, arch, dir+string(filepath.Separator), together, c.flags)
}

// binaryNames are the names of the files that packages' tests are compiled to. Where the go command gives them their names,
// that is the last part of an import path (load.DefaultExecName). Packages of one name must not overwrite each other,
// and what it does with a last part that is a version is its own affair.
func binaryNames(packages []goPackage) []string {
	count := map[string]int{}
	for _, p := range packages {
		count[path.Base(p.ImportPath)]++
	}
	var names []string
	for _, p := range packages {
		name := path.Base(p.ImportPath)
		if count[name] > 1 || versionElement.MatchString(name) {
			// Escaped, so that no other package has it: a path's last part has no such character.
			name = url.PathEscape(p.ImportPath)
		}
		names = append(names, name+compiledSuffix)
	}
	return names
}

var versionElement = regexp.MustCompile(`^v[0-9]+$`)

// writtenSince counts the programs that the go command has written, or found to be up to date, which it marks by their times.
func writtenSince(programs []program, began time.Time) (count int) {
	for _, p := range programs {
		if info, err := os.Stat(p.path); err == nil && info.ModTime().After(began) {
			count++
		}
	}
	return count
}

// initPackage is the program that is a guest's /init where this very program cannot be: see package guest.
const initPackage = "github.com/tcplab/tcplab/cmd/tcplab"

// compileInit builds /init for guests, as the working directory's module has it, with the same bytes as where guests and
// hosts are of one architecture (see the Makefile).
func compileInit(ctx context.Context, dir string) (string, error) {
	binary := initIn(dir)
	module, err := moduleFlags(ctx, dir)
	if err == nil {
		args := slices.Concat([]string{"build"}, module, reproducibleFlags, []string{"-o", binary, initPackage})
		_, err = goCommand(ctx, dir, guest.Arch, args...)
	}
	if err != nil {
		return "", fmt.Errorf("build the guests' /init, which is for %s and not for this machine (%s): %w\n"+
			"run tcplab in a module that has its command: go get -tool %s", guest.Arch, runtime.GOARCH, err, initPackage)
	}
	return binary, nil
}

// initProgram is the same, from where it is kept if nothing has changed.
func (c compiler) initProgram(ctx context.Context) (string, error) {
	here, err := os.Getwd()
	if err != nil {
		return "", err
	}
	p := program{key: keyOf(here, initPackage, "init-"+guest.Arch), path: initIn(c.dir)}
	c.kept.take(&p)
	binary, err := compileInit(ctx, c.dir)
	if err != nil {
		return "", err
	}
	content, err := os.ReadFile(binary)
	if err != nil {
		return "", err
	}
	c.kept.keep(p, hashOf(content))
	return binary, nil
}

// initIn is where it is compiled to.
func initIn(dir string) string { return filepath.Join(dir, "init") }

// moduleFlags let a build add to copies of the module's files what they lack: a module that imports the harness need not
// have the sums of what the command imports. The files themselves stay as they are.
func moduleFlags(ctx context.Context, dir string) ([]string, error) {
	output, err := goCommand(ctx, dir, guest.Arch, "env", "GOMOD", "GOWORK")
	if err != nil {
		return nil, err
	}
	module, workspace, _ := strings.Cut(strings.TrimRight(string(output), "\n"), "\n")
	if module == "" || module == os.DevNull {
		return nil, errors.New("there is no go.mod in the working directory or above")
	}
	if workspace != "" && workspace != "off" {
		return nil, nil // it has files of its own, and takes no copies
	}
	copied := filepath.Join(dir, "go.mod")
	for from, to := range map[string]string{module: copied, sumOf(module): sumOf(copied)} {
		text, err := os.ReadFile(from)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a module without requirements has no sums
		}
		if err == nil {
			err = os.WriteFile(to, text, 0o644)
		}
		if err != nil {
			return nil, err
		}
	}
	return []string{"-mod=mod", "-modfile=" + copied}, nil
}

// sumOf is the file beside a go.mod that has the sums of its requirements.
func sumOf(module string) string { return strings.TrimSuffix(module, ".mod") + ".sum" }

// compiledSuffix ends the names of compiled tests.
const compiledSuffix = ".test"

// openCompiled is a suite that was compiled elsewhere, for this architecture.
func openCompiled(name, arch string) (*Suite, error) {
	binary, err := filepath.Abs(name)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(binary); err != nil {
		return nil, err
	}
	// What is no Go program may still be one that runs.
	if info, err := buildinfo.ReadFile(binary); err == nil {
		for _, setting := range info.Settings {
			if setting.Key == "GOARCH" && setting.Value != arch {
				return nil, fmt.Errorf("%s is built for %s, and would have to run on %s: compile it with GOARCH=%s, or name its package",
					name, setting.Value, arch, arch)
			}
		}
	}
	suite := &Suite{Name: strings.TrimSuffix(filepath.Base(binary), compiledSuffix), Path: name, Binary: binary, Dir: filepath.Dir(binary)}
	return suite, suite.inspect()
}

// inspect finds out what the suite's binary is.
func (s *Suite) inspect() error {
	program, err := os.ReadFile(s.Binary)
	if err != nil {
		return fmt.Errorf("compiled suite: %w", err)
	}
	s.Ginkgo = bytes.Contains(program, runSpecs)
	s.Testing = bytes.Contains(program, mainStart)
	s.Code = hashOf(program)
	return nil
}

func hashOf(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

type goPackage struct {
	ImportPath, Dir           string
	TestGoFiles, XTestGoFiles []string
	DepOnly                   bool   // no pattern names it
	ForTest                   string // it is a variant of a package for this one's test
}

// tested tells whether a package has tests.
func (p goPackage) tested() bool { return len(p.TestGoFiles)+len(p.XTestGoFiles) > 0 }

// listPackages lists the packages that have tests. All that the tests are made of is looked at too, so that what is
// missing is said, and modules are downloaded, before anything is compiled.
func listPackages(ctx context.Context, patterns []string, dir, arch string) ([]goPackage, error) {
	const fields = "-json=ImportPath,Dir,TestGoFiles,XTestGoFiles,DepOnly,ForTest"
	args := append([]string{"list", "-deps", "-test", fields, "--"}, patterns...)
	output, err := goCommand(ctx, dir, arch, args...)
	if err != nil {
		return nil, plain(err, "suites "+strings.Join(patterns, " "))
	}
	packages, err := decodePackages(output)
	return slices.DeleteFunc(packages, func(p goPackage) bool { return p.DepOnly || p.ForTest != "" || !p.tested() }), err
}

// reproducibleFlags make a program that runs anywhere: static, and with the same bytes from
// the same source, wherever that lies.
var reproducibleFlags = []string{"-trimpath", "-buildvcs=false", "-ldflags=-s -w"}

// compilePackage compiles a package's tests to a file.
func compilePackage(ctx context.Context, arch, importPath, binary string, flags ...string) error {
	return compileTests(ctx, arch, binary, []string{importPath}, flags)
}

// compileTests compiles packages' tests to a file, or to files in a folder, whose name then ends with a slash.
func compileTests(ctx context.Context, arch, to string, packages, flags []string) error {
	args := slices.Concat([]string{"test", "-c"}, reproducibleFlags, flags, []string{"-o", to}, packages)
	_, err := goCommand(ctx, filepath.Dir(to), arch, args...)
	if err == nil {
		return nil
	}
	if blamed := blamed(err, packages); len(blamed) == 1 {
		return plain(err, "suite "+blamed[0]+" does not compile")
	} else {
		return plain(err, "suites "+strings.Join(blamed, ", ")+" do not compile")
	}
}

// blamed are the packages whose tests do not compile, as the go command says before each of its complaints:
//
//	# example.com/mine [example.com/mine.test]
//
// If it is about what all of them import, they are all.
func blamed(err error, packages []string) []string {
	var failed *goError
	if !errors.As(err, &failed) {
		return packages
	}
	blamed := slices.DeleteFunc(slices.Clone(packages), func(name string) bool {
		return !strings.Contains(failed.said, "# "+name+" [") && !strings.Contains(failed.said, "["+name+compiledSuffix+"]")
	})
	if len(blamed) == 0 {
		return packages
	}
	return blamed
}

// goCommand runs the go command, which has a folder for what it needs meanwhile.
func goCommand(ctx context.Context, dir, arch string, args ...string) ([]byte, error) {
	command := exec.Command("go", args...)
	// What it leaves there when it is killed goes with our folder.
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOTMPDIR="+dir)
	var stdout, stderr bytes.Buffer
	downloads := progress.Follow(ctx, "downloading", moduleDownload)
	defer downloads.Done()
	command.Stdout, command.Stderr = &stdout, io.MultiWriter(&stderr, downloads)
	if err := subprocess.RunTree(ctx, command, 0, 0); err != nil {
		return nil, &goError{args, err, string(bytes.TrimSpace(stderr.Bytes()))}
	}
	return stdout.Bytes(), nil
}

// moduleDownload is what the go command says on standard error when it downloads a module.
func moduleDownload(line string) (module string, ok bool) {
	return strings.CutPrefix(line, "go: downloading ")
}

// listSpecs asks a program that links Ginkgo for its specs and which of them the filter selects.
// One that has tests and no Ginkgo suite among them turns out not to be one.
func (s *Suite) listSpecs(ctx context.Context, filter Filter, dir string) error {
	report := filepath.Join(dir, "dry-run.json")
	defer os.Remove(report)
	// The seed is for the order of specs that one line makes: see below.
	args := append([]string{"--ginkgo.dry-run", "--ginkgo.seed=1", "--ginkgo.no-color", "--ginkgo.json-report=" + report}, filter.args()...)
	command := exec.Command(cmp.Or(s.Lister, s.Binary), args...)
	command.Dir = s.Dir
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, &output
	if err := subprocess.RunTree(ctx, command, 0, 0); err != nil && !endedFocused(err) {
		return fmt.Errorf("list the specs of %s: %w\n%s", s.Path, err, bytes.TrimSpace(output.Bytes()))
	}
	reports, err := readReport(report)
	if errors.Is(err, fs.ErrNotExist) {
		s.Ginkgo = false
		return nil
	}
	if err != nil {
		return fmt.Errorf("list the specs of %s: %w", s.Path, err)
	}
	s.Name = reports[0].SuiteDescription
	s.Focused = reports[0].SuiteHasProgrammaticFocus
	// Ginkgo has shuffled what is at the top level: back to the order of the source.
	slices.SortStableFunc(reports[0].SpecReports, func(a, b types.SpecReport) int {
		return cmp.Or(
			strings.Compare(a.LeafNodeLocation.FileName, b.LeafNodeLocation.FileName),
			cmp.Compare(a.LeafNodeLocation.LineNumber, b.LeafNodeLocation.LineNumber),
		)
	})
	specs := slices.DeleteFunc(reports[0].SpecReports, func(spec types.SpecReport) bool { return !spec.LeafNodeType.Is(types.NodeTypeIt) })
	inContainer := containers(specs)
	seen := map[string]string{}
	for i, spec := range specs {
		found := Spec{
			Text:      spec.FullText(),
			Labels:    spec.Labels(),
			Location:  spec.LeafNodeLocation.String(),
			Selected:  spec.State.Is(types.SpecStatePassed),
			Pending:   spec.State.Is(types.SpecStatePending),
			Container: inContainer[i],
			Kernel:    kernelConditions(reports[0], spec),
			Programs:  programs.Named(spec.Labels()),
		}
		// A record, and a guest's focus, go by the text.
		if other, ok := seen[found.Text]; ok {
			return fmt.Errorf("%s has two specs with the text %q, at %s and %s: give each its own", s.Path, found.Text, other, found.Location)
		}
		seen[found.Text] = found.Location
		s.Specs = append(s.Specs, found)
	}
	s.completeContainers()
	return nil
}

// endedFocused tells whether a program ended with the status that Ginkgo has for a suite that
// passed, but for the specs that a focus in its source left out.
func endedFocused(err error) bool {
	var exit *exec.ExitError
	return errors.As(err, &exit) && exit.ExitCode() == types.GINKGO_FOCUS_EXIT_CODE
}

// checkNames refuses suites whose records would be in each other's way: a suite's folder has the
// name of its description.
func checkNames(suites []*Suite) error {
	seen := map[string]*Suite{}
	for _, suite := range suites {
		name := suite.Name
		if !suite.Ginkgo {
			name = suite.Path
		}
		if other, ok := seen[name]; ok && other.Ginkgo == suite.Ginkgo {
			return fmt.Errorf("two suites are called %q, %s and %s: give each a description of its own", name, other.Path, suite.Path)
		}
		seen[name] = suite
	}
	return nil
}

func readReport(path string) ([]types.Report, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var reports []types.Report
	if err := json.Unmarshal(text, &reports); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(reports) != 1 {
		return nil, fmt.Errorf("%s: %d reports, expected one", path, len(reports))
	}
	return reports, nil
}

// specArguments are those of a Ginkgo suite on either clock.
func specArguments(seed uint64, report string) []string {
	return []string{
		panicOnExit,
		// Ginkgo would take its seed from the clock, which starts at the same time in every guest.
		"--ginkgo.seed=" + strconv.FormatInt(ginkgoSeed(seed), 10), "--ginkgo.no-color", "--ginkgo.json-report=" + report,
	}
}

// focusOn selects specs, each by its suite's description and its own text, which is what Ginkgo matches a focus against.
func focusOn(suite *Suite, specs []*Spec) []string {
	var args []string
	for _, spec := range specs {
		args = append(args, "--ginkgo.focus=^"+regexp.QuoteMeta(suite.Name+" "+spec.Text)+"$")
	}
	return args
}

// errNoSpecs is for filters that leave nothing to run.
var errNoSpecs = errors.New("no spec matches")

// List compiles the suites that the patterns name and lists their specs.
func List(ctx context.Context, patterns []string, filter Filter) ([]*Suite, error) {
	if err := filter.validate(); err != nil {
		return nil, err
	}
	kept, err := openKept(&logger{}) // the list is right without it
	if err != nil {
		return nil, err
	}
	dir, err := scratch.Make(os.TempDir())
	if err != nil {
		return nil, err
	}
	defer func() { _ = dir.Remove() }() // what stays is removed by the next one
	return load(ctx, patterns, filter, compiler{dir: dir.Path(), kept: kept})
}

func load(ctx context.Context, patterns []string, filter Filter, c compiler) ([]*Suite, error) {
	suites, err := c.suites(ctx, patterns, runtime.GOARCH)
	c.kept.prune()
	if err != nil {
		return nil, err
	}
	return list(ctx, suites, filter, c.dir)
}

// list returns compiled suites with their specs.
func list(ctx context.Context, compiled []*Suite, filter Filter, dir string) ([]*Suite, error) {
	task := progress.Start(ctx, "listing scenarios")
	defer task.Done()
	var suites []*Suite
	for i, suite := range compiled {
		task.Set("%d of %d suites", i, len(compiled))
		listed := *suite
		suites = append(suites, &listed)
		if listed.Ginkgo {
			if err := listed.listSpecs(ctx, filter, dir); err != nil {
				return nil, err
			}
		}
		listed.LeftOut = !listed.Ginkgo && !filter.takes(listed.Name+" "+listed.scenario())
	}
	return suites, checkNames(suites)
}
