package main

import (
	"encoding/json"
	"net"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/internal/probe"
)

func TestProbe(t *testing.T) {
	g := NewWithT(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	g.Expect(err).NotTo(HaveOccurred())
	address := listener.Addr().String()
	output, err := tcplab("probe", address, "-n", "3")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(output).To(And(ContainSubstring("3 of 3 samples, 0 failed"), ContainSubstring("\nconnect ")))

	listener.Close()
	output, err = tcplab("probe", address, "-n", "3", "--json")
	g.Expect(err).To(MatchError(errFailed))
	var report probe.Report
	g.Expect(json.Unmarshal([]byte(output), &report)).To(Succeed())
	g.Expect(report.Errors).To(Equal([]probe.Count{{What: "connect: connection refused (ECONNREFUSED)", Count: 3}}))
}

func TestProbeRefuses(t *testing.T) {
	for says, args := range map[string][]string{
		"localhost: want HOST:PORT":          {"localhost"},
		"Options.Port":                       {"localhost:0"},
		"unknown port":                       {"localhost:no-such-service"},
		"Options.Count":                      {"localhost:80", "-n", "-1"},
		"Options.Warm":                       {"localhost:80", "--warm"},
		"Options.HTTP":                       {"localhost:80", "--http", "index.html"},
		"-4 and -6: give one of them":        {"localhost:80", "-4", "-6"},
		`--send "x: want text with Go's esc`: {"localhost:80", "--send", `"x`},
	} {
		_, err := tcplab(append([]string{"probe"}, args...)...)
		NewWithT(t).Expect(err).To(MatchError(ContainSubstring(says)))
	}
}
