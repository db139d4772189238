package runner

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/internal/scratch"
	"github.com/tcplab/tcplab/internal/vm"
)

// keeping has compiled suites kept, in a cache of the test's own. It returns their folder.
func keeping(t *testing.T) string {
	t.Helper()
	needGo(t)
	cache := t.TempDir()
	t.Setenv("TCPLAB_CACHE", cache)
	t.Setenv(vm.SuitesLimitVariable, "")
	return filepath.Join(cache, keptSuites)
}

// compiled compiles suites as a session does, and returns what it says as well.
func compiled(t *testing.T, patterns ...string) (suites []*Suite, said string) {
	t.Helper()
	g := NewWithT(t)
	var out bytes.Buffer
	session := &Session{clock: Real, dir: t.TempDir(), log: &logger{to: &out}}
	g.Expect(session.compile(t.Context(), SessionOptions{Patterns: patterns})).To(Succeed())
	return session.suites, out.String()
}

// names are the files in a folder.
func names(t *testing.T, dir string) (list []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		list = append(list, entry.Name())
	}
	return list
}

func onlyFile(t *testing.T, dir string) string {
	t.Helper()
	list := names(t, dir)
	if len(list) != 1 {
		t.Fatalf("%s has %q, expected one file", dir, list)
	}
	return filepath.Join(dir, list[0])
}

func oneTest(t *testing.T, body string) {
	t.Helper()
	writeModule(t, map[string]string{"go.mod": "module example.com/mine\n\ngo 1.26\n", "mine_test.go": mineTest(body)})
}

func mineTest(body string) string {
	return "package mine\n\nimport \"testing\"\n\nfunc TestIt(*testing.T) { " + body + " }\n"
}

// What is damaged does not run, wherever the damage is: the go command would leave it where it is, by its build ID, or not touch
// it at all.
func TestKeptSuiteThatIsDamaged(t *testing.T) {
	dir := keeping(t)
	g := NewWithT(t)
	oneTest(t, `println("one")`)
	first, said := compiled(t, ".")
	g.Expect(said).To(BeEmpty())
	kept := onlyFile(t, dir)
	g.Expect(kept).To(HaveSuffix("-" + first[0].Code))
	again, said := compiled(t, ".")
	g.Expect(said).To(BeEmpty())
	g.Expect(again[0].Code).To(Equal(first[0].Code))
	g.Expect(onlyFile(t, dir)).To(Equal(kept))

	read := func(path string) []byte {
		content, err := os.ReadFile(path)
		g.Expect(err).NotTo(HaveOccurred())
		return content
	}
	program := read(kept)
	for what, damaged := range map[string][]byte{
		"is damaged in its middle": append(append(slices.Clone(program[:len(program)/2]), program[len(program)/2]^1), program[len(program)/2+1:]...),
		"has something behind it":  append(slices.Clone(program), 0),
		"is cut off":               program[:len(program)/2],
		"is empty":                 nil,
		"is no program":            []byte("#!/bin/sh\n"), // which the go command refuses to write over
	} {
		g.Expect(os.WriteFile(kept, damaged, 0o644)).To(Succeed())
		repaired, said := compiled(t, ".")
		g.Expect(said).To(And(HavePrefix("cache: the compiled suite in "+kept+" is damaged"), HaveSuffix("compiling it again\n")), what)
		g.Expect(repaired[0].Code).To(Equal(first[0].Code), what)
		g.Expect(onlyFile(t, dir)).To(Equal(kept), what)
		g.Expect(bytes.Equal(read(kept), program)).To(BeTrue(), what)
	}
}

// What has not changed is not linked again. The go command leaves what has the right build ID: so it does with a program that
// no link has made, under the name of its hash.
func TestKeptSuiteIsNotLinkedAgain(t *testing.T) {
	dir := keeping(t)
	g := NewWithT(t)
	oneTest(t, `println("one")`)
	first, _ := compiled(t, ".")
	kept := onlyFile(t, dir)
	program, err := os.ReadFile(kept)
	g.Expect(err).NotTo(HaveOccurred())
	changed := append(slices.Clone(program), 0)
	key := strings.TrimSuffix(kept, first[0].Code)
	g.Expect(os.Remove(kept)).To(Succeed())
	g.Expect(os.WriteFile(key+hashOf(changed), changed, 0o644)).To(Succeed())
	again, said := compiled(t, ".")
	g.Expect(said).To(BeEmpty())
	g.Expect(again[0].Code).To(Equal(hashOf(changed)))
}

