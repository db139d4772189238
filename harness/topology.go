package harness

import (
	"github.com/onsi/ginkgo/v2"

	"github.com/tcplab/tcplab/netns"
)

// Build builds the network that a graph describes. Impairments act at any end of its links:
//
//	var graph netns.Graph
//	client, router, server := graph.Host("client"), graph.Router("router"), graph.Host("server")
//	graph.Link(client, router)
//	far := graph.Link(router, server)
//	net := lab.Build(&graph)
//	net.Link(far).A.Impair(impair.Netem{Delay: 10 * time.Millisecond})
//
// Such a network has neither clients nor servers but those of its names, and no directions: [Network.Impair] needs
// ToServer and ToClient to be set.
func (l *Lab) Build(graph *netns.Graph) *Network {
	ginkgo.GinkgoHelper()
	return l.build(func(netns.Config) (*netns.Topology, error) { return graph.Build() }, nil)
}
