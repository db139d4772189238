package runner

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"github.com/tcplab/tcplab/internal/testenv"
)

// module is where the suites of the tests are.
const module = "github.com/tcplab/tcplab/internal/runner/testdata/"

func needGo(t *testing.T) {
	t.Helper()
	testenv.Program(t, "go", "to compile suites")
}

func texts(suite *Suite, which func(Spec) bool) []string {
	var list []string
	for _, spec := range suite.Specs {
		if which(spec) {
			list = append(list, spec.Text)
		}
	}
	return list
}

// place is "file:line" of the first line of a file in testdata that has the text in it.
func place(t *testing.T, file, text string) string {
	t.Helper()
	source, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	before, _, found := strings.Cut(string(source), text)
	if !found {
		t.Fatalf("%s has no line with %s", file, text)
	}
	return fmt.Sprintf("%s:%d", file, 1+strings.Count(before, "\n"))
}

func selected(spec Spec) bool { return spec.Selected }

func TestListFindsSuitesAndTheirSpecs(t *testing.T) {
	needGo(t)
	g := NewWithT(t)
	suites, err := List(t.Context(), []string{"./testdata/bare", "./testdata/untested", "./testdata/plain", "./testdata/linked", "./testdata/importer", "./testdata/guests"}, Filter{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(suites).To(HaveLen(5))

	here, err := os.Getwd()
	g.Expect(err).NotTo(HaveOccurred())
	bare, plain, linked, importer, guests := suites[0], suites[1], suites[2], suites[3], suites[4] // in the order of the patterns
	g.Expect(bare.Name).To(Equal("bare"))
	g.Expect(bare.Path).To(Equal(module + "bare"))
	g.Expect(bare.Dir).To(Equal(filepath.Join(here, "testdata", "bare")))
	g.Expect(bare.Ginkgo).To(BeTrue())
	g.Expect(bare.Focused).To(BeFalse())
	g.Expect(texts(bare, selected)).To(Equal([]string{"passes without a harness", "waits to be interrupted"})) // as in the source
	g.Expect(bare.Specs[0].Text).To(Equal("passes without a harness"))
	g.Expect(bare.Specs[0].Labels).To(Equal([]string{"alone"}))
	g.Expect(bare.Specs[0].Location).To(Equal(module + place(t, "bare/bare_test.go", "passes without a harness")))

	g.Expect(texts(guests, selected)).To(Equal([]string{
		"a spec passes", "a spec passes too", "a spec fails", "a spec is skipped", "a spec takes the kernel along",
	}))
	g.Expect(texts(guests, func(spec Spec) bool { return spec.Pending })).To(Equal([]string{"a spec is pending"}))
	g.Expect(guests.Specs[0].Labels).To(Equal([]string{"spec", "good", "quick"}))

	// What could run a Ginkgo suite and does not is one of package testing, as much as what could not.
	for name, suite := range map[string]*Suite{"linked": linked, "plain": plain, "importer": importer} {
		g.Expect(suite.Name).To(Equal(name))
		g.Expect(suite.Ginkgo).To(BeFalse())
		g.Expect(suite.Specs).To(BeEmpty())
	}
}

func TestKernelConditions(t *testing.T) {
	needGo(t)
	g := NewWithT(t)
	suites, err := List(t.Context(), []string{"./testdata/kernels"}, Filter{})
	g.Expect(err).NotTo(HaveOccurred())
	conditions := map[string][]string{}
	for _, spec := range suites[0].Specs {
		conditions[spec.Text] = spec.Kernel
	}
	g.Expect(conditions).To(Equal(map[string][]string{
		"is for all":                       {">= 4.0.0"},
		"is for those from the far future": {">= 4.0.0", ">= 999.0.0"},
		"of the nineties, is for none, and is about something else too": {"< 3.0.0", ">= 4.0.0"},
	}))
}

func TestFilters(t *testing.T) {
	needGo(t)
	// Compiled once, and listed by the binary.
	binary := filepath.Join(t.TempDir(), "guests.test")
	if err := compilePackage(t.Context(), runtime.GOARCH, "./testdata/guests", binary); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name     string
		filter   Filter
		expected []string
	}{
		{"focus", Filter{Focus: []string{"passes"}}, []string{"a spec passes", "a spec passes too"}},
		{"focus on suite and text", Filter{Focus: []string{"^guests a spec passes$"}}, []string{"a spec passes"}},
		{"several", Filter{Focus: []string{"passes$", "fails"}}, []string{"a spec passes", "a spec fails"}},
		{"skip", Filter{Focus: []string{"passes"}, Skip: []string{"too"}}, []string{"a spec passes"}},
		{"labels", Filter{Labels: "good && !quick"}, []string{"a spec passes too"}},
		{"a container's label", Filter{Labels: "spec", Skip: []string{"passes|kernel"}}, []string{"a spec fails", "a spec is skipped"}},
		{"nothing", Filter{Focus: []string{"no such spec"}}, nil},
		{"pending", Filter{Focus: []string{"pending"}}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := NewWithT(t)
			suites, err := List(t.Context(), []string{binary}, c.filter)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(suites).To(HaveLen(1))
			g.Expect(suites[0].Path).To(Equal(binary))
			g.Expect(suites[0].Dir).To(Equal(filepath.Dir(binary)))
			g.Expect(texts(suites[0], selected)).To(Equal(c.expected))
			g.Expect(suites[0].selected()).To(Equal(c.expected != nil))
			if c.expected == nil {
				err := checkSelection(suites)
				g.Expect(err).To(MatchError(errNoSpecs))
				g.Expect(err.Error()).To(Equal("no spec matches the filters, of 6 in 1 suites; tcplab list shows them"))
			} else {
				g.Expect(checkSelection(suites)).To(Succeed())
			}
		})
	}
}

