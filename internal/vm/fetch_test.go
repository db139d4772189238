package vm

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

// A machine is where a test fetches kernels.
type machine struct {
	t       *testing.T
	options KernelOptions
	said    []string
}

func newMachine(t *testing.T, setup aptSetup) *machine {
	t.Helper()
	t.Setenv(kernelVariable, "") // whatever kernel whoever runs the tests likes
	m := &machine{t: t}
	m.options = KernelOptions{Cache: t.TempDir(), apt: setup, Progress: func(line string) { m.said = append(m.said, line) }}
	return m
}

// do fetches or finds a kernel, and tells what was said meanwhile.
func (m *machine) do(name string, with func(KernelOptions) (*GuestKernel, error)) (*GuestKernel, string, error) {
	m.said = nil
	options := m.options
	options.Name = name
	kernel, err := with(options)
	return kernel, strings.Join(m.said, "\n"), err
}

func (m *machine) fetch(name string) (*GuestKernel, string, error) {
	return m.do(name, func(o KernelOptions) (*GuestKernel, error) { return FetchKernel(m.t.Context(), o) })
}

func (m *machine) find(name string) (*GuestKernel, string, error) {
	return m.do(name, func(o KernelOptions) (*GuestKernel, error) { return FindKernel(m.t.Context(), o) })
}

// debianArchive has the suites of Debian's archive in November 2026, and one kernel or two in each.
func debianArchive(t *testing.T) repository {
	t.Helper()
	r := newRepository(t)
	kernel := func(metapackage string, packages []testPackage) []testPackage {
		p := packages[0]
		return append(packages, meta(metapackage, p.version, p.name+" (= "+p.version+")"))
	}
	r.suite(t, "bookworm", "oldstable", append(
		kernel("linux-image-amd64", debianWhole(t, "6.1.0-48-amd64", "6.1.172-1")),
		append(kernel("linux-image-cloud-amd64", debianWhole(t, "6.1.0-48-cloud-amd64", "6.1.172-1")),
			testPackage{name: "linux-image-6.1.0-48-amd64-dbg", version: "6.1.172-1"})...)...)
	r.suite(t, "bookworm-backports", "oldstable-backports", kernel("linux-image-amd64", debianWhole(t, "6.12.95+deb12-amd64", "6.12.95-1~bpo12+1"))...)
	r.suite(t, "trixie", "stable", kernel("linux-image-amd64", debianWhole(t, "6.12.117+deb13-amd64", "6.12.117-1"))...)
	// Of an old kernel of the backports, some packages are still there.
	r.suite(t, "trixie-backports", "stable-backports", append(
		kernel("linux-image-amd64", debianSplit(t, "7.3.4+deb13-amd64", "7.3.4-1~bpo13+1")),
		append(debianSplit(t, "7.2.11+deb13-amd64", "7.2.11-1~bpo13+1"), debianSplit(t, "7.1.13+deb13-amd64", "7.1.13-1~bpo13+1")[:2]...)...)...)
	r.suite(t, "sid", "unstable", append(
		kernel("linux-image-amd64", debianSplit(t, "7.2.13+deb14-amd64", "7.2.13-1")),
		kernel("linux-image-cloud-amd64", debianSplit(t, "7.2.13+deb14-cloud-amd64", "7.2.13-1"))...)...)
	return r
}

