package vm

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"
)

// placeOfFile is a place with the packages of a list in testdata/packages. Those of Debian are from its archive as it was on 26
// November 2026, shortened; noble is written as Ubuntu's lists are.
func placeOfFile(t *testing.T, suite string) *place {
	t.Helper()
	list, err := os.ReadFile(filepath.Join("testdata/packages", suite))
	if err != nil {
		t.Fatal(err)
	}
	packages, err := readPackages(bytes.NewReader(list))
	if err != nil {
		t.Fatal(err)
	}
	return &place{suite: suite, packages: packages}
}

func names(packages []aptPackage) (names []string) {
	for _, p := range packages {
		names = append(names, p.Name)
	}
	return names
}

func TestFindOffer(t *testing.T) {
	g := NewWithT(t)
	split := func(release string) []string {
		return []string{"linux-image-" + release, "linux-base-" + release, "linux-binary-" + release, "linux-modules-" + release}
	}
	for suite, wanted := range map[string]map[string][]string{
		"bookworm": {
			DefaultKernel:             {"linux-image-6.1.0-48-amd64"},
			"6.1":                     {"linux-image-6.1.0-48-amd64"},
			"6.1.170":                 {"linux-image-6.1.0-47-amd64"},
			"linux-image-cloud-amd64": {"linux-image-6.1.0-48-cloud-amd64"},
			"6.1.0-48-amd64-dbg":      nil,
			"6.1.0-48-amd64-unsigned": nil,
			"linux-image-rt-amd64":    nil,
			"7.3":                     nil,
		},
		"trixie-backports": {
			NewestKernel:              split("7.3.4+deb13-amd64"),
			"7.3":                     split("7.3.4+deb13-amd64"),
			"7":                       split("7.3.4+deb13-amd64"),
			"7.2":                     split("7.2.12+deb13-amd64"),
			"7.1":                     nil, // its modules are gone
			"6.18":                    nil, // its list of what is built in is
			"linux-image-cloud-amd64": split("7.3.4+deb13-cloud-amd64"),
		},
		"sid": {
			NewestKernel:               split("7.2.13+deb14-amd64"),
			"7.2.13+deb14-cloud-amd64": split("7.2.13+deb14-cloud-amd64"),
			"7.2.1":                    nil,
		},
		"noble": {
			DefaultKernel:                   {"linux-image-6.8.0-88-generic", "linux-modules-6.8.0-88-generic"},
			"6.8":                           {"linux-image-6.8.0-88-generic", "linux-modules-6.8.0-88-generic"},
			"6.8.0-88-lowlatency":           {"linux-image-6.8.0-88-lowlatency", "linux-modules-6.8.0-88-lowlatency"},
			"6.17":                          {"linux-image-unsigned-6.17.0-8-generic", "linux-modules-6.17.0-8-generic"},
			"linux-image-azure":             {"linux-image-6.8.0-1041-azure", "linux-modules-6.8.0-1041-azure"},
			"linux-image-generic-hwe-24.04": {"linux-image-unsigned-6.17.0-8-generic", "linux-modules-6.17.0-8-generic"},
		},
	} {
		at := placeOfFile(t, suite)
		for name, packages := range wanted {
			offer, found := at.find(name)
			g.Expect(found).To(Equal(packages != nil), suite+": "+name)
			g.Expect(names(offer.parts)).To(Equal(packages), suite+": "+name)
		}
	}
	offer, _ := placeOfFile(t, "noble").find("linux-image-azure")
	g.Expect(names(offer.extra)).To(Equal([]string{"linux-modules-extra-6.8.0-1041-azure"}))
	g.Expect(offer.Bytes).To(BeEquivalentTo(14000003 + 24000000))
	offer, _ = placeOfFile(t, "trixie-backports").find("7.3")
	g.Expect(offer.Bytes).To(BeEquivalentTo(1900 + 1077476 + 14138336 + 106862204))
	for _, part := range offer.parts {
		g.Expect(part.SHA256).To(HaveLen(64))
		g.Expect(part.Version).To(Equal("7.3.4-1~bpo13+1"))
	}
}

func TestNewestOfEachSeries(t *testing.T) {
	g := NewWithT(t)
	var offers []Offer
	for _, suite := range []string{"bookworm", "sid", "trixie-backports"} {
		offers = append(offers, placeOfFile(t, suite).offers()...)
	}
	var releases []string
	for _, offer := range NewestOfEachSeries(offers) {
		releases = append(releases, offer.Release+" "+offer.Suite)
	}
	g.Expect(releases).To(Equal([]string{
		"6.1.0-48-amd64 bookworm", "7.2.13+deb14-amd64 sid", "7.3.4+deb13-amd64 trixie-backports",
	}))
}

func TestReadPackages(t *testing.T) {
	g := NewWithT(t)
	packages, err := readPackages(bytes.NewReader([]byte("\n\nPackage: a\nVersion: 1\nDepends: b (>= 2), c:any | d,\n\n\n\nPackage: e\nVersion: 2\nSize: 12\n" +
		"Description: x\n y\n .\n z\nSHA256: 00\n")))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(packages).To(Equal([]aptPackage{
		{Name: "a", Version: "1", Depends: []string{"b", "c", "d"}}, {Name: "e", Version: "2", Bytes: 12, SHA256: "00"},
	}))
	for _, bad := range []string{"no colon\n\n", "Package: a\nSize: many\n\n", " begins within\n\n"} {
		_, err := readPackages(bytes.NewReader([]byte(bad)))
		g.Expect(err).To(HaveOccurred(), bad)
	}
}

func FuzzReadPackages(f *testing.F) {
	for _, suite := range []string{"noble", "sid"} {
		list, err := os.ReadFile(filepath.Join("testdata/packages", suite))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(list)
	}
	f.Fuzz(func(_ *testing.T, list []byte) {
		packages, err := readPackages(bytes.NewReader(list))
		if err != nil {
			return
		}
		at := &place{packages: packages}
		for _, offer := range NewestOfEachSeries(at.offers()) {
			_, _ = at.find(Series(offer.Release))
		}
		_, _ = at.find(DefaultKernel)
		_, _ = at.find(NewestKernel)
	})
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
