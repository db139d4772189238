package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/internal/tune"
)

func TestTune(t *testing.T) {
	g := NewWithT(t)
	file := filepath.Join(t.TempDir(), "99-tuning.conf")
	g.Expect(os.WriteFile(file, []byte("net.ipv4.tcp_rmem = 4096 131072 6291456\nnet.ipv4.tcp_wmem = 4096 16384 99999999\nnet.ipv4.tcp_fin_timeout = 15\n"), 0o600)).To(Succeed())
	output := func(args ...string) string {
		t.Helper()
		out, err := tcplab(args...)
		g.Expect(err).NotTo(HaveOccurred())
		return out
	}
	path := []string{"tune", "--rate", "1gbit", "--rtt", "80ms", "--from", file, "--kernel", "6.1"}
	g.Expect(output(path...)).To(And(ContainSubstring("advised   4096 131072 40894464\n"), ContainSubstring("net.ipv4.tcp_fin_timeout = 15\n"),
		Not(ContainSubstring("tcp_wmem"))))
	g.Expect(output(append(path, "--format", "sysctl")...)).To(ContainSubstring("\nnet.ipv4.tcp_rmem = 4096 131072 40894464\n"))
	var report tune.Report
	g.Expect(json.Unmarshal([]byte(output(append(path, "--format", "json")...)), &report)).To(Succeed())
	g.Expect(report.BDP).To(BeEquivalentTo(10_000_000))
}

func TestTuneRefuses(t *testing.T) {
	path := []string{"--rate", "1gbit", "--rtt", "80ms"}
	for says, args := range map[string][]string{
		`--rate: "fast" is no rate`:         {"--rate", "fast", "--rtt", "80ms"},
		"Path.RTT":                          {"--rate", "1gbit", "--rtt", "2h"},
		`required flag(s) "rtt" not set`:    {"--rate", "1gbit"},
		`--loss: "much" is no share`:        append(path, "--loss", "much"),
		"Path.Loss":                         append(path, "--loss", "100%"),
		`--format "xml": allowed are table`: append(path, "--format", "xml"),
		"--from /no/such/file: open":        append(path, "--from", "/no/such/file"),
		"begin with major.minor":            append(path, "--kernel", "six"),
	} {
		_, err := tcplab(append([]string{"tune"}, args...)...)
		NewWithT(t).Expect(err).To(MatchError(ContainSubstring(says)))
	}
}
