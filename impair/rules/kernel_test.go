package rules_test

import (
	"errors"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/invalid"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/impair/rules"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/netns/netdev"
	"github.com/tcplab/tcplab/peers"
)

// hostDelay is what the hosts may add to a link's delay: interrupts and wake-ups, and a tick of 4 ms if packets are left to
// ksoftirqd while something else runs (net.core.netdev_budget, kernel/softirq.c).
const hostDelay = 6 * time.Millisecond

func TestDropSYNs(t *testing.T) {
	eachFamily(t, func(t *testing.T, six bool) {
		b := newBench(t, six, netns.Routed, netns.Config{})
		set := b.open(b.net.ToServer, rules.Drop(rules.SYN.First(2)))
		b.transfer(1)
		client, server := b.seen()

		sent, arrived := only(client, syn), only(server, syn)
		b.g.Expect(sent).To(HaveLen(3))
		b.g.Expect(arrived).To(HaveLen(1))
		hits := b.hits(set)
		b.g.Expect(hits).To(HaveLen(2))
		for i, hit := range hits {
			b.g.Expect(hit.Number).To(BeEquivalentTo(i + 1))
			b.g.Expect(b.seqOf(hit)).To(Equal(sent[i].Seq))
			// The same clock as the capture: the router gets it right after the client has sent it.
			b.g.Expect(hit.Time).To(BeTemporally(">=", sent[i].Time))
			b.g.Expect(hit.Time).To(BeTemporally("~", sent[i].Time, hostDelay))
		}
		b.g.Expect(b.counts(set)).To(Equal([]rules.Count{{Rule: "drop SYN 1 to 2", Matched: 2, Acted: 2}}))
	})
}

func TestDropDataOnce(t *testing.T) {
	eachFamily(t, func(t *testing.T, six bool) {
		b := newBench(t, six, netns.Routed, netns.Config{})
		set := b.open(b.net.ToServer, rules.Drop(rules.Data.Number(5)))
		b.transfer(20)
		client, server := b.seen()

		fifth := distinct(client)[4]
		b.g.Expect(only(client, seq(fifth))).To(HaveLen(2))
		b.g.Expect(only(server, seq(fifth))).To(HaveLen(1))
		b.g.Expect(len(only(client, data)) - len(only(server, data))).To(Equal(1))
		hits := b.hits(set)
		b.g.Expect(hits).To(HaveLen(1))
		b.g.Expect(b.seqOf(hits[0])).To(Equal(fifth))
		b.g.Expect(hits[0].Number).To(BeEquivalentTo(5))
		b.g.Expect(b.counters(b.net.Client())["TcpRetransSegs"]).To(BeEquivalentTo(1))
	})
}

func TestDropRetransmissions(t *testing.T) {
	eachFamily(t, func(t *testing.T, six bool) {
		b := newBench(t, six, netns.Routed, netns.Config{})
		set := b.open(b.net.ToServer,
			rules.Drop(rules.Data.Number(12).Times(2)).Named("one"),
			rules.Drop(rules.Data.Between(17, 18).Times(3)).Named("two"))
		b.transfer(20)
		client, server := b.seen()

		numbers := distinct(client)
		b.g.Expect(numbers).To(HaveLen(20))
		for i, number := range numbers {
			lost := map[int]int{12: 2, 17: 3, 18: 3}[i+1]
			// What arrived is what was sent less what the rules dropped, segment for segment.
			b.g.Expect(len(only(client, seq(number)))-len(only(server, seq(number)))).To(Equal(lost), "segment %d", i+1)
			var hits int
			for _, hit := range b.hits(set) {
				if b.seqOf(hit) == number {
					hits++
				}
			}
			b.g.Expect(hits).To(Equal(lost), "segment %d", i+1)
		}
		b.g.Expect(b.counts(set)).To(Equal([]rules.Count{{Rule: "one", Matched: 2, Acted: 2}, {Rule: "two", Matched: 6, Acted: 6}}))
	})
}

