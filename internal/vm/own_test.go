package vm

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

// find finds a kernel with a cache of the test's own, and tells what was said meanwhile.
func find(t *testing.T, cache, name string) (*GuestKernel, string, error) {
	t.Helper()
	var said []string
	kernel, err := FindKernel(t.Context(), KernelOptions{Name: name, Cache: cache, Progress: func(line string) { said = append(said, line) }})
	return kernel, strings.Join(said, "\n"), err
}

// expectKernel checks what a kernel is: that its image is testKernel's, and its modules those that a guest needs.
func expectKernel(g *WithT, kernel *GuestKernel, release string) {
	g.Expect(kernel).NotTo(BeNil())
	g.Expect(kernel.Release).To(Equal(release))
	g.Expect(kernel.SHA256).To(Equal(hashOf(testKernel(release))))
	g.Expect(os.ReadFile(kernel.image)).To(Equal(testKernel(release)))
	tree, err := openModules(kernel.modules)
	g.Expect(err).NotTo(HaveOccurred())
	modules, err := tree.resolve(defaultModules)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(modules).To(HaveLen(len(defaultModules)))
	for _, m := range modules {
		g.Expect(m.Content).To(Equal(testModule(m.Name)))
	}
	g.Expect(kernel.unchanged()).To(Succeed())
}

// rpmPaths are where the packages of a format of RPM's are.
func rpmPaths(format string) (paths []string) {
	for _, name := range rpmPackages {
		paths = append(paths, filepath.Join("testdata", rpmFormats[format], name))
	}
	return paths
}

func TestKernelFromPackages(t *testing.T) {
	type layout struct {
		release, source string
		paths           func(dir string) []string
	}
	debs := func(make func(testing.TB, string, string) []testPackage, release, version string, c compression) func(string) []string {
		return func(dir string) []string { return writeDebs(t, dir, make(t, release, version), c) }
	}
	for name, l := range map[string]layout{
		"Debian 12": {"6.1.0-48-amd64", "linux-image-6.1.0-48-amd64_6.1.172-1",
			debs(debianWhole, "6.1.0-48-amd64", "6.1.172-1", noCompression)},
		"Debian since 6.19": {"7.3.4+deb13-amd64", "linux-binary-7.3.4+deb13-amd64_7.3.4-1~bpo13+1",
			debs(debianSplit, "7.3.4+deb13-amd64", "7.3.4-1~bpo13+1", gzipCompression)},
		"Ubuntu": {"6.8.0-88-generic", "linux-image-6.8.0-88-generic_6.8.0-88.89",
			debs(ubuntuGeneric, "6.8.0-88-generic", "6.8.0-88.89", zstdCompression)},
		"Ubuntu, with netem in the extra package": {"6.8.0-1041-azure", "linux-image-6.8.0-1041-azure_6.8.0-1041.47",
			debs(ubuntu, "6.8.0-1041-azure", "6.8.0-1041.47", zstdCompression)},
		"Fedora":        {fedoraRelease, "kernel-core-" + fedoraRelease, func(string) []string { return rpmPaths("4") }},
		"RPM, format 6": {fedoraRelease, "kernel-core-" + fedoraRelease, func(string) []string { return rpmPaths("6") }},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			cache, dir := t.TempDir(), t.TempDir()
			paths := l.paths(dir)
			kernel, said, err := find(t, cache, strings.Join(paths, ":"))
			g.Expect(err).NotTo(HaveOccurred())
			expectKernel(g, kernel, l.release)
			g.Expect(kernel.Source).To(Equal(l.source))
			g.Expect(said).To(HavePrefix("unpacking "))

			// The same packages in a folder are the same kernel, and are not unpacked again.
			for _, path := range paths {
				content, err := os.ReadFile(path)
				g.Expect(err).NotTo(HaveOccurred())
				writeFile(t, filepath.Join(dir, "folder", filepath.Base(path)), content)
			}
			again, said, err := find(t, cache, filepath.Join(dir, "folder"))
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(again.image).To(Equal(kernel.image))
			g.Expect(said).To(BeEmpty())

			// And it has a name now.
			named, said, err := find(t, cache, l.release)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(named.image).To(Equal(kernel.image))
			g.Expect(said).To(BeEmpty())

			// Drivers of hardware and what is known from elsewhere are not kept.
			hashes, err := hashTree(filepath.Dir(kernel.image))
			g.Expect(err).NotTo(HaveOccurred())
			for name := range hashes {
				g.Expect(name).NotTo(ContainSubstring("drm"))
			}
			g.Expect(hashes).To(HaveKey("config"))
			g.Expect(hashes).NotTo(HaveKey("modules/vmlinuz"))
		})
	}
}

func TestKernelFromIncompletePackages(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	split := writeDebs(t, dir, debianSplit(t, "7.3.4+deb13-amd64", "7.3.4-1"), noCompression)
	azure := writeDebs(t, dir, ubuntu(t, "6.8.0-1041-azure", "1"), noCompression)
	other := writeDebs(t, dir, debianWhole(t, "6.1.0-1-amd64", "1"), noCompression)
	fedora := rpmPaths("4")
	for name, c := range map[string]struct {
		paths []string
		want  string
	}{
		"no image":           {split[2:], "linux-binary-*"},
		"no list of modules": {split[:3], "linux-base-*"},
		"no modules":         {split[:2], "modules.builtin"},
		"too few":            {azure[:2], "linux-modules-extra-6.8.0-1041-azure"},
		"too few, in Fedora": {fedora[:3], "kernel-modules-extra"},
		"two kernels":        {append(other, split...), "several kernel images"},
		"and an image":       {append(other, "testdata/kernel.xz"), "packages, and others that are none"},
	} {
		cache := t.TempDir()
		_, _, err := find(t, cache, strings.Join(c.paths, ":"))
		g.Expect(err).To(MatchError(ContainSubstring(c.want)), name)
		entries, err := os.ReadDir(openStore(cache, nil).dir)
		if err != nil {
			g.Expect(err).To(MatchError(os.ErrNotExist))
		}
		g.Expect(entries).To(BeEmpty(), "nothing stays of %s", name)
	}
}

