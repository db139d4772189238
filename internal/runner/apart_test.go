package runner

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/internal/testenv"
	"github.com/tcplab/tcplab/internal/vm/guest"
	"github.com/tcplab/tcplab/results"
)

// otherArch is an architecture that this machine is not of.
func otherArch() string {
	if runtime.GOARCH == "arm64" {
		return "amd64"
	}
	return "arm64"
}

func machineOf(t *testing.T, binary string) elf.Machine {
	t.Helper()
	program, err := elf.Open(binary)
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	return program.Machine
}

// What runs in guests is built for them, and what lists specs for this machine.
func TestCompileForBothMachines(t *testing.T) {
	needGo(t)
	g := NewWithT(t)
	machines := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}
	here, known := machines[runtime.GOARCH]
	if !known {
		t.Skip("this machine is neither amd64 nor arm64")
	}
	dir := t.TempDir()
	suites, err := compiler{dir: dir}.suites(t.Context(), []string{"./testdata/bare", "./testdata/plain"}, otherArch())
	g.Expect(err).NotTo(HaveOccurred())
	bare, plain := suites[0], suites[1]
	g.Expect(bare.Ginkgo).To(BeTrue())
	g.Expect(machineOf(t, bare.Binary)).To(Equal(machines[otherArch()]))
	g.Expect(machineOf(t, plain.Binary)).To(Equal(machines[otherArch()]))

	g.Expect(compiler{dir: dir}.listers(t.Context(), suites)).To(Succeed())
	g.Expect(machineOf(t, bare.Lister)).To(Equal(here))
	g.Expect(plain.Lister).To(BeEmpty(), "there is nothing to list")
	g.Expect(os.Remove(bare.Binary)).To(Succeed()) // it would not run, and must not be asked
	listed, err := list(t.Context(), suites, Filter{}, dir)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(texts(listed[0], selected)).To(Equal([]string{"passes without a harness", "waits to be interrupted"}))
}

func TestCompiledForAnotherMachine(t *testing.T) {
	needGo(t)
	g := NewWithT(t)
	plain := filepath.Join(t.TempDir(), "plain.test")
	g.Expect(compilePackage(t.Context(), otherArch(), "./testdata/plain", plain)).To(Succeed())
	// It is refused before anything else is compiled, such as what does not compile.
	patterns := []string{"./testdata/broken", plain}
	_, err := List(t.Context(), patterns, Filter{})
	g.Expect(err).To(MatchError(And(
		ContainSubstring(plain+" is built for "+otherArch()), ContainSubstring("compile it with GOARCH="+runtime.GOARCH),
	)))
	suites, err := compiler{dir: t.TempDir()}.suites(t.Context(), []string{plain}, otherArch())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(compiler{dir: t.TempDir()}.listers(t.Context(), suites)).To(Succeed())

	ginkgo := filepath.Join(t.TempDir(), "bare.test")
	g.Expect(compilePackage(t.Context(), otherArch(), "./testdata/bare", ginkgo)).To(Succeed())
	suites, err = compiler{dir: t.TempDir()}.suites(t.Context(), []string{ginkgo}, otherArch())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(compiler{dir: t.TempDir()}.listers(t.Context(), suites)).To(MatchError(ContainSubstring("name its package instead")))
}

// The guests' /init that is built apart is the program that "make bin/tcplab" leaves, to the byte.
func TestInitIsTheCommand(t *testing.T) {
	needGo(t)
	if runtime.GOARCH != guest.Arch {
		t.Skip("the command of this machine, " + runtime.GOARCH + ", is not what guests run")
	}
	testenv.Program(t, "make", "to build as make does")
	g := NewWithT(t)
	binary := filepath.Join(t.TempDir(), "tcplab")
	build := exec.Command("make", "-C", "../..", binary, "TCPLAB="+binary)
	output, err := build.CombinedOutput()
	g.Expect(err).NotTo(HaveOccurred(), string(output))
	made, err := os.ReadFile(binary)
	g.Expect(err).NotTo(HaveOccurred())
	apart, err := compileInit(t.Context(), t.TempDir())
	g.Expect(err).NotTo(HaveOccurred())
	built, err := os.ReadFile(apart)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(built) == string(made)).To(BeTrue())
}

