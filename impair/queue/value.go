package queue

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"time"
)

// An option is one field of a discipline.
type option struct {
	field     string // of the struct
	word      string // of tc(8); of a toggle both, with | between them; of a word none, which is its own
	attribute uint16 // in TCA_OPTIONS, by include/uapi/linux/pkt_sched.h
	value
}

// A value is a field's, and how it goes to the kernel.
type value struct {
	size    int // of the attribute, in bytes: 1, 4 or 8
	isSet   func() bool
	wrong   func() bool // of one that is set
	allowed string
	get     func() uint64 // in the kernel's unit
	put     func(uint64)
	text    func() string // as tc reads it
	show    func(uint64) string
	// same tells whether the kernel's number, if it is another one, is what becomes of the one that was sent. Nil: it is not.
	same func(sent, got uint64) bool
	why  string // what same lets pass, for a note
}

// field is a value of a comparable type.
func field[T comparable](at *T, size int, allowed string, wrong func(T) bool, to func(T) uint64, from func(uint64) T) value {
	var zero T
	return value{
		size:    size,
		isSet:   func() bool { return *at != zero },
		wrong:   func() bool { return wrong(*at) },
		allowed: allowed,
		get:     func() uint64 { return to(*at) },
		put:     func(v uint64) { *at = from(v) },
		text:    func() string { return fmt.Sprint(*at) },
		show:    func(v uint64) string { return fmt.Sprint(from(v)) },
	}
}

func number(at *int, least, most int, unit string) value {
	return field(at, 4, strings.TrimSpace(fmt.Sprintf("0 (as the kernel has it), or %d to %d %s", least, most, unit)),
		func(v int) bool { return v < least || v > most },
		func(v int) uint64 { return uint64(v) },
		func(v uint64) int { return int(v) })
}

// signed is a number that can be below 0.
func signed(at *int, least, most int, unit string) value {
	v := number(at, least, most, unit)
	v.get = func() uint64 { return uint64(uint32(int32(*at))) }
	v.put = func(got uint64) { *at = int(int32(got)) }
	v.show = func(got uint64) string { return strconv.Itoa(int(int32(got))) }
	return v
}

// small is a value of one byte.
func small(v value) value {
	v.size = 1
	return v
}

// power is a power of two up to 2^most, of which the kernel has the exponent.
func power(at *int, most int) value {
	return field(at, 4, fmt.Sprintf("0 (as the kernel has it), or a power of two, 1 to %d", 1<<most),
		func(v int) bool { return v < 1 || v > 1<<most || v&(v-1) != 0 },
		func(v int) uint64 { return uint64(bits.TrailingZeros(uint(v))) },
		func(v uint64) int { return 1 << min(v, 62) })
}

// rate is in bit/s, of which the kernel has whole bytes per second, in 4 or 8 bytes.
func rate(at *int64, size int, most int64) value {
	v := field(at, size, fmt.Sprintf("0 (none), or 8 to %d bit/s", most),
		func(v int64) bool { return v < 8 || v > most },
		func(v int64) uint64 { return uint64(v / 8) },
		func(v uint64) int64 { return int64(min(v, math.MaxInt64/8) * 8) })
	v.text = func() string { return strings.TrimPrefix(rateText(*at), "rate ") }
	v.why = "the kernel counts whole bytes per second"
	return v
}

// unit is a time of which the kernel has whole units.
func unit(at *time.Duration, of, most time.Duration) value {
	v := field(at, 4, fmt.Sprintf("0 (as the kernel has it), or %v to %v", of, most),
		func(v time.Duration) bool { return v < of || v > most },
		func(v time.Duration) uint64 { return uint64(v / of) },
		func(v uint64) time.Duration { return time.Duration(v) * of })
	v.text = func() string { return tcTime(*at) }
	v.why = fmt.Sprintf("the kernel is told whole multiples of %v", of)
	return v
}

func micros(at *time.Duration, most time.Duration) value { return unit(at, time.Microsecond, most) }

func nanos(at *time.Duration, most time.Duration) value { return unit(at, time.Nanosecond, most) }

// tcTime is a time as tc reads it: "1.5ms", never "1m30s".
func tcTime(d time.Duration) string {
	for _, u := range []struct {
		size time.Duration
		name string
	}{{time.Second, "s"}, {time.Millisecond, "ms"}, {time.Microsecond, "us"}} {
		if d >= u.size {
			return strconv.FormatFloat(float64(d)/float64(u.size), 'f', -1, 64) + u.name
		}
	}
	return strconv.FormatInt(int64(d), 10) + "ns"
}