func TestKeptSuiteThatHasChanged(t *testing.T) {
	dir := keeping(t)
	g := NewWithT(t)
	oneTest(t, `println("one")`)
	first, _ := compiled(t, ".")
	g.Expect(os.WriteFile("mine_test.go", []byte(mineTest(`println("other")`)), 0o644)).To(Succeed())
	second, said := compiled(t, ".")
	g.Expect(said).To(BeEmpty())
	g.Expect(second[0].Code).NotTo(Equal(first[0].Code))
	g.Expect(onlyFile(t, dir)).To(HaveSuffix("-" + second[0].Code))
	program, err := os.ReadFile(second[0].Binary)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(bytes.Contains(program, []byte("other"))).To(BeTrue())
}

// Two checkouts of a module take turns, and neither takes the other's place.
func TestKeptSuitesOfTwoCheckouts(t *testing.T) {
	dir := keeping(t)
	g := NewWithT(t)
	oneTest(t, `println("one")`)
	first, _ := compiled(t, ".")
	here, err := os.Getwd()
	g.Expect(err).NotTo(HaveOccurred())
	oneTest(t, `println("other")`)
	second, _ := compiled(t, ".")
	both := names(t, dir)
	g.Expect(both).To(ConsistOf(HaveSuffix("-"+first[0].Code), HaveSuffix("-"+second[0].Code)))
	t.Chdir(here)
	again, _ := compiled(t, ".")
	g.Expect(again[0].Code).To(Equal(first[0].Code))
	g.Expect(names(t, dir)).To(Equal(both))
}

// A run goes on without its cache, and says so once.
func TestSuitesThatCannotBeKept(t *testing.T) {
	dir := keeping(t)
	g := NewWithT(t)
	writeModule(t, map[string]string{
		"go.mod": "module example.com/mine\n\ngo 1.26\n", "a/a_test.go": "package a\n\n" + plainTest, "b/b_test.go": "package b\n\n" + plainTest,
	})
	g.Expect(os.WriteFile(dir, nil, 0o644)).To(Succeed()) // where the folder should be: root may write to what is read-only
	suites, said := compiled(t, "./...")
	g.Expect(suites).To(HaveLen(2))
	g.Expect(said).To(And(HavePrefix("cache: compiled suites are not kept: "), ContainSubstring(dir)))
	g.Expect(strings.Count(said, "\n")).To(Equal(1))
	_, err := List(t.Context(), []string{"./..."}, Filter{})
	g.Expect(err).NotTo(HaveOccurred())
}

func TestKeptSuitesHaveALimit(t *testing.T) {
	dir := keeping(t)
	g := NewWithT(t)
	oneTest(t, `println("one")`)
	_, _ = compiled(t, ".")
	kept := onlyFile(t, dir)
	size, err := scratch.Size(dir)
	g.Expect(err).NotTo(HaveOccurred())
	long := time.Now().Add(-48 * time.Hour)
	g.Expect(os.Chtimes(kept, long, long)).To(Succeed())
	_, _ = compiled(t, ".")
	info, err := os.Stat(kept)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(info.ModTime()).To(BeTemporally("~", time.Now(), time.Hour), "it was used just now")
	g.Expect(os.Chtimes(kept, long, long)).To(Succeed())

	// Another one is used later, and there is no room for both; and then for none.
	t.Setenv(vm.SuitesLimitVariable, "5MB")
	g.Expect(size).To(BeNumerically("<", 5e6))
	g.Expect(2 * size).To(BeNumerically(">", 5e6))
	oneTest(t, `println("other")`)
	other, said := compiled(t, ".")
	g.Expect(said).To(ContainSubstring("make room: at most 5.0 MB are kept (TCPLAB_CACHE_SUITES)"))
	g.Expect(onlyFile(t, dir)).To(HaveSuffix("-" + other[0].Code))
	t.Setenv(vm.SuitesLimitVariable, "0")
	g.Expect(os.RemoveAll(dir)).To(Succeed())
	_, said = compiled(t, ".")
	g.Expect(said).To(BeEmpty())
	g.Expect(dir).NotTo(BeADirectory())
}

