package vm

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

// put unpacks a kernel into a cache, as if it had been fetched.
func put(t *testing.T, cache, release, version string, names ...string) *GuestKernel {
	t.Helper()
	s := openStore(cache, func(string) {})
	paths := writeDebs(t, t.TempDir(), debianWhole(t, release, version), noCompression)
	kernel, folder, err := s.addPackages(t.Context(), paths, "linux-image-"+release+"_"+version)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if err := s.point(name, folder); err != nil {
			t.Fatal(err)
		}
	}
	return kernel
}

func TestStoredKernels(t *testing.T) {
	g := NewWithT(t)
	t.Setenv(kernelVariable, "")
	cache := t.TempDir()
	g.Expect(StoredKernels(cache)).To(BeEmpty())
	_, err := CachedKernel(cache)
	g.Expect(err).To(MatchError(ErrNoKernel))
	put(t, cache, "6.1.0-9-amd64", "6.1.27-1")
	put(t, cache, "6.1.0-48-amd64", "6.1.172-1", DefaultKernel)
	put(t, cache, "6.12.95+deb12-amd64", "6.12.95-1~bpo12+1")
	put(t, cache, "7.2.13+deb14-cloud-amd64", "7.2.13-1", "linux-image-cloud-amd64")
	put(t, cache, "7.3-amd64", "7.3~rc7-1~exp1")
	put(t, cache, "7.3.4+deb13-amd64", "7.3.4-1~bpo13+1", NewestKernel)

	stored, err := StoredKernels(cache)
	g.Expect(err).NotTo(HaveOccurred())
	var names, releases []string
	for _, kernel := range stored {
		names, releases = append(names, kernel.Name), append(releases, kernel.Release)
		g.Expect(kernel.Default()).To(Equal(kernel.Name == "6.1"))
		g.Expect(kernel.Links).To(HaveLen(map[string]int{"6.1": 1, "7.2.13+deb14-cloud-amd64": 1, "7.3": 1}[kernel.Name]))
		g.Expect(kernel.Bytes).To(BeNumerically(">", len(testKernel(kernel.Release))))
	}
	g.Expect(names).To(Equal([]string{"6.1", "7.3", "7.3-amd64", "7.2.13+deb14-cloud-amd64", "6.12", "6.1.0-9-amd64"}))
	g.Expect(releases[:2]).To(Equal([]string{"6.1.0-48-amd64", "7.3.4+deb13-amd64"}))
	g.Expect(CachedKernel(cache)).To(HaveField("Release", "6.1.0-48-amd64"))

	for name, release := range map[string]string{
		"":                          "6.1.0-48-amd64",
		DefaultKernel:               "6.1.0-48-amd64",
		NewestKernel:                "7.3.4+deb13-amd64",
		"6.1":                       "6.1.0-48-amd64",
		"6.1.0":                     "6.1.0-48-amd64",
		"6.1.172":                   "6.1.0-48-amd64", // its package's version
		"6.1.0-9":                   "6.1.0-9-amd64",
		"linux-image-6.1.0-9-amd64": "6.1.0-9-amd64",
		"6.12":                      "6.12.95+deb12-amd64",
		"6.12.95+deb12-amd64":       "6.12.95+deb12-amd64",
		"7.2.13+deb14-cloud-amd64":  "7.2.13+deb14-cloud-amd64",
		"linux-image-cloud-amd64":   "7.2.13+deb14-cloud-amd64",
		"linux-image-7.3-amd64":     "7.3-amd64",
		"7.3":                       "7.3.4+deb13-amd64",
	} {
		kernel, said, err := find(t, cache, name)
		g.Expect(err).NotTo(HaveOccurred(), name)
		g.Expect(kernel.Release).To(Equal(release), name)
		g.Expect(said).To(BeEmpty(), name)
	}
	for _, name := range []string{
		"6.1.0-4", "6.12.9", // not a number's end
		"7.2", // is the standard flavour's, and only the cloud's is here
		"5.10", "linux-image-rt-amd64",
	} {
		g.Expect(openStore(cache, nil).named(name)).To(BeNil(), name)
	}

	t.Setenv("TCPLAB_KERNEL", "6.12")
	kernel, _, err := find(t, cache, "")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(kernel.Release).To(Equal("6.12.95+deb12-amd64"))
	g.Expect(CachedKernel(cache)).To(HaveField("Release", "6.12.95+deb12-amd64"))
}

