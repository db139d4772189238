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
	"github.com/tcplab/tcplab/impair/queue"
	"github.com/tcplab/tcplab/internal/runner"
)

// A Cell is flows on a path with one bottleneck, or several in a row, for a time.
type Cell struct {
	Rate   int64         `json:"rate_bit_per_s"`   // of each bottleneck, with Ethernet headers
	RTT    time.Duration `json:"rtt_ns"`           // without a queue; all of it on the way back
	Loss   float64       `json:"loss,omitempty"`   // random, of the data's direction, as a share
	Buffer int           `json:"buffer,omitempty"` // packets that the bottleneck holds, and drops others; 0 is one BDP, or 64 if that is more
	Flows  []Flow        `json:"flows"`
	// Bottlenecks is how many there are in a row, a parking lot: a flow passes all of them, or the one that it names. 0 is 1.
	Bottlenecks int `json:"bottlenecks,omitempty"`
	// LossBurst is how many packets are lost together, on average; 0 and 1: each alone.
	LossBurst float64 `json:"loss_burst,omitempty"`
	// Jitter is that of the way back, at most the RTT; ACKs stay in order.
	Jitter time.Duration `json:"jitter_ns,omitempty"`
	// Queue is the discipline in which packets wait at the bottleneck, whose rate is the cell's; nil is netem's drop-tail queue of Buffer packets.
	// With a Queue, or several Bottlenecks, loss is on the links behind them, and each packet passes it once.
	Queue *queue.Queue `json:"queue,omitempty"`
	// Pacing gives the senders fq, which paces in place of TCP's own timers.
	Pacing bool `json:"pacing,omitempty"`
	// Duration is how long is measured, from when the first flow begins.
	Duration time.Duration     `json:"duration_ns"`
	Sysctls  map[string]string `json:"sysctls,omitempty"` // of all hosts
}

// frame is a full segment on the wire.
const frame = 1514

// BDP is what is under way on a path that is full, in packets.
func (c Cell) BDP() float64 { return float64(c.Rate) / 8 * c.RTT.Seconds() / frame }

// leastBuffer takes a burst of 64 KB.
const leastBuffer = 64

func (c Cell) bottlenecks() int { return cmp.Or(c.Bottlenecks, 1) }

func (c Cell) buffer() int { return cmp.Or(c.Buffer, max(leastBuffer, int(c.BDP()+0.5))) }

// The limits of a cell. More flows than that are no flows but a load, and have other figures.
const (
	leastRate = 1000
	mostRate  = 10e9
	mostFlows = 100
	// mostBottlenecks is more than papers on parking lots have.
	mostBottlenecks = 16
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
	refuse(c.Rate < leastRate || c.Rate > mostRate, "Rate", c.Rate, "1 kbit/s to 10 Gbit/s")
	refuse(c.RTT < 0 || c.RTT > time.Minute, "RTT", c.RTT, "0 to 1m")
	refuse(!(c.Loss >= 0 && c.Loss < 1), "Loss", c.Loss, "0 and more, and less than 1 (100 %)")
	refuse(c.LossBurst != 0 && !(c.LossBurst >= 1 && c.LossBurst <= 10_000 && c.Loss > 0), "LossBurst", c.LossBurst, "1 to 10,000 packets, with a Loss")
	refuse(c.Jitter < 0 || c.Jitter > min(c.RTT, 2*time.Second), "Jitter", c.Jitter, "0 to the RTT, and to 2s")
	if c.Queue != nil {
		if err := at(max(c.Rate, leastRate), c.Queue.Discipline).Validate(); err != nil {
			errs = append(errs, err)
		}
	}
	refuse(c.Buffer < 0 || c.Buffer > 10_000_000, "Buffer", c.Buffer, "0 to 10,000,000 packets")
	refuse(c.Bottlenecks < 0 || c.Bottlenecks > mostBottlenecks, "Bottlenecks", c.Bottlenecks, fmt.Sprintf("1 to %d", mostBottlenecks))
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
		refuse(f.At < 0 || f.At > c.bottlenecks(), name+"At", f.At, "one of the bottlenecks, from 1 on, or 0 for all")
		refuse(f.Back && c.bottlenecks() > 1, name+"Back", f.Back, "false where there are several bottlenecks")
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
		parts = append(parts, f.String())
	}
	parts = append(parts, profiles.Rate(c.Rate), "RTT "+c.RTT.String())
	if n := c.bottlenecks(); n > 1 {
		parts = append(parts, fmt.Sprintf("%d bottlenecks in a row", n))
	}
	if c.Jitter > 0 {
		parts = append(parts, "jitter "+c.Jitter.String())
	}
	if c.Loss > 0 {
		loss := "loss " + Percent(c.Loss)
		if c.LossBurst > 1 {
			loss += fmt.Sprintf(" in bursts of %g", c.LossBurst)
		}
		parts = append(parts, loss)
	}
	if c.Queue != nil {
		parts = append(parts, c.Queue.Discipline.String())
	} else {
		parts = append(parts, fmt.Sprintf("a buffer of %d packets", c.buffer()))
	}
	if c.Pacing {
		parts = append(parts, "paced by fq")
	}
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
