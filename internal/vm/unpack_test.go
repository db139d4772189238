package vm

import (
	"archive/tar"
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	. "github.com/onsi/gomega"
)

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
	files := map[string]string{ // and where it is put, if it is
		"./boot/vmlinuz-6.1":                                           "boot/vmlinuz-6.1",
		"./boot/System.map-6.1":                                        "",
		"./usr/share/doc/linux/copyright":                              "",
		"./lib/modules/6.1/modules.builtin":                            "lib/modules/6.1/modules.builtin",
		"./lib/modules/6.1/modules.order":                              "",
		"./lib/modules/6.1/kernel/net/sched/sch_netem.ko":              "lib/modules/6.1/kernel/net/sched/sch_netem.ko",
		"./lib/modules/6.1/kernel/drivers/net/veth.ko":                 "lib/modules/6.1/kernel/drivers/net/veth.ko",
		"./lib/modules/6.1/kernel/drivers/virtio/virtio_pci.ko":        "lib/modules/6.1/kernel/drivers/virtio/virtio_pci.ko",
		"./lib/modules/6.1/kernel/drivers/gpu/drm/drm.ko":              "",
		"./lib/modules/6.1/kernel/drivers/net/ethernet/intel/e1000.ko": "",
		"./lib/modules/6.1/kernel/sound/soundcore.ko":                  "",
		"./usr/lib/modules/6.12/kernel/drivers/net/ifb.ko.xz":          "lib/modules/6.12/kernel/drivers/net/ifb.ko.xz",
		"./usr/lib/modules/6.12/kernel/sound/soundcore.ko.xz":          "",
		"./usr/lib/modules/6.12/vmlinuz":                               "lib/modules/6.12/vmlinuz",
		"/lib/modules/6.13/extra/tcp_brutal.ko.zst":                    "lib/modules/6.13/extra/tcp_brutal.ko.zst",
	}
	for name := range files {
		add(tar.Header{Typeflag: tar.TypeReg, Name: name}, name)
	}
	add(tar.Header{Typeflag: tar.TypeDir, Name: "./lib/modules/6.1/empty/"}, "")
	add(tar.Header{Typeflag: tar.TypeSymlink, Name: "./lib/modules/6.1/build", Linkname: "/usr/src"}, "")
	add(tar.Header{Typeflag: tar.TypeReg, Name: "lib/modules/../../../boot/vmlinuz-evil"}, "x")
	add(tar.Header{Typeflag: tar.TypeReg, Name: "../boot/vmlinuz-evil"}, "x")
	g.Expect(w.Close()).To(Succeed())
	outside := t.TempDir()
	dir := filepath.Join(outside, "a", "b")
	g.Expect(os.MkdirAll(dir, 0o755)).To(Succeed())
	unpack := func(content []byte) error {
		out, err := newUnpacker(t.Context(), dir)
		g.Expect(err).NotTo(HaveOccurred())
		defer out.close()
		return out.unpackTar(bytes.NewReader(content))
	}
	g.Expect(unpack(content.Bytes())).To(Succeed())
	hashes, err := hashTree(dir)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(os.ReadDir(outside)).To(HaveLen(1))
	wanted := map[string]bool{"boot/vmlinuz-evil": true} // within the directory, whatever its name said
	for name, path := range files {
		if path != "" {
			wanted[path] = true
			g.Expect(os.ReadFile(filepath.Join(dir, path))).To(BeEquivalentTo(name))
		}
	}
	for name := range hashes {
		g.Expect(wanted).To(HaveKey(name))
	}

	content.Reset()
	w = tar.NewWriter(&content)
	add(tar.Header{Typeflag: tar.TypeReg, Name: "boot/vmlinuz-6.1"}, "a whole image")
	g.Expect(unpack(content.Bytes()[:512+5])).NotTo(Succeed(), "torn")
}

