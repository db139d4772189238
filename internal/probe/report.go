package probe

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"math"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/tcplab/tcplab/impair/profiles"
	"github.com/tcplab/tcplab/internal/statistics"
	"github.com/tcplab/tcplab/internal/text"
)

// A Spread is how a time is spread over the samples.
type Spread struct {
	Count  int           `json:"count"`
	Least  time.Duration `json:"least_ns"`
	Median time.Duration `json:"median_ns"`
	P90    time.Duration `json:"p90_ns"`
	P99    time.Duration `json:"p99_ns"`
	Most   time.Duration `json:"most_ns"`

	// Between which two samples the median of all connections like these lies, with a confidence of 95 %; nil with fewer than six.
	Interval *[2]time.Duration `json:"median_95_ns,omitempty"`
}

// confidence is of intervals.
const confidence = 0.95

func spreadOf(took []time.Duration) Spread {
	if len(took) == 0 {
		return Spread{}
	}
	took = slices.Sorted(slices.Values(took))
	at := func(q float64) time.Duration { return took[max(0, int(math.Ceil(q*float64(len(took))))-1)] } // the nearest rank
	s := Spread{Count: len(took), Least: took[0], Median: at(.5), P90: at(.9), P99: at(.99), Most: took[len(took)-1]}
	if lower, upper, ok := statistics.QuantileInterval(len(took), .5, confidence); ok {
		s.Interval = &[2]time.Duration{took[lower], took[upper]}
	}
	return s
}

// A Phase is a part of each sample.
type Phase struct {
	Name string `json:"name"`
	Spread
}

// A Report is what came of all samples.
type Report struct {
	Options Options       `json:"options"`
	Took    time.Duration `json:"took_ns"`
	Ended   bool          `json:"ended,omitempty"` // before all samples were taken
	Phases  []Phase       `json:"phases"`
	Errors  []Count       `json:"errors"`
	Path    Path          `json:"path"`

	Download *Rate `json:"download,omitempty"` // of answers of 64 kB and more
	Upload   *Rate `json:"upload,omitempty"`   // of uploads of 64 kB and more

	// Overhead is what connecting takes within this machine and program: on the loopback interface.
	Overhead Spread   `json:"overhead"`
	Samples  []Sample `json:"samples"`
}

// A Rate is of the payload of samples, in bit/s: a download's from its first byte to its last, an upload's until all was acknowledged, or
// the answer began.
type Rate struct {
	Count  int     `json:"count"` // of samples
	Bytes  int64   `json:"bytes"` // of all of them
	Least  float64 `json:"least_bps"`
	Median float64 `json:"median_bps"`
	Most   float64 `json:"most_bps"`
}

// leastRated is what a rate needs: less comes in few segments, at once.
const leastRated = 64 << 10

func rateOf(samples []Sample, of func(Sample) (bytes int64, took time.Duration)) *Rate {
	var r Rate
	var rates []float64
	for _, s := range samples {
		if bytes, took := of(s); bytes >= leastRated && took > 0 {
			r.Bytes += bytes
			rates = append(rates, float64(bytes)*8/took.Seconds())
		}
	}
	if len(rates) == 0 {
		return nil
	}
	slices.Sort(rates)
	r.Count, r.Least, r.Median, r.Most = len(rates), rates[0], rates[(len(rates)-1)/2], rates[len(rates)-1]
	return &r
}

func (r *Rate) text(what string) string {
	return fmt.Sprintf("%s: %s as a median of %d, %s to %s (%s of payload each).", what, bits(r.Median), r.Count, bits(r.Least), bits(r.Most),
		humanize.Bytes(uint64(r.Bytes/int64(r.Count))))
}

func bits(rate float64) string { return profiles.Rate(int64(text.Digits(rate, 3))) }

// A Count is how often something was seen.
type Count struct {
	What  string `json:"what"`
	Count int    `json:"count"`
}

// A Path is what the kernel's measurements say.
type Path struct {
	BaseRTT      time.Duration `json:"base_rtt_ns"`       // the least of all: what the path takes without a queue
	RTT          time.Duration `json:"rtt_ns"`            // the median of the smoothed RTTs
	Segments     int           `json:"segments"`          // that were sent
	Retransmits  int           `json:"retransmits"`       // of them
	SlowConnects int           `json:"slow_connects"`     // that took a second or more, as with a lost SYN (RFC 6298, 2: the first RTO)
	Address      string        `json:"address,omitempty"` // of the last sample
}

// firstRTO is the time-out of a SYN (RFC 6298, 2.1).
const firstRTO = time.Second

