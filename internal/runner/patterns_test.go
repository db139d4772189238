package runner

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

// writeModule writes a Go module, makes it the working directory, and keeps the go command to it.
func writeModule(t *testing.T, files map[string]string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	t.Setenv("GOFLAGS", "-mod=mod")
	t.Setenv("GOWORK", "off")
	t.Setenv("GOPROXY", "off")
}

const plainTest = "import \"testing\"\n\nfunc TestIt(*testing.T) {}\n"

// suiteTest has what resolve reads: it is not compiled.
func suiteTest(description string) string {
	return "import (\n\t\"testing\"\n\n\t\"example.com/harness\"\n)\n\nfunc TestIt(t *testing.T) { harness.RunSpecs(t, " + description + ") }\n"
}

func TestSuitesByTheirNames(t *testing.T) {
	needGo(t)
	writeModule(t, map[string]string{
		"go.mod":                     "module example.com/mine\n\ngo 1.26\n",
		"opens/opens_test.go":        "package opens\n\n" + suiteTest(`"handshake"`),
		"deep/er/closes_test.go":     "package closes\n\n" + suiteTest("`teardown of a connection`"),
		"computed/computed_test.go":  "package computed\n\n" + suiteTest("name()"),
		"a/twin/twin_test.go":        "package twin\n\n" + suiteTest(`"twin"`),
		"b/twin/twin_test.go":        "package twin\n\n" + suiteTest(`"twin"`),
		"plain/plain_test.go":        "package plain\n\n" + plainTest,
		"teardown/described_test.go": "package teardown_test\n\n" + suiteTest(`"plain"`),
		"untested/untested.go":       "package untested\n",
		"folder/below/x_test.go":     "package below\n\n" + plainTest,
	})
	for _, c := range []struct {
		pattern, resolved, message string
	}{
		{pattern: "handshake", resolved: "example.com/mine/opens"},
		{pattern: "teardown of a connection", resolved: "example.com/mine/deep/er"},
		{pattern: "er", resolved: "example.com/mine/deep/er"}, // by its folder
		{pattern: "computed", resolved: "example.com/mine/computed"},
		{pattern: "plain", resolved: "example.com/mine/teardown"}, // list calls that so
		{pattern: "twin", message: "suite twin: 2 have that name, name one by its path: example.com/mine/a/twin, example.com/mine/b/twin"},
		{pattern: "handshakes", message: "suite handshakes: none has that name; there are below, computed, handshake, plain, teardown of a connection, twin"},
		{pattern: "folder", message: "suite folder: none has that name; the folder is ./folder, and with all below it ./folder/...; there are "},
		{pattern: "untested", message: "suite untested: none has that name"},
		{pattern: "strconv", resolved: "strconv"}, // one of Go's own packages
		// What the go command knows is left to it.
		{pattern: "./handshake", resolved: "./handshake"},
		{pattern: "./...", resolved: "./..."},
		{pattern: "...", resolved: "..."},
		{pattern: ".", resolved: "."},
		{pattern: "example.com/mine/opens", resolved: "example.com/mine/opens"},
	} {
		t.Run(c.pattern, func(t *testing.T) {
			g := NewWithT(t)
			resolved, err := resolve(t.Context(), []string{"./first", c.pattern}, t.TempDir(), runtime.GOARCH)
			if c.message != "" {
				g.Expect(err).To(MatchError(HavePrefix(c.message)))
				g.Expect(err.Error()).NotTo(ContainSubstring("\n"))
				return
			}
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(resolved).To(Equal([]string{"./first", c.resolved}))
		})
	}
}

// A suite by its name, from another folder of the module.
func TestListByName(t *testing.T) {
	needGo(t)
	g := NewWithT(t)
	suites, err := List(t.Context(), []string{"handshake"}, Filter{Focus: []string{"refused"}})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(suites).To(HaveLen(1))
	g.Expect(suites[0].Path).To(Equal("github.com/tcplab/tcplab/scenarios/handshake"))
}

func TestOutsideOfAModule(t *testing.T) {
	needGo(t)
	writeModule(t, nil)
	for _, pattern := range []string{"./...", "handshake", "example.com/x"} {
		g := NewWithT(t)
		_, err := List(t.Context(), []string{pattern}, Filter{})
		g.Expect(err).To(MatchError(errNoModule))
		g.Expect(err.Error()).To(And(HavePrefix("find suites in /"), Not(ContainSubstring("\n")), ContainSubstring("run tcplab in a Go module")))
	}
}

// What the go command says is passed on, and not how it was called.
func TestWhatTheGoCommandSays(t *testing.T) {
	needGo(t)
	writeModule(t, map[string]string{
		"go.mod":            "module example.com/mine\n\ngo 1.26\n",
		"syntax/x_test.go":  "package syntax\n\nfunc {\n",
		"types/x_test.go":   "package types\n\nvar a, b int = \"a\", \"b\"\n",
		"missing/x_test.go": "package missing\n\nimport _ \"example.com/none\"\n",
		"vacant/x.go":       "package vacant\n",
	})
	for pattern, says := range map[string][]string{
		"./none":        {"suites ./none: ", "directory not found"},
		"./syntax":      {"suites ./syntax: ", "syntax/x_test.go:3:6: "},
		"./types":       {"suite example.com/mine/types does not compile:\n", "x_test.go:3:16: ", "x_test.go:3:21: "},
		"./missing":     {"suites ./missing:", "example.com/none"},
		"./vacant":      {"no tests in ./vacant"},
		"/tmp":          {"suites /tmp: "},
		"example.com/x": {"suites example.com/x:", "example.com/x"},
	} {
		t.Run(pattern, func(t *testing.T) {
			_, err := List(t.Context(), []string{pattern}, Filter{})
			if err == nil {
				t.Fatal("no error")
			}
			for i, part := range says {
				if i == 0 && !strings.HasPrefix(err.Error(), part) || !strings.Contains(err.Error(), part) {
					t.Errorf("%q is not in, or does not begin: %v", part, err)
				}
			}
			for _, part := range []string{"-json", "-trimpath", "exit status", "Usage", "\n# "} {
				if strings.Contains(err.Error(), part) {
					t.Errorf("%q is in: %v", part, err)
				}
			}
		})
	}

	t.Setenv("PATH", t.TempDir())
	_, err := List(t.Context(), []string{"./types"}, Filter{})
	NewWithT(t).Expect(err).To(MatchError(HavePrefix("find suites: no go command in $PATH: install Go")))
}
