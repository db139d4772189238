package vm

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

// The packages of a kernel as Fedora splits it: testdata/kernel.spec says which file is in which. They have been
// made by rpmbuild (4.18; those of format 6 by 6.1); with TCPLAB_WRITE_TESTDATA=1 they are made anew by the rpmbuild of
// this machine, or by the words in TCPLAB_RPMBUILD.
const fedoraRelease = "6.17.8-300.fc43.x86_64"

// rpmFormats has where in testdata the packages of each format of RPM's are.
var rpmFormats = map[string]string{"4": ".", "6": "format6"}

var rpmPackages = []string{
	"kernel-core-" + fedoraRelease + ".rpm",
	"kernel-modules-" + fedoraRelease + ".rpm",
	"kernel-modules-core-" + fedoraRelease + ".rpm",
	"kernel-modules-extra-" + fedoraRelease + ".rpm",
}

func readRPM(t testing.TB, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// fedoraTree writes the files that testdata/kernel.spec packs.
func fedoraTree(t testing.TB, dir string) {
	t.Helper()
	lib := filepath.Join("lib/modules", fedoraRelease)
	files, more := moduleFiles(t, lib, zstdCompression)
	netem := filepath.Join(lib, "kernel/net/sched/sch_netem.ko.zst")
	extra := map[string]string{netem: files[netem]}
	delete(files, netem)
	for name, content := range more {
		files[filepath.Join(lib, "kernel/drivers/net", filepath.Base(name))] = content
	}
	files[filepath.Join(lib, "modules.builtin")] = builtinModules
	files[filepath.Join(lib, "vmlinuz")] = string(vmlinuz(t, fedoraRelease))
	files[filepath.Join(lib, "config")] = "CONFIG_HZ=1000\n"
	files[filepath.Join(lib, "symvers.xz")] = "x"
	writeTree(t, dir, []testPackage{{files: files}, {files: extra}})
}

func TestWriteRPMs(t *testing.T) {
	if os.Getenv("TCPLAB_WRITE_TESTDATA") != "1" {
		t.Skip("makes testdata/*.rpm anew by rpmbuild: set TCPLAB_WRITE_TESTDATA=1")
	}
	g := NewWithT(t)
	dir := t.TempDir()
	tree, out := filepath.Join(dir, "tree"), filepath.Join(dir, "out")
	fedoraTree(t, tree)
	spec, err := os.ReadFile("testdata/kernel.spec")
	g.Expect(err).NotTo(HaveOccurred())
	writeFile(t, filepath.Join(dir, "kernel.spec"), spec)
	words := strings.Fields(cmp.Or(os.Getenv("TCPLAB_RPMBUILD"), "rpmbuild"))
	version, err := exec.Command(words[0], append(words[1:], "--version")...).Output()
	g.Expect(err).NotTo(HaveOccurred())
	for format, place := range rpmFormats {
		if format == "6" && !strings.Contains(string(version), "version 6.") {
			continue
		}
		command := exec.Command(words[0], append(words[1:], "-bb", "--target", "x86_64", "--define", "_topdir "+dir, "--define", "_rpmdir "+out,
			"--define", "_rpmformat "+format, "--define", "tree "+tree,
			"--define", "_build_name_fmt %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm", filepath.Join(dir, "kernel.spec"))...)
		output, err := command.CombinedOutput()
		g.Expect(err).NotTo(HaveOccurred(), string(output))
		for _, name := range rpmPackages {
			content, err := os.ReadFile(filepath.Join(out, name))
			g.Expect(err).NotTo(HaveOccurred())
			writeFile(t, filepath.Join("testdata", place, name), content)
		}
	}
}

func TestRPMFeatures(t *testing.T) {
	g := NewWithT(t)
	content := readRPM(t, rpmPackages[0])
	bad := bytes.Replace(content, []byte("rpmlib(CompressedFileNames)"), []byte("rpmlib(PayloadAlignment)\x00\x00\x00"), 1)
	g.Expect(bad).NotTo(Equal(content))
	_, _, err := unpackAll(t, bad)
	g.Expect(err).To(MatchError(ContainSubstring("rpm2archive")))
}

func TestUnpackDamagedRPM(t *testing.T) {
	g := NewWithT(t)
	content := readRPM(t, rpmPackages[3])
	header := bytes.LastIndex(content, []byte(rpmHeaderMagic))
	change := func(at int, value uint32) []byte {
		bad := bytes.Clone(content)
		binary.BigEndian.PutUint32(bad[at:], value)
		return bad
	}
	for name, bad := range map[string][]byte{
		"nothing but a lead":  content[:rpmLead],
		"no header":           change(header, 0),
		"many entries":        change(header+8, 1<<31),
		"much data":           change(header+12, 1<<31),
		"value past the end":  change(header+rpmHeaderStart+8, 1<<30),
		"cut off":             content[:len(content)-20],
		"cut in a header":     content[:header+100],
		"more after its size": slices.Concat(content[:rpmLead], []byte("x"), content[rpmLead:]),
	} {
		_, _, err := unpackAll(t, bad)
		g.Expect(err).To(HaveOccurred(), name)
	}
}
