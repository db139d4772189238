package rules

import (
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/netns/netdev"
)

const (
	ingress = netlink.HANDLE_MIN_INGRESS
	egress  = netlink.HANDLE_MIN_EGRESS

	// The filters of a device, in the order in which they see a packet.
	priorityRules    = 1
	priorityChecksum = 2
	priorityCorrupt  = 3
)

// A link is a netlink socket in a device's namespace.
type link struct {
	*netlink.Handle
	device netdev.Device
	index  int
	mtu    int
}

func openLink(d netdev.Device) (*link, error) {
	if err := d.Validate(); err != nil {
		return nil, err
	}
	handle, err := newHandle(d.NetNS)
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket: %w", translate(err))
	}
	l := &link{Handle: handle, device: d}
	if err := l.find(d); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func newHandle(namespace int) (*netlink.Handle, error) {
	if namespace == 0 {
		return netlink.NewHandle(unix.NETLINK_ROUTE)
	}
	return netlink.NewHandleAt(netns.NsHandle(namespace), unix.NETLINK_ROUTE)
}

func (l *link) close() { l.Close() }

// find looks up the device, and checks that name and index belong together.
func (l *link) find(d netdev.Device) error {
	var found netlink.Link
	var err error
	if d.Index > 0 {
		found, err = l.LinkByIndex(d.Index)
	} else {
		found, err = l.LinkByName(d.Name)
	}
	var notFound netlink.LinkNotFoundError
	switch {
	case errors.As(err, &notFound):
		return fmt.Errorf("%w (%w)", netdev.ErrNoDevice, err)
	case err != nil:
		return translate(err)
	}
	attrs := found.Attrs()
	if err := d.CheckName(attrs.Name); err != nil {
		return err
	}
	if attrs.EncapType != "ether" && attrs.EncapType != "loopback" {
		return fmt.Errorf("%w that is of Ethernet: its link layer is %q", netdev.ErrNoDevice, attrs.EncapType)
	}
	l.index, l.mtu = attrs.Index, attrs.MTU
	return nil
}

func clsact(index int) *netlink.GenericQdisc {
	return &netlink.GenericQdisc{
		QdiscAttrs: netlink.QdiscAttrs{
			LinkIndex: index, Parent: netlink.HANDLE_CLSACT, Handle: netlink.MakeHandle(0xffff, 0),
		},
		QdiscType: "clsact",
	}
}

// addClsact adds the qdisc that filters hang on.
func (l *link) addClsact() error {
	err := l.QdiscAdd(clsact(l.index))
	switch {
	case errors.Is(err, unix.EEXIST):
		return fmt.Errorf("%w (%w)", ErrBusy, err)
	case err != nil:
		return fmt.Errorf("add qdisc clsact: %w", translate(err))
	}
	return nil
}

// delClsact removes it with its filters, unless it is gone.
func (l *link) delClsact() error {
	err := l.QdiscDel(clsact(l.index))
	if gone(err) {
		return nil
	}
	return err
}

// gone reports whether the thing, or the device that it was on, is not there any more.
func gone(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EINVAL)
}

func filterAttrs(index int, parent uint32, priority uint16) netlink.FilterAttrs {
	return netlink.FilterAttrs{
		LinkIndex: index, Parent: parent, Handle: 1, Priority: priority, Protocol: unix.ETH_P_ALL,
	}
}

// addProgram adds a program as a filter that decides by itself (direct action).
func (l *link) addProgram(index int, parent uint32, priority uint16, name string, program *ebpf.Program) error {
	filter := &netlink.BpfFilter{
		FilterAttrs: filterAttrs(index, parent, priority), Fd: program.FD(), Name: "tcplab_" + name, DirectAction: true,
	}
	if err := l.FilterReplace(filter); err != nil {
		return fmt.Errorf("add filter bpf for %s: %w", name, translate(err))
	}
	return nil
}

// addChecksum adds the filter that fills in TCP checksums and passes packets on to the next.
func (l *link) addChecksum() error {
	checksum := netlink.NewCsumAction()
	checksum.UpdateFlags = netlink.TCA_CSUM_UPDATE_FLAG_TCP
	checksum.Action = netlink.TC_ACT_UNSPEC
	filter := &netlink.MatchAll{
		FilterAttrs: filterAttrs(l.index, egress, priorityChecksum), Actions: []netlink.Action{checksum},
	}
	if err := l.FilterReplace(filter); err != nil {
		return fmt.Errorf("add filter matchall with action csum: %w", translate(err))
	}
	return nil
}

