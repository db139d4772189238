package harness

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/impair/schedule"
	"github.com/tcplab/tcplab/peers"
)

func init() {
	fixtures["schedule"] = fixture{netem: true, specs: func() {
		ginkgo.It("changes the link over time", func(ctx ginkgo.SpecContext) {
			lab := NewLab(ctx)
			net := lab.Routed()
			wire := lab.Capture(net.Client())
			server := lab.Start(net.Server(), peers.EchoServer{Listen: net.Server().Addr(7)})
			client := lab.Start(net.Client(), peers.EchoClient{Connect: net.Server().Addr(7), Requests: 8, Interval: 100 * time.Millisecond, AwaitBegin: true})
			running := net.ToServer.Schedule(schedule.Schedule{Steps: []schedule.Step{
				{At: 0, Netem: impair.Netem{Delay: 10 * time.Millisecond}},
				{At: 450 * time.Millisecond, Netem: impair.Netem{Delay: 60 * time.Millisecond}},
			}})
			client.Begin()
			steps := running.Wait().Steps()
			result := client.Wait()
			server.Wait()

			Expect(steps).To(HaveLen(2))
			Expect(steps[1].Began).To(BeNumerically(">=", 450*time.Millisecond))
			Expect(result.Echo.Min).To(BeNumerically("<", 30*time.Millisecond))
			Expect(result.Echo.Max).To(BeNumerically(">=", 60*time.Millisecond))
			wire.Stop().Segments()
			text, err := os.ReadFile(filepath.Join(lab.Dir(), wire.File()))
			Expect(err).NotTo(HaveOccurred())
			Expect(strings.Count(string(text), "impairment of router/eth1 changed to")).To(Equal(2))
		})
	}}
}

func init() {
	fixtures["two schedules"] = fixture{netem: true, specs: func() {
		ginkgo.It("impairs both ends", func(ctx ginkgo.SpecContext) {
			lab := NewLab(ctx)
			net := lab.Routed()
			loss := impair.Netem{Loss: impair.RandomLoss{Percent: 10}}
			first := net.ToServer.Schedule(schedule.Schedule{Steps: []schedule.Step{{Netem: loss}}})
			net.ToClient.Impair(loss)
			first.Wait()
		})
	}}
	fixtures["late schedule"] = fixture{netem: true, specs: func() {
		ginkgo.It("ends before its first step", func(ctx ginkgo.SpecContext) {
			lab := NewLab(ctx)
			net := lab.Routed()
			net.ToServer.Schedule(schedule.Schedule{Steps: []schedule.Step{{At: time.Hour, Netem: impair.Netem{Delay: time.Second}}}})
			net.ToServer.Impair(impair.Netem{Delay: time.Millisecond}) // until then somebody else may
			net.ToClient.Schedule(schedule.Schedule{Steps: []schedule.Step{{At: time.Hour, Netem: impair.Netem{Delay: time.Second}}}})
		})
	}}
}

// Two directions must not lose the same packets.
func TestImpairmentsHaveSeedsOfTheirOwn(t *testing.T) {
	t.Parallel()
	needNetem(t)
	record := start(t, "two schedules").finish(0).record()
	g := NewWithT(t)
	g.Expect(record.Impairments).To(HaveLen(2))
	var seeds []uint64
	for _, i := range record.Impairments {
		var asked impair.Netem
		g.Expect(json.Unmarshal(i.Asked, &asked)).To(Succeed())
		seeds = append(seeds, asked.Seed)
	}
	g.Expect(seeds[0]).NotTo(Equal(seeds[1]))
}

// Until its first step a schedule has done nothing: the end is free, and its qdisc is not the lab's to read.
func TestScheduleThatNeverBegins(t *testing.T) {
	t.Parallel()
	needNetem(t)
	record := start(t, "late schedule").finish(0).record()
	g := NewWithT(t)
	g.Expect(record.Impairments).To(HaveLen(1))
	g.Expect(record.Queues).To(HaveLen(1))
}

func TestScheduleOfASpec(t *testing.T) {
	t.Parallel()
	needNetem(t)
	record := start(t, "schedule").finish(0).record()
	g := NewWithT(t)
	g.Expect(record.Impairments).To(HaveLen(2))
	g.Expect(string(record.Impairments[1].Asked)).To(ContainSubstring("60"))
	g.Expect(record.Impairments[1].At - record.Impairments[0].At).To(BeNumerically("~", 450*time.Millisecond, 100*time.Millisecond))
}
