package tools

import (
	"encoding/binary"
	"net"
	"time"

	nl "github.com/mdlayher/netlink"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/bounds"
	"github.com/tcplab/tcplab/harness/kernel"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/impair/middlebox"
	"github.com/tcplab/tcplab/impair/rules"
	"github.com/tcplab/tcplab/internal/diagnose"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/peers"
)

var _ = Describe("diagnose: it does not connect:", func() {
	const tries = 3 // diagnose connects so often, unless it has to wait for the time-out

	It("refused, as nobody listens", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		path := lab.Path(rtt)
		wire := lab.Capture(path.Client())
		report := diagnosed(lab, path.Client(), path.Server(), diagnose.Options{})
		f := expectOnly(report, diagnose.Refused)
		Expect(f.Sure).To(Equal(diagnose.Certain))
		Expect(wire.Stop().From(path.Server(), analysis.RSTs)).To(HaveLen(tries))
		Expect(path.Server().Counters()).To(HaveGrown("TcpOutRsts", tries))
	})

	It("filtered, as a router drops what is for the server, and which router answered last", Label("quick", "netem", "rfc6298"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		path := lab.Path(rtt)
		web(lab, path.Server(), webServer{})
		hole := path.ToServer.Blackhole()
		report := diagnosed(lab, path.Client(), path.Server(), diagnose.Options{})
		f := expectOnly(report, diagnose.Filtered)
		near := path.Routers[0].IP() // of its link to the client
		Expect(f.Seen).To(ContainSubstring("the last router that answered is " + near.String() + ", hop 1"))

		const timeout = 10 * time.Second // diagnose's own
		syns := path.Client().Oracle().Connect(oracle.ConnectOptions{})
		repeated := syns.Sent.By(oracle.Exactly(timeout).LateBy(programDelay))
		Expect(report.Attempts).To(HaveLen(1))
		lab.Measure("SYNs repeated in 10 s", report.Attempts[0].SYNs-1, repeated, syns.End.Source)
		// Those that live for a hop more than the router come to the hole, too.
		Expect(hole.Count().Acted).To(BeNumerically(">", report.Attempts[0].SYNs))
		Expect(path.Client().Counters()).To(HaveGrown(harness.ByFamily("IcmpInTimeExcds", "Icmp6InTimeExcds"), 1))
	})

	DescribeTable("rejected by ICMP, and by whom", Label("quick", "netem", "rfc5461"), func(ctx SpecContext, says string, reject func(path *harness.Network)) {
		lab := harness.NewLab(ctx)
		path := lab.Path(rtt)
		web(lab, path.Server(), webServer{})
		reject(path)
		report := diagnosed(lab, path.Client(), path.Server(), diagnose.Options{})
		f := expectOnly(report, diagnose.Rejected)
		Expect(f.Seen).To(ContainSubstring("ICMP from " + path.Routers[0].IP().String() + ": " + says))
		Expect(path.Client().Counters()).To(HaveGrown(harness.ByFamily("IcmpInDestUnreachs", "Icmp6InDestUnreachs"), tries))
		Expect(path.Server().Counters()).To(HaveCounters{"TcpPassiveOpens": 0})
	},
		Entry("host unreachable: the router has no way to it", harness.ByFamily("host unreachable", "no route to destination"), func(path *harness.Network) {
			path.Routers[0].Unreachable(path.Server().IP())
		}),
		Entry("prohibited: a firewall", "communication administratively prohibited", func(path *harness.Network) {
			path.Routers[0].Middlebox(middlebox.Box{Firewall: true, Outside: path.ToClient.Name(), Unknown: middlebox.Prohibited})
		}),
	)

	It("no route", Label("quick", "netem", "linux"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		path := lab.Path(rtt)
		route := netlink.Route{Dst: hostRoute(path.Server()), Type: unix.RTN_UNREACHABLE}
		Expect(path.Client().Netlink().RouteAdd(&route)).To(Succeed())
		wire := lab.Capture(path.Client())
		f := expectOnly(diagnosed(lab, path.Client(), path.Server(), diagnose.Options{}), diagnose.NoRoute)
		Expect(f.Seen).To(ContainSubstring("EHOSTUNREACH"))
		Expect(wire.Stop().Segments()).To(BeEmpty())
	})

	It("the next hop does not answer on its link", Label("quick", "netem", "linux"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		path := lab.Path(rtt)
		client := path.Client()
		link := client.Ends()[0]
		device, err := client.Netlink().LinkByIndex(link.Index())
		Expect(err).NotTo(HaveOccurred())
		Expect(client.Netlink().LinkSetARPOn(device)).To(Succeed()) // and ND: lab links have neither
		Expect(client.Netlink().LinkSetMulticastOn(device)).To(Succeed())
		wire := lab.Capture(client)
		absent := client.UnusedAddresses().Addr().Next()
		report := diagnosed(lab, client, path.Server(), diagnose.Options{Host: absent.String()})
		f := expectOnly(report, diagnose.NoNeighbour)
		Expect(f.Seen).To(HavePrefix("EHOSTUNREACH after "))
		Expect(wire.Stop().Segments()).To(BeEmpty())
	})

	It("forbidden on this machine, by a route", Label("quick", "netem", "linux"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		path := lab.Path(rtt)
		route := netlink.Route{Dst: hostRoute(path.Server()), Type: unix.RTN_PROHIBIT}
		Expect(path.Client().Netlink().RouteAdd(&route)).To(Succeed())
		wire := lab.Capture(path.Client())
		f := expectOnly(diagnosed(lab, path.Client(), path.Server(), diagnose.Options{}), diagnose.LocalFirewall)
		Expect(f.Seen).To(ContainSubstring("EACCES"))
		Expect(wire.Stop().Segments()).To(BeEmpty())
	})

	It("dropped by this machine's own firewall", Label("quick", "netem", "linux"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		path := lab.Path(rtt)
		dropOutput(path.Client())
		wire := lab.Capture(path.Client())
		report := diagnosed(lab, path.Client(), path.Server(), diagnose.Options{})
		f := expectOnly(report, diagnose.LocalFirewall)
		Expect(f.Sure).To(Equal(diagnose.Likely))
		Expect(wire.Stop().Segments()).To(BeEmpty())
		Expect(path.Client().Counters()).To(HaveCounters{"TcpExtTCPRetransFail": report.Attempts[0].SYNs - 1})
	})

	It("out of local ports", Label("quick", "netem", "linux"), func(ctx SpecContext) {
		const ports = 10
		lab := harness.NewLab(ctx)
		path := lab.Path(rtt, harness.ClientSysctls(netns.IPv4("ip_local_port_range", "40000 40009")))
		lab.Start(path.Server(), peers.Accept{Listen: path.Server().Addr(port)})
		lab.Start(path.Client(), peers.Dial{Connect: path.Server().Addr(port), Count: ports, Hold: peers.UntilStopped})
		path.Client().AwaitSockets(ports, kernel.SocketFilter{States: []kernel.State{kernel.Established}})
		f := expectOnly(diagnosed(lab, path.Client(), path.Server(), diagnose.Options{}), diagnose.PortsExhausted)
		Expect(f.Seen).To(Equal("EADDRNOTAVAIL: 10 ESTAB"))
		Expect(path.Client().Counters()).To(HaveCounters{"TcpActiveOpens": ports})
	})

	It("refused by this machine's kernel in another way: the process has no file descriptor left", Label("quick", "netem", "linux"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		path := lab.Path(rtt)
		web(lab, path.Server(), webServer{})
		wire := lab.Capture(path.Client())
		o := diagnose.Options{Host: path.Server().IP().String(), Port: port}
		report, err := diagnosingWithoutFiles.Value(lab.Start(path.Client(), diagnosingWithoutFiles.With(o)).Wait())
		Expect(err).NotTo(HaveOccurred())
		f := expectOnly(report, diagnose.Failed)
		Expect(f.Seen).To(ContainSubstring("EMFILE"))
		Expect(wire.Stop().Segments()).To(BeEmpty())
	})

	It("on the server's machine: its accept queue is full", Label("quick", "netem", "linux"), func(ctx SpecContext) {
		const backlog = 2
		lab := harness.NewLab(ctx)
		path := lab.Path(rtt)
		server := path.Server()
		lab.Start(server, peers.Accept{Listen: server.Addr(port), Backlog: backlog, Never: true})
		queue := server.Oracle().AcceptQueue(backlog)
		lab.Start(path.Client(), peers.Dial{Connect: server.Addr(port), Count: queue, Hold: peers.UntilStopped})
		server.AwaitSockets(queue, kernel.SocketFilter{States: []kernel.State{kernel.Established}})

		report := diagnosed(lab, server, server, diagnose.Options{})
		f := expectOnly(report, diagnose.AcceptQueueFull)
		Expect(f.Seen).To(ContainSubstring("3 connections that wait to be accepted, with a backlog of 2"))
		Expect(report.Attempts).To(HaveLen(1))
		Expect(server.Counters()).To(HaveCounters{"TcpExtListenOverflows": report.Attempts[0].SYNs})
	})

	It("on the server's machine: its SYN queue is full, without cookies", Label("quick", "netem", "linux"), func(ctx SpecContext) {
		const backlog = 8
		lab := harness.NewLab(ctx)
		path := lab.Path(rtt, harness.ServerSysctls(netns.IPv4("tcp_syncookies", 0)))
		server := path.Server()
		lab.Start(server, peers.Accept{Listen: server.Addr(port), Backlog: backlog})
		// So many a second that the queue is full, though requests are dropped at times to make room (reqsk_timer_handler).
		lab.Start(path.Client(), peers.SYNFlood{Connect: server.Addr(port), From: path.Client().UnusedAddresses(), Count: 20_000, Interval: 2 * time.Millisecond})
		time.Sleep(harness.Settle)

		report := diagnosed(lab, server, server, diagnose.Options{ConnectOnly: true})
		expectOnly(report, diagnose.SYNQueueFull)
		counted := server.Counters()
		Expect(counted).To(HaveCounters{"TcpExtListenOverflows": 0, "TcpExtSyncookiesSent": 0})
		Expect(counted["TcpExtTCPReqQFullDrop"]).To(BeNumerically(">", 0))
	})
})