// unpackAll unpacks a package into a directory of its own, and fails the test if anything is written elsewhere.
func unpackAll(t *testing.T, content []byte) (packageID, map[string]string, error) {
	t.Helper()
	outside := t.TempDir()
	path, dir := filepath.Join(outside, "package"), filepath.Join(outside, "dir")
	writeFile(t, path, content)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	id, err := unpackPackage(t.Context(), path, dir)
	entries, readErr := os.ReadDir(outside)
	if readErr != nil || len(entries) != 2 {
		t.Fatalf("wrote outside: %v, %v", entries, readErr)
	}
	hashes, hashErr := hashTree(dir)
	if hashErr != nil {
		t.Fatal(hashErr)
	}
	for name := range hashes {
		if !wanted(name) {
			t.Errorf("wrote %q", name)
		}
	}
	return id, hashes, err
}

func TestUnpackDeb(t *testing.T) {
	g := NewWithT(t)
	whole := debianWhole(t, "6.1.0-48-amd64", "6.1.172-1")[0]
	var expected map[string]string
	for _, c := range []compression{noCompression, gzipCompression, zstdCompression} {
		id, hashes, err := unpackAll(t, whole.deb(t, c))
		g.Expect(err).NotTo(HaveOccurred(), c.suffix)
		g.Expect(id.String()).To(Equal("linux-image-6.1.0-48-amd64_6.1.172-1"))
		g.Expect(hashes).To(HaveKeyWithValue("boot/vmlinuz-6.1.0-48-amd64", hashOf(vmlinuz(t, "6.1.0-48-amd64"))))
		g.Expect(hashes).To(HaveLen(3 + len(defaultModules)))
		if expected == nil {
			expected = hashes
		}
		g.Expect(hashes).To(Equal(expected))
	}

	small := testPackage{name: "linux-base-x", version: "1", files: map[string]string{"./boot/vmlinuz-1": "image"}}
	content := small.deb(t, noCompression)
	data := bytes.Index(content, []byte("data.tar"))
	for name, bad := range map[string][]byte{
		"cut off":               content[:len(content)-1],
		"cut in a header":       content[:data+30],
		"without data":          content[:data],
		"no header":             slices.Concat(content, []byte("0123456789012345678901234567890123456789012345678901234567890")),
		"negative size":         slices.Concat(content, fmt60("-60")),
		"size past its end":     slices.Concat(content, fmt60("9999999999")),
		"data is not the right": bytes.Replace(content, []byte("ustar"), []byte("xxxxx"), 2),
		"no package at all":     []byte(debMagic),
	} {
		_, _, err := unpackAll(t, bad)
		g.Expect(err).To(HaveOccurred(), name)
	}
}

// fmt60 is a member's header with a size of one's own.
func fmt60(size string) []byte {
	header := bytes.Repeat([]byte(" "), arHeader)
	copy(header, "evil")
	copy(header[arSizeOffset:], size)
	copy(header[arEndOffset:], arEnd)
	return header
}

// TestUnpackRPM reads what rpmbuild has made: see rpm_test.go.
func TestUnpackRPM(t *testing.T) {
	g := NewWithT(t)
	for format, place := range rpmFormats {
		all := map[string]string{}
		for _, name := range rpmPackages {
			id, hashes, err := unpackAll(t, readRPM(t, filepath.Join(place, name)))
			g.Expect(err).NotTo(HaveOccurred(), name)
			g.Expect(id.String() + ".rpm").To(Equal(name))
			maps.Copy(all, hashes)
		}
		tree := t.TempDir()
		fedoraTree(t, tree)
		packed, err := hashTree(tree)
		g.Expect(err).NotTo(HaveOccurred())
		maps.DeleteFunc(packed, func(name, _ string) bool { return !wanted(name) })
		g.Expect(packed).To(HaveLen(3 + len(defaultModules)))
		g.Expect(all).To(Equal(packed), "format "+format)
	}
}