func summarise(o Options, samples []Sample) *Report {
	slices.SortFunc(samples, func(a, b Sample) int { return cmp.Compare(a.At, b.At) })
	r := &Report{Options: o, Samples: samples, Phases: []Phase{}, Errors: []Count{}}
	phase := func(name string, of func(Sample) time.Duration) {
		var took []time.Duration
		for _, s := range samples {
			if d := of(s); d > 0 {
				took = append(took, d)
			}
		}
		if len(took) > 0 {
			r.Phases = append(r.Phases, Phase{name, spreadOf(took)})
		}
	}
	phase("resolve", func(s Sample) time.Duration { return s.Resolve })
	phase("connect", func(s Sample) time.Duration { return s.Connect })
	phase("TLS", func(s Sample) time.Duration { return s.TLS })
	phase("upload", func(s Sample) time.Duration { return s.Upload })
	phase("delivered", func(s Sample) time.Duration { return s.Delivered })
	for _, warm := range []bool{false, true} {
		name := map[bool]string{true: ", warm"}[warm]
		phase("first byte"+name, func(s Sample) time.Duration { return when(s.Warm == warm, s.FirstByte) })
		phase("transfer"+name, func(s Sample) time.Duration { return when(s.Warm == warm, s.Transfer) })
	}
	r.Download = rateOf(samples, func(s Sample) (int64, time.Duration) { return s.Bytes, s.Transfer })
	r.Upload = rateOf(samples, func(s Sample) (int64, time.Duration) { return o.Upload, s.Delivered })
	errs := map[string]int{}
	var rtts []time.Duration
	for _, s := range samples {
		if s.Err != "" {
			errs[s.Phase+": "+s.Err]++
		}
		if s.Connect >= firstRTO {
			r.Path.SlowConnects++
		}
		if s.RTT > 0 {
			rtts = append(rtts, s.RTT)
		}
		if s.MinRTT > 0 && (r.Path.BaseRTT == 0 || s.MinRTT < r.Path.BaseRTT) {
			r.Path.BaseRTT = s.MinRTT
		}
		r.Path.Address = cmp.Or(s.Address, r.Path.Address)
	}
	r.Path.RTT = spreadOf(rtts).Median
	for _, s := range lastOfEach(samples) {
		r.Path.Segments += int(s.Segments)
		r.Path.Retransmits += int(s.Retransmits)
	}
	for _, what := range slices.Sorted(maps.Keys(errs)) {
		r.Errors = append(r.Errors, Count{what, errs[what]})
	}
	return r
}

func when(yes bool, d time.Duration) time.Duration {
	if yes {
		return d
	}
	return 0
}

// lastOfEach are the last samples of all connections: TCP_INFO counts from a connection's beginning.
func lastOfEach(samples []Sample) map[*net.TCPConn]Sample {
	last := map[*net.TCPConn]Sample{}
	for _, s := range samples {
		last[s.conn] = s // samples are in the order of time
	}
	delete(last, nil) // of those that did not connect
	return last
}

func (o Options) String() string {
	text := fmt.Sprintf("%s port %d", o.Host, o.Port)
	switch {
	case o.HTTP != "":
		text += ", GET " + o.HTTP
	case len(o.Send) > 0:
		text += fmt.Sprintf(", %d bytes sent", len(o.Send))
	case o.Wait:
		text += ", first byte"
	}
	if o.TLS {
		text += " over TLS"
	}
	return text
}

// Text writes the report for people, in so many columns.
func (r *Report) Text(w io.Writer, columns int) error {
	var b strings.Builder
	failed := 0
	for _, e := range r.Errors {
		failed += e.Count
	}
	fmt.Fprintf(&b, "%s", text.Printable(r.Options.String()))
	if r.Path.Address != "" {
		fmt.Fprintf(&b, " (%s)", r.Path.Address)
	}
	fmt.Fprintf(&b, "\n%d of %d samples, %d failed, in %s\n", len(r.Samples), r.Options.Count, failed, Short(r.Took))
	if r.Ended {
		fmt.Fprintln(&b, "It was ended before all were taken.")
	}
	if len(r.Phases) > 0 {
		fmt.Fprintf(&b, "\n%-17s %9s %9s %9s %9s %9s  %s\n", "", "least", "median", "90 %", "99 %", "most", "median with 95 % confidence")
	}
	for _, p := range r.Phases {
		fmt.Fprintf(&b, "%-17s %9s %9s %9s %9s %9s  %s\n", p.Name, Short(p.Least), Short(p.Median), Short(p.P90), Short(p.P99), Short(p.Most), p.interval())
	}
	r.histogram(&b, columns)
	for _, e := range r.Errors {
		fmt.Fprintf(&b, "\n%4d  %s\n", e.Count, text.Printable(e.What))
	}
	r.path(&b, columns)
	_, err := io.WriteString(w, b.String())
	return err
}

