// Package cell measures flows on a path: what a congestion control, a sysctl or a buffer makes of it. A cell is one measurement, in a
// guest of its own, of which package runner leaves a record as of any scenario. The command that asks for cells is also the suite that
// measures them, in their guests: see [Main].
package cell

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/invalid"
	"github.com/tcplab/tcplab/impair/profiles"
	"github.com/tcplab/tcplab/internal/runner"
)

// A Cell is flows on a path with one bottleneck, for a time.
type Cell struct {
	Rate   int64         `json:"rate_bit_per_s"`   // of the bottleneck, with Ethernet headers
	RTT    time.Duration `json:"rtt_ns"`           // without a queue; all of it on the way back
	Loss   float64       `json:"loss,omitempty"`   // random, of the data's direction, as a share
	Buffer int           `json:"buffer,omitempty"` // packets that the bottleneck holds, and drops others; 0 is one BDP, or 64 if that is more
	Flows  []Flow        `json:"flows"`
	// Duration is how long is measured, from when the first flow begins.
	Duration time.Duration     `json:"duration_ns"`
	Sysctls  map[string]string `json:"sysctls,omitempty"` // of all hosts
}

// A Flow is one or several bulk transfers of one kind.
type Flow struct {
	Congestion string        `json:"congestion"`
	Count      int           `json:"count,omitempty"`    // 0 is 1
	After      time.Duration `json:"after_ns,omitempty"` // it begins so long after the first ones
	RTT        time.Duration `json:"rtt_ns,omitempty"`   // more than the path's
}

// Validate returns what is wrong with its congestion control, an *invalid.FieldError. The rest depends on its cell.
func (f Flow) Validate() error {
	if congestionName.MatchString(f.Congestion) {
		return nil
	}
	return &invalid.FieldError{Field: "Flow.Congestion", Value: f.Congestion, Allowed: "the name of a congestion control, such as cubic"}
}

func (f Flow) count() int { return cmp.Or(f.Count, 1) }

// frame is a full segment on the wire.
const frame = 1514

// BDP is what is under way on a path that is full, in packets.
func (c Cell) BDP() float64 { return float64(c.Rate) / 8 * c.RTT.Seconds() / frame }

// leastBuffer takes a burst of 64 KB.
const leastBuffer = 64

func (c Cell) buffer() int { return cmp.Or(c.Buffer, max(leastBuffer, int(c.BDP()+0.5))) }

// The limits of a cell. More flows than that are no flows but a load, and have other figures.
const (
	mostRate  = 10e9
	mostFlows = 100
)

// congestionName is what a name can be: a kernel's has at most 15 characters (TCP_CA_NAME_MAX).
var congestionName = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,15}$`)

// Validate returns what is wrong with c: an *invalid.FieldError for each field, joined.
func (c Cell) Validate() error {
	var errs []error
	refuse := func(wrong bool, field string, value any, allowed string) {
		if wrong {
			errs = append(errs, &invalid.FieldError{Field: "Cell." + field, Value: value, Allowed: allowed})
		}
	}
	refuse(c.Rate < 1000 || c.Rate > mostRate, "Rate", c.Rate, "1 kbit/s to 10 Gbit/s")
	refuse(c.RTT < 0 || c.RTT > time.Minute, "RTT", c.RTT, "0 to 1m")
	refuse(!(c.Loss >= 0 && c.Loss < 1), "Loss", c.Loss, "0 and more, and less than 1 (100 %)")
	refuse(c.Buffer < 0 || c.Buffer > 10_000_000, "Buffer", c.Buffer, "0 to 10,000,000 packets")
	refuse(c.Duration < 100*time.Millisecond || c.Duration > 24*time.Hour, "Duration", c.Duration, "100ms to 24h")
	flows := 0
	for i, f := range c.Flows {
		name := fmt.Sprintf("Flows[%d].", i)
		if err := f.Validate(); err != nil {
			errs = append(errs, err)
		}
		refuse(f.Count < 0, name+"Count", f.Count, "1 and more")
		refuse(f.After < 0 || f.After >= c.Duration, name+"After", f.After, "0 to less than the duration")
		refuse(f.RTT < 0 || f.RTT > time.Minute, name+"RTT", f.RTT, "0 to 1m")
		flows += f.count()
	}
	refuse(flows < 1 || flows > mostFlows, "Flows", flows, fmt.Sprintf("1 to %d", mostFlows))
	for key := range c.Sysctls {
		refuse(!strings.HasPrefix(key, "net."), "Sysctls", key, "settings of a host, below net.")
	}
	return errors.Join(errs...)
}

// String names the cell by all that it depends on: it is the text of its scenario.
func (c Cell) String() string {
	var parts []string
	for _, f := range c.Flows {
		text := f.Congestion
		if f.count() > 1 {
			text = fmt.Sprintf("%d %s", f.count(), text)
		}
		if f.RTT > 0 {
			text += fmt.Sprintf(" with %v more", f.RTT)
		}
		if f.After > 0 {
			text += fmt.Sprintf(" after %v", f.After)
		}
		parts = append(parts, text)
	}
	parts = append(parts, profiles.Rate(c.Rate), "RTT "+c.RTT.String())
	if c.Loss > 0 {
		parts = append(parts, "loss "+Percent(c.Loss))
	}
	parts = append(parts, fmt.Sprintf("a buffer of %d packets", c.buffer()))
	for _, key := range slices.Sorted(maps.Keys(c.Sysctls)) {
		parts = append(parts, fmt.Sprintf("%s = %s", strings.TrimPrefix(key, "net.ipv4."), c.Sysctls[key]))
	}
	return strings.Join(append(parts, c.Duration.String()), ", ")
}

// Percent writes a share as a person would: "0.01 %".
func Percent(share float64) string {
	return strconv.FormatFloat(100*share, 'g', 4, 64) + " %"
}

// SuiteName is the name of the suite of all cells.
const SuiteName = "paths"

// variable is where a cell is in the environment of its guest, followed by the beginning of its hash.
const variable = "TCPLAB_CELL_"

// A Measurement is a Cell or a Trial.
type Measurement interface {
	Validate() error
	String() string // names it by all that it depends on
	measure(lab *harness.Lab)
}

// a carrier has one of them, on its way into a guest.
type carrier struct {
	Cell  *Cell  `json:"cell,omitempty"`
	Trial *Trial `json:"trial,omitempty"`
}

func carry(m Measurement) carrier {
	switch m := m.(type) {
	case Cell:
		return carrier{Cell: &m}
	case Trial:
		return carrier{Trial: &m}
	}
	return carrier{}
}

// carried is the measurement; nil if there is none.
func (c carrier) carried() Measurement {
	switch {
	case c.Cell != nil:
		return *c.Cell
	case c.Trial != nil:
		return *c.Trial
	}
	return nil
}

// Suite is a suite of measurements, each a spec.
func Suite[M Measurement](all []M) (*runner.Suite, error) {
	var specs []runner.Spec
	for _, m := range all {
		if err := m.Validate(); err != nil {
			return nil, err
		}
		text, err := json.Marshal(carry(m))
		if err != nil {
			return nil, err
		}
		hash := sha256.Sum256(text)
		specs = append(specs, runner.Spec{
			Text: m.String(), Labels: []string{SuiteName}, Env: []string{variable + hex.EncodeToString(hash[:8]) + "=" + string(text)},
		})
	}
	return runner.MadeSuite(SuiteName, specs), nil
}
