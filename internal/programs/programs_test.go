package programs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"
)

// executable makes one below a folder.
func executable(t *testing.T, dir, name string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLabelsNameProgramsOnce(t *testing.T) {
	g := NewWithT(t)
	g.Expect(Named([]string{"quick", Label("nginx"), "netem", Label("curl"), Label("nginx")})).To(Equal([]string{"curl", "nginx"}))
	g.Expect(Named([]string{"quick", "programs"})).To(BeEmpty())
}

func TestAProgramIsFoundInPATH(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	path := executable(t, dir, "mydaemon")
	t.Setenv("PATH", dir)
	g.Expect(Find("mydaemon")).To(Equal(Program{Path: path}))
}

func TestAProgramIsFoundInTheSystemsFoldersWithoutPATH(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	path := executable(t, dir, "mydaemon")
	t.Setenv("PATH", t.TempDir())
	old := systemFolders
	systemFolders = append([]string{dir}, old...)
	t.Cleanup(func() { systemFolders = old })
	g.Expect(Find("mydaemon")).To(Equal(Program{Path: path}))
}

func TestAMissingProgramIsNamedWithItsPackage(t *testing.T) {
	g := NewWithT(t)
	t.Setenv("PATH", t.TempDir())
	_, err := Find("no-such-program")
	g.Expect(err).To(MatchError("needs no-such-program, which is not installed: apt-get install --no-install-recommends no-such-program"))
	g.Expect(errors.Is(err, fs.ErrNotExist)).To(BeTrue())
	places["no-such-program"] = place{pkg: "its-package"}
	t.Cleanup(func() { delete(places, "no-such-program") })
	var missing *MissingError
	_, err = Find("no-such-program")
	g.Expect(errors.As(err, &missing)).To(BeTrue())
	g.Expect(missing).To(HaveField("Package", "its-package"))
}

func TestTheNewestVersionIsTakenWithItsOwnFiles(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	for _, version := range []string{"9.6", "17", "15"} {
		executable(t, dir, version+"/bin/server")
		executable(t, dir, version+"/share/messages")
	}
	const name = "versioned-server"
	places[name] = place{
		path:  filepath.Join(dir, "*/bin/server"),
		files: []string{filepath.Join(dir, "*/share"), filepath.Join(dir, "*/plugin?")},
	}
	t.Cleanup(func() { delete(places, name) })
	g.Expect(Find(name)).To(Equal(Program{Path: filepath.Join(dir, "17/bin/server"), Files: []string{filepath.Join(dir, "17/share")}}))

	// One of the files that it cannot do without is missing: as good as not installed.
	g.Expect(os.RemoveAll(filepath.Join(dir, "17/share"))).To(Succeed())
	_, err := Find(name)
	g.Expect(err).To(MatchError(fs.ErrNotExist))
}
