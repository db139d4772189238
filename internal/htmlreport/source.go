package htmlreport

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/tcplab/tcplab/results"
)

// sourceLines is the source of a spec.
type sourceLines struct {
	File  string   `json:"file"`
	First int      `json:"first"` // the number of the first line
	Lines []string `json:"lines"`
}

// sources are the lines of specs, each once: several scenarios can be of one table, or of one spec on several kernels.
type sources []*sourceLines

// add is the index of these lines, or nil if there are none.
func (s *sources) add(lines *sourceLines) *int {
	if lines == nil {
		return nil
	}
	i := slices.IndexFunc(*s, func(other *sourceLines) bool {
		return other.File == lines.File && other.First == lines.First && slices.Equal(other.Lines, lines.Lines)
	})
	if i < 0 {
		i = len(*s)
		*s = append(*s, lines)
	}
	return &i
}

// maxSource is how many bytes of a file are read, and maxLines how many lines of a spec are shown.
const (
	maxSource = 1 << 20
	maxLines  = 160
)

// A module is the Go module that the report is made in: sources of its tests are shown, and no other file is read.
type module struct {
	root *os.Root
	path string
}

var moduleLine = regexp.MustCompile(`(?m)^module\s+"?([^\s"]+)"?`)

// findModule looks for go.mod in a folder and those above it. Without one there is no source.
func findModule(folder string) *module {
	folder, err := filepath.Abs(folder)
	if err != nil {
		return nil
	}
	for {
		if text, err := os.ReadFile(filepath.Join(folder, "go.mod")); err == nil {
			found := moduleLine.FindSubmatch(text)
			root, err := os.OpenRoot(folder)
			if found == nil || err != nil {
				return nil
			}
			return &module{root, string(found[1])}
		}
		parent := filepath.Dir(folder)
		if parent == folder {
			return nil
		}
		folder = parent
	}
}

// Close closes what findModule opened.
func (m *module) Close() {
	if m != nil {
		_ = m.root.Close() // read only: there is nothing that an error could tell
	}
}

// source is the source of a record's spec, or nil. Where it is Ginkgo's report says; only tests in the module are read, for who wrote
// the record might want another file to be in the page.
func (m *module) source(record *results.Record) *sourceLines {
	if m == nil || record.Dir() == "" {
		return nil
	}
	file, line := location(record)
	relative, ok := strings.CutPrefix(file, m.path+"/")
	if !ok {
		relative, ok = strings.CutPrefix(file, m.root.Name()+"/")
	}
	if !ok || !strings.HasSuffix(relative, "_test.go") {
		return nil
	}
	f, err := m.root.Open(filepath.FromSlash(relative))
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }() // read only: there is nothing that an error could tell
	text, err := io.ReadAll(io.LimitReader(f, maxSource))
	if err != nil {
		return nil
	}
	return specLines(relative, text, line)
}

// location is where a spec is, by Ginkgo's report.
func location(record *results.Record) (file string, line int) {
	root, err := os.OpenRoot(record.Dir())
	if err != nil {
		return "", 0
	}
	defer func() { _ = root.Close() }() // read only: there is nothing that an error could tell
	f, err := root.Open("ginkgo.json")
	if err != nil {
		return "", 0
	}
	defer func() { _ = f.Close() }() // read only: there is nothing that an error could tell
	var suites []struct {
		SpecReports []struct {
			ContainerHierarchyTexts []string
			LeafNodeText            string
			LeafNodeLocation        struct {
				FileName   string
				LineNumber int
			}
		}
	}
	if json.NewDecoder(io.LimitReader(f, 64<<20)).Decode(&suites) != nil {
		return "", 0
	}
	for _, suite := range suites {
		for _, spec := range suite.SpecReports {
			text := strings.TrimSpace(strings.Join(append(spec.ContainerHierarchyTexts, spec.LeafNodeText), " "))
			if text == record.Scenario {
				return spec.LeafNodeLocation.FileName, spec.LeafNodeLocation.LineNumber
			}
		}
	}
	return "", 0
}

// specLines are the lines of the call that begins on a line; of an entry of a table, the whole table. What is no Go any more gives
// the lines from there on.
func specLines(file string, text []byte, line int) *sourceLines {
	all := strings.Split(strings.TrimSuffix(string(bytes.ToValidUTF8(text, []byte("\uFFFD"))), "\n"), "\n")
	if line < 1 || line > len(all) {
		return nil
	}
	first, last := line, min(len(all), line+maxLines-1)
	set := token.NewFileSet()
	if parsed, err := parser.ParseFile(set, file, text, parser.SkipObjectResolution); err == nil {
		var path []*ast.CallExpr // those around the line, the outermost first
		ast.Inspect(parsed, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok && set.Position(call.Pos()).Line <= line && set.Position(call.End()).Line >= line {
				path = append(path, call)
			}
			return true
		})
		for i, call := range path {
			if set.Position(call.Pos()).Line != line {
				continue
			}
			if name, ok := call.Fun.(*ast.Ident); ok && strings.HasSuffix(name.Name, "Entry") && i > 0 {
				call = path[i-1]
			}
			first, last = set.Position(call.Pos()).Line, set.Position(call.End()).Line
			break
		}
	}
	last = min(last, first+maxLines-1)
	return &sourceLines{file, first, all[first-1 : last]}
}
