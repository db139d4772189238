package qdisc

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// A Filter is what decides on packets before a qdisc has them.
type Filter struct {
	Kind    string
	Options []byte // the payload of TCA_OPTIONS
}

// Add makes a qdisc with a handle of its own, where none is (clsact): else the error is EEXIST.
func (l *Link) Add(kind string, parent, handle uint32) error {
	return l.send(netlink.Create|netlink.Excl, kind, parent, handle, nil)
}

// allProtocols is the priority and protocol of a filter of all packets.
func allProtocols() uint32 {
	const priority = 1
	return priority<<16 | uint32(binary.NativeEndian.Uint16([]byte{unix.ETH_P_ALL >> 8, unix.ETH_P_ALL}))
}

// AddFilter adds a filter of all packets. The error is [ErrUnknownKind] if the kernel does not know the kind, or an action in its options.
func (l *Link) AddFilter(kind string, parent uint32, options []byte) error {
	ae := netlink.NewAttributeEncoder()
	ae.String(attrKind, kind)
	ae.Bytes(attrOptions, options)
	attributes, err := ae.Encode()
	if err != nil {
		return err
	}
	_, err = l.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_NEWTFILTER, Flags: netlink.Request | netlink.Acknowledge | netlink.Create | netlink.Excl},
		Data:   append(Pack(tcmsg{Index: l.index, Handle: 1, Parent: parent, Info: allProtocols()}), attributes...),
	})
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("%w: filter %s or its action (%w)", ErrUnknownKind, kind, err)
	}
	return Translate(err)
}

// Filters lists the filters at a parent.
func (l *Link) Filters(parent uint32) ([]Filter, error) {
	answer, err := l.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_GETTFILTER, Flags: netlink.Request | netlink.Dump},
		Data:   Pack(tcmsg{Index: l.index, Parent: parent}),
	})
	if err != nil {
		return nil, Translate(err)
	}
	var list []Filter
	for _, m := range answer {
		q, err := Parse(m.Data) // the messages are alike
		if err != nil {
			return nil, err
		}
		list = append(list, Filter{q.Kind, q.Options})
	}
	return list, nil
}
