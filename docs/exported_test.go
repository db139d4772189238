package docs

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write exported.md from the code")

const exportedTable = "exported.md"

// surface is how much of a package its users can name.
type surface struct{ names, fields int }

// count adds what a file exports: constants, variables, functions, types and the methods of exported types are names; fields of
// exported structs, embedded ones too, and methods of exported interfaces are fields.
func (s *surface) count(file *ast.File) {
	for _, declaration := range file.Decls {
		switch d := declaration.(type) {
		case *ast.FuncDecl:
			if d.Name.IsExported() && (d.Recv == nil || ast.IsExported(receiver(d.Recv.List[0].Type))) {
				s.names++
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				s.countSpec(spec)
			}
		}
	}
}

func (s *surface) countSpec(spec ast.Spec) {
	switch spec := spec.(type) {
	case *ast.ValueSpec:
		for _, name := range spec.Names {
			if name.IsExported() {
				s.names++
			}
		}
	case *ast.TypeSpec:
		if !spec.Name.IsExported() {
			return
		}
		s.names++
		switch t := spec.Type.(type) {
		case *ast.StructType:
			s.countFields(t.Fields)
		case *ast.InterfaceType:
			s.countFields(t.Methods)
		}
	}
}

func (s *surface) countFields(list *ast.FieldList) {
	for _, field := range list.List {
		names := field.Names
		if len(names) == 0 { // embedded
			if ast.IsExported(receiver(field.Type)) {
				s.fields++
			}
			continue
		}
		for _, name := range names {
			if name.IsExported() {
				s.fields++
			}
		}
	}
}

// receiver is the name of a type, whatever stands around it: *T, T[A], package.T.
func receiver(t ast.Expr) string {
	switch t := t.(type) {
	case *ast.StarExpr:
		return receiver(t.X)
	case *ast.IndexExpr:
		return receiver(t.X)
	case *ast.IndexListExpr:
		return receiver(t.X)
	case *ast.SelectorExpr:
		return t.Sel.Name
	case *ast.Ident:
		return t.Name
	}
	return ""
}

// TestExportedNamesAreCounted makes growth a decision: what a package exports is what its users have to read, and what cannot be
// changed later. The table is made anew by "make exported".
func TestExportedNamesAreCounted(t *testing.T) {
	var rows strings.Builder
	var total surface
	for _, p := range listPackages(t) {
		if !p.importable() || p.isSuite() {
			continue
		}
		var s surface
		for _, name := range p.GoFiles {
			file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			s.count(file)
		}
		total.names += s.names
		total.fields += s.fields
		fmt.Fprintf(&rows, "| %s | %d | %d |\n", p.folder(), s.names, s.fields)
	}
	fmt.Fprintf(&rows, "| all | %d | %d |\n", total.names, total.fields)

	text, err := os.ReadFile(exportedTable)
	if err != nil {
		t.Fatal(err)
	}
	const head = "|---|---|---|\n"
	before, table, found := strings.Cut(string(text), head)
	switch {
	case !found:
		t.Fatalf("%s has no table", exportedTable)
	case table == rows.String():
	case *update:
		if err := os.WriteFile(exportedTable, []byte(before+head+rows.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("packages export something else than docs/%s says:\n%s"+
			"Unexport what only tests and the package itself use. If the rest is meant: make exported",
			exportedTable, difference(table, rows.String()))
	}
}

// difference lists the lines that only one of two tables has.
func difference(before, after string) string {
	var b strings.Builder
	for _, side := range []struct{ sign, in, other string }{{"-", before, after}, {"+", after, before}} {
		for line := range strings.Lines(side.in) {
			if !strings.Contains("\n"+side.other, "\n"+line) {
				b.WriteString(side.sign + " " + line)
			}
		}
	}
	return b.String()
}

func TestSurfaceCountsWhatUsersCanName(t *testing.T) {
	const source = `package p
const A, b = 1, 2
var C, d int
type T struct { F, g int; H int; *U; v }
type U[X any] struct{}
type v struct{ F int }
type I interface { M(); n() }
func (T) M() {}
func (*U[X]) N() {}
func (v) O() {}
func P() {}
func q() {}
`
	file, err := parser.ParseFile(token.NewFileSet(), "p.go", source, 0)
	if err != nil {
		t.Fatal(err)
	}
	var s surface
	s.count(file)
	// A, C, T, U, I, T.M, U.N, P; T.F, T.H, T.U, I.M
	if want := (surface{8, 4}); s != want {
		t.Errorf("counted %+v, want %+v", s, want)
	}
}
