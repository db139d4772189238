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

			Expect(pair.Local.Addr()).To(Equal(IP(net.Client())))
			Expect(pair.Remote).To(Equal(Addr(net.Server(), 80)))
			Expect(lab.Sockets(net.Client(), kernel.SocketFilter{Port: pair.Local.Port()}).List()).To(HaveLen(1))
			lab.Continue(pair.Client)
			Expect(lab.Wait(pair.Server).Connections[0].Received).To(BeEquivalentTo(5))
			lab.Wait(pair.Client)

			other := lab.Connect(net.Client(), net.Server(), peers.Script{}, peers.Script{Listen: Addr(net.Server(), 81), Backlog: backlog})
			Expect(other.Remote.Port()).To(BeEquivalentTo(81))
		})
	}}
}

func TestPair(t *testing.T) {
	t.Parallel()
	needNamespaces(t)
	NewWithT(t).Expect(start(t, "pair").finish(0).record().Verdict).To(Equal(results.Passed))
}