// A package that is built anew can have the version that it had.
func TestRebuiltPackageIsAnotherKernel(t *testing.T) {
	g := NewWithT(t)
	cache, dir := t.TempDir(), t.TempDir()
	packages := debianWhole(t, "6.1.0-1-amd64", "1")
	path := writeDebs(t, dir, packages, noCompression)[0]
	first, _, err := find(t, cache, path)
	g.Expect(err).NotTo(HaveOccurred())
	packages[0].files["./boot/vmlinuz-6.1.0-1-amd64"] = string(bzImageOf("6.1.0-1-amd64", append(testKernel("6.1.0-1-amd64"), 1)))
	writeDebs(t, dir, packages, noCompression)
	second, _, err := find(t, cache, path)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(second.SHA256).NotTo(Equal(first.SHA256))
}

func TestKernelFromFolderAndImage(t *testing.T) {
	const release = "7.3.4+deb13-amd64"
	g := NewWithT(t)
	cache, dir := t.TempDir(), t.TempDir()
	usr := filepath.Join(dir, "usr/lib/modules", release)
	for name, make := range map[string]func(testing.TB, string, string) []testPackage{
		"whole": debianWhole, "split": debianSplit, "ubuntu": ubuntuGeneric,
	} {
		tree := filepath.Join(dir, name)
		writeTree(t, tree, make(t, release, "1"))
		kernel, _, err := find(t, cache, tree)
		g.Expect(err).NotTo(HaveOccurred(), name)
		expectKernel(g, kernel, release)
		g.Expect(kernel.Source).To(Equal(tree))
		g.Expect(kernel.modules).To(HavePrefix(tree), "its modules are taken from where they are")
	}

	// An image finds its modules beside itself, in the folder above, and where somebody says.
	writeTree(t, dir, debianSplit(t, release, "1"))
	writeFile(t, filepath.Join(dir, "boot/vmlinuz"), vmlinuz(t, release))
	writeFile(t, filepath.Join(dir, "elsewhere/linux/vmlinux"), testKernel(release))
	for _, name := range []string{
		filepath.Join(usr, "vmlinuz"), filepath.Join(dir, "boot/vmlinuz"),
		filepath.Join(dir, "elsewhere/linux/vmlinux") + ":" + dir,
		filepath.Join(dir, "elsewhere/linux/vmlinux") + ":" + usr,
	} {
		kernel, _, err := find(t, cache, name)
		g.Expect(err).NotTo(HaveOccurred(), name)
		expectKernel(g, kernel, release)
		g.Expect(kernel.modules).To(Equal(usr))
		g.Expect(kernel.Source).To(Equal(name))
	}

	for name, want := range map[string]string{
		filepath.Join(dir, "elsewhere/linux/vmlinux"): "name the folder that has lib/modules",
		filepath.Join(dir, "none"):                    "no such file",
		filepath.Join(dir, "elsewhere"):               "no kernel image",
		filepath.Join(usr, "modules.builtin"):         "neither an image",
		filepath.Join(dir, "whole") + ":" + filepath.Join(dir, "split") + ":" + usr + "/vmlinuz:" + dir + "/boot/vmlinuz": "2 images",
	} {
		_, _, err := find(t, cache, name)
		g.Expect(err).To(MatchError(ContainSubstring(want)), name)
	}

	// Of images there is a copy in the cache, but no name.
	g.Expect(StoredKernels(cache)).To(BeEmpty())

	// A folder with several kernels: which one is meant, must be said.
	writeTree(t, filepath.Join(dir, "whole"), debianWhole(t, "6.1.0-1-amd64", "1"))
	_, _, err := find(t, cache, filepath.Join(dir, "whole"))
	g.Expect(err).To(MatchError(And(ContainSubstring("several"), ContainSubstring("boot/vmlinuz-6.1.0-1-amd64"))))
}

func TestChangedImageIsAnotherKernel(t *testing.T) {
	const release = "6.1.0-1-amd64"
	g := NewWithT(t)
	cache, dir := t.TempDir(), t.TempDir()
	writeTree(t, dir, debianWhole(t, release, "1"))
	changed := append(testKernel(release), "changed"...)
	for name, images := range map[string][2][]byte{
		"boot/vmlinuz-" + release: {vmlinuz(t, release), bzImage(release, compressed(t, changed), len(changed))},
		"boot/vmlinux":            {testKernel(release), changed},
	} {
		path := filepath.Join(dir, name)
		writeFile(t, path, images[0])
		before, _, err := find(t, cache, path)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(before.SHA256).To(Equal(hashOf(testKernel(release))))
		writeFile(t, path, images[1])
		after, _, err := find(t, cache, path)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(after.SHA256).To(Equal(hashOf(changed)))
		if strings.HasSuffix(name, "vmlinux") {
			g.Expect(before.unchanged()).To(MatchError(ContainSubstring("has changed since")), "a run that began with it must not go on")
		}
		g.Expect(after.unchanged()).To(Succeed())
	}
}
