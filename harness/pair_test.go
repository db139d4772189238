package harness

import (
	"testing"

	"github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness/kernel"
	"github.com/tcplab/tcplab/peers"
	"github.com/tcplab/tcplab/results"
)

func init() {
	fixtures["pair"] = fixture{specs: func() {
		ginkgo.It("connects", func(ctx ginkgo.SpecContext) {
			lab := NewLab(ctx)
			net := lab.Direct()
			pair := lab.Connect(net.Client(), net.Server(),
				peers.Script{Steps: peers.Steps(peers.Write(5), peers.Await())},
				peers.Script{Backlog: backlog, Steps: peers.Steps(peers.Read(5), peers.ReadAll())})

			Expect(pair.Local.Addr()).To(Equal(net.Client().IP()))
			Expect(pair.Remote).To(Equal(net.Server().Addr(80)))
			Expect(net.Client().Sockets(kernel.SocketFilter{Port: pair.Local.Port()}).List()).To(HaveLen(1))
			pair.Client.Continue()
			Expect(pair.Server.Wait().Connections[0].Received).To(BeEquivalentTo(5))
			pair.Client.Wait()

			other := lab.Connect(net.Client(), net.Server(), peers.Script{}, peers.Script{Listen: net.Server().Addr(81), Backlog: backlog})
			Expect(other.Remote.Port()).To(BeEquivalentTo(81))
		})
	}}
}

func TestPair(t *testing.T) {
	t.Parallel()
	needNamespaces(t)
	NewWithT(t).Expect(start(t, "pair").finish(0).record().Verdict).To(Equal(results.Passed))
}
