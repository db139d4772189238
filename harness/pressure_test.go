package harness

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness/kernel"
	"github.com/tcplab/tcplab/netns"
)

func TestMemoryPressure(t *testing.T) {
	g := NewWithT(t)
	client, server := new(netns.Host), new(netns.Host)
	lab := &Lab{}
	lab.AllowMemoryPressure(server)
	quiet := kernel.Counters{"TcpRetransSegs": 5, "TcpExtTCPRcvCollapsed": 3}
	g.Expect(lab.memoryPressure(client, quiet)).To(Succeed())
	for _, name := range []string{"TcpExtTCPMemoryPressures", "TcpExtPruneCalled", "TcpExtRcvPruned"} {
		grown := kernel.Counters{name: 2}
		g.Expect(lab.memoryPressure(client, grown)).To(MatchError(ContainSubstring("(" + name + " +2)")))
		g.Expect(lab.memoryPressure(server, grown)).To(Succeed())
	}
	all := kernel.Counters{"TcpExtTCPMemoryPressures": 1, "TcpExtPruneCalled": 7, "TcpExtRcvPruned": 6}
	g.Expect(lab.memoryPressure(client, all)).To(MatchError(ContainSubstring(
		"(TcpExtTCPMemoryPressures +1, TcpExtPruneCalled +7, TcpExtRcvPruned +6)")))
}