var _ = Describe("diagnose: it connects late:", func() {
	DescribeTable("SYNs are lost", Label("quick", "netem", "rfc6298"), func(ctx SpecContext, lost int) {
		lab := harness.NewLab(ctx)
		path := lab.Path(rtt)
		web(lab, path.Server(), webServer{Bytes: 1000})
		drop := path.ToServer.Rule(rules.Drop(rules.SYN.First(lost)))
		report := diagnosed(lab, path.Client(), path.Server(), diagnose.Options{})
		expectOnly(report, diagnose.SYNLoss)

		syns := path.Client().Oracle().Connect(oracle.ConnectOptions{})
		late := syns.Sent[lost-1].Plus(oracle.Between(rtt, rtt+programDelay))
		for _, a := range report.Attempts {
			lab.Measure("connected after", a.Connect, late, "1 RTT")
			lab.Check("SYNs", a.SYNs, bounds.Exactly(1+lost), "each connection's first are dropped")
		}
		Expect(drop.Hits()).To(HaveLen(lost * len(report.Attempts)))
		Expect(path.Client().Counters()).To(HaveCounters{"TcpRetransSegs": lost * len(report.Attempts)})
	},
		Entry("the first of each connection", 1),
		Entry("the first two", 2),
		Entry("the first three", 3),
	)
})