// userModule is one of somebody else's that requires tcplab, and has of its requirements what its own packages need.
func userModule(t *testing.T, require string) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	text := "module example.com/mine\n\ngo 1.26.0\n\n" + require + "\nreplace github.com/tcplab/tcplab => " + root + "\n"
	for name, text := range map[string]string{"go.mod": text, "mine.go": "package mine\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// A module that requires tcplab has no need of what its command needs, and stays as it is. Its /init is the same.
func TestInitInAUsersModule(t *testing.T) {
	needGo(t)
	g := NewWithT(t)
	own, err := compileInit(t.Context(), t.TempDir())
	g.Expect(err).NotTo(HaveOccurred())
	dir := userModule(t, "require github.com/tcplab/tcplab v0.0.0")
	before, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	g.Expect(err).NotTo(HaveOccurred())
	t.Chdir(dir)
	t.Setenv("GOSUMDB", "off") // what it adds is in the module cache, where it was verified
	theirs, err := compileInit(t.Context(), t.TempDir())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(os.ReadFile(filepath.Join(dir, "go.mod"))).To(Equal(before))
	g.Expect(filepath.Join(dir, "go.sum")).NotTo(BeAnExistingFile())
	expected, err := os.ReadFile(own)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(machineOf(t, theirs)).To(Equal(elf.EM_X86_64))
	built, err := os.ReadFile(theirs)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(len(built)).To(BeNumerically("~", len(expected), 1<<16)) // the paths of its sources are others
}

func TestInitOutsideOfAModule(t *testing.T) {
	needGo(t)
	g := NewWithT(t)
	t.Chdir(t.TempDir())
	_, err := compileInit(t.Context(), t.TempDir())
	g.Expect(err).To(MatchError(And(
		ContainSubstring("no go.mod"), ContainSubstring("go get -tool github.com/tcplab/tcplab/cmd/tcplab"),
	)))
}

// Where guests and hosts are of two architectures, nothing of a run is another, to the last byte: here the guests' part is
// built apart although it need not be.
func TestBuiltApartTheBytesAreTheSame(t *testing.T) {
	needGuests(t)
	if runtime.GOARCH != guest.Arch {
		t.Skip("this machine, " + runtime.GOARCH + ", has nothing to compare with")
	}
	g := NewWithT(t)
	initProgram, err := compileInit(t.Context(), t.TempDir())
	g.Expect(err).NotTo(HaveOccurred())
	common := SessionOptions{Patterns: []string{"./testdata/guests", "./testdata/plain"}, Clock: Virtual}
	options := RunOptions{Filter: Filter{Focus: []string{"a spec passes$", "^plain go test"}}, Root: t.TempDir(), Seed: 8, Fresh: true}
	var runs []*results.Run
	for _, apart := range []bool{false, true} {
		options.ID = map[bool]string{false: "together", true: "apart"}[apart]
		session, err := open(t.Context(), common, apart)
		g.Expect(err).NotTo(HaveOccurred())
		defer session.Close()
		if !apart {
			session.init = initProgram // as where tcplab's command runs, and not this test
		}
		for _, suite := range session.suites {
			g.Expect(suite.Lister != "").To(Equal(apart && suite.Ginkgo), suite.Path)
		}
		summary, err := session.Run(t.Context(), options)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(summary.OK()).To(BeTrue())
		g.Expect(summary.Records).To(HaveLen(2))
		runs = append(runs, summary.Run)
	}
	together, err := runs[0].Records()
	g.Expect(err).NotTo(HaveOccurred())
	apart, err := runs[1].Records()
	g.Expect(err).NotTo(HaveOccurred())
	for i := range together {
		g.Expect(apart[i].Inputs).To(Equal(together[i].Inputs))
		g.Expect(apart[i].Inputs.InitramfsSHA256).NotTo(BeEmpty())
	}
	found, err := results.Compare(runs[0], runs[1])
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(found).To(BeEmpty())
	captures, err := filepath.Glob(filepath.Join(runs[1].Path(), "*", "*", "capture.pcapng"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(captures).NotTo(BeEmpty())
}
