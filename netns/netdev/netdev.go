// Package netdev names the end of a link: a network device in a namespace, which is what an impairment or a set of rules
// acts on, and what a capture records. [Stats] is what its queue has counted.
//
// It needs nothing, and does nothing: package impair and its like do.
package netdev

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/harness/invalid"
)

// ErrNoDevice means that the namespace has no such device. It is wrapped: use errors.Is.
var ErrNoDevice = errors.New("no such device in this namespace")

// Device is a network device.
type Device struct {
	// NetNS is a file descriptor of the device's network namespace. 0 is the
	// namespace of the calling thread: lock the goroutine to its thread if that
	// matters. A negative one, of a handle that was closed or never opened, is
	// refused.
	NetNS int

	// Name or Index, or both (they must be of one device).
	Name  string // 1 to 15 bytes
	Index int    // in its namespace, from 1
}

// String is the name, or else "index 7".
func (d Device) String() string {
	if d.Name == "" {
		return fmt.Sprintf("index %d", d.Index)
	}
	return d.Name
}

// Validate returns what is wrong with d: an [*invalid.FieldError] for each field, joined; nil if it is valid. It does
// not check that the device exists.
func (d Device) Validate() error {
	var errs []error
	refuse := func(field string, value any, allowed string) {
		errs = append(errs, &invalid.FieldError{Field: "Device." + field, Value: value, Allowed: "want " + allowed})
	}
	if d.NetNS < 0 {
		refuse("NetNS", d.NetNS, "an open file descriptor of a namespace, or 0 for that of the calling thread")
	}
	if d.Name == "" && d.Index == 0 {
		refuse("Name", `""`, "a name, or an Index")
	}
	if len(d.Name) >= unix.IFNAMSIZ || strings.ContainsRune(d.Name, 0) {
		refuse("Name", d.Name, fmt.Sprintf("a name of 1 to %d bytes", unix.IFNAMSIZ-1))
	}
	if d.Index < 0 || d.Index > math.MaxInt32 {
		refuse("Index", d.Index, fmt.Sprintf("0 to %d", math.MaxInt32))
	}
	return errors.Join(errs...)
}

// CheckName refuses a Name that is not what the device of the Index is called, with an [*invalid.FieldError].
func (d Device) CheckName(found string) error {
	if d.Name == "" || d.Name == found {
		return nil
	}
	return &invalid.FieldError{
		Field: "Device.Name", Value: d.Name, Allowed: fmt.Sprintf("want %s, the name of index %d, or no Index", found, d.Index),
	}
}

// Stats are the counters of a queueing discipline since it was made (struct gnet_stats_basic and gnet_stats_queue,
// include/uapi/linux/gen_stats.h).
type Stats struct {
	Bytes   uint64 `json:"bytes"`   // of the packets that left, Ethernet headers included
	Packets uint64 `json:"packets"` // that left, of netem those included that it has duplicated

	// Drops counts packets. Of netem they were lost, or over the limit; before
	// Linux 7.2 also those that were marked and not dropped (ECN).
	Drops      uint64 `json:"drops"`
	Overlimits uint64 `json:"overlimits"` // what that is depends on the kind; netem leaves it 0
	Requeues   uint64 `json:"requeues"`   // packets that the device sent back, and in netem those that Reorder did not delay

	Backlog uint64 `json:"backlog"` // bytes that wait now
	Length  uint64 `json:"length"`  // packets that wait now

	// Injected are netem's own counters of what it did to packets; nil before Linux 7.2, which has none, and for
	// other qdiscs.
	Injected *Injected `json:"injected,omitempty"`
}

// Injected is the kernel's struct tc_netem_xstats: how many packets netem has impaired, and how.
type Injected struct {
	Delayed    uint64 `json:"delayed"`
	Lost       uint64 `json:"lost"` // by the loss model, not by the limit
	Corrupted  uint64 `json:"corrupted"`
	Duplicated uint64 `json:"duplicated"`
	Reordered  uint64 `json:"reordered"`
	Marked     uint64 `json:"marked"` // CE instead of lost
	Failed     uint64 `json:"failed"` // to be impaired: the kernel had no memory
}
