package harness

import (
	"net/netip"
	"testing"

	"github.com/tcplab/tcplab/netns"
)

func TestUpperHalf(t *testing.T) {
	for subnet, want := range map[string]string{
		"10.0.1.1/24":  "10.0.1.128/25",
		"10.0.2.2/16":  "10.0.0.128/25",
		"fd00:1::2/64": "fd00:1::80/121",
	} {
		if got := upperHalf(netip.MustParsePrefix(subnet)).String(); got != want {
			t.Errorf("upperHalf(%s) = %s, want %s", subnet, got, want)
		}
	}
}

func TestUnusedAddressesAreNobodys(t *testing.T) {
	needNamespaces(t)
	topology, err := netns.Routed(netns.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer topology.Close()
	network := new(Lab).networkOf(topology)
	for _, family := range []string{"4", "6"} {
		t.Setenv(familyVariable, family)
		unused := network.Client().UnusedAddresses()
		if !unused.IsValid() {
			t.Fatalf("IPv%s: no unused addresses", family)
		}
		for _, host := range topology.Hosts() {
			for _, end := range host.Ends() {
				if unused.Contains(end.IPv4().Addr()) || unused.Contains(end.IPv6().Addr()) {
					t.Errorf("IPv%s: %v of %s is one of the unused, %v", family, end, host.Name(), unused)
				}
			}
		}
		subnet := topology.Client().Ends()[0].IPv4()
		if family == "6" {
			subnet = topology.Client().Ends()[0].IPv6()
		}
		if !subnet.Contains(unused.Addr()) {
			t.Errorf("IPv%s: %v is not in the client's subnet, %v", family, unused, subnet)
		}
	}
}
