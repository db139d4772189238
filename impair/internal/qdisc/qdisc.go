package qdisc

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/netns/netdev"
)

// From linux/rtnetlink.h, linux/pkt_sched.h, linux/gen_stats.h.
const (
	attrKind    = 1 // TCA_KIND
	attrOptions = 2 // TCA_OPTIONS
	attrStats2  = 7 // TCA_STATS2

	attrStatsBasic = 1 // TCA_STATS_BASIC: struct gnet_stats_basic
	attrStatsQueue = 3 // TCA_STATS_QUEUE: struct gnet_stats_queue
	attrStatsApp   = 4 // TCA_STATS_APP: the kind's own
	attrStatsPkt64 = 8 // TCA_STATS_PKT64: u64, where BASIC's 32 bits do not do

	// Root is the parent of the qdisc that a device's packets enter (TC_H_ROOT).
	Root = math.MaxUint32

	major = 1 << 16 // the first handle, 1:0
)

type tcmsg struct {
	Family uint32 // and three bytes of padding
	Index  int32
	Handle uint32
	Parent uint32
	Info   uint32
}

const tcmsgSize = 20

// A Qdisc is one line of tc qdisc show.
type Qdisc struct {
	Kind           string
	Index          int32 // of the device
	Handle, Parent uint32
	Options        []byte // the payload of TCA_OPTIONS
	Stats          netdev.Stats
	App            []byte // the payload of TCA_STATS_APP: statistics of the kind's own
}

// Class is the handle of the first class of the qdisc with this handle, where its child goes.
func Class(handle uint32) uint32 { return handle | 1 }

// Replace makes a new qdisc at a parent, [Root] or a class, with the options of its kind, and returns its handle. What is queued in the old
// one is lost. The error is [ErrUnknownKind] if the kernel does not know the kind.
func (l *Link) Replace(kind string, parent uint32, options []byte) (handle uint32, err error) {
	list, err := l.List()
	if err != nil {
		return 0, err
	}
	handle = freeHandle(list)
	// Without a handle of its own the new one would be a change of the old one, if they are of a kind (tc_modify_qdisc).
	return handle, l.send(netlink.Create|netlink.Replace|netlink.Excl, kind, parent, handle, options)
}

// Change changes the options of the qdisc that has a handle, at the root.
func (l *Link) Change(kind string, handle uint32, options []byte) error {
	return l.send(0, kind, Root, handle, options)
}

// freeHandle is the least handle, from 1:0, that no qdisc of the device has.
func freeHandle(list []Qdisc) uint32 {
	handle := uint32(major)
	for slices.ContainsFunc(list, func(q Qdisc) bool { return q.Handle == handle }) {
		handle += major
	}
	return handle
}

func (l *Link) send(flags netlink.HeaderFlags, kind string, parent, handle uint32, options []byte) error {
	ae := netlink.NewAttributeEncoder()
	ae.String(attrKind, kind)
	if options != nil {
		ae.Bytes(attrOptions, options)
	}
	attributes, err := ae.Encode()
	if err != nil {
		return err
	}
	_, err = l.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_NEWQDISC, Flags: netlink.Request | netlink.Acknowledge | flags},
		Data:   append(Pack(tcmsg{Index: l.index, Handle: handle, Parent: parent}), attributes...),
	})
	// An unknown kind is ENOENT; a kernel without any qdiscs does not know the message.
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("%w: %s (%w)", ErrUnknownKind, kind, err)
	}
	return Translate(err)
}

// Delete removes the qdisc at a parent, with what is below it. At the root the kernel's default takes its place.
func (l *Link) Delete(parent uint32) error {
	_, err := l.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_DELQDISC, Flags: netlink.Request | netlink.Acknowledge},
		Data:   Pack(tcmsg{Index: l.index, Parent: parent}),
	})
	return Translate(err)
}

// At is the qdisc at a parent, [Root] or a class; a zero one if none is reported.
func (l *Link) At(parent uint32) (Qdisc, error) {
	list, err := l.List()
	if i := slices.IndexFunc(list, func(q Qdisc) bool { return q.Parent == parent }); i >= 0 {
		return list[i], err
	}
	return Qdisc{}, err
}

