package rules

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/tcplab/tcplab/harness/invalid"
)

type verb uint32

const (
	verbNone verb = iota
	verbDrop
	verbDelay
	verbDuplicate
	verbMarkCE
	verbCorrupt
	verbBleach
	verbClearFlags
)

var verbNames = [...]string{"nothing", "drop", "delay", "duplicate", "mark CE", "corrupt", "bleach", "clear"}

func (v verb) String() string {
	if int(v) >= len(verbNames) {
		return fmt.Sprintf("action %d", v)
	}
	return verbNames[v]
}

// An Action is what a rule does to a packet. The zero value is refused: use [Drop] and the like.
type Action struct {
	verb  verb
	delay time.Duration // of delay
	flags Flags         // of clear
}

// String returns the action in words, such as "delay 30ms".
func (a Action) String() string {
	switch a.verb {
	case verbDelay:
		return "delay " + a.delay.String()
	case verbClearFlags:
		return "clear " + a.flags.String() + " of"
	}
	return a.verb.String()
}

// Flags are flags of the TCP header, which [ClearFlags] clears and [Match.With] looks for.
type Flags uint16

// The flags of ECN, by their bits in the header (RFC 3168; RFC 9768, where all three are the field ACE).
const (
	ECE Flags = 1 << (6 + iota)
	CWR
	AE
)

var flagNames = [...]struct {
	flag Flags
	name string
}{{AE, "AE"}, {CWR, "CWR"}, {ECE, "ECE"}}

// String is like "AE CWR ECE".
func (f Flags) String() string {
	var names []string
	for _, one := range flagNames {
		if f&one.flag != 0 {
			names = append(names, one.name)
		}
	}
	return strings.Join(names, " ")
}

// MarshalText is String, for records.
func (a Action) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// A Rule does something to the packets that it selects.
type Rule struct {
	Name   string `json:"name,omitempty"` // in hits and counts; empty is what the rule does, in words
	Match  Match  `json:"match"`
	Action Action `json:"action"`

	// Limit is the number of packets that the rule acts on in total, over all conversations; 0 means no limit.
	Limit int `json:"limit,omitempty"`

	// Delay is the time until the rule begins to act, Length the time that it acts, both since it was added or last
	// enabled. While it does not act it does not count either. 0 means at once, and until it is disabled. Both up to
	// 24 h, by the monotonic clock of the kernel.
	Delay  time.Duration `json:"delay_ns,omitempty"`
	Length time.Duration `json:"length_ns,omitempty"`
}

// Drop drops packets. The sender does not notice, as with a loss on the path.
func Drop(m Match) Rule { return Rule{Match: m, Action: Action{verb: verbDrop}} }

// Delay delays packets by d, above 0 and up to 24 h, while others pass. A netem on the same device adds its delay.
func Delay(d time.Duration, m Match) Rule {
	return Rule{Match: m, Action: Action{verb: verbDelay, delay: d}}
}

// Duplicate sends packets twice, one right after the other.
func Duplicate(m Match) Rule { return Rule{Match: m, Action: Action{verb: verbDuplicate}} }

// MarkCE sets "congestion experienced" in the IP header of ECN-capable packets (RFC 3168). Others pass unchanged:
// such a hit is not [Hit.Done], and does not count as acted on.
func MarkCE(m Match) Rule { return Rule{Match: m, Action: Action{verb: verbMarkCE}} }

// Bleach clears the ECN field of the IP header, CE and ECT (RFC 9768, section 3.2.2.3, "bleaching"). A Not-ECT packet
// passes unchanged: such a hit is not [Hit.Done], and does not count as acted on.
func Bleach(m Match) Rule { return Rule{Match: m, Action: Action{verb: verbBleach}} }

// ClearFlags clears flags of the TCP header and corrects the checksum, as middleboxes do that only know older RFCs. A
// segment without these flags passes unchanged, as with [Bleach].
func ClearFlags(f Flags, m Match) Rule {
	return Rule{Match: m, Action: Action{verb: verbClearFlags, flags: f}}
}

// Corrupt makes the TCP checksum wrong: the receiver drops the segment and counts it in TcpInCsumErrors. Only segments
// of TCP can be selected.
func Corrupt(m Match) Rule { return Rule{Match: m, Action: Action{verb: verbCorrupt}} }

// Blackhole drops everything: a blackhole.
func Blackhole() Rule { return Drop(AnyPacket).Named("blackhole") }

// Named gives the rule a name.
func (r Rule) Named(name string) Rule {
	r.Name = name
	return r
}

