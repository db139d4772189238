package impair

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/netns/netdev"
)

// Errors for callers to decide on. They are wrapped: use errors.Is.
var (
	// ErrNoNetem means that the kernel does not know netem.
	ErrNoNetem = errors.New("this kernel has no netem: modprobe sch_netem; if there is no such module, install the package that has it " +
		"(Debian: linux-image-amd64 or that of your architecture; Ubuntu: linux-modules-extra-$(uname -r); RHEL, Fedora: kernel-modules-extra), " +
		"or use a guest kernel: tcplab run")

	// ErrNotPermitted means that the caller lacks the permission.
	ErrNotPermitted = errors.New("not permitted: run as root (CAP_NET_ADMIN for the device's namespace, CAP_SYS_ADMIN to make or enter one), " +
		"or use a guest kernel, which needs no root: tcplab run")

	// ErrNotNetem means that the device's root qdisc is not a netem.
	ErrNotNetem = errors.New("the root qdisc is not a netem")
)

// Apply makes n the root qdisc of d. It replaces any qdisc, netem or not, and packets in that queue, or that arrive
// in that instant, are lost. Then Apply reads back what the kernel has.
//
// Errors: [*invalid.FieldError] (joined; nothing was done), [ErrNoNetem],
// [ErrNotPermitted], [netdev.ErrNoDevice], [*MismatchError] (it was done; see
// Applied).
func Apply(d netdev.Device, n Netem) (Applied, error) {
	return modify("apply", d, n, false)
}

// Change changes the netem on d while it works. Queued packets leave at their time; only later packets see the
// change. The loss model restarts in its good state, and the random numbers at Seed.
//
// The result is that of [Apply], with one exception. The kernel cannot unload a distribution table, nor report
// whether it has one. So a Uniform jitter, and the range of a slot, are sent as a table of 4096 equal steps, where
// Apply is exact to the nanosecond. A note says so.
//
// Errors: as Apply; [ErrNotNetem] if there is nothing to change.
func Change(d netdev.Device, n Netem) (Applied, error) {
	return modify("change", d, n, true)
}

func modify(operation string, d netdev.Device, n Netem, change bool) (a Applied, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s netem on %s: %w", operation, d, err)
		}
	}()
	r, err := prepare(n, change)
	if err := errors.Join(d.Validate(), err); err != nil {
		return Applied{}, err
	}
	sent := r.encode()
	payload, err := sent.marshal(r.tables)
	if err != nil {
		return Applied{}, err
	}

	l, err := open(d)
	if err != nil {
		return Applied{}, err
	}
	defer l.close()

	if change {
		err = l.changeQdisc(payload)
	} else {
		err = l.replaceQdisc(payload)
	}
	if err != nil {
		return Applied{}, err
	}
	q, err := l.netem()
	if err != nil {
		return Applied{}, fmt.Errorf("read back: %w", err)
	}
	got, err := parseOptions(q.options)
	if err != nil {
		return Applied{}, fmt.Errorf("read back: %w", err)
	}
	return r.report(got), verify(sent, got)
}

// Clear removes the netem from d, with its queue. A device without a qdisc of its own is already clear: no error. Any
// other root qdisc stays, with the error [ErrNotNetem].
func Clear(d netdev.Device) error {
	err := with(d, func(l *link) error {
		q, err := l.root()
		if err != nil {
			return err
		}
		switch {
		case q.kind == netemKind:
			return l.delQdisc()
		case q.handle == 0: // the kernel's default: noqueue, fq_codel, mq and others
			return nil
		}
		return notNetem(q)
	})
	if err != nil {
		return fmt.Errorf("clear netem on %s: %w", d, err)
	}
	return nil
}

