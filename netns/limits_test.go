package netns_test

import (
	"bytes"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/internal/testenv"
	"github.com/tcplab/tcplab/netns"
)

// TestSizeOfHashTableChangesNothingElse compares all of a host's sysctls below net.
func TestSizeOfHashTableChangesNothingElse(t *testing.T) {
	const childTable = "/proc/sys/net/ipv4/tcp_child_ehash_entries"
	testenv.InGuest(t, "sets a sysctl of the machine")
	g := NewWithT(t)
	before, err := os.ReadFile(childTable)
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { g.Expect(os.WriteFile(childTable, bytes.TrimSpace(before), 0)).To(Succeed()) })
	sysctls := func(size string) map[string]string {
		g.Expect(os.WriteFile(childTable, []byte(size), 0)).To(Succeed())
		host, err := netns.NewHost("host")
		g.Expect(err).NotTo(HaveOccurred())
		defer func() { g.Expect(host.Close()).To(Succeed()) }()
		values := map[string]string{}
		g.Expect(host.Do(func() error {
			return filepath.WalkDir("/proc/sys/net", func(path string, entry fs.DirEntry, err error) error {
				if err != nil || entry.IsDir() {
					return err
				}
				if text, err := os.ReadFile(path); err == nil { // some can only be written
					values[path] = string(text)
				}
				return nil
			})
		})).To(Succeed())
		return values
	}
	const table, random = "/proc/sys/net/ipv4/tcp_ehash_entries", "/proc/sys/net/ipv4/tcp_fastopen_key"
	shared, own := sysctls("0"), sysctls("512")
	// Of another's table that is the size, and negative (Documentation/networking/ip-sysctl.rst).
	g.Expect(strings.TrimSpace(shared[table])).To(HavePrefix("-"))
	g.Expect(strings.TrimSpace(own[table])).To(Equal("512"))
	g.Expect(own).To(HaveKey("/proc/sys/net/ipv4/tcp_max_tw_buckets"))
	g.Expect(len(own)).To(BeNumerically(">", 100))
	for _, values := range []map[string]string{shared, own} {
		maps.DeleteFunc(values, func(path, _ string) bool {
			return path == table || path == random || strings.HasSuffix(path, "stable_secret")
		})
	}
	g.Expect(own).To(Equal(shared))
}