// What rules select by what segments have in them is what a capture has, with as many rules as there can be.
func TestSelectByContent(t *testing.T) {
	eachFamily(t, func(t *testing.T, six bool) {
		b := newBench(t, six, netns.Routed, netns.Config{Sysctls: []netns.Setting{{Key: "net.ipv4.tcp_ecn", Value: "1"}}})
		type predicate func(analysis.Segment) bool
		var wants []predicate
		set := b.open(b.net.ToServer)
		add := func(m rules.Match, want predicate) {
			_, err := set.Add(rules.MarkCE(m))
			b.g.Expect(err).NotTo(HaveOccurred())
			wants = append(wants, want)
		}
		for _, n := range []int{0, 1, 100, b.mss()} {
			add(rules.AnySegment.Payload(n), func(s analysis.Segment) bool { return s.Length == n })
			add(rules.AnySegment.PayloadAtLeast(n), func(s analysis.Segment) bool { return s.Length >= n })
			add(rules.AnySegment.PayloadBetween(n, 2*n), func(s analysis.Segment) bool { return s.Length >= n && s.Length <= 2*n })
		}
		for kind, want := range map[int]predicate{
			2: func(s analysis.Segment) bool { return s.Options.MSS != 0 }, 3: func(s analysis.Segment) bool { return s.Options.HasWindowScale },
			4: func(s analysis.Segment) bool { return s.Options.SACKPermitted }, 5: func(s analysis.Segment) bool { return len(s.Options.SACK()) > 0 },
			8: func(s analysis.Segment) bool { return s.Options.HasTimestamps }, 172: func(s analysis.Segment) bool { return s.Options.HasAccECN },
		} {
			add(rules.AnySegment.Option(kind), want)
		}
		for codepoint := rules.NotECT; codepoint <= rules.CE; codepoint++ {
			add(rules.AnySegment.ECN(codepoint), func(s analysis.Segment) bool { return s.ECN == uint8(codepoint) })
		}
		for ours, theirs := range map[rules.Flags]analysis.Flags{rules.ECE: analysis.FlagECE, rules.CWR: analysis.FlagCWR, rules.AE: analysis.FlagAE} {
			add(rules.AnySegment.With(ours), func(s analysis.Segment) bool { return s.Flags&theirs != 0 })
			add(rules.AnySegment.Without(ours), func(s analysis.Segment) bool { return s.Flags&theirs == 0 })
		}
		server := b.start(b.net.Server(), "server", peers.Script{Listen: b.addr(80), Steps: peers.Steps(peers.Read(101), peers.ReadAll())})
		client := b.start(b.net.Client(), "client", peers.Script{Connect: b.addr(80), Steps: peers.Steps(
			peers.Write(1), peers.Write(100), peers.Write(int64(20*b.mss())), peers.CloseWrite(), peers.ReadAll())})
		b.wait(client)
		b.wait(server)
		sent, _ := b.seen()
		counts := b.counts(set)
		b.g.Expect(counts).To(HaveLen(28))
		for i, count := range counts {
			matched := only(sent, func(s analysis.Segment) bool { return toServer(s) && wants[i](s) })
			b.g.Expect(count.Matched).To(BeEquivalentTo(len(matched)), count.Rule)
		}
	})
}

// The program that looks at options takes over from one that does not, and knows what that one has counted.
func TestOptionsOfALaterRule(t *testing.T) {
	b := newBench(t, false, netns.Routed, netns.Config{})
	set := b.open(b.net.ToServer, rules.Drop(rules.SYN.First(1)))
	_, err := set.Add(rules.Drop(rules.SYN.Option(4).Number(2))) // SACK permitted
	b.g.Expect(err).NotTo(HaveOccurred())
	b.transfer(1)
	client, server := b.seen()
	b.g.Expect(only(client, syn)).To(HaveLen(3))
	b.g.Expect(only(server, syn)).To(HaveLen(1))
	b.g.Expect(b.counts(set)).To(Equal([]rules.Count{
		{Rule: "drop SYN 1", Matched: 1, Acted: 1}, {Rule: "drop SYN 2, with option 4", Matched: 1, Acted: 1},
	}))
}