// Read returns the netem that the kernel has on d, whoever set it. The kernel does not report the table of a
// distribution: that is [Unreported]. The error is [ErrNotNetem] if there is no netem.
func Read(d netdev.Device) (Netem, error) {
	var n Netem
	err := with(d, func(l *link) error {
		q, err := l.netem()
		if err != nil {
			return err
		}
		o, err := parseOptions(q.options)
		n = o.netem()
		return err
	})
	if err != nil {
		return Netem{}, fmt.Errorf("read netem on %s: %w", d, err)
	}
	return n, nil
}

// ReadStats reads the counters of the netem on d. If there is none it is
// [ErrNotNetem].
func ReadStats(d netdev.Device) (netdev.Stats, error) {
	var s netdev.Stats
	err := with(d, func(l *link) error {
		q, err := l.netem()
		s = q.stats
		return err
	})
	if err != nil {
		return netdev.Stats{}, fmt.Errorf("read statistics of netem on %s: %w", d, err)
	}
	return s, nil
}

func with(d netdev.Device, f func(*link) error) error {
	if err := d.Validate(); err != nil {
		return err
	}
	l, err := open(d)
	if err != nil {
		return err
	}
	defer l.close()
	return f(l)
}

// A link is a netlink socket in a device's namespace.
type link struct {
	*netlink.Conn
	index int32
}

// From linux/rtnetlink.h, linux/pkt_sched.h, linux/gen_stats.h.
const (
	netemKind = "netem"

	attrKind    = 1 // TCA_KIND
	attrOptions = 2 // TCA_OPTIONS
	attrStats2  = 7 // TCA_STATS2

	attrStatsBasic = 1 // TCA_STATS_BASIC: struct gnet_stats_basic
	attrStatsQueue = 3 // TCA_STATS_QUEUE: struct gnet_stats_queue
	attrStatsApp   = 4 // TCA_STATS_APP: struct tc_netem_xstats, since Linux 7.2
	attrStatsPkt64 = 8 // TCA_STATS_PKT64: u64, where BASIC's 32 bits do not do

	handleRoot = math.MaxUint32 // TC_H_ROOT
)

type tcmsg struct {
	Family uint32 // and three bytes of padding
	Index  int32
	Handle uint32
	Parent uint32
	Info   uint32
}

const tcmsgSize = 20

type ifinfomsg struct {
	Family uint8
	_      uint8
	Type   uint16
	Index  int32
	Flags  uint32
	Change uint32
}

const ifinfomsgSize = 16

func open(d netdev.Device) (*link, error) {
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{NetNS: d.NetNS})
	if err != nil {
		return nil, translate(err)
	}
	// The kernel's reason for an error. Without it (before 4.12) there is the number.
	_ = conn.SetOption(netlink.ExtendedAcknowledge, true)
	l := &link{Conn: conn}
	if err := l.find(d); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

// close closes the socket. Its error says nothing new.
func (l *link) close() { _ = l.Close() }

// find looks up the device, and checks that name and index belong together.
func (l *link) find(d netdev.Device) error {
	data := pack(ifinfomsg{Index: int32(d.Index)})
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
		return translate(err)
	}
	if len(answer) != 1 {
		return fmt.Errorf("look up: %d answers, want 1", len(answer))
	}
	name, index, err := parseLink(answer[0].Data)
	if err != nil {
		return err
	}
	if err := d.CheckName(name); err != nil {
		return err
	}
	l.index = index
	return nil
}

// parseLink reads an RTM_NEWLINK.
func parseLink(data []byte) (name string, index int32, err error) {
	var m ifinfomsg
	if err := unpack("struct ifinfomsg", data, &m); err != nil {
		return "", 0, err
	}
	ad, err := netlink.NewAttributeDecoder(data[ifinfomsgSize:])
	if err != nil {
		return "", 0, fmt.Errorf("link: %w", err)
	}
	for ad.Next() {
		if ad.Type() == unix.IFLA_IFNAME {
			name = ad.String()
		}
	}
	if err := ad.Err(); err != nil {
		return "", 0, fmt.Errorf("link: %w", err)
	}
	return name, m.Index, nil
}

