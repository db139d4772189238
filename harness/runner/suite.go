package runner

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/onsi/ginkgo/v2/types"

	"github.com/tcplab/tcplab/internal/progress"
)

// runSpecs is in the function table of each program that can call it, where a zero byte ends
// names. A test binary's build information does not name its modules. It is put together here
// lest this package's users have it among their constants.
var runSpecs = append([]byte("github.com/onsi/ginkgo/v2"), ".RunSpecs\x00"...)

// A Suite is a compiled test package.
type Suite struct {
	Name   string // the suite's description (Ginkgo) or the last part of its import path
	Path   string // import path, or the file that was named
	Binary string
	Dir    string // of its source, or empty
	Ginkgo bool
	// Focused says that specs are focused in the source: only those are selected.
	Focused bool
	Specs   []Spec // of a Ginkgo suite
}

// selected tells whether there is anything to run.
func (s *Suite) selected() bool {
	return !s.Ginkgo || slices.ContainsFunc(s.Specs, func(spec Spec) bool { return spec.Selected })
}

// A Spec is one scenario of a suite.
type Spec struct {
	Text     string // full text: its containers' and its own
	Labels   []string
	Location string // file:line
	Selected bool   // by the filters, and not pending
	Pending  bool
	// Kernel are the conditions on the kernel's version that the spec and its containers have:
	// ComponentSemVerConstraint("kernel", ">= 6.5.0").
	Kernel []string
}

// Filter selects specs, with the meaning of Ginkgo's flags of the same names.
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

// Validate finds out what Ginkgo would refuse.
func (f Filter) Validate() error {
	for _, expression := range append(append([]string{}, f.Focus...), f.Skip...) {
		if _, err := regexp.Compile(expression); err != nil {
			return fmt.Errorf("focus and skip take regular expressions: %w", err)
		}
	}
	if f.Labels != "" {
		if _, err := types.ParseLabelFilter(f.Labels); err != nil {
			return fmt.Errorf("label filter %q: %w", f.Labels, err)
		}
	}
	return nil
}

// compile turns patterns (packages as the go command knows them, or compiled tests, *.test)
// into suites whose binaries are in dir. Packages without tests are passed over.
func compile(ctx context.Context, patterns, flags []string, dir string) ([]*Suite, error) {
	var suites []*Suite
	var packages []string
	for _, pattern := range patterns {
		if !strings.HasSuffix(pattern, ".test") {
			packages = append(packages, pattern)
			continue
		}
		binary, err := filepath.Abs(pattern)
		if err != nil {
			return nil, err
		}
		if _, err := os.Stat(binary); err != nil {
			return nil, fmt.Errorf("compiled suite: %w", err)
		}
		suites = append(suites, &Suite{
			Name: strings.TrimSuffix(filepath.Base(binary), ".test"), Path: pattern, Binary: binary, Dir: filepath.Dir(binary),
		})
	}
	if len(packages) > 0 {
		found, err := listPackages(ctx, packages)
		if err != nil {
			return nil, err
		}
		task := progress.Start(ctx, "compiling suites")
		defer task.Done()
		for i, p := range found {
			task.Set("%d of %d done, now %s", i, len(found), path.Base(p.ImportPath))
			// Packages of one name in different folders must not overwrite each other.
			binary := filepath.Join(dir, strings.ReplaceAll(p.ImportPath, "/", "-")+".test")
			if err := compilePackage(ctx, p.ImportPath, binary, flags...); err != nil {
				return nil, err
			}
			suites = append(suites, &Suite{Name: path.Base(p.ImportPath), Path: p.ImportPath, Binary: binary, Dir: p.Dir})
		}
	}
	if len(suites) == 0 {
		return nil, fmt.Errorf("no tests in %s", strings.Join(patterns, " "))
	}
	for _, suite := range suites {
		program, err := os.ReadFile(suite.Binary)
		if err != nil {
			return nil, fmt.Errorf("compiled suite: %w", err)
		}
		suite.Ginkgo = bytes.Contains(program, runSpecs)
	}
	return suites, nil
}

