package vm

import (
	"slices"
	"testing"

	. "github.com/onsi/gomega"
)

func TestIsName(t *testing.T) {
	for name, is := range map[string]bool{
		"6.1": true, "6.1.0-56-amd64": true, "default": true, "newest": true, "linux-image-cloud-amd64": true,
		"vmlinuz-6.1": false, "6.1/vmlinuz": false, "./6.1": false, "": false, "six": false, "./newest": false,
		"linux-image-6.1.0-48-amd64_6.1.172-1_amd64.deb": false, "6.1.rpm": false,
	} {
		if isName(name) != is {
			t.Errorf("%q: %v", name, !is)
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

func TestStandardRelease(t *testing.T) {
	for release, standard := range map[string]bool{
		"6.1.0-48-amd64": true, "6.12.95+deb12-amd64": true, "7.3.4+deb13-amd64": true, "7.3-amd64": true, "6.8.0-88-generic": true,
		"6.17.8-300.fc43.x86_64": true, "5.14.0-611.el9.x86_64": true, "6.18.0-0.rc3.29.fc44.x86_64": true,
		"6.1.0-48-cloud-amd64": false, "6.1.0-48-rt-amd64": false, "7.2.13+deb14-cloud-amd64": false, "6.8.0-1041-azure": false,
		"6.8.0-88-lowlatency": false, "6.8.0-88-generic-64k": false, "6.17.8-300.fc43.x86_64+debug": false, "6.17.8-300.fc43.x86_64+rt": false,
		"6.18.0-rc3-mine": false,
	} {
		if standardRelease.MatchString(release) != standard {
			t.Errorf("%s: %v", release, !standard)
		}
	}
}

func TestCompareVersions(t *testing.T) {
	g := NewWithT(t)
	ordered := []string{
		"6.1.0-9-amd64", "6.1.0-48-amd64", "6.1.0-56-amd64", "6.12.9+deb12-amd64", "6.12.95+deb12-amd64", "6.12.107+deb13-amd64",
		"7.3~rc7-1~exp1", "7.3.4-1~bpo13+1", "7.3.4-1", "7.3.4-2",
	}
	shuffled := []string{ordered[2], ordered[5], ordered[7], ordered[0], ordered[3], ordered[9], ordered[1], ordered[6], ordered[8], ordered[4]}
	slices.SortFunc(shuffled, compareVersions)
	g.Expect(shuffled).To(Equal(ordered))
	g.Expect(compareVersions("1:1-1", "2-1")).To(BeNumerically(">", 0), "an epoch")
	g.Expect(compareVersions("6.17.8-300.fc43.x86_64", "6.17.10-300.fc43.x86_64")).To(BeNumerically("<", 0))
	g.Expect(compareVersions("", "6.1")).To(BeNumerically("<", 0))
}
