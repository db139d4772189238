package harness

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/impair/rules"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/peers"
	"github.com/tcplab/tcplab/results"
)

func init() {
	fixtures["rules"] = fixture{netem: true, specs: func() {
		ginkgo.It("acts on chosen packets", func(ctx ginkgo.SpecContext) {
			lab := NewLab(ctx)
			net := lab.Routed()
			net.Impair(impair.Netem{Delay: 5 * time.Millisecond})
			trace := net.ToServer.Trace()
			lost := net.ToServer.Rule(rules.Drop(rules.Data.Number(5)))
			late := net.ToClient.Rule(rules.Delay(30*time.Millisecond, rules.SYNACK.First(1)))
			wire := lab.Capture(net.Routers[0])
			server := lab.Start(net.Server(), peers.BulkServer{Listen: net.Server().Addr(80), Backlog: backlog})
			client := lab.Start(net.Client(), peers.BulkClient{Connect: net.Server().Addr(80), Bytes: 20 * 1448})
			connection := client.Wait().Connections[0]
			server.Wait()

			Expect(lost.Count()).To(Equal(rules.Count{Rule: "drop data 5", Matched: 1, Acted: 1}))
			Expect(lost.Hits()).To(HaveLen(1))
			Expect(late.Hits()).To(HaveExactElements(HaveField("Action", "delay 30ms")))
			Expect(connection.ConnectTime).To(BeNumerically(">=", 40*time.Millisecond))
			Expect(net.Client().Counters()).To(HaveKeyWithValue("TcpRetransSegs", int64(1)))
			// What rules did stands in the capture: the lost segment was never sent, and is there with a comment.
			Expect(wire.Stop().Segments(analysis.On(net.ToServer.String()), analysis.WithData)).To(HaveLen(20))
			all, err := analysis.ReadFile(filepath.Join(lab.Dir(), wire.File()))
			Expect(err).NotTo(HaveOccurred())
			Expect(slices.Collect(analysis.Where(slices.Values(all), analysis.NeverSent))).To(HaveExactElements(
				And(HaveField("Interface", net.ToServer.String()+analysis.DroppedSuffix), HaveField("Length", 1448))))
			text, err := os.ReadFile(filepath.Join(lab.Dir(), wire.File()))
			Expect(err).NotTo(HaveOccurred())
			Expect(string(text)).To(And(ContainSubstring(`drop (rule "drop data 5")`), ContainSubstring(`delay 30ms (rule "delay 30ms SYN-ACK`)))
			// Two ends of one link: what was offered and not dropped has passed the queue.
			Expect(trace.Offered()).To(HaveLen(int(net.ToServer.Queue().Packets) + 1))
		})
	}}
	fixtures["blackhole"] = fixture{netem: true, specs: func() {
		ginkgo.It("falls silent, and tells", func(ctx ginkgo.SpecContext) {
			const patience = 200 * time.Millisecond
			lab := NewLab(ctx)
			net := lab.Routed()
			dial := func() peers.Connection {
				program := peers.Dial{Connect: net.Server().Addr(80), Timeout: patience}
				return lab.Start(net.Client(), program).Wait().Connections[0]
			}
			blackhole := net.ToClient.Blackhole()
			Expect(dial().Err).To(MatchError(unix.EINPROGRESS))
			blackhole.Stop()
			Expect(dial().Err).To(MatchError(unix.ECONNREFUSED))
			blackhole.Resume()
			Expect(dial().Err).To(MatchError(unix.EINPROGRESS))
			blackhole.Stop()
			net.ToServer.BlackholeFor(time.Hour)
			Expect(dial().Err).To(MatchError(unix.EINPROGRESS))
			Expect(blackhole.Count().Acted).To(BeEquivalentTo(2))

			for _, one := range []struct {
				program peers.Dial
				errno   unix.Errno // net/ipv4/icmp.c, icmp_err_convert; net/ipv6/icmp.c, tab_unreach
			}{
				{peers.Dial{Connect: net.Server().Addr(80)}, unix.EHOSTUNREACH},
				{peers.Dial{Connect: netip.AddrPortFrom(net.Server().IPv6(), 80)}, unix.ENETUNREACH},
			} {
				unreachable := net.Routers[0].Unreachable(one.program.Connect.Addr())
				connection := lab.Start(net.Client(), one.program).Wait().Connections[0]
				// Linux gives up in SYN_SENT, as RFC 5461 describes (tcp_v4_err, tcp_v6_err), before the first retransmission.
				Expect(connection.Err).To(MatchError(one.errno))
				Expect(connection.ConnectTime).To(BeNumerically("<", time.Second))
				unreachable.Stop()
			}
		})
	}}
	fixtures["offload"] = fixture{netem: true, specs: func() {
		ginkgo.It("refuses", func(ctx ginkgo.SpecContext) {
			lab := NewLab(ctx)
			net := lab.Routed(netns.Config{Offload: true})
			net.ToServer.Rule(rules.Drop(rules.Data.Number(5)))
		})
	}}
}

func TestRulesOfASpec(t *testing.T) {
	t.Parallel()
	needNetem(t)
	g := NewWithT(t)
	record := start(t, "rules").finish(0).record()

	g.Expect(record.Impairments).To(HaveLen(4)) // two of netem, two rules
	lost := record.Impairments[2]
	g.Expect(lost.End).To(Equal("router/eth1"))
	g.Expect(string(lost.Asked)).To(MatchJSON(`{"name": "drop data 5", "match": "data 5", "action": "drop"}`))
	g.Expect(string(lost.Applied)).To(MatchJSON(`{"rule": "drop data 5", "matched": 1, "acted": 1}`))

	text, err := os.ReadFile(filepath.Join(record.Dir(), "rules.json"))
	g.Expect(err).NotTo(HaveOccurred())
	var accounts []struct {
		End    string
		Counts []rules.Count
		Hits   []struct {
			rules.Hit
			At time.Duration `json:"at_ns"`
		}
	}
	g.Expect(json.Unmarshal(text, &accounts)).To(Succeed())
	g.Expect(accounts).To(HaveLen(2))
	g.Expect(accounts[0].End).To(Equal("router/eth1"))
	g.Expect(accounts[0].Hits).To(HaveExactElements(And(
		HaveField("Rule", "drop data 5"), HaveField("Number", BeEquivalentTo(5)), HaveField("Packet", HaveLen(rules.SnapLength)))))
	g.Expect(accounts[0].Hits[0].At).To(And(BeNumerically(">", lost.At), BeNumerically("<", record.Duration)), "since the start of the spec")
	g.Expect(accounts[1].Counts).To(Equal([]rules.Count{{Rule: "delay 30ms SYN-ACK 1", Matched: 1, Acted: 1}}))
}

func TestBlackholeOfASpec(t *testing.T) {
	t.Parallel()
	needNetem(t)
	NewWithT(t).Expect(start(t, "blackhole").finish(0).record().Verdict).To(Equal(results.Passed))
}

func TestRulesWithOffload(t *testing.T) {
	t.Parallel()
	needNetem(t)
	record := start(t, "offload").finish(1).record()
	NewWithT(t).Expect(record.Failure.Message).To(ContainSubstring("build it without"))
}