func TestDelay(t *testing.T) {
	eachFamily(t, func(t *testing.T, six bool) {
		// Less than a round trip, 20 ms: when duplicate ACKs have the client send it again, it has arrived.
		const held = 6 * time.Millisecond
		b := newBench(t, six, netns.Routed, netns.Config{})
		set := b.open(b.net.ToServer, rules.Delay(held, rules.Data.Number(5)), rules.Delay(held, rules.Data.Number(6)),
			rules.Delay(2*held, rules.Data.Number(7)))
		b.transfer(10)
		client, server := b.seen()

		for i, number := range distinct(client) {
			sent, arrived := only(client, seq(number))[0], only(server, seq(number))[0]
			want := oneWay + map[int]time.Duration{4: held, 5: held, 6: 2 * held}[i]
			b.g.Expect(arrived.Time.Sub(sent.Time)).To(And(BeNumerically(">=", want), BeNumerically("<", want+hostDelay)), "segment %d", i+1)
		}
		var order []uint32
		for _, s := range only(server, data)[4:10] {
			order = append(order, s.Seq)
		}
		all := distinct(client)
		b.g.Expect(order).To(Equal([]uint32{all[7], all[8], all[9], all[4], all[5], all[6]}))
		b.g.Expect(b.hits(set)).To(HaveLen(3))
	})
}

func TestDuplicate(t *testing.T) {
	eachFamily(t, func(t *testing.T, six bool) {
		b := newBench(t, six, netns.Routed, netns.Config{})
		set := b.open(b.net.ToServer, rules.Duplicate(rules.Data.Number(5)))
		b.transfer(10)
		client, server := b.seen()

		for i, number := range distinct(client) {
			b.g.Expect(only(client, seq(number))).To(HaveLen(1))
			b.g.Expect(only(server, seq(number))).To(HaveLen(map[bool]int{true: 2, false: 1}[i == 4]))
		}
		b.g.Expect(b.hits(set)).To(HaveLen(1))
		b.g.Expect(b.counters(b.net.Server())["TcpExtTCPDSACKOldSent"]).To(BeEquivalentTo(1))
	})
}

func TestMarkCE(t *testing.T) {
	eachFamily(t, func(t *testing.T, six bool) {
		const notECT, ect0, ce = 0, 2, 3 // RFC 3168
		for _, ecn := range []string{"1", "0"} {
			b := newBench(t, six, netns.Routed, netns.Config{Sysctls: []netns.Setting{{Key: "net.ipv4.tcp_ecn", Value: ecn}}})
			set := b.open(b.net.ToServer, rules.MarkCE(rules.Data.Number(5)))
			b.transfer(10)
			client, server := b.seen()

			sent, arrived := distinct(client), only(server, data)
			b.g.Expect(arrived).To(HaveLen(len(sent)))
			for i, s := range arrived {
				want := uint8(notECT)
				if ecn == "1" {
					want = ect0
					if i == 4 {
						want = ce
					}
				}
				b.g.Expect(s.ECN).To(Equal(want), "segment %d", i+1)
			}
			hits := b.hits(set)
			b.g.Expect(hits).To(HaveLen(1))
			b.g.Expect(hits[0].Done).To(Equal(ecn == "1"))
			acted := uint64(0)
			if ecn == "1" {
				acted = 1
			}
			b.g.Expect(b.counts(set)).To(Equal([]rules.Count{{Rule: "mark CE data 5", Matched: 1, Acted: acted}}))
		}
	})
}

func TestBleach(t *testing.T) {
	eachFamily(t, func(t *testing.T, six bool) {
		const notECT, ect0 = 0, 2 // RFC 3168
		b := newBench(t, six, netns.Routed, netns.Config{Sysctls: []netns.Setting{{Key: "net.ipv4.tcp_ecn", Value: "1"}}})
		set := b.open(b.net.ToServer, rules.Bleach(rules.Data.From(5)), rules.Bleach(rules.SYN))
		b.transfer(10)
		client, server := b.seen()

		sent, arrived := distinct(client), only(server, data)
		b.g.Expect(arrived).To(HaveLen(len(sent)))
		for i, s := range arrived {
			b.g.Expect(only(client, data)[i].ECN).To(BeEquivalentTo(ect0))
			want := uint8(ect0)
			if i >= 4 {
				want = notECT
			}
			b.g.Expect(s.ECN).To(Equal(want), "segment %d", i+1)
		}
		// The checksum of the IP header is still right, and a SYN is not ECN-capable.
		b.g.Expect(b.counters(b.net.Server())["IpInHdrErrors"]).To(BeZero())
		b.g.Expect(b.counts(set)).To(Equal([]rules.Count{
			{Rule: "bleach data 5 and later", Matched: 6, Acted: 6}, {Rule: "bleach SYN", Matched: 1, Acted: 0},
		}))
		hits := b.hits(set)
		b.g.Expect(hits).To(HaveLen(7))
		b.g.Expect(hits[0].Done).To(BeFalse())
		b.g.Expect(hits[1].Done).To(BeTrue())
	})
}

