package docs

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path"
	"strings"
	"sync"
	"testing"

	"github.com/tcplab/tcplab/internal/testenv"
)

const module = "github.com/tcplab/tcplab"

// A listed package is what the go command says of it. Its name is its folder in the module.
type listed struct {
	ImportPath, Dir                    string
	Name                               string // of the package clause
	GoFiles, TestGoFiles, XTestGoFiles []string
	Imports                            []string // not those of tests
}

// folder is the package's folder in the module.
func (p listed) folder() string { return strings.TrimPrefix(p.ImportPath, module+"/") }

// importable reports whether another module can use the package.
func (p listed) importable() bool {
	return p.Name != "main" && !strings.Contains("/"+p.folder()+"/", "/internal/") && len(p.GoFiles) > 0
}

// isSuite reports whether the package is a suite of scenarios.
func (p listed) isSuite() bool { return path.Dir(p.folder()) == "scenarios" }

var modulePackages = sync.OnceValues(func() ([]listed, error) {
	command := exec.Command("go", "list", "-json=ImportPath,Dir,Name,GoFiles,TestGoFiles,XTestGoFiles,Imports", "./...")
	command.Dir = ".."
	output, err := command.Output()
	if err != nil {
		return nil, err
	}
	var packages []listed
	for decoder := json.NewDecoder(strings.NewReader(string(output))); ; {
		var p listed
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return packages, nil
		} else if err != nil {
			return nil, err
		}
		packages = append(packages, p)
	}
})

// listPackages lists the module's packages, except those of testdata.
func listPackages(t *testing.T) []listed {
	t.Helper()
	testenv.Program(t, "go", "to list packages")
	packages, err := modulePackages()
	if err != nil {
		t.Fatal(err)
	}
	if len(packages) == 0 {
		t.Fatal("the go command lists no package")
	}
	return packages
}
