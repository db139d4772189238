// Package tune compares a machine's TCP settings with what a path needs: it says what to change, why, what that brings, and what it does
// not do. What would change nothing on that path is not advised, and settings that people copy although they do nothing are named.
//
// All of it is arithmetic on sysctls, with package oracle where that knows the rule. Nothing is measured, and nothing is written.
package tune

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/tcplab/tcplab/harness/invalid"
	"github.com/tcplab/tcplab/harness/kernelversion"
	"github.com/tcplab/tcplab/harness/oracle"
)

// A Path is what connections are to go over, and how many. Only Rate and RTT have to be known.
type Path struct {
	Rate int64         `json:"rate_bit_per_s"` // of the narrowest link
	RTT  time.Duration `json:"rtt_ns"`         // without a queue

	Loss        float64       `json:"loss,omitempty"`                  // random loss, as a share: 0.01 is 1 %
	Connections int           `json:"connections,omitempty"`           // at a time, to one address and port; 0 is 1
	New         float64       `json:"new_connections_per_s,omitempty"` // opened, and closed again, by this machine
	Idle        time.Duration `json:"idle_ns,omitempty"`               // the pause between two bursts of a connection
	Forgets     time.Duration `json:"middlebox_forgets_ns,omitempty"`  // after which idle time a NAT or firewall on the way forgets a connection
	NoICMP      bool          `json:"icmp_filtered,omitempty"`         // "fragmentation needed" does not come back
}

// The limits of a path.
const (
	mostRate        = 1e12 // bit/s
	mostRTT         = time.Minute
	mostConnections = 10_000_000
)

// Validate returns what is wrong with p: an *invalid.FieldError for each field, joined.
func (p Path) Validate() error {
	var errs []error
	refuse := func(wrong bool, field string, value any, allowed string) {
		if wrong {
			errs = append(errs, &invalid.FieldError{Field: "Path." + field, Value: value, Allowed: allowed})
		}
	}
	refuse(p.Rate < 1 || p.Rate > mostRate, "Rate", p.Rate, "1 bit/s to 1 Tbit/s")
	refuse(p.RTT < time.Microsecond || p.RTT > mostRTT, "RTT", p.RTT, fmt.Sprintf("1 us to %v", mostRTT))
	refuse(!(p.Loss >= 0 && p.Loss < 1), "Loss", p.Loss, "0 and more, and less than 1 (100 %)")
	refuse(p.Connections < 0 || p.Connections > mostConnections, "Connections", p.Connections, fmt.Sprintf("0 to %d", mostConnections))
	refuse(!(p.New >= 0 && p.New <= mostConnections), "New", p.New, fmt.Sprintf("0 to %d", mostConnections))
	refuse(p.Idle < 0, "Idle", p.Idle, "0 and more")
	refuse(p.Forgets < 0, "Forgets", p.Forgets, "0 and more")
	return errors.Join(errs...)
}

// BDP is the bandwidth-delay product, in bytes: what is under way on a path that is full, without a queue.
func (p Path) BDP() int64 { return int64(float64(p.Rate) / 8 * p.RTT.Seconds()) }

func (p Path) connections() int { return cmp.Or(p.Connections, 1) }

// mss is a segment's payload on Ethernet, with time stamps.
const mss = 1448

// Advice is one setting that should be another.
type Advice struct {
	Key     string `json:"key"`
	Current string `json:"current"`
	Advised string `json:"advised"`
	Why     string `json:"why"`    // why the current value is wrong for the path
	Impact  string `json:"impact"` // what changes, in numbers
	Not     string `json:"not"`    // what it does not do
	Source  string `json:"source"` // an RFC, or a function of the kernel

	Proof *Proof `json:"proof,omitempty"` // if it was asked for: see package prove
}

// Proof is what was measured with the value of now and with the advised one.
type Proof struct {
	Measured string  `json:"measured,omitempty"` // empty: nothing was, and Text says why
	Now      float64 `json:"now,omitempty"`
	Then     float64 `json:"then,omitempty"`
	Unit     string  `json:"unit,omitempty"`
	Text     string  `json:"text"`
}

// Folklore is a setting that is said to help, and is set, and does not.
type Folklore struct {
	Key    string `json:"key"`
	Value  string `json:"value"`
	Belief string `json:"belief"` // what it is said to do
	Truth  string `json:"truth"`
	Source string `json:"source"`
}

// A Report is what is to be said of settings on a path.
type Report struct {
	Kernel   string     `json:"kernel"`
	Path     Path       `json:"path"`
	BDP      int64      `json:"bdp_bytes"`
	Advice   []Advice   `json:"advice"`
	Folklore []Folklore `json:"folklore"`
}

// situation is what each rule looks at.
type situation struct {
	Path
	settings Settings
	kernel   oracle.Kernel
}

// current is a setting's value, or what the kernel starts with.
func (s situation) current(key string) string {
	if value, ok := s.settings[key]; ok {
		return value
	}
	value, _ := s.kernel.Get(key)
	return value
}

// Advise compares settings with what a path needs. What is missing in them is as the kernel comes.
func Advise(settings Settings, version kernelversion.Version, path Path) (Report, error) {
	if err := path.Validate(); err != nil {
		return Report{}, err
	}
	kernel := oracle.Defaults(version)
	for _, key := range oracle.Keys() {
		if value, ok := settings[key]; ok {
			if err := kernel.Set(key, value); err != nil {
				return Report{}, err
			}
		}
	}
	settings = settings.withDefaults(kernel)
	s := situation{path, settings, kernel}
	for _, key := range []string{keyReceive, keySend} {
		if _, err := s.buffer(key); err != nil {
			return Report{}, err
		}
	}
	report := Report{Kernel: version.Release, Path: path, BDP: path.BDP(), Advice: []Advice{}, Folklore: []Folklore{}}
	for _, rule := range rules {
		if advice := rule(s); advice != nil {
			if advice.Current == "" {
				advice.Current = s.current(advice.Key)
			}
			report.Advice = append(report.Advice, *advice)
		}
	}
	for _, f := range folklore {
		if value, ok := settings[f.Key]; ok && (f.harmless == nil || !f.harmless(s, value)) {
			f.Folklore.Value = value
			report.Folklore = append(report.Folklore, f.Folklore)
		}
	}
	return report, nil
}
