package harness

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/impair/queue"
	"github.com/tcplab/tcplab/peers"
)

// marking is a bottleneck that marks what has waited for a millisecond.
var marking = queue.Queue{
	Bottleneck: queue.Bottleneck{BitsPerSecond: 10 * impair.Mbit}, Discipline: queue.FQCoDel{CEThreshold: time.Millisecond},
}

// transfer is a bulk transfer of a second, with ECN.
func transfer(lab *Lab, net *Network) {
	for _, host := range net.Hosts() {
		host.SetSysctl("net.ipv4.tcp_ecn", "1")
	}
	server := lab.Start(net.Server(), peers.BulkServer{Listen: net.Server().Addr(5001)})
	lab.Start(net.Client(), peers.BulkClient{Connect: net.Server().Addr(5001), Duration: time.Second}).Wait()
	server.Wait()
}

func init() {
	fixtures["queues"] = fixture{netem: true, specs: func() {
		ginkgo.It("marks", func(ctx ginkgo.SpecContext) {
			lab := NewLab(ctx)
			net := lab.Routed()
			net.ToServer.SetQueue(marking)
			net.ToClient.Impair(impair.Netem{Delay: 10 * time.Millisecond})
			samples := net.ToServer.SampleQueue(10 * time.Millisecond)
			transfer(lab, net)
			stats := net.ToServer.QueueStats()
			Expect(stats).To(HaveLen(2))
			Expect(stats[1].Marks()).To(BeNumerically(">", 0))
			Expect(net.ToServer.Queue().Packets).To(BeNumerically(">", 100))
			Expect(samples.Stop().List()).To(ContainElement(HaveField("Backlog", BeNumerically(">", 0))))
		})
		ginkgo.It("polices", func(ctx ginkgo.SpecContext) {
			lab := NewLab(ctx)
			net := lab.Routed()
			policer := net.ToServer.Police(queue.Policer{BitsPerSecond: 2 * impair.Mbit, Burst: 20_000})
			net.Impair(impair.Netem{Delay: 10 * time.Millisecond})
			transfer(lab, net)
			Expect(policer.Stats().Drops).To(BeNumerically(">", 0))
		})
		ginkgo.It("and is impaired", func(ctx ginkgo.SpecContext) {
			net := NewLab(ctx).Routed()
			net.ToServer.SetQueue(marking)
			net.ToServer.Impair(impair.Netem{Delay: time.Millisecond}) // want: failed
		})
		ginkgo.It("is cleared", func(ctx ginkgo.SpecContext) {
			net := NewLab(ctx).Routed()
			net.ToServer.SetQueue(marking)
			net.ToServer.ClearImpairment()
			net.ToServer.Impair(impair.Netem{Delay: time.Millisecond})
			net.ToServer.SetQueue(marking) // want: failed
		})
		ginkgo.It("has rules", func(ctx ginkgo.SpecContext) {
			net := NewLab(ctx).Routed()
			net.ToServer.SetQueue(marking)
			net.ToServer.Police(queue.Policer{BitsPerSecond: impair.Mbit}) // want: failed
		})
	}}
}

func TestQueuesOfASpec(t *testing.T) {
	t.Parallel()
	needNetem(t)
	g := NewWithT(t)
	done := start(t, "queues").finish(1)
	for _, record := range done.records() {
		switch record.Scenario {
		case "marks":
			g.Expect(record.Failure).To(BeNil())
			g.Expect(record.Impairments).To(HaveLen(2))
			var asked, got queue.Queue
			g.Expect(json.Unmarshal(record.Impairments[0].Asked, &asked)).To(Succeed())
			g.Expect(json.Unmarshal(record.Impairments[0].Applied, &got)).To(Succeed())
			g.Expect(asked).To(Equal(marking))
			g.Expect(got.Bottleneck.Burst).To(BeNumerically(">", 0))
			g.Expect(got.Discipline.(queue.FQCoDel).Limit).To(Equal(10240))
			g.Expect(record.Queues).To(HaveLen(3))
			g.Expect(record.Queues[0].Kind).To(Equal("tbf"))
			g.Expect(record.Queues[1].Kind).To(Equal("fq_codel"))
			g.Expect(record.Queues[1].Own["ce_mark"]).To(BeNumerically(">", 0))
		case "polices":
			g.Expect(record.Failure).To(BeNil())
			g.Expect(record.Queues).To(ContainElement(And(HaveField("Kind", "police"), HaveField("Drops", BeNumerically(">", 0)))))
		default:
			g.Expect(record.Failure.Message).To(ContainSubstring(map[string]string{
				"and is impaired": "netem can be neither above nor below one", "is cleared": "the end is impaired", "has rules": "police it before",
			}[record.Scenario]))
		}
	}
}