func TestClearFlags(t *testing.T) {
	for _, topology := range []struct {
		name  string
		build func(netns.Config) (*netns.Topology, error)
	}{{"forwarded", netns.Routed}, {"sent", netns.Direct}} {
		t.Run(topology.name, func(t *testing.T) {
			eachFamily(t, func(t *testing.T, six bool) {
				b := newBench(t, six, topology.build, netns.Config{Sysctls: []netns.Setting{{Key: "net.ipv4.tcp_ecn", Value: "1"}}})
				set := b.open(b.net.ToServer, rules.ClearFlags(rules.CWR, rules.SYN), rules.ClearFlags(rules.ECE|rules.CWR, rules.Data))
				b.transfer(10)
				_, server := b.seen()

				// RFC 3168, 6.1.1: a SYN asks for ECN by both flags.
				syns := only(server, syn)
				b.g.Expect(syns).To(HaveLen(1))
				b.g.Expect(syns[0].Flags).To(Equal(analysis.FlagSYN | analysis.FlagECE))
				b.g.Expect(b.counters(b.net.Server())["TcpInCsumErrors"]).To(BeZero())
				b.g.Expect(b.counts(set)).To(Equal([]rules.Count{
					{Rule: "clear CWR of SYN", Matched: 1, Acted: 1}, {Rule: "clear CWR ECE of data", Matched: 10, Acted: 0},
				}))
				b.g.Expect(b.hits(set)[0].Done).To(BeTrue())
				b.g.Expect(b.hits(set)[1].Done).To(BeFalse())
			})
		})
	}
}

func TestCorrupt(t *testing.T) {
	for _, topology := range []struct {
		name  string
		build func(netns.Config) (*netns.Topology, error)
	}{{"routed", netns.Routed}, {"direct", netns.Direct}} {
		t.Run(topology.name, func(t *testing.T) {
			eachFamily(t, func(t *testing.T, six bool) {
				b := newBench(t, six, topology.build, netns.Config{})
				set := b.open(b.net.ToServer, rules.Corrupt(rules.Data.Number(5)), rules.Corrupt(rules.HandshakeACK.First(1)))
				b.transfer(10)
				client, server := b.seen()

				fifth := distinct(client)[4]
				b.g.Expect(only(client, seq(fifth))).To(HaveLen(2))
				b.g.Expect(only(server, seq(fifth))).To(HaveLen(2)) // it comes, but it is not taken
				b.g.Expect(b.hits(set)).To(HaveLen(2))
				counters := b.counters(b.net.Server())
				b.g.Expect(counters["TcpInCsumErrors"]).To(BeEquivalentTo(2))
				b.g.Expect(counters["TcpInErrs"]).To(BeEquivalentTo(2))
				b.g.Expect(b.counters(b.net.Client())["TcpRetransSegs"]).To(BeEquivalentTo(1))
			})
		})
	}
}

// On a sending host the packets belong to a socket, and the capture is behind the rules.
func TestAtTheSender(t *testing.T) {
	eachFamily(t, func(t *testing.T, six bool) {
		const held = 6 * time.Millisecond
		b := newBench(t, six, netns.Direct, netns.Config{})
		set := b.open(b.net.ToServer, rules.Drop(rules.Data.Number(3)), rules.Delay(held, rules.Data.Number(5)), rules.Duplicate(rules.Data.Number(7)))
		b.transfer(10)
		_, server := b.seen()

		hits := b.hits(set)
		b.g.Expect(hits).To(HaveLen(3))
		lost, late, twice := only(server, seq(b.seqOf(hits[0]))), only(server, seq(b.seqOf(hits[1]))), only(server, seq(b.seqOf(hits[2])))
		b.g.Expect(lost).To(HaveLen(1)) // the retransmission, which cannot be here before the ACKs have been there
		b.g.Expect(lost[0].Time.Sub(hits[0].Time)).To(BeNumerically(">=", 3*oneWay))
		b.g.Expect(late[0].Time.Sub(hits[1].Time)).To(And(BeNumerically(">=", oneWay+held), BeNumerically("<", oneWay+held+hostDelay)))
		b.g.Expect(twice).To(HaveLen(2))
		b.g.Expect(twice[1].Time.Sub(hits[2].Time)).To(And(BeNumerically(">=", oneWay), BeNumerically("<", oneWay+hostDelay)))
	})
}

