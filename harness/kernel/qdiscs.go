package kernel

import (
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/netns/netdev"
)

// ErrNoQdisc says that a device has no root qdisc.
var ErrNoQdisc = errors.New("no qdisc at the root of the device")

// A Qdisc is a queueing discipline and what it has counted since it was made
// (tc -s qdisc show).
type Qdisc struct {
	Device       string `json:"device"`
	Kind         string `json:"kind"` // "netem", "noqueue", "fq_codel"
	Handle       string `json:"handle"`
	Parent       string `json:"parent"` // "root" for the one that a device's packets enter
	netdev.Stats        // its Packets are modulo 2^32, and it never has Injected: impair.ReadStats gives both

	// Options are the library's ([netlink.Qdisc]) for the kinds that it knows.
	Options netlink.Qdisc `json:"-"`
}

// ReadQdiscs lists the qdiscs of all devices of the network namespace that in enters, or
// of the calling thread's if in is nil, in the kernel's order.
func ReadQdiscs(in Runner) ([]Qdisc, error) {
	h, err := openRoute(in)
	if err != nil {
		return nil, fmt.Errorf("read qdiscs: %w", err)
	}
	defer h.Close()
	links, err := h.LinkList()
	if err != nil {
		return nil, fmt.Errorf("read qdiscs: list devices: %w", err)
	}
	names := make(map[int]string, len(links))
	for _, link := range links {
		names[link.Attrs().Index] = link.Attrs().Name
	}
	list, err := listQdiscs(h, nil)
	if err != nil {
		return nil, fmt.Errorf("read qdiscs: %w", err)
	}
	qdiscs := make([]Qdisc, len(list))
	for i, q := range list {
		attrs := q.Attrs()
		qdiscs[i] = Qdisc{
			Device: names[attrs.LinkIndex], Kind: q.Type(), Options: q, Stats: qdiscStats(attrs),
			Handle: netlink.HandleStr(attrs.Handle), Parent: netlink.HandleStr(attrs.Parent),
		}
	}
	return qdiscs, nil
}

// openRoute opens rtnetlink in a namespace, where it stays.
func openRoute(in Runner) (*netlink.Handle, error) {
	var h *netlink.Handle
	open := func() (err error) {
		h, err = netlink.NewHandle(unix.NETLINK_ROUTE)
		return err
	}
	var err error
	if in != nil {
		err = in.Do(open)
	} else {
		err = open()
	}
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	return h, nil
}

// listQdiscs asks again when a qdisc came or went meanwhile.
func listQdiscs(h *netlink.Handle, link netlink.Link) ([]netlink.Qdisc, error) {
	const tries = 10
	var err error
	for range tries {
		var list []netlink.Qdisc
		if list, err = h.QdiscList(link); err == nil || !errors.Is(err, netlink.ErrDumpInterrupted) {
			return list, err
		}
	}
	return nil, fmt.Errorf("%d tries: %w", tries, err)
}

func qdiscStats(attrs *netlink.QdiscAttrs) netdev.Stats {
	if attrs.Statistics == nil {
		return netdev.Stats{}
	}
	basic, queue := attrs.Statistics.Basic, attrs.Statistics.Queue
	return netdev.Stats{
		Bytes: basic.Bytes, Packets: uint64(basic.Packets), Drops: uint64(queue.Drops), Overlimits: uint64(queue.Overlimits),
		Requeues: uint64(queue.Requeues), Backlog: uint64(queue.Backlog), Length: uint64(queue.Qlen),
	}
}

// A QdiscSample is a qdisc's counters at a time.
type QdiscSample struct {
	At time.Duration `json:"at_ns"` // when it was read, as of an [Event]
	netdev.Stats
}

// StartSamplingQdisc reads the counters of a device's root qdisc at once and then once
// each period of a millisecond or more. It is the device that it follows: if its
// qdisc is replaced, the counters begin at zero again.
//
// The errors to expect are [netdev.ErrNoDevice] and [ErrNoQdisc].
func StartSamplingQdisc(in Runner, device string, period time.Duration) (*Sampler[QdiscSample], error) {
	what := "sample the qdisc of " + device
	if err := checkPeriod(period); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	h, err := openRoute(in)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	link, err := h.LinkByName(device)
	if err != nil {
		h.Close()
		return nil, fmt.Errorf("%s: %w (%w)", what, netdev.ErrNoDevice, err)
	}
	return startSampler(what, period, func() (QdiscSample, error) { return sampleRoot(h, link) }, h.Close)
}

func sampleRoot(h *netlink.Handle, link netlink.Link) (QdiscSample, error) {
	at, err := monotonic()
	if err != nil {
		return QdiscSample{}, err
	}
	list, err := listQdiscs(h, link)
	if err != nil {
		return QdiscSample{}, err
	}
	for _, q := range list {
		if attrs := q.Attrs(); attrs.Parent == netlink.HANDLE_ROOT {
			return QdiscSample{at, qdiscStats(attrs)}, nil
		}
	}
	return QdiscSample{}, ErrNoQdisc
}
