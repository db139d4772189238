// Package guests is a suite for the runner's tests: its specs end in all the ways that there are.
package guests

import (
	"os"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/bounds"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/peers"
)

func TestMain(m *testing.M) { harness.Main(m) }

func TestGuests(t *testing.T) { harness.RunSpecs(t, "guests") }

var _ = Describe("a spec", Label("spec"), func() {
	It("passes", Label("good", "quick"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		net := lab.Routed()
		net.Impair(impair.Netem{Delay: 10 * time.Millisecond, Loss: impair.RandomLoss{Percent: 5}})
		wire := lab.Capture(net.Client())
		server := lab.Start(net.Server(), peers.BulkServer{Listen: net.Server().Addr(5001)})
		client := lab.Start(net.Client(), peers.BulkClient{Connect: net.Server().Addr(5001), Bytes: 200_000})
		client.Wait()
		result := server.Wait()
		Expect(wire.Stop().Segments()).NotTo(BeEmpty())
		lab.Note("goodput", bounds.Mbit(result.Bulk.Goodput))
	})
	It("passes too", Label("good"), func() {})
	It("fails", func(ctx SpecContext) {
		harness.NewLab(ctx).Direct()
		Expect("the answer").To(Equal("42"))
	})
	It("is skipped", func(ctx SpecContext) {
		harness.NewLab(ctx).Direct()
		Skip("not on a Sunday")
	})
	It("takes the kernel along", func() {
		Expect(os.WriteFile("/proc/sysrq-trigger", []byte("c"), 0)).To(Succeed())
	})
	PIt("is pending")
})