func TestHandshake(t *testing.T) {
	eachFamily(t, func(t *testing.T, six bool) {
		b := newBench(t, six, netns.Routed, netns.Config{})
		forth := b.open(b.net.ToServer, rules.Drop(rules.HandshakeACK.First(1)), rules.Drop(rules.FIN.First(1)))
		back := b.open(b.net.ToClient, rules.Drop(rules.SYNACK.First(1)))
		// The client stays silent after its handshake, so that nothing but the ACK can complete it.
		server := b.start(b.net.Server(), "server", peers.Accept{Listen: b.addr(80), Count: 1})
		client := b.start(b.net.Client(), "client", peers.Dial{Connect: b.addr(80), Hold: 5 * time.Second})
		b.wait(client)
		b.wait(server)
		sent, arrived := b.seen()

		synACK := func(s analysis.Segment) bool {
			return s.Flags&(analysis.FlagSYN|analysis.FlagACK) == analysis.FlagSYN|analysis.FlagACK
		}
		b.g.Expect(len(only(arrived, synACK)) - len(only(sent, synACK))).To(Equal(1))
		b.g.Expect(b.hits(back)).To(HaveLen(1))
		third := func(s analysis.Segment) bool {
			return toServer(s) && pureACK(s) && s.Seq == only(sent, syn)[0].Seq+1
		}
		b.g.Expect(len(only(sent, third)) - len(only(arrived, third))).To(Equal(1))
		fin := func(s analysis.Segment) bool { return toServer(s) && s.Flags&analysis.FlagFIN != 0 }
		b.g.Expect(len(only(sent, fin)) - len(only(arrived, fin))).To(Equal(1))
		b.g.Expect(b.counts(forth)).To(Equal([]rules.Count{
			{Rule: "drop handshake ACK 1", Matched: 1, Acted: 1}, {Rule: "drop FIN 1", Matched: 1, Acted: 1},
		}))
	})
}

func TestEveryOtherACK(t *testing.T) {
	eachFamily(t, func(t *testing.T, six bool) {
		b := newBench(t, six, netns.Routed, netns.Config{})
		set := b.open(b.net.ToClient, rules.Drop(rules.PureACK.Every(2)))
		b.transfer(60)
		client, server := b.seen()

		acks := func(s analysis.Segment) bool { return toClient(s) && pureACK(s) }
		sent, arrived := only(server, acks), only(client, acks)
		b.g.Expect(len(sent)).To(BeNumerically(">", 10))
		b.g.Expect(arrived).To(HaveLen((len(sent) + 1) / 2))
		hits := b.hits(set)
		b.g.Expect(hits).To(HaveLen(len(sent) / 2))
		for i, hit := range hits {
			b.g.Expect(hit.Number).To(BeEquivalentTo(2 * (i + 1)))
		}
	})
}

func TestBlackholeForATime(t *testing.T) {
	eachFamily(t, func(t *testing.T, six bool) {
		const begin, length = 100 * time.Millisecond, 300 * time.Millisecond
		b := newBench(t, six, netns.Routed, netns.Config{})
		set := b.open(b.net.ToServer)
		server := b.start(b.net.Server(), "server", peers.EchoServer{Listen: b.addr(80)})
		before := time.Now()
		_, err := set.Add(rules.Blackhole().After(begin).For(length))
		b.g.Expect(err).NotTo(HaveOccurred())
		after := time.Now()
		client := b.start(b.net.Client(), "client", peers.EchoClient{Connect: b.addr(80), Requests: 100, Interval: 10 * time.Millisecond})
		b.wait(client)
		b.wait(server)
		sent, _ := b.seen()

		hits := b.hits(set)
		b.g.Expect(len(hits)).To(BeNumerically(">=", 2))
		for _, hit := range hits {
			b.g.Expect(hit.Time).To(BeTemporally(">=", before.Add(begin)))
			b.g.Expect(hit.Time).To(BeTemporally("<=", after.Add(begin+length)))
		}
		// Nothing that came within the time passed: the capture and the hits agree on it. A segment at the very
		// edge may belong to either side.
		inside := only(sent, func(s analysis.Segment) bool {
			return toServer(s) && s.Time.After(after.Add(begin)) && s.Time.Before(before.Add(begin+length-hostDelay))
		})
		b.g.Expect(len(hits)).To(And(BeNumerically(">=", len(inside)), BeNumerically("<=", len(inside)+1)))
	})
}