// replaceQdisc makes a new root qdisc.
func (l *link) replaceQdisc(options []byte) error {
	list, err := l.qdiscs()
	if err != nil {
		return err
	}
	if slices.ContainsFunc(list, func(q qdisc) bool { return q.kind == netemKind }) {
		// Some kernels (Debian's 6.1.192 is one) refuse a second netem on a device
		// if either of them duplicates ("cannot mix duplicating netems"), and the
		// old one is still there when the new one is made. The blackhole takes its
		// place meanwhile: better to lose what comes then, like what was queued,
		// than to let it pass.
		if err := l.createQdisc("blackhole", freeHandle(list), nil); err != nil {
			return fmt.Errorf("take the old one away: %w", err)
		}
		if list, err = l.qdiscs(); err != nil {
			return err
		}
	}
	if err := l.createQdisc(netemKind, freeHandle(list), options); err != nil {
		// Whatever it is, the device is not left with a blackhole.
		if slices.ContainsFunc(list, func(q qdisc) bool { return q.kind == "blackhole" }) {
			err = errors.Join(err, l.delQdisc())
		}
		return err
	}
	return nil
}

// createQdisc replaces the root qdisc. Without a handle of its own the new one
// would be a change of the old one, if they are of a kind (tc_modify_qdisc).
func (l *link) createQdisc(kind string, handle uint32, options []byte) error {
	return l.newQdisc(netlink.Create|netlink.Replace|netlink.Excl, kind, handle, options)
}

// freeHandle is the least handle, from 1:0, that no qdisc of the device has.
func freeHandle(list []qdisc) uint32 {
	const major = 1 << 16
	handle := uint32(major)
	for slices.ContainsFunc(list, func(q qdisc) bool { return q.handle == handle }) {
		handle += major
	}
	return handle
}

func (l *link) changeQdisc(options []byte) error {
	q, err := l.netem()
	if err != nil {
		return err
	}
	return l.newQdisc(0, netemKind, q.handle, options)
}

func (l *link) newQdisc(flags netlink.HeaderFlags, kind string, handle uint32, options []byte) error {
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
		Data:   append(pack(tcmsg{Index: l.index, Handle: handle, Parent: handleRoot}), attributes...),
	})
	// An unknown kind is ENOENT; a kernel without any qdiscs does not know the message.
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("%w (%w)", ErrNoNetem, err)
	}
	return translate(err)
}

func (l *link) delQdisc() error {
	_, err := l.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_DELQDISC, Flags: netlink.Request | netlink.Acknowledge},
		Data:   pack(tcmsg{Index: l.index, Parent: handleRoot}),
	})
	return translate(err)
}

// A qdisc is one line of tc qdisc show.
type qdisc struct {
	kind           string
	index          int32
	handle, parent uint32
	options        []byte
	stats          netdev.Stats
}

// netem returns the root qdisc if it is one.
func (l *link) netem() (qdisc, error) {
	q, err := l.root()
	if err == nil && q.kind != netemKind {
		err = notNetem(q)
	}
	return q, err
}

func notNetem(q qdisc) error {
	if q.kind == "" {
		return fmt.Errorf("%w: there is none", ErrNotNetem)
	}
	return fmt.Errorf("%w: it is %s", ErrNotNetem, q.kind)
}

// root returns the device's root qdisc, and a zero one if none is reported.
func (l *link) root() (qdisc, error) {
	list, err := l.qdiscs()
	if i := slices.IndexFunc(list, func(q qdisc) bool { return q.parent == handleRoot }); i >= 0 {
		return list[i], err
	}
	return qdisc{}, err
}

