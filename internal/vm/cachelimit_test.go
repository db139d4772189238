package vm

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/internal/scratch"
)

func TestLimits(t *testing.T) {
	g := NewWithT(t)
	t.Setenv(KernelsLimitVariable, "")
	g.Expect(KernelsLimit()).To(BeEquivalentTo(2e9))
	t.Setenv(SuitesLimitVariable, "0")
	g.Expect(SuitesLimit()).To(BeZero())
	t.Setenv(RunsLimitVariable, "500MiB")
	g.Expect(RunsLimit()).To(BeEquivalentTo(500 << 20))
	for _, bad := range []string{"much", "-1", "1e3 apples", "99999999 TB"} {
		t.Setenv(RunsLimitVariable, bad)
		_, err := RunsLimit()
		g.Expect(err).To(MatchError(ContainSubstring(RunsLimitVariable+"="+bad)), bad)
	}
}

// unheld lets go of a kernel, as the end of the process does.
func unheld(s store, folder string) {
	held.mutex.Lock()
	defer held.mutex.Unlock()
	_ = held.files[s.path(folder)].Close()
	delete(held.files, s.path(folder))
	verified.Delete(s.path(folder))
}

// Of kernels that are too much for the limit, the one goes that was not used for the longest time, and none that is in use.
func TestKernelsHaveALimit(t *testing.T) {
	g := NewWithT(t)
	r := debianArchive(t)
	m := newMachine(t, aptSetup{sources: r.sources(t, "bookworm"), archive: r.address()})
	s := openStore(m.options.Cache, func(line string) { m.said = append(m.said, line) })
	var folders []string
	for _, name := range []string{DefaultKernel, "linux-image-cloud-amd64", "6.12"} {
		_, _, err := m.fetch(name)
		g.Expect(err).NotTo(HaveOccurred())
		stored, err := s.list()
		g.Expect(err).NotTo(HaveOccurred())
		folders = append(folders, stored.find(name).folder)
	}
	size := func(folder string) int64 {
		n, err := scratch.Size(s.path(folder))
		g.Expect(err).NotTo(HaveOccurred())
		return n
	}
	all := size(folders[0]) + size(folders[1]) + size(folders[2])
	for i, folder := range folders {
		used := time.Now().Add(time.Duration(i-10) * time.Hour)
		g.Expect(os.Chtimes(s.path(folder), used, used)).To(Succeed())
	}
	m.said = nil
	g.Expect(s.prune(all)).To(Succeed())
	g.Expect(s.prune(0)).To(Succeed(), "all are in use")
	g.Expect(m.said).To(BeEmpty())

	unheld(s, folders[0])
	unheld(s, folders[1])
	// The default was used since, by another process, which still runs.
	file, err := scratch.Use(s.path(folders[0]) + "/" + manifestFile)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(s.prune(all - 1)).To(Succeed())
	g.Expect(s.has(folders[1])).To(BeFalse())
	g.Expect(s.has(folders[0])).To(BeTrue())
	g.Expect(m.said).To(ConsistOf(And(ContainSubstring("removed the kernel in "+s.path(folders[1])), ContainSubstring(KernelsLimitVariable))))
	g.Expect(file.Close()).To(Succeed())

	// What is fetched next takes its place, and what is asked for by its name comes again.
	t.Setenv(KernelsLimitVariable, "1")
	kernel, said, err := m.find("linux-image-cloud-amd64")
	g.Expect(err).NotTo(HaveOccurred())
	expectKernel(g, kernel, "6.1.0-48-cloud-amd64")
	g.Expect(said).To(ContainSubstring("removed the kernel in " + s.path(folders[0])))
	g.Expect(s.has(folders[2])).To(BeTrue(), "in use")
	kernel, said, err = m.find(DefaultKernel)
	g.Expect(err).NotTo(HaveOccurred())
	expectKernel(g, kernel, "6.1.0-48-amd64")
	g.Expect(said).To(ContainSubstring("downloading"))
}

func TestCheckModules(t *testing.T) {
	g := NewWithT(t)
	r := debianArchive(t)
	m := newMachine(t, aptSetup{sources: r.sources(t, "bookworm"), archive: r.address()})
	kernel, _, err := m.fetch(DefaultKernel)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(kernel.CheckModules(nil)).To(Succeed())
	g.Expect(kernel.CheckModules(defaultModules)).To(Succeed())
	err = kernel.CheckModules([]string{"sch_netem", "sch_none"})
	g.Expect(err).To(MatchError(ErrNoModule))
	g.Expect(err).To(MatchError("kernel 6.1.0-48-amd64: no such module: sch_none"))
}

// treeOf makes the modules of a kernel.
func treeOf(t *testing.T, files map[string]string) *moduleTree {
	t.Helper()
	g := NewWithT(t)
	dir := t.TempDir()
	g.Expect(os.WriteFile(filepath.Join(dir, "modules.builtin"), []byte(builtinModules), 0o644)).To(Succeed())
	for name, content := range files {
		path := filepath.Join(dir, name)
		g.Expect(os.MkdirAll(filepath.Dir(path), 0o755)).To(Succeed())
		g.Expect(os.WriteFile(path, []byte(content), 0o644)).To(Succeed())
	}
	tree, err := openModules(dir)
	g.Expect(err).NotTo(HaveOccurred())
	return tree
}

func TestCongestionControlsAreFoundByWhatTheyAskFor(t *testing.T) {
	g := NewWithT(t)
	const register = "tcp_register_congestion_control"
	tree := treeOf(t, map[string]string{
		"kernel/net/ipv4/tcp_vegas.ko": string(testModuleThatAsks(register, false)),
		"updates/tcp_bbr3.ko":          string(testModuleThatAsks(register, false)),
		"kernel/net/ipv4/tcp_own.ko":   string(testModuleThatAsks(register, true)),
		"kernel/net/ipv4/tcp_other.ko": string(testModuleThatAsks("inet_diag_register", false)),
		"kernel/net/ipv4/tcp_diag.ko":  string(testModule("tcp_diag")), // without symbols
		"kernel/net/other.ko":          "not looked at",
	})
	g.Expect(tree.congestionControls()).To(Equal([]string{"tcp_bbr3", "tcp_vegas"}))

	_, err := treeOf(t, map[string]string{"tcp_broken.ko": "no module"}).congestionControls()
	g.Expect(err).To(MatchError(ContainSubstring("tcp_broken.ko")))
}

func TestOptionalModulesArePassedOver(t *testing.T) {
	g := NewWithT(t)
	tree := treeOf(t, map[string]string{
		"kernel/a.ko":          string(testModule("a")),
		"kernel/b.ko":          string(testModule("b", "c")),
		"kernel/c.ko":          string(testModule("c")),
		"kernel/broken.ko":     string(testModule("broken", "missing")),
		"kernel/nf_invalid.ko": "no module",
	})
	names := func(modules []module) (list []string) {
		for _, m := range modules {
			list = append(list, m.Name)
		}
		return list
	}
	// One that is missing, and one that depends on such a one, are left out as a whole; ext4 is built in.
	modules, err := tree.resolveAll([]string{"a"}, []string{"missing", "broken", "b", "ext4"})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(names(modules)).To(Equal([]string{"a", "c", "b"}))
	_, err = tree.resolveAll([]string{"broken"}, nil)
	g.Expect(err).To(MatchError(ErrNoModule))
	_, err = tree.resolveAll(nil, []string{"nf_invalid"}) // which is not missing
	g.Expect(err).To(HaveOccurred())
}