type goPackage struct {
	ImportPath, Dir           string
	TestGoFiles, XTestGoFiles []string
}

func listPackages(ctx context.Context, patterns []string) ([]goPackage, error) {
	args := append([]string{"list", "-json=ImportPath,Dir,TestGoFiles,XTestGoFiles", "--"}, patterns...)
	output, err := goCommand(ctx, args...)
	if err != nil {
		return nil, err
	}
	var packages []goPackage
	decoder := json.NewDecoder(bytes.NewReader(output))
	for decoder.More() {
		var p goPackage
		if err := decoder.Decode(&p); err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		if len(p.TestGoFiles)+len(p.XTestGoFiles) > 0 {
			packages = append(packages, p)
		}
	}
	return packages, nil
}

// compilePackage makes a test binary that runs anywhere: static, and with the same bytes from
// the same source, wherever that lies.
func compilePackage(ctx context.Context, importPath, binary string, flags ...string) error {
	args := slices.Concat([]string{"test", "-c", "-trimpath", "-buildvcs=false", "-ldflags=-s -w"}, flags, []string{"-o", binary, importPath})
	_, err := goCommand(ctx, args...)
	return err
}

func goCommand(ctx context.Context, args ...string) ([]byte, error) {
	command := exec.CommandContext(ctx, "go", args...)
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	var stderr bytes.Buffer
	downloads := progress.Follow(ctx, "downloading", moduleDownload)
	defer downloads.Done()
	command.Stderr = io.MultiWriter(&stderr, downloads)
	output, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return output, nil
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
	command := exec.CommandContext(ctx, s.Binary, args...)
	command.Dir = s.Dir
	output, err := command.CombinedOutput()
	if err != nil && !endedFocused(err) {
		return fmt.Errorf("list the specs of %s: %w\n%s", s.Path, err, bytes.TrimSpace(output))
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
	seen := map[string]string{}
	for _, spec := range reports[0].SpecReports {
		if !spec.LeafNodeType.Is(types.NodeTypeIt) {
			continue
		}
		found := Spec{
			Text:     spec.FullText(),
			Labels:   spec.Labels(),
			Location: spec.LeafNodeLocation.String(),
			Selected: spec.State.Is(types.SpecStatePassed),
			Pending:  spec.State.Is(types.SpecStatePending),
			Kernel:   kernelConditions(reports[0], spec),
		}
		// A record, and a guest's focus, go by the text.
		if other, ok := seen[found.Text]; ok {
			return fmt.Errorf("%s has two specs with the text %q, at %s and %s: give each its own", s.Path, found.Text, other, found.Location)
		}
		seen[found.Text] = found.Location
		s.Specs = append(s.Specs, found)
	}
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

// focusOn selects one spec, by its suite's description and its own text, which is what
// Ginkgo matches a focus against.
func focusOn(suite *Suite, spec Spec) string {
	return "--ginkgo.focus=^" + regexp.QuoteMeta(suite.Name+" "+spec.Text) + "$"
}

// errNoSpecs is for filters that leave nothing to run.
var errNoSpecs = errors.New("no spec matches")

// List compiles the suites that the patterns name and lists their specs.
func List(ctx context.Context, patterns []string, filter Filter) ([]*Suite, error) {
	if err := filter.Validate(); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "tcplab-list-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	return load(ctx, patterns, filter, dir)
}

func load(ctx context.Context, patterns []string, filter Filter, dir string) ([]*Suite, error) {
	suites, err := compile(ctx, patterns, nil, dir)
	if err != nil {
		return nil, err
	}
	return list(ctx, suites, filter, dir)
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
		if !listed.Ginkgo {
			continue
		}
		if err := listed.listSpecs(ctx, filter, dir); err != nil {
			return nil, err
		}
	}
	return suites, checkNames(suites)
}
