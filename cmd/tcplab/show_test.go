package main

import (
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/results"
)

func TestShow(t *testing.T) {
	g := NewWithT(t)
	run := record(t, "a", 7)
	output, err := tcplab("show", run, "^suite: ")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(output).To(And(HavePrefix("PASSED  suite: "), ContainSubstring("metric 7"), HaveSuffix("There are no TCP packets.\n")))

	_, err = tcplab("show", run, "nothing")
	g.Expect(err).To(MatchError(ContainSubstring(`matches "nothing": tcplab report`)))

	other := &results.Record{Suite: "suite", Scenario: "another", Verdict: results.Passed, Clock: results.ClockVirtual}
	g.Expect(other.Write(filepath.Join(run, "suite", "another"))).To(Succeed())
	_, err = tcplab("show", run, "suite")
	g.Expect(err).To(MatchError(ContainSubstring("2 scenarios of ")))
	output, err = tcplab("show", run, "suite: another")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(output).To(HavePrefix("PASSED  suite: another\n"))

	output, err = tcplab("show", "../../internal/picture/testdata/tailloss/capture.pcapng", "--around", "28")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(output).To(ContainSubstring("#28 ACK 15929:17377 (1448) ack 1 win 64256  [retransmitted: tail loss probe]"))
	_, err = tcplab("show", "../../internal/picture/testdata/tailloss/capture.pcapng", "--connection", "1")
	g.Expect(err).To(MatchError("connection 1: there are 1, from 0"))
}