// To a filter a suite that is not Ginkgo's is one spec without labels: if it ran whole, a slip in a focus would pass.
func TestFiltersOfAPlainSuite(t *testing.T) {
	needGo(t)
	binary := filepath.Join(t.TempDir(), "plain.test")
	if err := compilePackage(t.Context(), runtime.GOARCH, "./testdata/plain", binary); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		filter   Filter
		selected bool
	}{
		{Filter{}, true},
		{Filter{Focus: []string{"no such spec", "^plain go test "}}, true},
		{Filter{Focus: []string{"no such spec"}}, false},
		{Filter{Skip: []string{"plain"}}, false},
		{Filter{Labels: "quick"}, false},
		{Filter{Labels: "!quick"}, true},
	} {
		suites, err := List(t.Context(), []string{binary}, c.filter)
		if err != nil {
			t.Fatal(err)
		}
		if got := suites[0].selected(); got != c.selected || len(suites[0].folders()) != suites[0].count() {
			t.Errorf("%+v: %v", c.filter, got)
		}
		if err := checkSelection(suites); (err == nil) != c.selected {
			t.Errorf("%+v: %v", c.filter, err)
		}
	}
}

func TestSuitesThatAreRefused(t *testing.T) {
	needGo(t)
	notCompiled := filepath.Join(t.TempDir(), "none.test")
	for _, c := range []struct {
		name     string
		patterns []string
		message  []string
	}{
		{"two specs of one text", []string{"./testdata/duplicates"}, []string{`two specs with the text "is there"`, "duplicates_test.go:12", "duplicates_test.go:13"}},
		{"two suites of one name", []string{"./testdata/bare", "./testdata/twin"}, []string{`two suites are called "bare"`, module + "bare", module + "twin"}},
		{"no tests", []string{"./testdata/untested"}, []string{"no tests in ./testdata/untested"}},
		{"does not compile", []string{"./testdata/broken"}, []string{"suite " + module + "broken does not compile: ", "broken_test.go:4:9: undefined: undefined"}},
		{"no such package", []string{"./testdata/no-such"}, []string{"suites ./testdata/no-such: ", "directory not found"}},
		{"no such binary", []string{notCompiled}, []string{"compiled suite", notCompiled}},
		{"a tree that Ginkgo refuses", []string{"./testdata/misbuilt"}, []string{"list the specs of " + module + "misbuilt", "BeforeAll"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := List(t.Context(), c.patterns, Filter{})
			if err == nil {
				t.Fatal("no error")
			}
			for _, part := range c.message {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q is not in: %v", part, err)
				}
			}
		})
	}
}

