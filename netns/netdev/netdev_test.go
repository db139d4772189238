package netdev_test

import (
	"errors"
	"fmt"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness/invalid"
	"github.com/tcplab/tcplab/netns/netdev"
)

func ExampleDevice() {
	fmt.Println(netdev.Device{Name: "eth0"}, netdev.Device{Index: 7})
	fmt.Println(netdev.Device{Name: "eth0", NetNS: -1}.Validate())
	// Output:
	// eth0 index 7
	// Device.NetNS: -1 is not allowed: want an open file descriptor of a namespace, or 0 for that of the calling thread
}

func TestValidate(t *testing.T) {
	for _, test := range []struct {
		device netdev.Device
		field  string
	}{
		{netdev.Device{}, "Device.Name"},
		{netdev.Device{Name: "lo", NetNS: -1}, "Device.NetNS"},
		{netdev.Device{Name: "sixteen-letters-"}, "Device.Name"},
		{netdev.Device{Name: "a\x00b"}, "Device.Name"},
		{netdev.Device{Index: -1}, "Device.Index"},
		{netdev.Device{Index: 1 << 31}, "Device.Index"},
	} {
		g := NewWithT(t)
		refused, ok := errors.AsType[*invalid.FieldError](test.device.Validate())
		g.Expect(ok).To(BeTrue(), "%+v", test.device)
		g.Expect(refused.Field).To(Equal(test.field))
	}
	NewWithT(t).Expect(netdev.Device{Name: "fifteen-letters", Index: 1<<31 - 1}.Validate()).To(Succeed())
}

func TestCheckName(t *testing.T) {
	g := NewWithT(t)
	g.Expect(netdev.Device{Index: 7}.CheckName("eth0")).To(Succeed())
	g.Expect(netdev.Device{Name: "eth0", Index: 7}.CheckName("eth0")).To(Succeed())
	g.Expect(netdev.Device{Name: "eth1", Index: 7}.CheckName("eth0")).
		To(MatchError("Device.Name: eth1 is not allowed: want eth0, the name of index 7, or no Index"))
}