// hostRoute is a prefix of one address.
func hostRoute(host *harness.Host) *net.IPNet {
	address := host.IP()
	return &net.IPNet{IP: address.AsSlice(), Mask: net.CIDRMask(address.BitLen(), address.BitLen())}
}

// dropOutput has nftables drop all that a host sends: nft 'add chain inet t c { type filter hook output priority 0; policy drop; }'.
func dropOutput(host *harness.Host) {
	GinkgoHelper()
	attributes := func(list ...nl.Attribute) []byte {
		encoded, err := nl.MarshalAttributes(list)
		Expect(err).NotTo(HaveOccurred())
		return encoded
	}
	name := func(kind uint16) nl.Attribute { return nl.Attribute{Type: kind, Data: []byte("own\x00")} }
	number := func(kind uint16, n uint32) nl.Attribute {
		return nl.Attribute{Type: kind, Data: binary.BigEndian.AppendUint32(nil, n)}
	}
	message := func(kind nl.HeaderType, flags nl.HeaderFlags, family byte, resource uint16, data []byte) nl.Message {
		head := binary.BigEndian.AppendUint16([]byte{family, unix.NFNETLINK_V0}, resource) // struct nfgenmsg
		return nl.Message{Header: nl.Header{Type: kind, Flags: nl.Request | flags}, Data: append(head, data...)}
	}
	add := func(kind nl.HeaderType, list ...nl.Attribute) nl.Message {
		return message(unix.NFNL_SUBSYS_NFTABLES<<8|kind, nl.Create|nl.Acknowledge, unix.NFPROTO_INET, 0, attributes(list...))
	}
	conn, err := nl.Dial(unix.NETLINK_NETFILTER, &nl.Config{NetNS: host.FD()})
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(conn.Close)
	const drop = 0 // NF_DROP
	_, err = conn.SendMessages([]nl.Message{
		message(unix.NFNL_MSG_BATCH_BEGIN, 0, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES, nil),
		add(unix.NFT_MSG_NEWTABLE, name(unix.NFTA_TABLE_NAME)),
		add(unix.NFT_MSG_NEWCHAIN, name(unix.NFTA_CHAIN_TABLE), name(unix.NFTA_CHAIN_NAME), nl.Attribute{Type: unix.NFTA_CHAIN_TYPE, Data: []byte("filter\x00")},
			nl.Attribute{Type: unix.NFTA_CHAIN_HOOK, Data: attributes(number(unix.NFTA_HOOK_HOOKNUM, unix.NF_INET_LOCAL_OUT), number(unix.NFTA_HOOK_PRIORITY, 0))},
			number(unix.NFTA_CHAIN_POLICY, drop)),
		message(unix.NFNL_MSG_BATCH_END, 0, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES, nil),
	})
	Expect(err).NotTo(HaveOccurred())
	for range 2 { // the table, and the chain
		answers, err := conn.Receive()
		Expect(err).NotTo(HaveOccurred(), "%v", answers)
	}
}