func TestEnableDisable(t *testing.T) {
	b := newBench(t, false, netns.Routed, netns.Config{})
	set := b.open(b.net.ToServer)
	blackhole, err := set.Add(rules.Blackhole())
	b.g.Expect(err).NotTo(HaveOccurred())
	dial := func() peers.Result {
		return b.wait(b.start(b.net.Client(), "client", peers.Dial{Connect: b.addr(81), Timeout: 500 * time.Millisecond}))
	}
	b.g.Expect(dial().Connections[0].ConnectTime).To(BeNumerically(">=", 500*time.Millisecond))
	b.g.Expect(blackhole.Disable()).To(Succeed())
	b.g.Expect(dial().Connections[0].ConnectTime).To(BeNumerically("<", 2*oneWay+hostDelay)) // refused
	b.g.Expect(blackhole.Enable()).To(Succeed())
	b.g.Expect(dial().Connections[0].ConnectTime).To(BeNumerically(">=", 500*time.Millisecond))
	count, err := blackhole.Count()
	b.g.Expect(err).NotTo(HaveOccurred())
	b.g.Expect(count).To(Equal(rules.Count{Rule: "blackhole", Matched: 2, Acted: 2}))
}

// A rule numbers each connection on its own; its limit is over all of them.
func TestConnections(t *testing.T) {
	b := newBench(t, false, netns.Routed, netns.Config{})
	set := b.open(b.net.ToServer,
		rules.Drop(rules.SYN.First(1).DestinationPort(81)).AtMost(2),
		rules.Drop(rules.SYN.First(1).DestinationPort(82)))
	for range 3 {
		for _, port := range []uint16{81, 82} {
			b.wait(b.start(b.net.Client(), "client", peers.Dial{Connect: b.addr(port)}))
		}
	}
	b.g.Expect(b.counts(set)).To(HaveExactElements(
		rules.Count{Rule: "drop SYN 1, to port 81, at most 2", Matched: 3, Acted: 2},
		rules.Count{Rule: "drop SYN 1, to port 82", Matched: 3, Acted: 3}))
}

// The first rule that selects a packet acts, the others count.
func TestOrder(t *testing.T) {
	b := newBench(t, false, netns.Routed, netns.Config{})
	set := b.open(b.net.ToServer,
		rules.Duplicate(rules.Data.Number(3)).Named("first"),
		rules.Drop(rules.Data.Number(3)).Named("second"))
	b.transfer(5)
	b.g.Expect(b.counts(set)).To(Equal([]rules.Count{{Rule: "first", Matched: 1, Acted: 1}, {Rule: "second", Matched: 1}}))
	b.g.Expect(b.counters(b.net.Client())["TcpRetransSegs"]).To(BeZero())
}

// A longer program takes over what the one before knew, and a rule that is added in mid-connection numbers from there.
func TestGrow(t *testing.T) {
	b := newBench(t, false, netns.Routed, netns.Config{})
	set := b.open(b.net.ToServer, rules.Duplicate(rules.Data.From(3)).Named("from the third"))
	server := b.start(b.net.Server(), "server", peers.EchoServer{Listen: b.addr(80)})
	client := b.start(b.net.Client(), "client", peers.EchoClient{Connect: b.addr(80), Requests: 10, Interval: time.Second})
	time.Sleep(4500 * time.Millisecond)
	for i := range 8 {
		_, err := set.Add(rules.Drop(rules.Data.Number(2).SourcePort(1)).Named(string(rune('a' + i))))
		b.g.Expect(err).NotTo(HaveOccurred())
	}
	_, err := set.Add(rules.MarkCE(rules.Data.Number(2)).Named("second from now"))
	b.g.Expect(err).NotTo(HaveOccurred())
	b.wait(client)
	b.wait(server)
	counts := b.counts(set)
	b.g.Expect(counts).To(HaveLen(10))
	b.g.Expect(counts[0]).To(Equal(rules.Count{Rule: "from the third", Matched: 8, Acted: 8}))
	b.g.Expect(counts[9]).To(Equal(rules.Count{Rule: "second from now", Matched: 1}))
	var numbers []uint32
	for _, hit := range b.hits(set) {
		numbers = append(numbers, hit.Number)
	}
	b.g.Expect(numbers).To(Equal([]uint32{3, 4, 5, 6, 7, 8, 9, 10}))
}