// codelTime is kept in units of 1.024 µs (CODEL_SHIFT), and told in whole microseconds.
func codelTime(at *time.Duration) value {
	v := micros(at, maxCoDel)
	v.same = func(sent, got uint64) bool { return sent*1000>>10<<10/1000 == got }
	v.why = "the kernel counts in 1.024 µs"
	return v
}

// ticks is kept in units of 64 ns (PSCHED_SHIFT), and told in whole microseconds.
func ticks(at *time.Duration, most time.Duration) value {
	v := micros(at, most)
	v.same = func(sent, got uint64) bool { return sent*1000>>6<<6/1000 == got }
	v.why = "the kernel counts in 64 ns"
	return v
}

// slowestTick is a jiffy with CONFIG_HZ=100.
const slowestTick = 10_000

// jiffies is kept in whole jiffies, rounded up, and told in microseconds.
func jiffies(at *time.Duration, most time.Duration) value {
	v := micros(at, most)
	v.same = func(sent, got uint64) bool { return got >= sent && got < sent+slowestTick }
	v.why = "the kernel counts in ticks of its timer, 1 to 10 ms"
	return v
}

// hertz is in 1/256 Hz, which the kernel scales: one step may be lost.
func hertz(at *float64) value {
	const steps, most = 256, 1<<31 - 1
	v := field(at, 4, "0 (as the kernel has it), or 0.00390625 to 8388607 Hz",
		func(v float64) bool { return !(v*steps >= 1 && v*steps <= most) },
		func(v float64) uint64 { return uint64(math.Round(v * steps)) },
		func(v uint64) float64 { return float64(v) / steps })
	v.same = func(sent, got uint64) bool { return got == sent || got+1 == sent }
	v.why = "the kernel counts in 1/256 Hz"
	return v
}

// toggle is a Switch.
func toggle(at *Switch, size int) value {
	return field(at, size, "On or Off, or none of them",
		func(v Switch) bool { return v != On && v != Off },
		func(v Switch) uint64 {
			if v == On {
				return 1
			}
			return 0
		},
		func(v uint64) Switch {
			if v != 0 {
				return On
			}
			return Off
		})
}

// ectMask is DualPI2's mask: which ECN fields go into the L4S queue.
func ectMask(at *Switch) value {
	const l4s, any = 1, 3
	v := toggle(at, 1)
	v.get = func() uint64 {
		if *at == On {
			return any
		}
		return l4s
	}
	v.put = func(got uint64) {
		*at = Off
		if got == any {
			*at = On
		}
	}
	v.show = func(got uint64) string { return fmt.Sprint(got) }
	return v
}

// word is one of these, of which the kernel has the number.
func word(at *string, words ...string) value {
	return field(at, 4, "one of "+strings.Join(words, ", "),
		func(v string) bool { return !slices.Contains(words, v) },
		func(v string) uint64 { return uint64(slices.Index(words, v)) },
		func(v uint64) string {
			if v >= uint64(len(words)) {
				return fmt.Sprint(v)
			}
			return words[v]
		})
}

// String is how tc writes it.
func (o option) String() string {
	switch on, off, isToggle := strings.Cut(o.word, "|"); {
	case isToggle && o.text() == string(On):
		return on
	case isToggle:
		return off
	case o.word == "":
		return o.text()
	}
	return o.word + " " + o.text()
}

func (o option) bytes() []byte {
	switch v := o.get(); o.size {
	case 1:
		return []byte{byte(v)}
	case 4:
		return binary.NativeEndian.AppendUint32(nil, uint32(v))
	default:
		return binary.NativeEndian.AppendUint64(nil, v)
	}
}

// number is what an attribute has.
func (o option) number(data []byte) (uint64, error) {
	if len(data) < o.size {
		return 0, fmt.Errorf("%s: %d bytes, want at least %d", o.field, len(data), o.size)
	}
	switch o.size {
	case 1:
		return uint64(data[0]), nil
	case 4:
		return uint64(binary.NativeEndian.Uint32(data)), nil
	default:
		return binary.NativeEndian.Uint64(data), nil
	}
}

func (o option) agrees(sent, got uint64) bool {
	return sent == got || o.same != nil && o.same(sent, got)
}
