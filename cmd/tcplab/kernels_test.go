package main

import (
	"bytes"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/internal/vm"
)

func TestPrintKernels(t *testing.T) {
	g := NewWithT(t)
	day := time.Date(2026, 11, 26, 12, 0, 0, 0, time.Local)
	stored := []vm.Stored{
		{Name: "6.1", Release: "6.1.0-48-amd64", Source: "linux-image-6.1.0-48-amd64_6.1.172-1", Bytes: 185e6,
			Links: map[string]time.Time{vm.DefaultKernel: day}},
		{Name: "7.3", Release: "7.3.4+deb13-amd64", Source: "linux-image-7.3.4+deb13-amd64_7.3.4-1~bpo13+1", Bytes: 93e6,
			Links: map[string]time.Time{vm.NewestKernel: day}},
		{Name: "6.12", Release: "6.12.95+deb12-amd64", Source: "a package", Bytes: 84e6},
	}
	var out bytes.Buffer
	g.Expect(printStored(&out, "/cache", stored)).To(Succeed())
	g.Expect(out.String()).To(Equal(`In /cache, of at most 2.0 GB (TCPLAB_CACHE_KERNELS):
  NAME  RELEASE              SIZE    SOURCE
  6.1   6.1.0-48-amd64       185 MB  linux-image-6.1.0-48-amd64_6.1.172-1 (default)
  7.3   7.3.4+deb13-amd64    93 MB   linux-image-7.3.4+deb13-amd64_7.3.4-1~bpo13+1 (newest as of 2026-11-26)
  6.12  6.12.95+deb12-amd64  84 MB   a package
`))

	out.Reset()
	g.Expect(printOffers(&out, []vm.Offer{
		{Release: "6.1.0-48-amd64", Suite: vm.SystemSuite, Bytes: 70e6, Seen: day.AddDate(0, 0, -3)},
		{Release: "7.4.1+deb14-amd64", Suite: "sid", Bytes: 125e6, Seen: day},
	}, stored)).To(Succeed())
	g.Expect(out.String()).To(Equal(`
To be fetched:
  tcplab kernels fetch 6.1  6.1.0-48-amd64     70 MB   this system's archive (is here)
  tcplab kernels fetch 7.4  7.4.1+deb14-amd64  125 MB  sid
  (as of 2026-11-26; tcplab kernels --update looks again)
`))
}