// List lists the device's qdiscs.
func (l *Link) List() ([]Qdisc, error) {
	// A dump that others disturb is started again. They cannot do so for ever: each time needs a qdisc of this namespace to be made or removed
	// meanwhile.
	const attempts = 10
	for range attempts {
		answer, err := l.Execute(netlink.Message{
			Header: netlink.Header{Type: unix.RTM_GETQDISC, Flags: netlink.Request | netlink.Dump},
			Data:   Pack(tcmsg{Index: l.index}),
		})
		if err != nil {
			return nil, Translate(err)
		}
		list, disturbed, err := parseDump(answer, l.index)
		if err != nil || !disturbed {
			return list, err
		}
	}
	return nil, fmt.Errorf("the list of qdiscs was changed during each of %d attempts to read it", attempts)
}

// parseDump picks one device's qdiscs from a dump, which is of all devices.
func parseDump(dump []netlink.Message, index int32) (list []Qdisc, disturbed bool, err error) {
	for _, m := range dump {
		if m.Header.Flags&netlink.DumpInterrupted != 0 {
			return nil, true, nil
		}
		q, err := Parse(m.Data)
		if err != nil {
			return nil, false, err
		}
		if q.Index == index {
			list = append(list, q)
		}
	}
	return list, false, nil
}

// Parse reads an RTM_NEWQDISC.
func Parse(data []byte) (Qdisc, error) {
	var m tcmsg
	if err := Unpack("struct tcmsg", data, &m); err != nil {
		return Qdisc{}, err
	}
	q := Qdisc{Index: m.Index, Handle: m.Handle, Parent: m.Parent}
	ad, err := netlink.NewAttributeDecoder(data[tcmsgSize:])
	if err != nil {
		return Qdisc{}, fmt.Errorf("qdisc: %w", err)
	}
	for ad.Next() {
		switch ad.Type() {
		case attrKind:
			q.Kind = ad.String()
		case attrOptions:
			q.Options = ad.Bytes()
		case attrStats2:
			if q.Stats, q.App, err = ParseStats(ad.Bytes()); err != nil {
				return Qdisc{}, err
			}
		}
	}
	if err := ad.Err(); err != nil {
		return Qdisc{}, fmt.Errorf("qdisc: %w", err)
	}
	return q, nil
}

// ParseStats reads TCA_STATS2, or TCA_ACT_STATS of an action. What it returns beside is the payload of TCA_STATS_APP, nil if there is none.
func ParseStats(data []byte) (s netdev.Stats, app []byte, err error) {
	ad, err := netlink.NewAttributeDecoder(data)
	if err != nil {
		return netdev.Stats{}, nil, fmt.Errorf("TCA_STATS2: %w", err)
	}
	var packets64 uint64
	for ad.Next() {
		switch ad.Type() {
		case attrStatsBasic:
			var basic struct {
				Bytes   uint64
				Packets uint32
			}
			err = Unpack("struct gnet_stats_basic", ad.Bytes(), &basic)
			s.Bytes, s.Packets = basic.Bytes, uint64(basic.Packets)
		case attrStatsPkt64:
			err = Unpack("TCA_STATS_PKT64", ad.Bytes(), &packets64)
		case attrStatsApp:
			app = ad.Bytes()
		case attrStatsQueue:
			var queue struct{ Length, Backlog, Drops, Requeues, Overlimits uint32 }
			err = Unpack("struct gnet_stats_queue", ad.Bytes(), &queue)
			s.Length, s.Backlog = uint64(queue.Length), uint64(queue.Backlog)
			s.Drops, s.Requeues, s.Overlimits = uint64(queue.Drops), uint64(queue.Requeues), uint64(queue.Overlimits)
		}
		if err != nil {
			return netdev.Stats{}, nil, err
		}
	}
	if err := ad.Err(); err != nil {
		return netdev.Stats{}, nil, fmt.Errorf("TCA_STATS2: %w", err)
	}
	s.Packets = max(s.Packets, packets64)
	return s, app, nil
}