// What a process that was killed was about to keep is gone after the next one, which finds nothing to keep.
func TestHalfKeptSuiteGoes(t *testing.T) {
	dir := keeping(t)
	g := NewWithT(t)
	oneTest(t, `println("one")`)
	_, _ = compiled(t, ".")
	left := filepath.Join(dir, "tcplab-scratch-left")
	g.Expect(os.Mkdir(left, 0o755)).To(Succeed())
	for _, name := range []string{".lock", "program"} {
		g.Expect(os.WriteFile(filepath.Join(left, name), nil, 0o600)).To(Succeed())
	}
	_, err := List(t.Context(), []string{"."}, Filter{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(names(t, dir)).To(HaveLen(1))
}

// What is built with flags of one's own, as mutated code is, neither comes from the cache nor goes into it.
func TestNothingIsKeptOfBuildsWithFlags(t *testing.T) {
	dir := keeping(t)
	g := NewWithT(t)
	oneTest(t, `println("one")`)
	session := &Session{clock: Real, dir: t.TempDir(), log: &logger{}}
	g.Expect(session.compile(t.Context(), SessionOptions{Patterns: []string{"."}, BuildFlags: []string{"-tags=mine"}})).To(Succeed())
	g.Expect(dir).NotTo(BeADirectory())
}

// Several processes at once compile the same, and each has what it compiled.
func TestKeptByManyAtOnce(t *testing.T) {
	dir := keeping(t)
	g := NewWithT(t)
	oneTest(t, `println("one")`)
	var group sync.WaitGroup
	for range 4 {
		session := &Session{clock: Real, dir: t.TempDir(), log: &logger{}}
		group.Go(func() {
			for range 2 {
				if err := session.compile(t.Context(), SessionOptions{Patterns: []string{"."}}); err != nil {
					t.Error(err)
					return
				}
				program, err := os.ReadFile(session.suites[0].Binary)
				if err != nil || hashOf(program) != session.suites[0].Code {
					t.Errorf("the program is not the one that was compiled: %v", err)
				}
				if err := os.Remove(session.suites[0].Binary); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	kept, err := os.ReadFile(onlyFile(t, dir))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(onlyFile(t, dir)).To(HaveSuffix("-" + hashOf(kept)))
}

// The go command names programs by the last part of an import path, or by the one before a version.
func TestSuitesOfOneName(t *testing.T) {
	needGo(t)
	g := NewWithT(t)
	writeModule(t, map[string]string{
		"go.mod":         "module example.com/mine\n\ngo 1.26\n",
		"a/a_test.go":    "package a\n\n" + plainTest,
		"x/a/a_test.go":  "package a\n\nimport \"testing\"\n\nfunc TestOther(*testing.T) {}\n",
		"a/v2/a_test.go": "package a\n\nimport \"testing\"\n\nfunc TestSecond(*testing.T) {}\n",
		"b/b_test.go":    "package b\n\nimport \"testing\"\n\nfunc TestB(*testing.T) {}\n",
	})
	suites, err := compiler{dir: t.TempDir()}.suites(t.Context(), []string{"./..."}, runtime.GOARCH)
	g.Expect(err).NotTo(HaveOccurred())
	has := map[string]string{}
	for _, suite := range suites {
		program, err := os.ReadFile(suite.Binary)
		g.Expect(err).NotTo(HaveOccurred())
		for _, test := range []string{"TestIt", "TestOther", "TestSecond", "TestB"} {
			if bytes.Contains(program, []byte("."+test+"\x00")) {
				has[suite.Path] += test
			}
		}
	}
	g.Expect(has).To(Equal(map[string]string{
		"example.com/mine/a": "TestIt", "example.com/mine/x/a": "TestOther", "example.com/mine/a/v2": "TestSecond", "example.com/mine/b": "TestB",
	}))
}

// Of several suites those are named that do not compile.
func TestSuitesThatDoNotCompile(t *testing.T) {
	needGo(t)
	const broken = "func f() int { return \"x\" }\n"
	writeModule(t, map[string]string{
		"go.mod":              "module example.com/mine\n\ngo 1.26\n",
		"one/a/a_test.go":     "package a\n\n" + plainTest,
		"one/b/b_test.go":     "package b\n\n" + plainTest + broken,
		"two/a/a_test.go":     "package a_test\n\n" + plainTest + broken,
		"two/b/b_test.go":     "package b\n\n" + plainTest + broken,
		"all/lib/lib.go":      "package lib\n\n" + broken,
		"all/a/a_test.go":     "package a\n\nimport _ \"example.com/mine/all/lib\"\n\n" + plainTest,
		"all/b/b_test.go":     "package b\n\nimport _ \"example.com/mine/all/lib\"\n\n" + plainTest,
		"package/a/a.go":      "package a\n\n" + broken,
		"package/a/a_test.go": "package a\n\n" + plainTest,
		"package/b/b_test.go": "package b\n\n" + plainTest,
	})
	for pattern, says := range map[string]string{
		"./one/...":     "suite example.com/mine/one/b does not compile: one/b/b_test.go:6:",
		"./two/...":     "suites example.com/mine/two/a, example.com/mine/two/b do not compile:\n",
		"./all/...":     "suites example.com/mine/all/a, example.com/mine/all/b do not compile: all/lib/lib.go:3:",
		"./package/...": "suite example.com/mine/package/a does not compile: package/a/a.go:3:",
	} {
		_, err := List(t.Context(), []string{pattern}, Filter{})
		if err == nil || !strings.HasPrefix(err.Error(), says) {
			t.Errorf("%s: %v, expected %q", pattern, err, says)
		}
	}
}
