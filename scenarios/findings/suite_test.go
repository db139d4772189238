// Package findings shows each finding of "tcplab analyze" on the fault that it is for: made by the kernel's real TCP on an impaired
// link, captured where a person would, and named right there, with nothing beside it. And it shows that healthy conversations of
// real programs have none.
//
//	make lab SUITES=./scenarios/findings
//
// The text of a spec begins with the finding's kind. docs/analysis.md says what each kind demands.
package findings

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
)

func TestMain(m *testing.M) { harness.Main(m) }

func TestFindings(t *testing.T) { harness.RunSpecs(t, "findings") }

const (
	rtt  = 40 * time.Millisecond // of the path, where nothing else is said
	port = 80

	bytesEach = 500 // of a message: less than a segment
)

// A finding is what analyze is to say: its kind, and the host that showed it.
type finding struct {
	Kind analysis.FindingKind
	Host netip.Addr
}

// of is a finding about a host.
func of(host *harness.Host, kind analysis.FindingKind) finding { return finding{kind, host.IP()} }

// findings are those of the conversations on an interface.
func findings(report *analysis.Report, at string) (list []analysis.Finding, conversations int) {
	for i := range report.Conversations {
		if c := &report.Conversations[i]; c.Interface == at {
			list = append(list, c.Findings...)
			conversations++
		}
	}
	return list, conversations
}

// expectFindings asserts that analyze has found just these, each once, where the packets of an interface were captured. It returns them in
// the order in which they were asked for.
func expectFindings(report *analysis.Report, at string, expected ...finding) []analysis.Finding {
	GinkgoHelper()
	list, conversations := findings(report, at)
	Expect(conversations).To(BeNumerically(">", 0), "conversations on %q", at)
	var got []finding
	for _, f := range list {
		got = append(got, finding{f.Kind, f.Host.Addr()})
	}
	Expect(got).To(ConsistOf(expected), func() string { return fmt.Sprintf("%s:\n%s", at, text(report)) })
	var inOrder []analysis.Finding
	for _, e := range expected {
		for _, f := range list {
			if f.Kind == e.Kind && f.Host.Addr() == e.Host {
				inOrder = append(inOrder, f)
			}
		}
	}
	return inOrder
}

// expectAt is expectFindings at each of some ends.
func expectAt(report *analysis.Report, ends []*harness.End, expected ...finding) {
	GinkgoHelper()
	for _, end := range ends {
		expectFindings(report, end.String(), expected...)
	}
}

// text is what analyze prints.
func text(report *analysis.Report) string {
	var printed bytes.Buffer
	Expect(report.WriteText(&printed, true)).To(Succeed())
	return printed.String()
}

// everywhere captures at both hosts and on both sides of the router.
func everywhere(lab *harness.Lab, net *harness.Network) *harness.Capture {
	GinkgoHelper()
	return lab.Capture(net.Client(), net.Routers[0], net.Server())
}

// before are the ends in front of a fault that ToServer makes, as the client's packets pass them, and behind those after it.
func before(net *harness.Network) []*harness.End {
	return []*harness.End{net.Client().End("eth0"), net.ToClient}
}

func behind(net *harness.Network) []*harness.End {
	return []*harness.End{net.ToServer, net.Server().End("eth0")}
}

func all(net *harness.Network) []*harness.End { return append(before(net), behind(net)...) }
