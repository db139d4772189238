package middlebox_test

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/impair/middlebox"
	"github.com/tcplab/tcplab/internal/testenv"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/peers"
)

func TestMain(m *testing.M) {
	peers.Main()
	os.Exit(m.Run())
}

// routed is a client, a router with a box, and a server.
func routed(t *testing.T, box middlebox.Box) (*netns.Topology, *middlebox.Installed) {
	t.Helper()
	testenv.Root(t, "network namespaces and nftables")
	g := NewWithT(t)
	topology, err := netns.Routed(netns.Config{})
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { g.Expect(topology.Close()).To(Succeed()) })
	installed, err := middlebox.Apply(topology.Routers[0].FD(), box)
	if errors.Is(err, middlebox.ErrNotSupported) {
		testenv.Missing(t, err.Error())
	}
	g.Expect(err).NotTo(HaveOccurred())
	return topology, installed
}

func exchange(t *testing.T, from, to *netns.Host, address netip.Addr) {
	t.Helper()
	g := NewWithT(t)
	ctx, cancel := context.WithTimeout(context.Background(), testenv.Patience)
	defer cancel()
	at := netip.AddrPortFrom(address, 80)
	server, err := peers.Start(ctx, to, "server", peers.EchoServer{Listen: at})
	g.Expect(err).NotTo(HaveOccurred())
	_, err = server.Ready(ctx)
	g.Expect(err).NotTo(HaveOccurred())
	client, err := peers.Start(ctx, from, "client", peers.EchoClient{Connect: at, Requests: 3, Size: 100})
	g.Expect(err).NotTo(HaveOccurred())
	_, err = client.Wait(ctx)
	g.Expect(err).NotTo(HaveOccurred())
	_, err = server.Wait(ctx)
	g.Expect(err).NotTo(HaveOccurred())
}

func count(g *WithT, i *middlebox.Installed, rule string) uint64 {
	counts, err := i.Counts()
	g.Expect(err).NotTo(HaveOccurred())
	var packets uint64
	found := false
	for _, c := range counts {
		if c.Rule == rule {
			packets, found = packets+c.Packets, true
		}
	}
	g.Expect(found).To(BeTrue(), rule)
	return packets
}

// Each box is made, read back, passes what it should, counts, and is gone when it is removed.
func TestBoxes(t *testing.T) {
	for _, c := range []struct {
		name string
		box  middlebox.Box
		rule string // that counts more than nothing
	}{
		{"NAT", middlebox.Box{NAT: true, Outside: "eth1", IdleTimeout: 20 * time.Second, Unknown: middlebox.Reset}, `oifname "eth1"`},
		{"firewall", middlebox.Box{Firewall: true, Outside: "eth1", Unknown: middlebox.Prohibited}, "ct state established,related"},
		{"clamp", middlebox.Box{ClampMSS: 1200}, "tcp option maxseg size set 1200"},
		{"strip", middlebox.Box{StripOptions: []middlebox.Option{middlebox.Timestamps}}, "reset tcp option timestamp"},
		{"ECN", middlebox.Box{ClearECN: true}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := NewWithT(t)
			topology, installed := routed(t, c.box)
			router := topology.Routers[0]
			_, err := middlebox.Apply(router.FD(), c.box)
			g.Expect(err).To(MatchError(middlebox.ErrBusy))
			for _, address := range []netip.Addr{topology.Server().IPv4(), topology.Server().IPv6()} {
				exchange(t, topology.Client(), topology.Server(), address)
			}
			if c.rule != "" {
				g.Expect(count(g, installed, c.rule)).To(BeNumerically(">", 0))
			}
			if c.box.IdleTimeout != 0 {
				g.Expect(router.Sysctl("net.netfilter.nf_conntrack_tcp_timeout_established")).To(Equal("20"))
			}
			g.Expect(installed.Remove()).To(Succeed())
			if c.box.IdleTimeout != 0 {
				g.Expect(router.Sysctl("net.netfilter.nf_conntrack_tcp_timeout_established")).To(Equal("432000"))
			}
			again, err := middlebox.Apply(router.FD(), c.box)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(again.Rules()).To(Equal(installed.Rules()))
			g.Expect(again.Remove()).To(Succeed())
			g.Expect(again.Remove()).NotTo(Succeed())
		})
	}
}
