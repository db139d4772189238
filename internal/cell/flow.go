package cell

import (
	"cmp"
	"fmt"
	"time"

	"github.com/tcplab/tcplab/harness/invalid"
)

// A Flow is one or several transfers of one kind, between a pair of hosts of their own.
type Flow struct {
	Congestion string        `json:"congestion"`
	Count      int           `json:"count,omitempty"`    // 0 is 1
	After      time.Duration `json:"after_ns,omitempty"` // it begins so long after the measurement
	RTT        time.Duration `json:"rtt_ns,omitempty"`   // more than the path's
	Back       bool          `json:"back,omitempty"`     // from the server to the client: against the other flows
	At         int           `json:"at,omitempty"`       // it passes only this one of several bottlenecks, from 1 on; 0 is all
	Traffic    Traffic       `json:"traffic,omitempty"`
	Size       int64         `json:"size_bytes,omitempty"` // of a burst, or of a request and its answer
	Every      time.Duration `json:"every_ns,omitempty"`   // the pause after a burst, or the time from one request to the next
}

// Traffic is what a flow's program does.
type Traffic string

// The kinds of traffic.
const (
	// Bulk sends as fast as it can.
	Bulk Traffic = ""
	// InBursts sends Size bytes, pauses for Every, and so on, on one connection.
	InBursts Traffic = "bursts"
	// InRequests sends Size bytes each Every, or when the answer to the one before has come, and waits for the same bytes back.
	InRequests Traffic = "requests"
)

// Validate returns what is wrong with a flow on its own, an *invalid.FieldError. The rest depends on its cell.
func (f Flow) Validate() error {
	field := func(name string, value any, allowed string) error {
		return &invalid.FieldError{Field: "Flow." + name, Value: value, Allowed: allowed}
	}
	const mostRequest, mostBurst = 1 << 20, 1 << 30
	most := int64(0)
	switch f.Traffic {
	case Bulk:
	case InBursts:
		most = mostBurst
	case InRequests:
		most = mostRequest
	default:
		return field("Traffic", f.Traffic, "bursts, requests, or nothing for a bulk transfer")
	}
	switch {
	case !congestionName.MatchString(f.Congestion):
		return field("Congestion", f.Congestion, "the name of a congestion control, such as cubic")
	case f.Traffic == Bulk && (f.Size != 0 || f.Every != 0):
		return field("Size", f.Size, "0, and no Every, of a bulk transfer")
	case f.Traffic != Bulk && (f.Size < 1 || f.Size > most):
		return field("Size", f.Size, fmt.Sprintf("1 to %d bytes of %s", most, f.Traffic))
	case f.Traffic != Bulk && (f.Every < time.Millisecond || f.Every > time.Hour):
		return field("Every", f.Every, "1ms to 1h")
	case f.Traffic == InRequests && f.Back:
		return field("Back", true, "false of requests: they go both ways")
	}
	return nil
}

func (f Flow) count() int { return cmp.Or(f.Count, 1) }

// sends tells whether what a flow gets is a matter of the path: then it counts in goodput and fairness.
func (f Flow) sends() bool { return f.Traffic == Bulk }

// Kind is what the flow is called in a metric of its own: "cubic back: goodput".
func (f Flow) Kind() string {
	name := f.Congestion
	if f.Traffic != Bulk {
		name += " " + string(f.Traffic)
	}
	if f.Back {
		name += " back"
	}
	if f.At > 0 {
		name += fmt.Sprintf(" at %d", f.At)
	}
	return name
}

// String names the flow by all that it depends on.
func (f Flow) String() string {
	text := f.Congestion
	if f.count() > 1 {
		text = fmt.Sprintf("%d %s", f.count(), text)
	}
	switch f.Traffic {
	case InBursts:
		text += fmt.Sprintf(" in bursts of %d bytes with %v between them", f.Size, f.Every)
	case InRequests:
		text += fmt.Sprintf(" in requests of %d bytes each %v", f.Size, f.Every)
	}
	if f.Back {
		text += " on the way back"
	}
	if f.At > 0 {
		text += fmt.Sprintf(" at bottleneck %d", f.At)
	}
	if f.RTT > 0 {
		text += fmt.Sprintf(" with %v more", f.RTT)
	}
	if f.After > 0 {
		text += fmt.Sprintf(" after %v", f.After)
	}
	return text
}
