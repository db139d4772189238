// Package qdisc makes, lists and removes queueing disciplines by netlink: what packages impair and impair/queue share. What the options
// of a kind mean is theirs.
package qdisc

import (
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/internal/ethernet"
	"github.com/tcplab/tcplab/netns/netdev"
)

var (
	// ErrNotPermitted means that the caller lacks the permission.
	ErrNotPermitted = errors.New("not permitted: run as root (CAP_NET_ADMIN for the device's namespace, CAP_SYS_ADMIN to make or enter one), " +
		"or use a guest kernel, which needs no root: tcplab run")

	// ErrUnknownKind means that the kernel does not know a kind of qdisc: it is no part of it, and no module that is there.
	ErrUnknownKind = errors.New("this kernel has no such qdisc")
)

// A Link is a netlink socket in a device's namespace.
type Link struct {
	*netlink.Conn
	index int32
	mtu   uint32
}

// Frame is the size of the largest packet that a qdisc of the device sees, in bytes: its MTU, and Ethernet's header (psched_mtu).
func (l *Link) Frame() int { return int(l.mtu) + ethernet.HeaderLength }

// With calls f with a Link of the device, which ends with it.
func With(d netdev.Device, f func(*Link) error) error {
	if err := d.Validate(); err != nil {
		return err
	}
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{NetNS: d.NetNS})
	if err != nil {
		return Translate(err)
	}
	defer func() { _ = conn.Close() }() // what was to be said was said
	// The kernel's reason for an error. Without it (before 4.12) there is the number.
	_ = conn.SetOption(netlink.ExtendedAcknowledge, true)
	l := &Link{Conn: conn}
	if err := l.find(d); err != nil {
		return err
	}
	return f(l)
}

type ifinfomsg struct {
	Family uint8
	_      uint8
	Type   uint16
	Index  int32
	Flags  uint32
	Change uint32
}

const ifinfomsgSize = 16

// find looks up the device, and checks that name and index belong together.
func (l *Link) find(d netdev.Device) error {
	data := Pack(ifinfomsg{Index: int32(d.Index)})
	if d.Index == 0 {
		ae := netlink.NewAttributeEncoder()
		ae.String(unix.IFLA_IFNAME, d.Name)
		name, err := ae.Encode()
		if err != nil {
			return err
		}
		data = append(data, name...)
	}
	answer, err := l.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_GETLINK, Flags: netlink.Request},
		Data:   data,
	})
	if errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("%w (%w)", netdev.ErrNoDevice, err)
	}
	if err != nil {
		return Translate(err)
	}
	if len(answer) != 1 {
		return fmt.Errorf("look up: %d answers, want 1", len(answer))
	}
	found, err := parseLink(answer[0].Data)
	if err != nil {
		return err
	}
	if err := d.CheckName(found.name); err != nil {
		return err
	}
	l.index, l.mtu = found.index, found.mtu
	return nil
}

// A device is what the kernel says of one.
type device struct {
	name  string
	index int32
	mtu   uint32
}

// parseLink reads an RTM_NEWLINK.
func parseLink(data []byte) (device, error) {
	var m ifinfomsg
	if err := Unpack("struct ifinfomsg", data, &m); err != nil {
		return device{}, err
	}
	d := device{index: m.Index}
	ad, err := netlink.NewAttributeDecoder(data[ifinfomsgSize:])
	if err != nil {
		return device{}, fmt.Errorf("link: %w", err)
	}
	for ad.Next() {
		switch ad.Type() {
		case unix.IFLA_IFNAME:
			d.name = ad.String()
		case unix.IFLA_MTU:
			d.mtu = ad.Uint32()
		}
	}
	if err := ad.Err(); err != nil {
		return device{}, fmt.Errorf("link: %w", err)
	}
	return d, nil
}

// Translate adds what the package promises to say about an error.
func Translate(err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return fmt.Errorf("%w (%w)", ErrNotPermitted, err)
	}
	return err
}
