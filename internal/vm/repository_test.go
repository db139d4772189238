package vm

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tcplab/tcplab/internal/testenv"
)

// A repository is an archive of Debian packages on this machine's disk, which apt reads as it reads any.
type repository struct {
	dir string
}

func newRepository(t *testing.T) repository {
	t.Helper()
	for _, program := range []string{"apt-get", "apt-cache"} {
		testenv.Program(t, program, "to read an archive of packages")
	}
	return repository{dir: t.TempDir()}
}

func (r repository) address() string { return "file:" + r.dir }

// suite writes a suite with its packages and aliases.
func (r repository) suite(t *testing.T, codename, alias string, packages ...testPackage) {
	t.Helper()
	var list strings.Builder
	for _, p := range packages {
		content := p.deb(t, noCompression)
		name := filepath.Join("pool", codename, p.name+"_"+p.version+"_amd64.deb")
		writeFile(t, filepath.Join(r.dir, name), content)
		fmt.Fprintf(&list, "%sFilename: %s\nSize: %d\nSHA256: %s\n\n", p.control(), name, len(content), hashOf(content))
	}
	index := []byte(list.String())
	release := fmt.Appendf(nil, "Origin: Debian\nLabel: Debian\nSuite: %s\nCodename: %s\nArchitectures: amd64\nComponents: main\n"+
		"SHA256:\n %s %d main/binary-amd64/Packages\n", alias, codename, hashOf(index), len(index))
	for _, name := range []string{codename, alias} {
		writeFile(t, filepath.Join(r.dir, "dists", name, "Release"), release)
		writeFile(t, filepath.Join(r.dir, "dists", name, "main/binary-amd64/Packages"), index)
	}
}

// sources writes a directory of sources with one suite of the repository.
func (r repository) sources(t *testing.T, suite string) string {
	t.Helper()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "test.list"), fmt.Appendf(nil, "deb [target=Packages] %s %s main\n", r.address(), suite))
	return dir
}

// meta is a metapackage.
func meta(name, version, depends string) testPackage {
	return testPackage{name: name, version: version, depends: depends}
}