// What the trace offers and netem dropped is what the capture behind it lacks.
func TestTrace(t *testing.T) {
	eachFamily(t, func(t *testing.T, six bool) {
		b := newBench(t, six, netns.Routed, netns.Config{})
		end := b.net.ToServer
		_, err := impair.Change(end.Device(), impair.Netem{Delay: oneWay, Loss: impair.RandomLoss{Percent: 10}})
		b.g.Expect(err).NotTo(HaveOccurred())
		set := b.open(end, rules.Drop(rules.Data.Number(7)))
		b.g.Expect(set.Trace(true)).To(Succeed())
		b.transfer(100)
		client, server := b.seen()

		offered, err := set.Offered()
		b.g.Expect(err).NotTo(HaveOccurred())
		stats, err := impair.ReadStats(end.Device())
		b.g.Expect(err).NotTo(HaveOccurred())
		b.g.Expect(stats.Drops).NotTo(BeZero())
		sent, arrived := only(client, toServer), only(server, toServer)
		b.g.Expect(offered).To(HaveLen(len(sent)))
		b.g.Expect(len(sent) - len(arrived)).To(BeEquivalentTo(stats.Drops + 1))
		for i, o := range offered {
			b.g.Expect(o.Time).To(BeTemporally("~", sent[i].Time, hostDelay))
		}
		b.g.Expect(b.hits(set)).To(HaveLen(1))
	})
}

// Packets of several segments are not touched, and told.
func TestOffload(t *testing.T) {
	b := newBench(t, false, netns.Routed, netns.Config{Offload: true})
	set := b.open(b.net.ToServer, rules.Drop(rules.Data.Number(5)))
	b.transfer(40)
	_, err := set.Hits()
	b.g.Expect(err).To(MatchError(rules.ErrIncomplete))
	b.g.Expect(err).To(MatchError(ContainSubstring("several segments")))
}

func TestErrors(t *testing.T) {
	b := newBench(t, false, netns.Routed, netns.Config{})
	set := b.open(b.net.ToServer)
	_, err := rules.Open(b.net.ToServer.Device())
	b.g.Expect(err).To(MatchError(rules.ErrBusy))
	_, err = rules.Open(netdev.Device{NetNS: b.net.Client().FD(), Name: "eth7"})
	b.g.Expect(err).To(MatchError(netdev.ErrNoDevice))

	_, err = set.Add(rules.Blackhole())
	b.g.Expect(err).NotTo(HaveOccurred())
	_, err = set.Add(rules.Blackhole())
	var field *invalid.FieldError
	b.g.Expect(errors.As(err, &field)).To(BeTrue(), "%v", err)
	b.g.Expect(field.Field).To(Equal("Rule.Name"))
	for range 31 {
		_, err = set.Add(rules.Drop(rules.Data.Number(1000)))
		b.g.Expect(err).NotTo(HaveOccurred())
	}
	_, err = set.Add(rules.Drop(rules.Data))
	b.g.Expect(err).To(MatchError(ContainSubstring("a set takes at most 32 rules")))

	b.g.Expect(set.Close()).To(Succeed())
	b.g.Expect(set.Close()).To(Succeed())
	_, err = set.Hits()
	b.g.Expect(err).To(MatchError(ContainSubstring("the set of rules is closed")))
	again, err := rules.Open(b.net.ToServer.Device())
	b.g.Expect(err).NotTo(HaveOccurred())
	b.g.Expect(again.Close()).To(Succeed())
}