func (s Spread) interval() string {
	if s.Interval == nil {
		return "too few samples"
	}
	return Short(s.Interval[0]) + " to " + Short(s.Interval[1])
}

// path says what the kernel has seen.
func (r *Report) path(b *strings.Builder, columns int) {
	say := func(format string, args ...any) {
		for i, line := range text.Wrap(fmt.Sprintf(format, args...), columns-2) {
			if i > 0 {
				line = "  " + line
			}
			fmt.Fprintln(b, line)
		}
	}
	fmt.Fprintln(b)
	p := r.Path
	if r.Upload != nil {
		say("%s", r.Upload.text("Upload"))
	}
	if r.Download != nil {
		say("%s", r.Download.text("Download"))
	}
	if p.BaseRTT > 0 {
		say("RTT: %s at least, %s as a median of what the kernel smoothed: some %s are a queue, or the other side's delay.",
			Short(p.BaseRTT), Short(p.RTT), Short(max(0, p.RTT-p.BaseRTT)))
	}
	if p.Segments > 0 {
		say("Retransmits: %d of %d segments sent (%.2g %%).", p.Retransmits, p.Segments, 100*float64(p.Retransmits)/float64(p.Segments))
	}
	if p.SlowConnects > 0 {
		say("%d connected after 1 s or more: as with a SYN or SYN-ACK that was lost (a SYN is retransmitted after 1 s), or an accept queue that was full.", p.SlowConnects)
	}
	if r.Overhead.Count > 0 {
		say("This machine and program are %s of each connect (median, loopback).", Short(r.Overhead.Median))
	}
}

// histogram draws the slowest phase: where a sample's time goes.
func (r *Report) histogram(b *strings.Builder, columns int) {
	if len(r.Phases) == 0 {
		return
	}
	phase := slices.MaxFunc(r.Phases, func(a, b Phase) int { return cmp.Compare(a.Median, b.Median) })
	if phase.Count < 2 || phase.Least == phase.Most {
		return
	}
	var took []time.Duration
	for _, s := range r.Samples {
		if d := s.of(phase.Name); d > 0 {
			took = append(took, d)
		}
	}
	bars := bin(took)
	most := 0
	for _, bar := range bars {
		most = max(most, bar.count)
	}
	fmt.Fprintf(b, "\n%s of %d samples\n", phase.Name, phase.Count)
	room := max(10, columns-32)
	for _, bar := range bars {
		length := (bar.count*room + most - 1) / most
		fmt.Fprintf(b, "%9s to %9s %6d  %s\n", Short(bar.from), Short(bar.to), bar.count, strings.Repeat("#", length))
	}
}

// of is the time of a phase of the report.
func (s Sample) of(phase string) time.Duration {
	name, warm := strings.CutSuffix(phase, ", warm")
	switch name {
	case "resolve":
		return s.Resolve
	case "connect":
		return s.Connect
	case "TLS":
		return s.TLS
	case "upload":
		return s.Upload
	case "delivered":
		return s.Delivered
	case "first byte":
		return when(s.Warm == warm, s.FirstByte)
	default:
		return when(s.Warm == warm, s.Transfer)
	}
}

// A bar counts the times from one to another, the latter not among them.
type bar struct {
	from, to time.Duration
	count    int
}

// bin sorts times into at most twelve bars, each as many times as wide as the one before it as needed: delays are spread over
// orders of magnitude, and a retransmission is far from the rest.
func bin(took []time.Duration) []bar {
	const most = 12
	least, greatest := float64(slices.Min(took)), float64(slices.Max(took))
	count := min(most, max(2, int(math.Ceil(math.Log2(float64(len(took)))))+1)) // Sturges' rule
	ratio := math.Pow(greatest*1.0001/least, 1/float64(count))
	bars := make([]bar, count)
	for i := range bars {
		bars[i].from, bars[i].to = time.Duration(least*math.Pow(ratio, float64(i))), time.Duration(least*math.Pow(ratio, float64(i+1)))
	}
	for _, d := range took {
		i := int(math.Log(float64(d)/least) / math.Log(ratio))
		bars[min(max(i, 0), count-1)].count++
	}
	return bars
}

// Short is a time with three digits.
func Short(d time.Duration) string {
	switch {
	case d == 0:
		return "0"
	case d < time.Millisecond:
		return fmt.Sprintf("%.3g us", float64(d)/1e3)
	case d < time.Second:
		return fmt.Sprintf("%.3g ms", float64(d)/1e6)
	default:
		return fmt.Sprintf("%.3g s", d.Seconds())
	}
}