// TestDamagedCache breaks each kind of file of a cached kernel, and in each way.
func TestDamagedCache(t *testing.T) {
	const release = "6.1.0-48-amd64"
	overwrite := func(g *WithT, path string) {
		file, err := os.OpenFile(path, os.O_WRONLY, 0)
		g.Expect(err).NotTo(HaveOccurred())
		_, err = file.WriteAt([]byte("XXXXXXXX"), 100)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(file.Close()).To(Succeed())
	}
	truncate := func(g *WithT, path string) { g.Expect(os.Truncate(path, 10)).To(Succeed()) }
	remove := func(g *WithT, path string) { g.Expect(os.Remove(path)).To(Succeed()) }
	for name, damage := range map[string]struct {
		file   string
		change func(*WithT, string)
	}{
		"image overwritten":  {imageFile, overwrite},
		"image cut off":      {imageFile, truncate},
		"image gone":         {imageFile, remove},
		"module overwritten": {"modules/kernel/net/sched/sch_netem.ko", overwrite},
		"module gone":        {"modules/kernel/net/sched/sch_netem.ko", remove},
		"list gone":          {"modules/modules.builtin", remove},
		"manifest cut off":   {manifestFile, truncate},
		"manifest gone":      {manifestFile, remove},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			cache := t.TempDir()
			paths := writeDebs(t, t.TempDir(), debianWhole(t, release, "1"), noCompression)
			kernel, _, err := find(t, cache, paths[0])
			g.Expect(err).NotTo(HaveOccurred())
			verified.Delete(filepath.Dir(kernel.image)) // what another process would not know
			damage.change(g, filepath.Join(filepath.Dir(kernel.image), damage.file))

			again, said, err := find(t, cache, paths[0])
			g.Expect(err).NotTo(HaveOccurred())
			lines := strings.Split(said, "\n")
			g.Expect(lines).To(HaveLen(2))
			g.Expect(lines[0]).To(And(ContainSubstring("damaged"), ContainSubstring(filepath.Base(damage.file))))
			g.Expect(lines[1]).To(HavePrefix("unpacking"))
			expectKernel(g, again, release)
			g.Expect(os.ReadDir(openStore(cache, nil).dir)).To(HaveLen(1), "nothing stays of the damaged one")
		})
	}
}

// The image is looked at again even by the process that has unpacked it: its hash goes into each record.
func TestDamageInMidSession(t *testing.T) {
	g := NewWithT(t)
	cache := t.TempDir()
	kernel := put(t, cache, "6.1.0-48-amd64", "1", DefaultKernel)
	g.Expect(os.WriteFile(kernel.image, testKernel("6.1.0-49-amd64"), 0o644)).To(Succeed())
	g.Expect(kernel.unchanged()).To(MatchError(ContainSubstring("run again")))
	s := openStore(cache, func(string) {})
	found, err := s.named(DefaultKernel)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(found).To(BeNil())
	g.Expect(StoredKernels(cache)).To(BeEmpty())
}

// What was unpacked of an image of one's own is part of the cache as well.
func TestDamagedCacheOfAnImage(t *testing.T) {
	const release = "6.1.0-1-amd64"
	g := NewWithT(t)
	cache, dir := t.TempDir(), t.TempDir()
	writeTree(t, dir, debianWhole(t, release, "1"))
	kernel, said, err := find(t, cache, dir)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(said).To(BeEmpty())
	g.Expect(os.WriteFile(kernel.image, []byte("XX"), 0o644)).To(Succeed())
	kernel, said, err = find(t, cache, dir)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(said).To(ContainSubstring("damaged"))
	expectKernel(g, kernel, release)
}

// What a fetch that was killed has left goes with the next one.
func TestSweep(t *testing.T) {
	g := NewWithT(t)
	s := openStore(t.TempDir(), func(string) {})
	left := filepath.Join(s.dir, "tcplab-scratch-1")
	writeFile(t, filepath.Join(left, ".lock"), nil)
	writeFile(t, filepath.Join(left, "linux-image.deb"), nil)
	dir, cleanup, err := s.temporary()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(left).NotTo(BeADirectory())
	_, other, err := s.temporary()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(dir).To(BeADirectory(), "it is in use")
	other()
	cleanup()
	g.Expect(dir).NotTo(BeADirectory())
}
