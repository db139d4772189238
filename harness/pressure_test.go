package harness

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness/kernel"
	"github.com/tcplab/tcplab/netns"
)

func TestMemoryPressure(t *testing.T) {
	g := NewWithT(t)
	client, server := &Host{Host: new(netns.Host)}, &Host{Host: new(netns.Host)}
	server.AllowMemoryPressure()
	quiet := kernel.Counters{"TcpRetransSegs": 5, "TcpExtTCPRcvCollapsed": 3}
	g.Expect(client.memoryPressure(quiet)).To(Succeed())
	for _, name := range []string{"TcpExtTCPMemoryPressures", "TcpExtPruneCalled", "TcpExtRcvPruned"} {
		grown := kernel.Counters{name: 2}
		g.Expect(client.memoryPressure(grown)).To(MatchError(ContainSubstring("(" + name + " +2)")))
		g.Expect(server.memoryPressure(grown)).To(Succeed())
	}
	all := kernel.Counters{"TcpExtTCPMemoryPressures": 1, "TcpExtPruneCalled": 7, "TcpExtRcvPruned": 6}
	g.Expect(client.memoryPressure(all)).To(MatchError(ContainSubstring(
		"(TcpExtTCPMemoryPressures +1, TcpExtPruneCalled +7, TcpExtRcvPruned +6)")))
}