// A suite that is compiled elsewhere needs no go command.
func TestCompiledSuiteWithoutGo(t *testing.T) {
	needGo(t)
	g := NewWithT(t)
	binary := filepath.Join(t.TempDir(), "bare.test")
	g.Expect(compilePackage(t.Context(), runtime.GOARCH, "./testdata/bare", binary)).To(Succeed())
	twice := []string{binary, binary}
	t.Setenv("PATH", "")
	suites, err := List(t.Context(), twice[:1], Filter{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(suites[0].Name).To(Equal("bare"))
	_, err = List(t.Context(), twice, Filter{})
	g.Expect(err).To(MatchError(ContainSubstring("two suites are called")))
	_, err = List(t.Context(), []string{"./testdata/bare"}, Filter{})
	g.Expect(err).To(MatchError(exec.ErrNotFound))
}

// The same source gives the same program, wherever it is compiled to.
func TestCompilingIsReproducible(t *testing.T) {
	needGo(t)
	g := NewWithT(t)
	var programs [][]byte
	for range 2 {
		binary := filepath.Join(t.TempDir(), "plain.test")
		g.Expect(compilePackage(t.Context(), runtime.GOARCH, "./testdata/plain", binary)).To(Succeed())
		program, err := os.ReadFile(binary)
		g.Expect(err).NotTo(HaveOccurred())
		programs = append(programs, program)
	}
	g.Expect(string(programs[0]) == string(programs[1])).To(BeTrue())
}

func TestFocusInTheSource(t *testing.T) {
	needGo(t)
	g := NewWithT(t)
	suites, err := List(t.Context(), []string{"./testdata/focused"}, Filter{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(suites[0].Focused).To(BeTrue())
	g.Expect(texts(suites[0], selected)).To(Equal([]string{"is in focus"}))
}

func TestBadFilters(t *testing.T) {
	for _, c := range []struct {
		filter  Filter
		message string
	}{
		{Filter{Focus: []string{"fine", "("}}, "focus and skip take regular expressions"},
		{Filter{Skip: []string{"["}}, "focus and skip take regular expressions"},
		{Filter{Labels: "quick &&"}, `label filter "quick &&"`},
	} {
		for name, use := range map[string]func() error{
			"List": func() error { _, err := List(t.Context(), []string{"./testdata/no-such"}, c.filter); return err },
			"Run": func() error {
				_, err := Run(t.Context(), SessionOptions{Patterns: []string{"./testdata/no-such"}}, RunOptions{Filter: c.filter})
				return err
			},
		} {
			if err := use(); err == nil || !strings.Contains(err.Error(), c.message) {
				t.Errorf("%s with %+v: %v", name, c.filter, err)
			}
		}
	}
	if err := (Filter{Focus: []string{"a|b"}, Skip: []string{"c"}, Labels: "x || !y"}).validate(); err != nil {
		t.Error(err)
	}
}

func TestFocusOnSpecs(t *testing.T) {
	g := NewWithT(t)
	specs := []*Spec{{Text: "costs 1 $ (or less)"}, {Text: "ends"}}
	g.Expect(focusOn(&Suite{Name: "a.b"}, specs)).To(Equal([]string{`--ginkgo.focus=^a\.b costs 1 \$ \(or less\)$`, `--ginkgo.focus=^a\.b ends$`}))
}

func TestReadReport(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "report.json")
	if _, err := readReport(path); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	for text, message := range map[string]string{"[": "unexpected end", "[]": "0 reports, expected one", "[{},{}]": "2 reports"} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := readReport(path); err == nil || !strings.Contains(err.Error(), message) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
