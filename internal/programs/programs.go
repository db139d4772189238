// Package programs knows which programs a spec needs that are not of its suite, where a machine has them, and what else a guest must
// have to run them. A spec names them by labels:
//
//	It("...", Label("program:nginx"), func(ctx SpecContext) { ... }) // what harness.Programs("nginx") is
package programs

import (
	"cmp"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// labelPrefix is before a program's name in a label.
const labelPrefix = "program:"

// Label is the label of specs that need a program.
func Label(name string) string { return labelPrefix + name }

// Named are the names of the programs that labels ask for, each once, in alphabetical order.
func Named(labels []string) []string {
	var names []string
	for _, label := range labels {
		if name, ok := strings.CutPrefix(label, labelPrefix); ok {
			names = append(names, strings.TrimSpace(name))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// A Program is one that is installed.
type Program struct {
	Path  string
	Files []string // files and directories that it needs beside its shared libraries, if any
}

// A MissingError says that a program is not installed.
type MissingError struct {
	Name    string
	Package string // Debian's, where it is known
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("needs %s, which is not installed: apt-get install --no-install-recommends %s", e.Name, cmp.Or(e.Package, e.Name))
}

// Is tells that the error is one of a file that does not exist.
func (e *MissingError) Is(target error) bool { return target == fs.ErrNotExist }

// A place is where Debian has a program that is not in everybody's PATH, or needs more than itself.
type place struct {
	pkg  string
	path string // "*" is a version, of which the newest is taken; empty: it is in PATH
	// files are what it needs, with the same version for "*" where path has one. Of those that end in "?", there may be none.
	files []string
}

// The programs of PostgreSQL lie in a folder of their version; those of the same name in PATH are scripts in Perl.
const postgresql = "/usr/lib/postgresql/*"

var places = map[string]place{
	"curl":            {pkg: "curl"},
	"haproxy":         {pkg: "haproxy"},
	"iperf3":          {pkg: "iperf3"},
	"nginx":           {pkg: "nginx"},
	"pgbench":         {pkg: "postgresql", path: postgresql + "/bin/pgbench"},
	"psql":            {pkg: "postgresql", path: postgresql + "/bin/psql"},
	"redis-benchmark": {pkg: "redis-tools"},
	"redis-cli":       {pkg: "redis-tools"},
	"redis-server":    {pkg: "redis-server"},
	"socat":           {pkg: "socat"},
	"ssh":             {pkg: "openssh-client"},
	"ssh-keygen":      {pkg: "openssh-client"},
	// Since OpenSSH 9.8 a connection is served by programs of their own.
	"sshd": {pkg: "openssh-server", files: []string{"/bin/sh", "/usr/lib/openssh/sshd-session?", "/usr/lib/openssh/sshd-auth?"}},
	// initdb makes a database with these; it looks for postgres beside itself.
	"initdb": {pkg: "postgresql", path: postgresql + "/bin/initdb", files: []string{
		"/bin/sh", // by which it starts postgres
		postgresql + "/bin/postgres", postgresql + "/lib/plpgsql.so", postgresql + "/lib/dict_snowball.so", "/usr/share/postgresql/*",
	}},
	"postgres": {pkg: "postgresql", path: postgresql + "/bin/postgres", files: []string{
		postgresql + "/lib/plpgsql.so", "/usr/share/postgresql/*",
	}},
}

// systemFolders are looked through after PATH, which of a user often lacks them.
var systemFolders = []string{"/usr/local/sbin", "/usr/sbin", "/sbin"}

// Find finds a program on this machine. Its error is a [*MissingError] where the program, or what it needs, is not installed.
func Find(name string) (Program, error) {
	at := places[name]
	missing := &MissingError{Name: name, Package: at.pkg}
	path, version, ok := at.find(name)
	if !ok {
		return Program{}, missing
	}
	found := Program{Path: path}
	for _, file := range at.files {
		file, optional := strings.CutSuffix(strings.Replace(file, "*", version, 1), "?")
		if _, err := os.Stat(file); err == nil {
			found.Files = append(found.Files, file)
		} else if !optional {
			return Program{}, missing
		}
	}
	return found, nil
}

// find returns where a program is, and its version where it lies in a folder of that.
func (p place) find(name string) (path, version string, ok bool) {
	if p.path == "" {
		path, ok = lookPath(name)
		return path, "", ok
	}
	before, after, _ := strings.Cut(p.path, "*")
	all, err := filepath.Glob(p.path)
	if err != nil || len(all) == 0 {
		return "", "", false
	}
	newest := slices.MaxFunc(all, func(a, b string) int { // 9.6, 15, 17
		return cmp.Or(cmp.Compare(len(majorOf(a, before)), len(majorOf(b, before))), strings.Compare(a, b))
	})
	return newest, strings.TrimSuffix(strings.TrimPrefix(newest, before), after), true
}

// majorOf is the first number of a version behind a folder.
func majorOf(path, folder string) string {
	major, _, _ := strings.Cut(strings.TrimPrefix(path, folder), "/")
	major, _, _ = strings.Cut(major, ".")
	return major
}

func lookPath(name string) (string, bool) {
	if path, err := exec.LookPath(name); err == nil {
		return path, true
	}
	if filepath.Base(name) != name {
		return "", false
	}
	for _, folder := range systemFolders {
		if path, err := exec.LookPath(filepath.Join(folder, name)); err == nil {
			return path, true
		}
	}
	return "", false
}
