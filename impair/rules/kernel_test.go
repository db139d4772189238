package rules_test

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/impair/rules"
	"github.com/tcplab/tcplab/netns"
)

func TestSmoke(t *testing.T) {
	g := NewWithT(t)
	net, err := netns.Routed(netns.Config{})
	g.Expect(err).NotTo(HaveOccurred())
	defer net.Close()
	end := net.ToServer
	set, err := rules.Open(impair.Device{NetNS: end.Host().FD(), Name: end.Name(), Index: end.Index()})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	defer set.Close()
	_, err = set.Add(rules.Drop(rules.SYN.First(2)))
	g.Expect(err).NotTo(HaveOccurred())
}