func TestFetchFromDebian(t *testing.T) {
	g := NewWithT(t)
	r := debianArchive(t)
	m := newMachine(t, aptSetup{sources: r.sources(t, "bookworm"), archive: r.address()})

	for _, c := range []struct{ name, release, from string }{
		{DefaultKernel, "6.1.0-48-amd64", SystemSuite},
		{NewestKernel, "7.3.4+deb13-amd64", "trixie-backports"},
		{"6.12", "6.12.95+deb12-amd64", "bookworm-backports"}, // looked at before the releases: its list is small
		{"7.2.13+deb14-cloud-amd64", "7.2.13+deb14-cloud-amd64", "sid"},
		{"linux-image-cloud-amd64", "6.1.0-48-cloud-amd64", SystemSuite},
	} {
		kernel, said, err := m.fetch(c.name)
		g.Expect(err).NotTo(HaveOccurred(), c.name)
		expectKernel(g, kernel, c.release)
		g.Expect(kernel.Source).To(HavePrefix("linux-image-" + c.release + "_"))
		g.Expect(said).To(ContainSubstring("from "+c.from+" ("), c.name)

		// Now it is here.
		if c.name == NewestKernel {
			_, said, err = m.fetch(c.name)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(said).To(And(HaveSuffix(" is there already"), Not(ContainSubstring("download"))), c.name)
		}
		found, said, err := m.find(c.name)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(found.Release).To(Equal(c.release))
		g.Expect(said).To(BeEmpty(), "nobody is asked for %s", c.name)
	}

	// What was seen is known without asking anybody; nothing else stays.
	offers, err := KnownOffers(m.options.Cache)
	g.Expect(err).NotTo(HaveOccurred())
	var series []string
	for _, offer := range NewestOfEachSeries(offers) {
		series = append(series, Series(offer.Release)+" "+offer.Release)
		g.Expect(offer.Bytes).To(BeNumerically(">", len(vmlinuz(t, offer.Release))))
	}
	g.Expect(series).To(Equal([]string{
		"6.1 6.1.0-48-amd64", "6.12 6.12.95+deb12-amd64", "7.2 7.2.13+deb14-amd64", "7.3 7.3.4+deb13-amd64",
	}))
	leftovers, err := filepath.Glob(filepath.Join(openStore(m.options.Cache, nil).dir, "tcplab-scratch-*"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(leftovers).To(BeEmpty())

	for name, want := range map[string]string{
		"5.10":                    "no guest kernel 5.10 in bookworm, bookworm-backports, sid, this system's archive, trixie, trixie-backports, which have 6.1, 6.12, 7.2, 7.3",
		"/boot/vmlinuz":           "needs no fetching",
		"./linux-image-amd64.deb": "needs no fetching",
	} {
		_, _, err := m.fetch(name)
		g.Expect(err).To(MatchError(ContainSubstring(want)), name)
	}
}

// Debian names metapackages like releases: that of bookworm's second kernel is linux-image-6.12-amd64.
func TestFetchByAMetapackageThatIsNamedLikeARelease(t *testing.T) {
	const release, version = "6.12.117+deb12-amd64", "6.12.117-1~deb12u1"
	r := newRepository(t)
	r.suite(t, "bookworm", "oldstable", append(debianWhole(t, release, version),
		meta("linux-image-6.12-amd64", version, "linux-image-"+release+" (= "+version+")"))...)
	for _, name := range []string{"6.12", "linux-image-6.12-amd64", release} {
		g := NewWithT(t)
		m := newMachine(t, aptSetup{sources: r.sources(t, "bookworm"), archive: r.address()})
		kernel, _, err := m.fetch(name)
		g.Expect(err).NotTo(HaveOccurred(), name)
		expectKernel(g, kernel, release)
		offers, err := KnownOffers(m.options.Cache)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(offers).To(ConsistOf(HaveField("Release", release)))
	}
}

// What the newest is, is found anew by a fetch, and only by it.
func TestNewestMovesOn(t *testing.T) {
	g := NewWithT(t)
	r := debianArchive(t)
	m := newMachine(t, aptSetup{sources: r.sources(t, "bookworm"), archive: r.address()})
	kernel, _, err := m.find(NewestKernel) // it is not there yet
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(kernel.Release).To(Equal("7.3.4+deb13-amd64"))

	r.suite(t, "sid", "unstable", debianSplit(t, "7.4.1+deb14-amd64", "7.4.1-1")...)
	kernel, said, err := m.find(NewestKernel)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(kernel.Release).To(Equal("7.3.4+deb13-amd64"))
	g.Expect(said).To(BeEmpty())
	kernel, _, err = m.fetch(NewestKernel)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(kernel.Release).To(Equal("7.4.1+deb14-amd64"))
	kernel, _, err = m.find(NewestKernel)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(kernel.Release).To(Equal("7.4.1+deb14-amd64"))

	// A place that might have it and cannot be looked at is not passed over.
	g.Expect(os.RemoveAll(filepath.Join(r.dir, "dists/sid"))).To(Succeed())
	_, _, err = m.fetch(NewestKernel)
	g.Expect(err).To(MatchError(ContainSubstring("sid")))
}

// Each name that means the distribution's own kernel moves on when that is fetched by another name.
func TestDefaultMovesOn(t *testing.T) {
	g := NewWithT(t)
	r := debianArchive(t)
	m := newMachine(t, aptSetup{sources: r.sources(t, "bookworm"), archive: r.address()})
	_, _, err := m.find("")
	g.Expect(err).NotTo(HaveOccurred())
	next := debianWhole(t, "6.1.0-49-amd64", "6.1.180-1")
	r.suite(t, "bookworm", "oldstable", append(next, meta("linux-image-amd64", "6.1.180-1", next[0].name))...)
	kernel, _, err := m.find("")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(kernel.Release).To(Equal("6.1.0-48-amd64"))
	_, _, err = m.fetch("6.1")
	g.Expect(err).NotTo(HaveOccurred())
	kernel, _, err = m.find("")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(kernel.Release).To(Equal("6.1.0-49-amd64"))
}

func TestDamagedKernelIsFetchedAgain(t *testing.T) {
	g := NewWithT(t)
	r := debianArchive(t)
	m := newMachine(t, aptSetup{sources: r.sources(t, "bookworm"), archive: r.address()})
	put(t, m.options.Cache, "6.1.0-9-amd64", "6.1.27-1") // must not be taken instead
	for _, name := range []string{DefaultKernel, NewestKernel, "linux-image-cloud-amd64"} {
		kernel, _, err := m.find(name)
		g.Expect(err).NotTo(HaveOccurred(), name)
		g.Expect(os.WriteFile(kernel.image, []byte("damaged"), 0o644)).To(Succeed())
		again, said, err := m.find(name)
		g.Expect(err).NotTo(HaveOccurred(), name)
		g.Expect(said).To(And(ContainSubstring("is damaged: "+imageFile), ContainSubstring("downloading")), name)
		expectKernel(g, again, kernel.Release)
		g.Expect(again.SHA256).To(Equal(kernel.SHA256))
	}
}

func TestFetchFromUbuntu(t *testing.T) {
	g := NewWithT(t)
	r := newRepository(t)
	generic := append(ubuntuGeneric(t, "6.8.0-88-generic", "6.8.0-88.89"),
		meta("linux-image-generic", "6.8.0-88.89", "linux-image-6.8.0-88-generic, linux-modules-extra-6.8.0-88-generic, linux-firmware, intel-microcode"))
	azure := append(ubuntu(t, "6.8.0-1041-azure", "6.8.0-1041.47"),
		meta("linux-image-azure", "6.8.0-1041.47", "linux-image-6.8.0-1041-azure"))
	unsigned := ubuntuGeneric(t, "6.17.0-8-generic", "6.17.0-8.8~24.04.1")
	unsigned[0].name = "linux-image-unsigned-6.17.0-8-generic"
	r.suite(t, "noble", "noble-updates", append(append(generic, azure...), unsigned...)...)
	m := newMachine(t, aptSetup{sources: r.sources(t, "noble"), archive: "file:/nowhere"})
	for _, c := range []struct {
		name, release string
		extra         bool
	}{
		{DefaultKernel, "6.8.0-88-generic", false},
		{"6.8", "6.8.0-88-generic", false},
		{"6.17", "6.17.0-8-generic", false},
		{"6.8.0-1041-azure", "6.8.0-1041-azure", true},
		{"linux-image-azure", "6.8.0-1041-azure", true},
	} {
		m.options.Cache = t.TempDir()
		kernel, said, err := m.fetch(c.name)
		g.Expect(err).NotTo(HaveOccurred(), c.name)
		expectKernel(g, kernel, c.release)
		more := ContainSubstring("downloading linux-modules-extra-" + c.release)
		if !c.extra {
			more = Not(more)
		}
		g.Expect(said).To(more, c.name)
		_, said, err = m.fetch(c.name)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(said).To(HaveSuffix(" is there already"), c.name)
	}
	_, _, err := m.fetch("7.3")
	g.Expect(err).To(MatchError(ErrNoKernel))
	g.Expect(err).To(MatchError(ContainSubstring("which have 6.8, 6.17")))
}

func TestLookForKernels(t *testing.T) {
	g := NewWithT(t)
	r := debianArchive(t)
	m := newMachine(t, aptSetup{sources: r.sources(t, "bookworm"), archive: r.address()})
	g.Expect(os.RemoveAll(filepath.Join(r.dir, "dists/bookworm-backports"))).To(Succeed()) // as will happen
	offers, err := LookForKernels(t.Context(), m.options)
	g.Expect(err).NotTo(HaveOccurred())
	known, err := KnownOffers(m.options.Cache)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(known).To(HaveLen(len(offers)))
	g.Expect(strings.Join(m.said, "\n")).To(ContainSubstring("bookworm-backports: "))
	g.Expect(StoredKernels(m.options.Cache)).To(BeEmpty())
}
