package runner

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// errNoModule is for a folder in which the go command finds no packages.
var errNoModule = errors.New("no go.mod there or above")

// workPackages stands for all packages of the modules that are worked on, wherever in them this is (go help packages).
const workPackages = "work"

// resolve returns patterns for the go command, with the packages of suites that are called by their names, as tcplab
// list shows them, in place of these.
func resolve(ctx context.Context, patterns []string, dir, arch string) ([]string, error) {
	if err := checkModule(ctx, dir, arch); err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(patterns, isSuiteName) {
		return patterns, nil
	}
	output, err := goCommand(ctx, dir, arch, "list", "-e", "-json=ImportPath,Dir,TestGoFiles,XTestGoFiles", workPackages)
	if err != nil {
		return nil, err
	}
	known, err := decodePackages(output)
	if err != nil {
		return nil, err
	}
	var resolved []string
	for _, pattern := range patterns {
		if isSuiteName(pattern) {
			if pattern, err = findSuite(known, pattern); err != nil {
				return nil, err
			}
		}
		resolved = append(resolved, pattern)
	}
	return resolved, nil
}

// checkModule finds out whether the go command can find packages here at all.
func checkModule(ctx context.Context, dir, arch string) error {
	output, err := goCommand(ctx, dir, arch, "env", "GOMOD")
	if err != nil {
		return err
	}
	if module := strings.TrimSpace(string(output)); module != "" && module != os.DevNull {
		return nil
	}
	if output, err = goCommand(ctx, dir, arch, "env", "GOWORK"); err == nil && !slices.Contains([]string{"", "off"}, strings.TrimSpace(string(output))) {
		return nil
	}
	here, err := os.Getwd()
	if err != nil {
		return err
	}
	return fmt.Errorf("find suites in %s: %w: run tcplab in a Go module, or name compiled suites (*%s)", here, errNoModule, compiledSuffix)
}

// isSuiteName tells a suite's name from a pattern of the go command. A folder is named with ./ before it, as there.
func isSuiteName(pattern string) bool {
	return !strings.ContainsAny(pattern, "/\\@") && !strings.HasPrefix(pattern, ".") && !strings.Contains(pattern, "...")
}

// findSuite finds the package of the suite that has a name: the description that it has in its source or, of tests that
// are not Ginkgo's and of packages that are known by their folder, the last part of the import path. What is no
// suite's name may be a package's: one of Go's own, or a module's with such a path.
func findSuite(known []goPackage, name string) (string, error) {
	var described, called []string
	var names []string
	for _, p := range known {
		if !p.tested() {
			continue
		}
		descriptions := p.descriptions()
		base := path.Base(p.ImportPath)
		switch {
		case slices.Contains(descriptions, name):
			described = append(described, p.ImportPath)
		case base == name || p.ImportPath == name:
			called = append(called, p.ImportPath)
		}
		if len(descriptions) == 0 {
			descriptions = []string{base}
		}
		names = append(names, descriptions...)
	}
	if len(described) == 0 {
		described = called
	}
	switch {
	case len(described) == 1:
		return described[0], nil
	case len(described) > 1:
		return "", fmt.Errorf("suite %s: %d have that name, name one by its path: %s", name, len(described), strings.Join(described, ", "))
	case isStandard(name):
		return name, nil
	}
	hint := ""
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		hint = fmt.Sprintf("; the folder is ./%s, and with all below it ./%s/...", name, name)
	}
	slices.Sort(names)
	return "", fmt.Errorf("suite %s: none has that name%s; there are %s", name, hint, strings.Join(slices.Compact(names), ", "))
}

// isStandard tells whether a package is one of Go's own.
func isStandard(name string) bool {
	root := os.Getenv("GOROOT")
	if root == "" {
		// The go command is in GOROOT/bin, if it is not a link to there.
		program, err := exec.LookPath("go")
		if err != nil {
			return false
		}
		if program, err = filepath.EvalSymlinks(program); err != nil {
			return false
		}
		root = filepath.Dir(filepath.Dir(program))
	}
	info, err := os.Stat(filepath.Join(root, "src", name))
	return err == nil && info.IsDir()
}

// descriptions are those of the Ginkgo suites in a package, as far as they stand in its source: the second argument of
// RunSpecs. Nothing is compiled for that.
func (p goPackage) descriptions() (found []string) {
	for _, name := range slices.Concat(p.TestGoFiles, p.XTestGoFiles) {
		source, err := os.ReadFile(filepath.Join(p.Dir, name))
		if err != nil || !bytes.Contains(source, []byte("RunSpecs")) {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, source, parser.SkipObjectResolution)
		if err != nil {
			continue // the compiler says what is wrong with it
		}
		ast.Inspect(file, func(node ast.Node) bool {
			if description, ok := description(node); ok {
				found = append(found, description)
			}
			return true
		})
	}
	return found
}

// description is the one in a call of RunSpecs.
func description(node ast.Node) (string, bool) {
	call, ok := node.(*ast.CallExpr)
	if !ok || len(call.Args) < 2 {
		return "", false
	}
	var function string
	switch f := call.Fun.(type) {
	case *ast.Ident:
		function = f.Name
	case *ast.SelectorExpr:
		function = f.Sel.Name
	}
	literal, ok := call.Args[1].(*ast.BasicLit)
	if function != "RunSpecs" || !ok || literal.Kind != token.STRING {
		return "", false
	}
	text, err := strconv.Unquote(literal.Value)
	return text, err == nil
}

// A goError is what the go command says when it fails.
type goError struct {
	args []string
	err  error
	said string
}

func (e *goError) Error() string {
	return fmt.Sprintf("go %s: %v\n%s", strings.Join(e.args, " "), e.err, e.said)
}
func (e *goError) Unwrap() error { return e.err }

// plain is an error that says what was tried in the user's words, and what the go command said, without its arguments.
func plain(err error, tried string) error {
	var failed *goError
	var exit *exec.ExitError
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return fmt.Errorf("%s: no go command in $PATH: install Go 1.26 or later, or name compiled suites (*%s): %w", tried, compiledSuffix, err)
	case !errors.As(err, &failed) || !errors.As(err, &exit):
		return err // it was interrupted, or did not even begin
	}
	var lines []string
	for line := range strings.Lines(failed.said) {
		line = strings.TrimRight(line, "\r\n")
		if _, download := moduleDownload(line); !download && !strings.HasPrefix(line, "# ") {
			lines = append(lines, line)
		}
	}
	separator := "\n"
	if len(lines) == 1 {
		separator = " "
	}
	return &plainError{text: tried + ":" + separator + strings.Join(lines, "\n"), err: err}
}

// A plainError has a text of its own, and what it stands for.
type plainError struct {
	text string
	err  error
}

func (e *plainError) Error() string { return e.text }
func (e *plainError) Unwrap() error { return e.err }

// decodePackages reads what go list -json prints.
func decodePackages(output []byte) (packages []goPackage, err error) {
	decoder := json.NewDecoder(bytes.NewReader(output))
	for {
		var p goPackage
		switch err := decoder.Decode(&p); {
		case errors.Is(err, io.EOF):
			return packages, nil
		case err != nil:
			return nil, fmt.Errorf("go list: %w", err)
		}
		packages = append(packages, p)
	}
}
