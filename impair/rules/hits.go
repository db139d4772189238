package rules

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"
)

// A Hit is one packet that a rule acted on.
type Hit struct {
	// Time is when the packet was offered to the link: before the action, before netem. It is of the clock that
	// captures are stamped with. JSON does not have it: who writes hits says since when they count.
	Time   time.Time `json:"-"`
	Rule   string    `json:"rule"`
	Action string    `json:"action"`
	// Number is the packet's number of its kind in its conversation, where the rule asks for numbers; 0 is a
	// retransmission, of a rule for several segments.
	Number uint32 `json:"number,omitempty"`
	// Done is false if there was nothing to do, and the packet passed as it was: MarkCE and Bleach found one that is not
	// ECN-capable, ClearFlags one without these flags.
	Done bool `json:"done"`
	// Length of the frame in bytes, Packet the first SnapLength of them, as they were offered: the checksum of a
	// local TCP is not filled in yet.
	Length uint32 `json:"length"`
	Packet Bytes  `json:"packet"`
}

// does reports whether the action changes such a packet.
func (a Action) does(r *report) bool {
	switch a.verb {
	case verbMarkCE, verbBleach:
		return r.ECN != 0
	case verbClearFlags:
		return Flags(r.Flags)&a.flags != 0
	}
	return true
}

// Dropped reports whether the packet was dropped.
func (h Hit) Dropped() bool { return h.Action == verbDrop.String() }

// Offered is one packet that was offered to the link while the set was traced, before rules and netem.
type Offered struct {
	Time   time.Time `json:"time"`
	Rule   string    `json:"rule,omitempty"` // the rule that acted on it, if any
	Length uint32    `json:"length"`
	Packet Bytes     `json:"packet"`
}

// Bytes are written in hex.
type Bytes []byte

// MarshalText is hex, lower case.
func (b Bytes) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, b), nil }

// UnmarshalText is the inverse of MarshalText.
func (b *Bytes) UnmarshalText(text []byte) (err error) {
	*b, err = hex.AppendDecode(nil, text)
	return err
}

// A reporter reads the ring in a goroutine of its own. The program wakes it when the ring is half full; in between it
// sleeps, until collect asks for what is there.
type reporter struct {
	ring   *ringbuf.Reader
	offset time.Duration // TAI less UTC
	done   chan struct{}

	collecting sync.Mutex // one collect at a time
	collected  chan error

	mu      sync.Mutex
	reports []report
}

func startReporter(ring *ebpf.Map) (*reporter, error) {
	offset, err := taiOffset()
	if err != nil {
		return nil, err
	}
	reader, err := ringbuf.NewReader(ring)
	if err != nil {
		return nil, fmt.Errorf("open the ring of hits: %w", err)
	}
	r := &reporter{ring: reader, offset: offset, done: make(chan struct{}), collected: make(chan error)}
	go r.run()
	return r, nil
}

// taiOffset is by how much the kernel's TAI is ahead of its UTC: whole seconds, and 0 unless somebody has told it. The
// program has no helper for UTC.
func taiOffset() (time.Duration, error) {
	var utc, tai unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_REALTIME, &utc); err != nil {
		return 0, fmt.Errorf("read the clock: %w", err)
	}
	if err := unix.ClockGettime(unix.CLOCK_TAI, &tai); err != nil {
		return 0, fmt.Errorf("read the clock: %w", err)
	}
	return time.Duration(tai.Nano() - utc.Nano()).Round(time.Second), nil
}

func (r *reporter) run() {
	defer close(r.done)
	var record ringbuf.Record
	for {
		switch err := r.ring.ReadInto(&record); {
		case errors.Is(err, ringbuf.ErrFlushed):
			r.collected <- nil
		case errors.Is(err, os.ErrClosed):
			return
		case err != nil:
			r.collected <- fmt.Errorf("read the ring of hits: %w", err)
		default:
			one, err := parseReport(record.RawSample)
			if err != nil {
				r.collected <- fmt.Errorf("read the ring of hits: %w", err)
				continue
			}
			r.mu.Lock()
			r.reports = append(r.reports, one)
			r.mu.Unlock()
		}
	}
}

func parseReport(sample []byte) (one report, err error) {
	if _, err := binary.Decode(sample, binary.NativeEndian, &one); err != nil {
		return report{}, fmt.Errorf("a report of %d bytes: %w", len(sample), err)
	}
	return one, nil
}

// collect returns all reports since the start, in the order in which they were made.
func (r *reporter) collect() ([]report, error) {
	r.collecting.Lock()
	defer r.collecting.Unlock()
	if err := r.ring.Flush(); err != nil {
		return nil, fmt.Errorf("read the ring of hits: %w", err)
	}
	select {
	case err := <-r.collected:
		if err != nil {
			return nil, err
		}
	case <-r.done:
		return nil, errClosed
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reports[:len(r.reports):len(r.reports)], nil
}

func (r *reporter) close() error {
	err := r.ring.Close()
	<-r.done
	return err
}

func (r *reporter) time(one report) time.Time {
	return time.Unix(0, int64(one.Time)).Add(-r.offset).UTC()
}

func (one *report) packet() Bytes {
	return append(Bytes(nil), one.Data[:min(one.Captured, SnapLength)]...)
}
