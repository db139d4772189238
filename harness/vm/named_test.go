package vm

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"
)

// store puts an unpacked kernel into a cache, as kernelFromPackage does.
func store(t *testing.T, cache, folder, source, release string) {
	t.Helper()
	dir := filepath.Join(cache, folder, source)
	for name, content := range map[string]string{
		"boot/vmlinuz-" + release: "image",
		"vmlinux":                 "unpacked image",
		"vmlinux.sha256":          "hash of " + release,
		"lib/modules/" + release + "/modules.builtin":    "",
		"lib/modules/" + release + "/kernel/net/veth.ko": "module",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestStoredKernels(t *testing.T) {
	g := NewWithT(t)
	cache := t.TempDir()
	g.Expect(StoredKernels(cache)).To(BeEmpty())
	store(t, cache, defaultDir, "linux-image-6.1.0-9-amd64_6.1.27-1", "6.1.0-9-amd64")
	store(t, cache, defaultDir, "linux-image-6.1.0-56-amd64_6.1.192-2", "6.1.0-56-amd64")
	store(t, cache, givenDir, "linux-image-6.1.0-50-amd64_6.1.176-1", "6.1.0-50-amd64")
	store(t, cache, givenDir, "linux-image-6.12.95+deb12-amd64_6.12.95-1~bpo12+1", "6.12.95+deb12-amd64")
	g.Expect(os.MkdirAll(filepath.Join(cache, givenDir, "file-0123456789abcdef"), 0o755)).To(Succeed()) // of a path

	stored, err := StoredKernels(cache)
	g.Expect(err).NotTo(HaveOccurred())
	var names, releases []string
	for _, kernel := range stored {
		names, releases = append(names, kernel.Name), append(releases, kernel.Release)
		g.Expect(kernel.Default).To(Equal(kernel.Name == "6.1"))
		g.Expect(kernel.Bytes).To(BeEquivalentTo(len("image" + "unpacked image" + "hash of " + "module" + kernel.Release)))
	}
	g.Expect(names).To(Equal([]string{"6.1", "6.1.0-9-amd64", "6.12", "6.1.0-50-amd64"}))
	g.Expect(releases).To(Equal([]string{"6.1.0-56-amd64", "6.1.0-9-amd64", "6.12.95+deb12-amd64", "6.1.0-50-amd64"}))

	for name, release := range map[string]string{
		"":                    "6.1.0-56-amd64",
		"6.1":                 "6.1.0-56-amd64",
		"6.1.0":               "6.1.0-56-amd64",
		"6.1.0-5":             "", // not a number's end
		"6.1.0-50":            "6.1.0-50-amd64",
		"6.1.0-9-amd64":       "6.1.0-9-amd64",
		"6.12":                "6.12.95+deb12-amd64",
		"6.12.9":              "",
		"6.12.95+deb12-amd64": "6.12.95+deb12-amd64",
		"5.10":                "",
	} {
		kernel, err := FindKernel(t.Context(), KernelOptions{Name: name, Cache: cache})
		if release == "" {
			g.Expect(err).To(MatchError(ErrNoKernel), name)
			g.Expect(err).To(MatchError(ContainSubstring("which has 6.1, 6.1.0-9-amd64, 6.12, 6.1.0-50-amd64; tcplab kernels fetch 6.1 and")), name)
			continue
		}
		g.Expect(err).NotTo(HaveOccurred(), name)
		g.Expect(kernel.Release).To(Equal(release), name)
	}
}

func TestFetchRefusesWhatIsNotOffered(t *testing.T) {
	g := NewWithT(t)
	_, err := FetchKernel(t.Context(), KernelOptions{Name: "5.10", Cache: t.TempDir()})
	g.Expect(err).To(MatchError(ErrNoKernel))
	g.Expect(err).To(MatchError(ContainSubstring("which is empty; tcplab kernels fetch 6.1 and tcplab kernels fetch 6.12")))
}

func TestIsVersion(t *testing.T) {
	for name, version := range map[string]bool{
		"6.1": true, "6.1.0-56-amd64": true, "vmlinuz-6.1": false, "6.1/vmlinuz": false, "./6.1": false, "": false, "six": false,
	} {
		if isVersion(name) != version {
			t.Errorf("%q: %v", name, !version)
		}
	}
}

func TestSeries(t *testing.T) {
	for release, series := range map[string]string{"6.1.0-56-amd64": "6.1", "6.12.95+deb12-amd64": "6.12", "6.1": "6.1", "next": ""} {
		if got := Series(release); got != series {
			t.Errorf("%s: %s, expected %s", release, got, series)
		}
	}
}

func TestFindArchive(t *testing.T) {
	g := NewWithT(t)
	for targets, want := range map[string]string{
		"":                                   "",
		"Ubuntu|Ubuntu|main|http://u/":       "",
		"Debian|Debian-Security|main|http:s": "",
		"Debian|Debian|contrib|http://c/":    "",
		"a|b\n":                              "",
		"x|y|main|http://x/\nDebian|Debian-Security|main|http://s/\nDebian|Debian|main|http://d/\n": "http://d/",
	} {
		archive, found := findArchive(targets)
		g.Expect(archive).To(Equal(want), targets)
		g.Expect(found).To(Equal(want != ""), targets)
	}
}

func TestUnpackTarTakesWhatGuestsNeed(t *testing.T) {
	g := NewWithT(t)
	var content bytes.Buffer
	w := tar.NewWriter(&content)
	add := func(header tar.Header, text string) {
		header.Size, header.Mode = int64(len(text)), 0o644
		g.Expect(w.WriteHeader(&header)).To(Succeed())
		_, err := w.Write([]byte(text))
		g.Expect(err).NotTo(HaveOccurred())
	}
	files := map[string]bool{
		"./boot/vmlinuz-6.1":                                           true,
		"./boot/System.map-6.1":                                        false,
		"./usr/share/doc/linux/copyright":                              false,
		"./lib/modules/6.1/modules.builtin":                            true,
		"./lib/modules/6.1/kernel/net/sched/sch_netem.ko":              true,
		"./lib/modules/6.1/kernel/drivers/net/veth.ko":                 true,
		"./lib/modules/6.1/kernel/drivers/virtio/virtio_pci.ko":        true,
		"./lib/modules/6.1/kernel/drivers/gpu/drm/drm.ko":              false,
		"./lib/modules/6.1/kernel/drivers/net/ethernet/intel/e1000.ko": false,
		"./lib/modules/6.1/kernel/sound/soundcore.ko":                  false,
		"./usr/lib/modules/6.12/kernel/drivers/net/ifb.ko.xz":          true,
		"./usr/lib/modules/6.12/kernel/sound/soundcore.ko.xz":          false,
	}
	for name := range files {
		add(tar.Header{Typeflag: tar.TypeReg, Name: name}, name)
	}
	add(tar.Header{Typeflag: tar.TypeDir, Name: "./lib/modules/6.1/empty/"}, "")
	add(tar.Header{Typeflag: tar.TypeSymlink, Name: "./lib/modules/6.1/build", Linkname: "/usr/src"}, "")
	g.Expect(w.Close()).To(Succeed())
	dir := t.TempDir()
	g.Expect(unpackTar(bytes.NewReader(content.Bytes()), dir)).To(Succeed())
	for name, unpacked := range files {
		if unpacked {
			g.Expect(os.ReadFile(filepath.Join(dir, name))).To(BeEquivalentTo(name))
		} else {
			g.Expect(filepath.Join(dir, name)).NotTo(BeAnExistingFile())
		}
	}
	g.Expect(filepath.Join(dir, "lib/modules/6.1/build")).NotTo(BeAnExistingFile())

	content.Reset()
	w = tar.NewWriter(&content)
	add(tar.Header{Typeflag: tar.TypeReg, Name: "boot/vmlinuz-6.1"}, "a whole image")
	g.Expect(unpackTar(bytes.NewReader(content.Bytes()[:512+5]), t.TempDir())).NotTo(Succeed(), "torn")

	content.Reset()
	w = tar.NewWriter(&content)
	add(tar.Header{Typeflag: tar.TypeReg, Name: "lib/modules/../../../evil"}, "x")
	add(tar.Header{Typeflag: tar.TypeReg, Name: "../lib/modules/6.1/evil"}, "x")
	g.Expect(w.Close()).To(Succeed())
	g.Expect(unpackTar(&content, dir)).To(Succeed())
	g.Expect(filepath.Join(dir, "..", "evil")).NotTo(BeAnExistingFile())
}
