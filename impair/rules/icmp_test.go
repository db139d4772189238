package rules_test

import (
	"testing"

	. "github.com/onsi/gomega"
	"github.com/vishvananda/netlink"

	"github.com/tcplab/tcplab/impair/rules"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/peers"
)

// narrow makes the router send less to the server than hosts know of.
func (b *bench) narrow(mtu int) {
	b.t.Helper()
	end := b.net.ToServer
	link, err := end.Host().Netlink().LinkByIndex(end.Index())
	b.g.Expect(err).NotTo(HaveOccurred())
	b.g.Expect(end.Host().Netlink().LinkSetMTU(link, mtu)).To(Succeed())
}

// Without ICMP the path MTU is not found, and a segment that is cut is still known.
func TestPathMTU(t *testing.T) {
	eachFamily(t, func(t *testing.T, six bool) {
		b := newBench(t, six, netns.Routed, netns.Config{})
		b.narrow(1400)
		back := b.open(b.net.ToClient, rules.Drop(rules.PacketTooBig.First(1)))
		forth := b.open(b.net.ToServer, rules.Drop(rules.Data.Number(1).Always()).AtMost(4))
		b.transfer(2)
		client, server := b.seen()

		b.g.Expect(b.hits(back)).To(HaveLen(1))
		first := distinct(client)[0]
		b.g.Expect(only(server, seq(first))).To(HaveLen(1))
		// The full segment was too big for the router, and never offered to the link behind; its parts were.
		hits := b.hits(forth)
		b.g.Expect(hits).To(HaveLen(4))
		for _, hit := range hits {
			b.g.Expect(hit.Length).To(BeNumerically("<=", 1400+14))
			b.g.Expect(b.seqOf(hit) - first).To(BeNumerically("<", b.mss()))
		}
	})
}

// An ICMP of another kind, and from another host, passes.
func TestICMP(t *testing.T) {
	eachFamily(t, func(t *testing.T, six bool) {
		b := newBench(t, six, netns.Routed, netns.Config{})
		dst := b.addr(80).Addr()
		route := &netlink.Route{Dst: netlink.NewIPNet(dst.AsSlice()), Type: 7} // RTN_UNREACHABLE
		b.g.Expect(b.net.Routers[0].Netlink().RouteAdd(route)).To(Succeed())
		unreachable := rules.ICMP(3, 1) // RFC 792: destination unreachable, host
		if six {
			unreachable = rules.ICMPv6(1)
		}
		set := b.open(b.net.ToClient,
			rules.Drop(rules.PacketTooBig), rules.Drop(rules.ICMP(0)), rules.Drop(unreachable.Source(dst)),
			rules.Duplicate(unreachable.First(1)))
		client := b.start(b.net.Client(), "client", peers.Dial{Connect: b.addr(80), Socket: peers.Socket{SYNRetries: 1}})
		b.wait(client)
		counts := b.counts(set)
		for _, c := range counts[:3] {
			b.g.Expect(c.Matched).To(BeZero(), c.Rule)
		}
		b.g.Expect(counts[3].Acted).To(BeEquivalentTo(1))
		name := "IcmpInDestUnreachs"
		if six {
			name = "Icmp6InDestUnreachs"
		}
		counters := b.counters(b.net.Client())
		b.g.Expect(counters).To(HaveKey(name))
		b.g.Expect(counters[name]).To(BeEquivalentTo(counts[3].Matched + 1))
	})
}
