package main

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/impair/profiles"
)

func TestProfiles(t *testing.T) {
	g := NewWithT(t)
	output, err := tcplab("profiles")
	g.Expect(err).NotTo(HaveOccurred())
	for _, name := range profiles.Names() {
		g.Expect(output).To(ContainSubstring("\n" + name + " "))
	}

	output, err = tcplab("profiles", "apple-lte", "chrome-3g")
	g.Expect(err).NotTo(HaveOccurred())
	// 10 Mbit/s are 825.6 packets a second: 54 in 65 ms, 95 in the round trip of 115 ms
	g.Expect(output).To(ContainSubstring("up        limit 149 delay 65ms rate 10Mbit\n"))
	g.Expect(output).To(ContainSubstring("it counts delay round trip"))

	output, err = tcplab("profiles", "apple-lte", "chrome-5g")
	g.Expect(err).To(MatchError(ContainSubstring("near it are chrome-3g")))
	g.Expect(output).To(BeEmpty())
}