// AtMost bounds how many packets it acts on in total.
func (r Rule) AtMost(n int) Rule {
	r.Limit = n
	return r
}

// After lets it begin only when d has passed.
func (r Rule) After(d time.Duration) Rule {
	r.Delay = d
	return r
}

// For lets it last d.
func (r Rule) For(d time.Duration) Rule {
	r.Length = d
	return r
}

// String is the rule in words, such as "drop data 5".
func (r Rule) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%v %v", r.Action, r.Match)
	if r.Limit != 0 {
		fmt.Fprintf(&s, ", at most %d", r.Limit)
	}
	if r.Delay != 0 {
		fmt.Fprintf(&s, ", after %v", r.Delay)
	}
	if r.Length != 0 {
		fmt.Fprintf(&s, ", for %v", r.Length)
	}
	return s.String()
}

// refusal says which field is wrong, and what is wanted of it.
func refusal(field string, value any, want string) *invalid.FieldError {
	return &invalid.FieldError{Field: field, Value: value, Allowed: "want " + want}
}

// maxTime is longer than any timer of TCP, and far from the ends of the kernel's clock.
const maxTime = 24 * time.Hour

// Validate returns what is wrong with a rule: a [*invalid.FieldError] for each fault, joined; nil if it is valid. It needs
// neither root nor BPF.
func (r Rule) Validate() error {
	var errs []error
	refuse := func(field string, value any, allowed string) {
		errs = append(errs, refusal(field, value, allowed))
	}
	m := r.Match
	for _, bad := range m.bad {
		errs = append(errs, bad)
	}
	if m.kind == 0 {
		refuse("Rule.Match", m, "one that is made from this package's variables, such as Data")
	}
	if m.numbered > 1 {
		refuse("Rule.Match", m, "one of Number, First, Between and From: each replaces the one before")
	}
	if (m.sourcePort != 0 || m.destinationPort != 0) && m.kind != 0 && !m.isTCP() {
		refuse("Rule.Match", m, "no ports: only segments of TCP are known to have any")
	}
	if (m.hasPayload || m.option != 0 || m.with|m.without != 0) && m.kind != 0 && !m.isTCP() {
		refuse("Rule.Match", m, "no payload, option or flags: only those of segments of TCP are known")
	}
	if m.times > 0 {
		switch {
		case m.times > 1 && m.first != m.last && m.looksInside():
			// The rule remembers which bytes it has selected from the first to the last, and so would take others among them.
			refuse("Match.Times", m, "one number, or no payload, option, ECN or flags: several numbers need not be one piece")
		case m.kind != kindData:
			refuse("Match.Times", m, "Times and Always with Data only: other kinds are numbered by packets")
		case m.first == 0:
			refuse("Match.Times", m, "a number (Number, First, Between, From) of which Times are counted")
		case m.step > 1 && m.times > 1:
			refuse("Match.Times", m, "1 with Every, which selects first transmissions")
		}
	}
	switch r.Action.verb {
	case verbDrop, verbDuplicate, verbMarkCE, verbBleach:
	case verbDelay:
		if d := r.Action.delay; d <= 0 || d > maxTime {
			refuse("Action.Delay", d, fmt.Sprintf("above 0, up to %v", maxTime))
		}
	case verbCorrupt:
		if m.kind != 0 && !m.isTCP() {
			refuse("Rule.Match", m, "segments of TCP: it is their checksum that Corrupt makes wrong")
		}
	case verbClearFlags:
		if m.kind != 0 && !m.isTCP() {
			refuse("Rule.Match", m, "segments of TCP: only they have the flags that ClearFlags clears")
		}
		if f := r.Action.flags; f == 0 || f&^(AE|CWR|ECE) != 0 {
			refuse("Action.ClearFlags", fmt.Sprintf("%#x", uint16(f)), "some of AE, CWR and ECE, and no others")
		}
	default:
		refuse("Rule.Action", r.Action, "one that is made by Drop, Delay, Duplicate, MarkCE, Bleach, ClearFlags, Corrupt or Blackhole")
	}
	if r.Limit < 0 || r.Limit > math.MaxInt32 {
		refuse("Rule.Limit", r.Limit, fmt.Sprintf("1 to %d packets, or 0 for no limit", math.MaxInt32))
	}
	if r.Delay < 0 || r.Delay > maxTime {
		refuse("Rule.Delay", r.Delay, fmt.Sprintf("0 to %v", maxTime))
	}
	if r.Length < 0 || r.Length > maxTime {
		refuse("Rule.Length", r.Length, fmt.Sprintf("above 0, up to %v, or 0 for no end", maxTime))
	}
	return errors.Join(errs...)
}
