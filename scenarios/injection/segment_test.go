package injection

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/impair/inject"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/peers"
)

var _ = DescribeTable("answers a SYN on an established connection with a challenge ACK:", Label("quick", "netem", "rfc5961"),
	func(ctx SpecContext, offset uint32, flags analysis.Flags) {
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt)
		wire := lab.Capture(net.Server())
		pair := idle(lab, net)

		syn := inject.After(last(wire, net.Client()))
		syn.Flags, syn.Ack = flags, 0
		syn.Seq += offset
		net.ToServer.Inject(syn)
		time.Sleep(harness.Settle)

		// RFC 5961, section 4.2, whatever its sequence number. The client takes the ACK for a duplicate.
		seen := wire.Stop().Segments()
		Expect(seen).To(HaveLen(5))
		forged, challenge := seen[3], seen[4]
		Expect(forged).To(And(HaveField("Flags", flags), HaveField("Seq", syn.Seq)))
		Expect(challenge).To(And(HaveField("Flags", analysis.FlagACK), HaveField("Seq", seen[1].Seq+1), HaveField("Ack", seen[0].Seq+1)))
		lab.Measure("challenge ACK after", challenge.At-forged.At, oracle.Exactly(0).LateBy(harness.HostDelay), "RFC 5961, 4.2")
		Expect(net.Server().Counters()).To(HaveCounters{"TcpExtTCPSYNChallenge": 1, "TcpExtTCPChallengeACK": 1, "TcpEstabResets": 0, "TcpPassiveOpens": 1})
		Expect(net.Client().Counters()).To(HaveCounters{"TcpOutRsts": 0, "TcpEstabResets": 0})
		expectAlive(pair)
	},
	Entry("in the window", uint32(100), analysis.FlagSYN),
	Entry("far out of it", uint32(1<<31-1), analysis.FlagSYN),
	Entry("with FIN, which is not legal", uint32(0), analysis.FlagSYN|analysis.FlagFIN),
)

var _ = DescribeTable("answers an old duplicate", Label("quick", "netem"),
	func(ctx SpecContext, sack int, reported bool) {
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt, harness.Sysctls(netns.IPv4("tcp_sack", sack)))
		wire := lab.Capture(net.Server())
		pair := lab.Connect(net.Client(), net.Server(),
			peers.Script{Steps: peers.Steps(peers.Write(bytes), peers.Await(), peers.Write(bytes), peers.CloseWrite(), peers.ReadAll())},
			peers.Script{Steps: peers.Steps(peers.ReadAll())})
		time.Sleep(harness.Settle) // the data is acknowledged

		data := last(wire, net.Client(), analysis.WithData)
		net.ToServer.Inject(inject.Like(data))
		time.Sleep(harness.Settle)
		answer := last(wire, net.Server())
		pair.Client.Continue()

		// RFC 9293, section 3.10.7.4: an ACK of what is expected next. RFC 2883, section 4.1: its first block is the duplicate.
		Expect(answer).To(And(HaveField("Flags", analysis.FlagACK), HaveField("Ack", data.NextSeq()), HaveField("Length", 0)))
		Expect(pair.Server.Wait().Connections[0].Received).To(BeEquivalentTo(2 * bytes))
		pair.Client.Wait()
		duplicates := wire.Stop().Segments(analysis.WithData, func(s analysis.Segment) bool { return s.Seq == data.Seq })
		Expect(duplicates).To(HaveLen(2))
		answers := wire.From(net.Server(), func(s analysis.Segment) bool { return s.Ack == data.NextSeq() && s.Length == 0 })
		Expect(answers).To(HaveLen(2), "of the segment and of its duplicate")
		lab.Measure("ACK after the duplicate", answers[1].At-duplicates[1].At, oracle.Exactly(0).LateBy(harness.HostDelay), "RFC 9293, 3.10.7.4")
		dsacks := 0
		if reported {
			dsacks = 1
			Expect(answers[1].Options.SACK()).To(Equal([]analysis.Block{{Left: data.Seq, Right: data.NextSeq()}}))
		} else {
			Expect(answers[1].Options.SACK()).To(BeEmpty())
		}
		Expect(net.Server().Counters()).To(HaveCounters{"TcpExtTCPDSACKOldSent": dsacks, "TcpEstabResets": 0})
		// The client has retransmitted nothing, and does not because of this.
		Expect(net.Client().Counters()).To(HaveCounters{"TcpExtTCPDSACKRecv": dsacks, "TcpRetransSegs": 0})
	},
	Entry("with a D-SACK", Label("rfc2883"), 1, true),
	Entry("with a duplicate ACK, without SACK", Label("rfc9293"), 0, false),
)
