package testenv_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

const root = "../.."

// eachTestFile parses all tests of the module, but those below a testdata.
func eachTestFile(t *testing.T, do func(dir string, file *ast.File, at func(ast.Node) token.Position)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			relative, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			isRun := filepath.Dir(relative) == "results" // what runs leave in this checkout
			if entry.Name() == "testdata" || entry.Name() == ".git" || relative == "examples" || isRun {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, path, nil, 0)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(path))
		if err == nil {
			do("./"+dir, file, func(n ast.Node) token.Position { return files.Position(n.Pos()) })
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// called is the last name of what a call calls, with the name before the dot, if there is one.
func called(call *ast.CallExpr) (of, name string) {
	selector, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return "", ""
	}
	if identifier, ok := selector.X.(*ast.Ident); ok {
		of = identifier.Name
	}
	return of, selector.Sel.Name
}

// text is a call's first argument, if that is a string.
func text(call *ast.CallExpr) string {
	if len(call.Args) == 0 {
		return ""
	}
	literal, ok := call.Args[0].(*ast.BasicLit)
	if !ok {
		return ""
	}
	value, err := strconv.Unquote(literal.Value)
	if err != nil {
		return ""
	}
	return value
}

// TestMakeKnowsWhereTestsHaveToRun compares the script, which reads the tests as text, with the tests as Go has them, and finds
// tests that the script does not: those that look for root or a guest by themselves.
func TestMakeKnowsWhereTestsHaveToRun(t *testing.T) {
	g := NewWithT(t)
	guest, boots := map[string]bool{}, map[string]bool{}
	alone := map[string]token.Position{} // packages that skip for want of root on their own
	eachTestFile(t, func(dir string, file *ast.File, at func(ast.Node) token.Position) {
		if dir == "./internal/testenv" {
			return
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			switch of, name := called(call); {
			case of == "testenv" && name == "BootsGuests", of == "vmtest" && name == "NeedGuests":
				boots[dir] = true
			case of == "testenv" && slices.Contains([]string{"Missing", "Need", "Root", "InGuest"}, name):
				guest[dir] = true
			case of == "os" && name == "Getenv" && slices.Contains([]string{"TCPLAB_REQUIRE", "TCPLAB_TEST_GUEST"}, text(call)):
				t.Errorf("%v asks for %s: testenv does that for all tests", at(call), text(call))
			case strings.HasPrefix(name, "Skip") && strings.Contains(text(call), "needs root"):
				alone[dir] = at(call)
			}
			return true
		})
	})
	maps.DeleteFunc(guest, func(dir string, _ bool) bool { return boots[dir] })
	g.Expect(guest).NotTo(BeEmpty())
	g.Expect(boots).NotTo(BeEmpty())
	for dir, where := range alone {
		g.Expect(guest[dir] || boots[dir]).To(BeTrue(), "%v: this is skipped everywhere but for root: call testenv.Root", where)
	}

	for kind, want := range map[string]map[string]bool{"guest": guest, "boots": boots} {
		output, err := exec.Command("./packages", kind).Output()
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(strings.Fields(string(output))).To(ConsistOf(slices.Collect(maps.Keys(want))), kind)
		makefile, err := os.ReadFile(root + "/Makefile")
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(string(makefile)).To(ContainSubstring("internal/testenv/packages " + kind))
	}
}