// qdiscs lists the device's qdiscs.
func (l *link) qdiscs() ([]qdisc, error) {
	// A dump that others disturb is started again. They cannot do so for ever:
	// each time needs a qdisc of this namespace to be made or removed meanwhile.
	const attempts = 10
	for range attempts {
		answer, err := l.Execute(netlink.Message{
			Header: netlink.Header{Type: unix.RTM_GETQDISC, Flags: netlink.Request | netlink.Dump},
			Data:   pack(tcmsg{Index: l.index}),
		})
		if err != nil {
			return nil, translate(err)
		}
		list, disturbed, err := parseDump(answer, l.index)
		if err != nil || !disturbed {
			return list, err
		}
	}
	return nil, fmt.Errorf("the list of qdiscs was changed during each of %d attempts to read it", attempts)
}

// parseDump picks one device's qdiscs from a dump, which is of all devices.
func parseDump(dump []netlink.Message, index int32) (list []qdisc, disturbed bool, err error) {
	for _, m := range dump {
		if m.Header.Flags&netlink.DumpInterrupted != 0 {
			return nil, true, nil
		}
		q, err := parseQdisc(m.Data)
		if err != nil {
			return nil, false, err
		}
		if q.index == index {
			list = append(list, q)
		}
	}
	return list, false, nil
}

// parseQdisc reads an RTM_NEWQDISC.
func parseQdisc(data []byte) (qdisc, error) {
	var m tcmsg
	if err := unpack("struct tcmsg", data, &m); err != nil {
		return qdisc{}, err
	}
	q := qdisc{index: m.Index, handle: m.Handle, parent: m.Parent}
	ad, err := netlink.NewAttributeDecoder(data[tcmsgSize:])
	if err != nil {
		return qdisc{}, fmt.Errorf("qdisc: %w", err)
	}
	for ad.Next() {
		switch ad.Type() {
		case attrKind:
			q.kind = ad.String()
		case attrOptions:
			q.options = ad.Bytes()
		case attrStats2:
			if q.stats, err = parseStats(ad.Bytes()); err != nil {
				return qdisc{}, err
			}
		}
	}
	if err := ad.Err(); err != nil {
		return qdisc{}, fmt.Errorf("qdisc: %w", err)
	}
	return q, nil
}

// parseStats reads TCA_STATS2.
func parseStats(data []byte) (netdev.Stats, error) {
	var s netdev.Stats
	ad, err := netlink.NewAttributeDecoder(data)
	if err != nil {
		return netdev.Stats{}, fmt.Errorf("TCA_STATS2: %w", err)
	}
	var packets64 uint64
	for ad.Next() {
		switch ad.Type() {
		case attrStatsBasic:
			var basic struct {
				Bytes   uint64
				Packets uint32
			}
			err = unpack("struct gnet_stats_basic", ad.Bytes(), &basic)
			s.Bytes, s.Packets = basic.Bytes, uint64(basic.Packets)
		case attrStatsPkt64:
			err = unpack("TCA_STATS_PKT64", ad.Bytes(), &packets64)
		case attrStatsApp:
			s.Injected = &netdev.Injected{}
			err = unpack("struct tc_netem_xstats", ad.Bytes(), s.Injected)
		case attrStatsQueue:
			var queue struct{ Length, Backlog, Drops, Requeues, Overlimits uint32 }
			err = unpack("struct gnet_stats_queue", ad.Bytes(), &queue)
			s.Length, s.Backlog = uint64(queue.Length), uint64(queue.Backlog)
			s.Drops, s.Requeues, s.Overlimits = uint64(queue.Drops), uint64(queue.Requeues), uint64(queue.Overlimits)
		}
		if err != nil {
			return netdev.Stats{}, err
		}
	}
	if err := ad.Err(); err != nil {
		return netdev.Stats{}, fmt.Errorf("TCA_STATS2: %w", err)
	}
	s.Packets = max(s.Packets, packets64)
	return s, nil
}

// translate adds what the package promises to say about an error.
func translate(err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return fmt.Errorf("%w (%w)", ErrNotPermitted, err)
	}
	return err
}
