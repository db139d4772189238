package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// findingKinds are the constants of package analysis.
func findingKinds(t *testing.T) (kinds []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "../harness/analysis/finding.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, isSpec := n.(*ast.ValueSpec)
		if !isSpec {
			return true
		}
		if of, isIdent := spec.Type.(*ast.Ident); isIdent && of.Name == "FindingKind" {
			for _, value := range spec.Values {
				kind, err := strconv.Unquote(value.(*ast.BasicLit).Value)
				if err != nil {
					t.Fatal(err)
				}
				kinds = append(kinds, kind)
			}
		}
		return true
	})
	return kinds
}

// TestEachFindingIsExplainedAndShown: a row of analysis.md has what is to be said of a kind, with the spec that provokes it.
func TestEachFindingIsExplainedAndShown(t *testing.T) {
	page, err := os.ReadFile("analysis.md")
	if err != nil {
		t.Fatal(err)
	}
	var specs []string
	for _, r := range readCoverage(t) {
		if r.suite == "findings" {
			specs = append(specs, r.specs...)
		}
	}
	kinds := findingKinds(t)
	if len(kinds) == 0 {
		t.Fatal("no constants of the type FindingKind")
	}
	for _, kind := range kinds {
		_, rest, found := strings.Cut(string(page), "\n| `"+kind+"` |")
		row, _, _ := strings.Cut(rest, "\n")
		cells := strings.Split(strings.TrimSuffix(strings.TrimSpace(row), "|"), "|")
		if !found || len(cells) != 4 {
			t.Errorf("%s: analysis.md has no row with evidence, what looks like it, what tells it apart, and the spec", kind)
			continue
		}
		begin, _, _ := strings.Cut(strings.TrimSpace(cells[3]), ";")
		begin, _, _ = strings.Cut(begin, ", ")
		if !slices.ContainsFunc(specs, func(text string) bool { return strings.HasPrefix(text, kind+": "+begin) }) {
			t.Errorf("%s: no spec of the suite findings begins with %q", kind, kind+": "+begin)
		}
	}
}
