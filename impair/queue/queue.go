package queue

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/tcplab/tcplab/harness/invalid"
	"github.com/tcplab/tcplab/impair"
)

// A Queue is where packets wait that leave through a device: what sends them at a rate, and which of them are sent, dropped or marked.
type Queue struct {
	// Bottleneck is a rate that the device has not by itself. The zero value is none: then only [FQ] (pacing) and [Cake] (which has a rate
	// of its own) ever make a packet wait on a veth, which takes any number at once.
	Bottleneck Bottleneck

	// Discipline is one of [DropTail], [FQ], [CoDel], [FQCoDel], [PIE], [RED], [Cake], [DualPI2], a value of it.
	Discipline Discipline
}

// A Discipline says which packet leaves a queue next, and which of them never do. The zero value of each is the kernel's default.
type Discipline interface {
	// Kind is the kernel's name of it: "fq_codel".
	Kind() string
	// String is like the options of tc(8): "fq_codel limit 1000 target 5ms noecn". What is not set is not in it.
	fmt.Stringer
	// Validate returns what is wrong with it: an [*invalid.FieldError] for each field, joined; nil if all is well.
	Validate() error

	form() form
}

// A form is a discipline as it goes to the kernel, and comes back from it. It is of a copy, which decode changes.
type form interface {
	// options encodes TCA_OPTIONS; nil leaves all to the kernel.
	encode() ([]byte, error)
	// decode reads TCA_OPTIONS as the kernel dumps it.
	decode(data []byte) error
	// differences says what the kernel has otherwise than it was sent, beyond its resolution: "Limit: sent 5, got 6".
	differences(sent, got []byte) ([]string, error)
	// discipline is the copy as it is now.
	discipline() Discipline
	// chosen are notes on what was not asked for, and sent.
	chosen() []string
}

// Bottleneck sends at a rate, by a token bucket (tbf): after a pause up to Burst bytes go at once.
type Bottleneck struct {
	// BitsPerSecond counts the bytes of the frame, Ethernet header included: 0 (no bottleneck), or 8 to 400 Gbit/s.
	BitsPerSecond int64 `json:"rate_bit_per_s,omitempty"`

	// Burst is the size of the bucket, in bytes: at least a frame of the device's MTU (the kernel drops what is larger), at most 256 MB.
	// 0 takes two frames, or what goes in a millisecond if that is more: with one frame the time by which a timer is late would be lost.
	Burst int `json:"burst_bytes,omitempty"`
}

const (
	maxRate  = 400_000_000_000
	maxBurst = 256 << 20
)

// Validate returns what is wrong with q: an [*invalid.FieldError] for each field, joined; nil if all is well.
func (q Queue) Validate() error {
	var c checker
	c.rate("Bottleneck.BitsPerSecond", q.Bottleneck.BitsPerSecond)
	if b := q.Bottleneck.Burst; b < 0 || b > maxBurst {
		c.refuse("Bottleneck.Burst", b, fmt.Sprintf("0 to %d bytes", maxBurst))
	} else if b > 0 && q.Bottleneck.BitsPerSecond == 0 {
		c.refuse("Bottleneck.Burst", b, "0 without Bottleneck.BitsPerSecond")
	}
	kind := q.kind()
	if !slices.Contains(kinds(), kind) {
		c.refuse("Discipline", fmt.Sprintf("%T", q.Discipline), "a value (not a pointer) of DropTail, FQ, CoDel, FQCoDel, PIE, RED, Cake or DualPI2")
		return errors.Join(c.errs...)
	}
	if kind == (Cake{}).Kind() && q.Bottleneck != (Bottleneck{}) {
		c.refuse("Bottleneck", q.Bottleneck.String(), "none with Cake, which shapes by itself: Cake.BitsPerSecond. Below a token bucket it would not know its rate")
	}
	return errors.Join(append(c.errs, q.Discipline.Validate())...)
}

// kind is that of the discipline; "" if it is none of this package's.
func (q Queue) kind() string {
	switch q.Discipline.(type) { // a pointer has the methods of its value, and is none of these
	case DropTail, FQ, CoDel, FQCoDel, PIE, RED, Cake, DualPI2:
		return q.Discipline.Kind()
	}
	return ""
}

// String is like the options of tc(8), from the root down: "tbf rate 20Mbit burst 3028, fq_codel target 5ms".
func (q Queue) String() string {
	if q.Discipline == nil {
		return q.Bottleneck.String()
	}
	if q.Bottleneck == (Bottleneck{}) {
		return q.Discipline.String()
	}
	return q.Bottleneck.String() + ", " + q.Discipline.String()
}

// String is like tc's "tbf rate 20Mbit burst 3028"; "" without a rate.
func (b Bottleneck) String() string {
	if b == (Bottleneck{}) {
		return ""
	}
	text := "tbf " + rateText(b.BitsPerSecond)
	if b.Burst > 0 {
		text += fmt.Sprintf(" burst %d", b.Burst)
	}
	return text
}

// rateText is like tc's "rate 20Mbit".
func rateText(bits int64) string { return impair.Rate{BitsPerSecond: bits}.String() }

// queueJSON is the format of a Queue: names are added, never changed.
type queueJSON struct {
	Bottleneck Bottleneck      `json:"bottleneck,omitzero"`
	Kind       string          `json:"kind"`
	Options    json.RawMessage `json:"options,omitempty"`
}

// MarshalJSON writes the kind of the discipline, and those of its fields that are not zero: durations in nanoseconds, rates as bits per
// second.
func (q Queue) MarshalJSON() ([]byte, error) {
	if q.kind() == "" {
		return nil, fmt.Errorf("queue: no JSON of a discipline %T: want a value of this package's", q.Discipline)
	}
	options, err := json.Marshal(q.Discipline)
	if err != nil {
		return nil, err
	}
	if string(options) == "{}" {
		options = nil
	}
	return json.Marshal(queueJSON{q.Bottleneck, q.Discipline.Kind(), options})
}

// UnmarshalJSON reads what MarshalJSON writes. It does not validate.
func (q *Queue) UnmarshalJSON(data []byte) error {
	var read queueJSON
	if err := json.Unmarshal(data, &read); err != nil {
		return err
	}
	f := formOf(read.Kind)
	if f == nil {
		return fmt.Errorf("queue: kind %q: want one of %v", read.Kind, kinds())
	}
	if read.Options != nil {
		if err := json.Unmarshal(read.Options, f); err != nil {
			return fmt.Errorf("queue: %s: %w", read.Kind, err)
		}
	}
	q.Bottleneck, q.Discipline = read.Bottleneck, f.discipline()
	return nil
}

// A checker gathers what is wrong.
type checker struct {
	errs []error
}

func (c *checker) refuse(field string, value any, allowed string) {
	c.errs = append(c.errs, &invalid.FieldError{Of: "queue", Field: field, Value: value, Allowed: "want " + allowed})
}

func (c *checker) rate(field string, bits int64) {
	if bits != 0 && (bits < 8 || bits > maxRate) {
		c.refuse(field, bits, fmt.Sprintf("0 (none), or 8 to %d bit/s: the kernel counts whole bytes per second", maxRate))
	}
}
