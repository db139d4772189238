package qdisc

import (
	"slices"
	"testing"

	"github.com/mdlayher/netlink"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/netns/netdev"
)

func FuzzParseQdisc(f *testing.F) {
	stats := append(Pack(uint64(1514)), Pack(uint32(1))...)
	nested, err := netlink.MarshalAttributes([]netlink.Attribute{
		{Type: attrStatsBasic, Data: stats},
		{Type: attrStatsQueue, Data: Pack([5]uint32{1, 2, 3, 4, 5})},
		{Type: attrStatsPkt64, Data: Pack(uint64(1 << 33))},
		{Type: attrStatsApp, Data: Pack(netdev.Injected{Marked: 1})},
	})
	if err != nil {
		f.Fatal(err)
	}
	attributes, err := netlink.MarshalAttributes([]netlink.Attribute{
		{Type: attrKind, Data: []byte("netem\x00")},
		{Type: attrOptions, Data: make([]byte, 24)},
		{Type: attrStats2, Data: nested},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(append(Pack(tcmsg{Index: 7, Parent: Root}), attributes...))
	f.Add(append(Pack(ifinfomsg{Index: 1}), attributes...))
	unknown, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: 99, Data: []byte{1, 2, 3}}})
	if err != nil {
		f.Fatal(err)
	}
	// An attribute of a later kernel changes nothing.
	f.Fuzz(func(t *testing.T, data []byte) {
		longer := append(slices.Clone(data), unknown...)
		aligned := len(data)%4 == 0
		if q, err := Parse(data); err == nil && aligned {
			again, err := Parse(longer)
			NewWithT(t).Expect(again, err).To(Equal(q))
		}
		if d, err := parseLink(data); err == nil && aligned {
			again, err := parseLink(longer)
			NewWithT(t).Expect(again, err).To(Equal(d))
		}
	})
}

func TestParseQdisc(t *testing.T) {
	g := NewWithT(t)
	nested, err := netlink.MarshalAttributes([]netlink.Attribute{
		{Type: attrStatsBasic, Data: append(Pack(uint64(3028)), Pack(uint32(2))...)},
		{Type: attrStatsQueue, Data: Pack([5]uint32{1, 2, 3, 4, 5})},
		{Type: attrStatsApp, Data: Pack([7]uint64{1, 2, 3, 4, 5, 6, 7})},
	})
	g.Expect(err).NotTo(HaveOccurred())
	attributes, err := netlink.MarshalAttributes([]netlink.Attribute{
		{Type: attrKind, Data: []byte("netem\x00")},
		{Type: attrStats2, Data: nested},
	})
	g.Expect(err).NotTo(HaveOccurred())
	q, err := Parse(append(Pack(tcmsg{Index: 7, Handle: 1 << 16, Parent: Root}), attributes...))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(q).To(Equal(Qdisc{
		Kind: "netem", Index: 7, Handle: 1 << 16, Parent: Root,
		Stats: netdev.Stats{Packets: 2, Bytes: 3028, Length: 1, Backlog: 2, Drops: 3, Requeues: 4, Overlimits: 5},
		App:   Pack([7]uint64{1, 2, 3, 4, 5, 6, 7}),
	}))
}

func TestADumpThatWasDisturbedIsRecognised(t *testing.T) {
	g := NewWithT(t)
	m := netlink.Message{Data: Pack(tcmsg{Index: 7, Parent: Root})}
	m.Header.Flags = netlink.Multi | netlink.DumpInterrupted
	_, disturbed, err := parseDump([]netlink.Message{m}, 7)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(disturbed).To(BeTrue())
}