// addPair makes the pair that delays packets for d: a packet sent into the near end comes out of the far end after
// the delay, and is sent back to the device. It returns the index of the near end.
func (l *link) addPair(n int, d time.Duration, back *ebpf.Program) (near int, err error) {
	// The index is unique in the namespace; two devices may both have pairs.
	nearName, farName := fmt.Sprintf("delay%d.%d", l.index, n), fmt.Sprintf("back%d.%d", l.index, n)
	attrs := netlink.NewLinkAttrs()
	// Whatever fits into the device fits into the pair.
	attrs.Name, attrs.MTU, attrs.NumTxQueues, attrs.NumRxQueues = nearName, l.mtu, 1, 1
	pair := &netlink.Veth{LinkAttrs: attrs, PeerName: farName, PeerMTU: uint32(l.mtu), PeerNumTxQueues: 1, PeerNumRxQueues: 1}
	if err := l.LinkAdd(pair); err != nil {
		return 0, fmt.Errorf("make veth pair %s and %s: %w", nearName, farName, translate(err))
	}
	nearLink, err := l.LinkByName(nearName)
	if err != nil {
		return 0, fmt.Errorf("look up %s: %w", nearName, err)
	}
	near = nearLink.Attrs().Index
	defer func() {
		if err != nil {
			err = errors.Join(err, l.delPair(near))
		}
	}()
	farLink, err := l.LinkByName(farName)
	if err != nil {
		return 0, fmt.Errorf("look up %s: %w", farName, err)
	}
	far := farLink.Attrs().Index

	if err := l.QdiscAdd(clsact(far)); err != nil {
		return 0, fmt.Errorf("add qdisc clsact to %s: %w", farName, translate(err))
	}
	if err := l.addProgram(far, ingress, priorityRules, "return", back); err != nil {
		return 0, err
	}
	// In order, and as many packets as there can be in that time.
	_, err = impair.Apply(netdev.Device{NetNS: l.device.NetNS, Name: nearName, Index: near}, impair.Netem{Delay: d, Limit: holdLimit})
	if err != nil {
		return 0, err
	}
	// The near end last: when it comes up it already has a carrier, and its queue works at once (veth_open,
	// dev_activate). The pair sends nothing by itself: it has no addresses, no multicast, no neighbours.
	for _, end := range []netlink.Link{farLink, nearLink} {
		err := errors.Join(
			l.LinkSetIP6AddrGenMode(end, nl.IN6_ADDR_GEN_MODE_NONE),
			l.LinkSetARPOff(end), l.LinkSetMulticastOff(end),
			l.LinkSetUp(end),
		)
		if err != nil {
			return 0, fmt.Errorf("bring up %s: %w", end.Attrs().Name, err)
		}
	}
	return near, nil
}

// holdLimit is how many packets can be held at a time: 1 s at 12 Gbit/s.
const holdLimit = 1_000_000

// delPair removes both ends, unless they are gone.
func (l *link) delPair(near int) error {
	err := l.LinkDel(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: near}})
	if gone(err) {
		return nil
	}
	return err
}

// loadProgram has the kernel verify a program, and keeps it until the set is closed.
func (s *Set) loadProgram(name string, code asm.Instructions) (*ebpf.Program, error) {
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		// skb_ecn_set_ce, for one, is for programs under this license.
		Name: name, Type: ebpf.SchedCLS, Instructions: code, License: "GPL",
	})
	if err != nil {
		return nil, fmt.Errorf("load program %s: %w", name, translate(err))
	}
	s.programs = append(s.programs, program)
	return program, nil
}

// pair returns the index of a device that holds packets for d.
func (s *Set) pair(d time.Duration) (uint32, error) {
	if near, ok := s.pairs[d]; ok {
		return uint32(near), nil
	}
	back, err := s.loadProgram("tcplab_return", assembleReturn(s.link.index))
	if err != nil {
		return 0, err
	}
	near, err := s.link.addPair(len(s.pairs), d, back)
	if err != nil {
		return 0, err
	}
	s.pairs[d] = near
	return uint32(near), nil
}

// prepareCorrupt adds the filters that Corrupt sends packets on to. All others have ended with the first one.
func (s *Set) prepareCorrupt() error {
	if s.corrupts {
		return nil
	}
	program, err := s.loadProgram("tcplab_corrupt", assembleCorrupt(s.maps.fds()))
	if err != nil {
		return err
	}
	// The last one first: no packet comes before Add has returned.
	if err := s.link.addProgram(s.link.index, egress, priorityCorrupt, "corrupt", program); err != nil {
		return err
	}
	if err := s.link.addChecksum(); err != nil {
		return err
	}
	s.corrupts = true
	return nil
}
