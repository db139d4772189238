package docs

import (
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A layer is one line of the picture in architecture.md: packages that may import those of the lines below, and no others.
type layer struct {
	name     string
	patterns []string // folders of packages, or patterns of package path
}

func (l layer) has(folder string) bool {
	for _, pattern := range l.patterns {
		if matched, err := path.Match(pattern, folder); err == nil && matched {
			return true
		}
	}
	return false
}

// layers reads the picture: the first fenced block of section "Layers". A line that begins with blanks continues the one
// before.
func layers(t *testing.T) []layer {
	t.Helper()
	document, err := os.ReadFile("architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(document), "\n## Layers\n")
	_, block, _ := strings.Cut(section, "```\n")
	block, _, found := strings.Cut(block, "```")
	if !found {
		t.Fatal("architecture.md has no section Layers with a block of text")
	}
	var all []layer
	for line := range strings.Lines(block) {
		words := strings.Fields(line)
		switch {
		case len(words) == 0 || strings.Trim(words[0], "|v") == "": // blank, or an arrow
		case strings.HasPrefix(line, " "):
			last := &all[len(all)-1]
			last.patterns = append(last.patterns, words...)
		default:
			all = append(all, layer{words[0], words[1:]})
		}
	}
	return all
}

func TestNoPackageImportsUpwards(t *testing.T) {
	all := layers(t)
	// layerOf is the number of a package's layer, from above, or -1.
	layerOf := func(folder string) int {
		found := -1
		for i, l := range all {
			if !l.has(folder) {
				continue
			}
			if found >= 0 {
				t.Errorf("architecture.md has %s in two layers: %s and %s", folder, all[found].name, l.name)
			}
			found = i
		}
		return found
	}
	known := map[string]int{}
	for _, p := range listPackages(t) {
		known[p.folder()] = layerOf(p.folder())
	}
	for _, p := range listPackages(t) {
		mine := known[p.folder()]
		if mine < 0 {
			t.Errorf("%s is in no layer of architecture.md: put it above all that it imports, and below all that imports it", p.folder())
			continue
		}
		for _, imported := range p.Imports {
			folder, own := strings.CutPrefix(imported, module+"/")
			if other, is := known[folder]; own && is && other >= 0 && other <= mine {
				t.Errorf("%s (layer %s) imports %s (layer %s): imports go down only, see architecture.md",
					p.folder(), all[mine].name, folder, all[other].name)
			}
		}
	}
	for _, l := range all {
		for _, pattern := range l.patterns {
			used := false
			for folder := range known {
				matched, err := path.Match(pattern, folder)
				used = used || matched && err == nil
			}
			if !used {
				t.Errorf("architecture.md has %s in layer %s, and there is no such package", pattern, l.name)
			}
		}
	}
}

// sources are a package's files, or its tests where it has nothing else: a suite.
func (p listed) sources() []string {
	if len(p.GoFiles) > 0 {
		return p.GoFiles
	}
	return append(slices.Clone(p.TestGoFiles), p.XTestGoFiles...)
}

func TestEachPackageSaysItsOneThing(t *testing.T) {
	for _, p := range listPackages(t) {
		said := ""
		for _, name := range p.sources() {
			file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.PackageClauseOnly|parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			said += file.Doc.Text()
		}
		if !strings.HasPrefix(said, "Package "+p.Name+" ") && p.Name != "main" || said == "" {
			t.Errorf("%s has no doc comment that begins with \"Package %s\"", p.folder(), p.Name)
		}
	}
}

// An example shows how a package is used, and runs where that needs no root.
func TestEachImportablePackageHasAnExample(t *testing.T) {
	example := regexp.MustCompile(`(?m)^func Example`)
	for _, p := range listPackages(t) {
		if !p.importable() {
			continue
		}
		found := false
		for _, name := range append(slices.Clone(p.TestGoFiles), p.XTestGoFiles...) {
			text, err := os.ReadFile(filepath.Join(p.Dir, name))
			if err != nil {
				t.Fatal(err)
			}
			found = found || example.Match(text)
		}
		if !found {
			t.Errorf("%s has no example: write one in example_test.go, with its output if it runs without root", p.folder())
		}
	}
}

// The table of packages has each that others can import, once.
func TestArchitectureDescribesEachPackage(t *testing.T) {
	document, err := os.ReadFile("architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range listPackages(t) {
		if n := strings.Count(string(document), "\n| `"+p.folder()+"` | "); p.importable() && n != 1 {
			t.Errorf("architecture.md has %d rows for %s in its table of packages, want 1", n, p.folder())
		}
	}
}
