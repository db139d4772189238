package main

import (
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"
)

func TestPlot(t *testing.T) {
	g := NewWithT(t)
	const capture = "../../internal/picture/testdata/tailloss/capture.pcapng"
	file := filepath.Join(t.TempDir(), "tail.SVG")
	output, err := tcplab("plot", capture, "--what", "rtt", "-o", file)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(output).To(And(HavePrefix("plot: "), HaveSuffix(" kB)\n")))
	g.Expect(os.ReadFile(file)).To(ContainSubstring("round trips (ms)"))

	for _, bad := range []struct {
		args []string
		want string
	}{
		{nil, "--output: name a file that ends in .svg, .png, .pdf"}, {[]string{"-o", "x.gif"}, `format "gif"`}, {[]string{"-o", "x"}, `format ""`},
		{[]string{"-o", "x.svg", "--what", "cwnd"}, "no congestion window was recorded"}, {[]string{"-o", "x.svg", "--connection", "1"}, "connection 1: there are 1"},
	} {
		_, err := tcplab(append([]string{"plot", capture}, bad.args...)...)
		g.Expect(err).To(MatchError(ContainSubstring(bad.want)))
	}
	g.Expect("x.svg").NotTo(BeAnExistingFile())
	_, err = tcplab("plot", record(t, "a", 7), "^suite: ", "-o", file)
	g.Expect(err).To(MatchError(ContainSubstring("there are no TCP packets")))
}
