// Package prove shows what an advice of package tune brings: it measures what the setting is about with the value of now and with the
// advised one, each in a guest in virtual time, and says both.
//
// What else bounds a flow has its advised value, so that the difference is this setting's. A guest carries less than a fast link and fewer
// connections than a large server: what is larger is made smaller, both the load and the setting, and the proof says how.
package prove

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tcplab/tcplab/internal/cell"
	"github.com/tcplab/tcplab/internal/runner"
	"github.com/tcplab/tcplab/internal/sweep"
	"github.com/tcplab/tcplab/internal/tune"
	"github.com/tcplab/tcplab/results"
)

// An experiment is two measurements that differ in one setting.
type experiment struct {
	now, then cell.Measurement
	metric    string // of their records
	what      string // is measured
	path      string // on which, if it is not the one that was asked for
}

// errNoProof is for an advice that cannot be proved in a guest.
var errNoProof = errors.New("not measured")

// patience is for a guest of several measurements on a machine that is busy with others.
const patience = 30 * time.Minute

// together is how many measurements share a guest: most take less than its start.
const together = 8

// Limits of what a guest carries.
const (
	mostRate        = 20e6 // bit/s, with room: docs/virtual-time.md
	mostConnections = 400
	mostDuration    = 3 * time.Minute
)

// Prove adds to each advice of a report what it brings, or why that was not measured.
func Prove(ctx context.Context, common runner.SessionOptions, options runner.RunOptions, report *tune.Report) error {
	var all []cell.Measurement
	experiments := map[string]experiment{}
	for i := range report.Advice {
		advice := &report.Advice[i]
		e, err := experimentFor(*report, *advice)
		if err != nil {
			advice.Proof = &tune.Proof{Text: err.Error()}
			continue
		}
		experiments[advice.Key] = e
		all = append(all, e.now, e.then)
	}
	if len(all) == 0 {
		return nil
	}
	options.MemoryMiB, options.Share = cmp.Or(options.MemoryMiB, 1024), cmp.Or(options.Share, together)
	options.WallLimit = cmp.Or(options.WallLimit, patience)
	records, _, err := sweep.Measure(ctx, common, options, all, []uint64{options.Seed})
	if err != nil {
		return err
	}
	for i := range report.Advice {
		if e, ok := experiments[report.Advice[i].Key]; ok {
			report.Advice[i].Proof = e.proof(records)
		}
	}
	return nil
}

// proof is what came of an experiment.
func (e experiment) proof(records map[string][]*results.Record) *tune.Proof {
	now, unit, nowErr := valueOf(records[e.now.String()], e.metric)
	then, _, thenErr := valueOf(records[e.then.String()], e.metric)
	if err := errors.Join(nowErr, thenErr); err != nil {
		return &tune.Proof{Text: fmt.Sprintf("%v: %s", errNoProof, strings.ReplaceAll(err.Error(), "\n", "; "))}
	}
	text := fmt.Sprintf("%s: %s now, %s then", e.what, valueText(now, unit), valueText(then, unit))
	if e.path != "" {
		text += " (" + e.path + ")"
	}
	return &tune.Proof{Measured: e.what, Now: now, Then: then, Unit: unit, Text: text}
}

func valueOf(records []*results.Record, name string) (value float64, unit string, err error) {
	for _, r := range records {
		if r.Verdict != results.Passed {
			return 0, "", fmt.Errorf("%s: %s", r.Scenario, sweep.Reason(r))
		}
		for _, m := range r.Metrics {
			if m.Name == name {
				return m.Value, m.Unit, nil
			}
		}
	}
	return 0, "", fmt.Errorf("there is no metric %q", name)
}

func valueText(value float64, unit string) string {
	switch unit {
	case "":
		return strconv.FormatFloat(value, 'g', 4, 64)
	case "s":
		return time.Duration(value * float64(time.Second)).Round(time.Millisecond).String()
	default:
		return strconv.FormatFloat(value, 'g', 3, 64) + " " + unit
	}
}

// planner makes experiments.
type planner struct {
	tune.Report
	advice tune.Advice
}

// kinds are the experiments by setting.
var kinds = map[string]func(planner) (experiment, error){
	"net.ipv4.tcp_window_scaling":        planner.windowScaling,
	"net.ipv4.tcp_rmem":                  planner.buffers,
	"net.ipv4.tcp_wmem":                  planner.buffers,
	"net.ipv4.tcp_sack":                  planner.losing,
	"net.ipv4.tcp_congestion_control":    planner.congestion,
	"net.ipv4.tcp_slow_start_after_idle": planner.bursts,
	"net.ipv4.tcp_mtu_probing":           planner.hole,
	"net.ipv4.tcp_notsent_lowat":         planner.unsent,
	"net.core.somaxconn":                 planner.acceptQueue,
	"net.ipv4.tcp_max_syn_backlog":       planner.synQueue,
	"net.ipv4.ip_local_port_range":       planner.ports,
	"net.ipv4.tcp_tw_reuse":              planner.reuse,
	"net.ipv4.tcp_max_tw_buckets":        planner.buckets,
	"net.ipv4.tcp_keepalive_time":        planner.keepalive,
}

// unproved are those that a guest cannot show, and why.
var unproved = map[string]string{
	"net.ipv4.tcp_mem":               "it is one for all hosts of a kernel, and a guest's memory is not this machine's",
	"net.ipv4.tcp_timestamps":        "at what a guest carries the sequence numbers take minutes to come round; scenarios/timewait shows PAWS",
	"net.netfilter.nf_conntrack_max": "it is one for all hosts of a kernel",
}

func experimentFor(report tune.Report, advice tune.Advice) (experiment, error) {
	if why, ok := unproved[advice.Key]; ok {
		return experiment{}, fmt.Errorf("%w: %s", errNoProof, why)
	}
	make, ok := kinds[advice.Key]
	if !ok {
		return experiment{}, fmt.Errorf("%w: there is no experiment for it", errNoProof)
	}
	return make(planner{report, advice})
}

// throughput are the settings that bound each other's effect.
var throughput = []string{"net.ipv4.tcp_window_scaling", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem", "net.ipv4.tcp_sack"}

// settings are this one's value and, for what else bounds a flow, the advised ones.
func (p planner) settings(value string) map[string]string {
	all := map[string]string{}
	for _, a := range p.Advice {
		if slices.Contains(throughput, a.Key) {
			all[a.Key] = a.Advised
		}
	}
	all[p.advice.Key] = value
	return all
}

// only is this setting's value, and what a trial needs besides.
func (p planner) only(value string, more ...string) map[string]string {
	all := map[string]string{p.advice.Key: value}
	for i := 0; i+1 < len(more); i += 2 {
		all[more[i]] = more[i+1]
	}
	return all
}

// cells are two bulk flows that differ in the setting.
func (p planner) cells(c cell.Cell, metric, what, path string) (experiment, error) {
	now, then := c, c
	now.Sysctls, then.Sysctls = p.settings(p.advice.Current), p.settings(p.advice.Advised)
	return experiment{now: now, then: then, metric: metric, what: what, path: path}, errors.Join(now.Validate(), then.Validate())
}

// trials are two trials that differ in the setting.
func (p planner) trials(t cell.Trial, now, then map[string]string, what, path string) (experiment, error) {
	a, b := t, t
	a.Sysctls, b.Sysctls = now, then
	return experiment{now: a, then: b, metric: cell.Result, what: what, path: path}, errors.Join(a.Validate(), b.Validate())
}

// scaled is the path at a rate that a guest carries, and by how much that is less.
func (p planner) scaled() (rate int64, part float64) {
	rate = min(p.Path.Rate, mostRate)
	return rate, float64(p.Path.Rate) / float64(rate)
}

// bulk is how long a flow takes to fill the path and to show what it does then.
func (p planner) bulk() cell.Cell {
	const rounds = 50
	rate, _ := p.scaled()
	c := cell.Cell{
		Rate: rate, RTT: p.Path.RTT, Flows: []cell.Flow{{Congestion: "cubic"}}, Duration: min(max(rounds*p.Path.RTT, 5*time.Second), mostDuration),
	}
	c.Buffer = max(64, int(2*c.BDP()))
	return c
}

func atRate(rate int64) string { return fmt.Sprintf("at %d Mbit/s", rate/1_000_000) }

func (p planner) windowScaling() (experiment, error) {
	text := ""
	c := p.bulk()
	if c.Rate < p.Path.Rate {
		text = atRate(c.Rate) + ": without scaling it is the same at any rate"
	}
	return p.cells(c, cell.Later, "goodput of one connection", text)
}

// buffers has the path and the largest buffer smaller by the same.
func (p planner) buffers() (experiment, error) {
	c := p.bulk()
	_, part := p.scaled()
	now, nowErr := smaller(p.advice.Current, part)
	then, thenErr := smaller(p.advice.Advised, part)
	if err := errors.Join(nowErr, thenErr); err != nil {
		return experiment{}, err
	}
	text := ""
	if part > 1 {
		text = fmt.Sprintf("%s, with 1/%.3g of the path's content and of the buffers", atRate(c.Rate), part)
	}
	a, b := c, c
	a.Sysctls, b.Sysctls = p.settings(now), p.settings(then)
	for _, other := range []string{"net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"} {
		for _, sysctls := range []map[string]string{a.Sysctls, b.Sysctls} {
			if value, ok := sysctls[other]; ok && other != p.advice.Key {
				scaled, err := smaller(value, part)
				if err != nil {
					return experiment{}, err
				}
				sysctls[other] = scaled
			}
		}
	}
	return experiment{now: a, then: b, metric: cell.Later, what: "goodput of one connection", path: text}, errors.Join(a.Validate(), b.Validate())
}

// smaller divides the maximum of a buffer's three numbers, and the others where they would be above it.
func smaller(value string, part float64) (string, error) {
	var least, first, most float64
	if _, err := fmt.Sscan(value, &least, &first, &most); err != nil {
		return "", fmt.Errorf("%w: %q: want three numbers", errNoProof, value)
	}
	most = math.Max(math.Floor(most/part), least)
	return fmt.Sprintf("%.0f %.0f %.0f", least, math.Min(first, most), most), nil
}

// losing overflows a shallow queue in slow start: many segments of a window are lost at once.
func (p planner) losing() (experiment, error) {
	c := p.bulk()
	c.Buffer = max(16, int(c.BDP()/4))
	c.Duration = max(50*c.RTT, 5*time.Second)
	return p.cells(c, cell.Goodput, fmt.Sprintf("goodput of one connection in its first %v", c.Duration), "with a queue of a quarter of the path's content, which overflows")
}

func (p planner) congestion() (experiment, error) {
	c := cell.Cell{Rate: min(p.Path.Rate, mostRate), RTT: p.Path.RTT, Loss: p.Path.Loss, Duration: 10 * time.Second}
	now, then := c, c
	now.Flows, then.Flows = []cell.Flow{{Congestion: p.advice.Current}}, []cell.Flow{{Congestion: p.advice.Advised}}
	now.Sysctls = p.settings(p.advice.Current)
	delete(now.Sysctls, p.advice.Key) // the flow names it
	then.Sysctls = now.Sysctls
	text := ""
	if c.Rate < p.Path.Rate {
		text = fmt.Sprintf("at %d Mbit/s: what %s gets does not depend on the rate, and %s gets the more the more there is", c.Rate/1_000_000, p.advice.Current, p.advice.Advised)
	}
	return experiment{now: now, then: then, metric: cell.Goodput, what: "goodput of one connection", path: text}, errors.Join(now.Validate(), then.Validate())
}

func (p planner) bursts() (experiment, error) {
	rate, part := p.scaled()
	text := ""
	if part > 1 {
		text = fmt.Sprintf("%s, with 1/%.3g of the path's content", atRate(rate), part)
	}
	t := cell.Trial{Kind: cell.Bursts, Rate: rate, RTT: p.Path.RTT, Bytes: max(1, int64(float64(p.BDP)/part)), Idle: max(p.Path.Idle, 2*p.Path.RTT+time.Second)}
	return p.trials(t, p.only(p.advice.Current), p.only(p.advice.Advised), fmt.Sprintf("a burst of %d bytes after a pause", t.Bytes), text)
}

func (p planner) hole() (experiment, error) {
	t := cell.Trial{Kind: cell.Hole, RTT: p.Path.RTT, Bytes: 100_000}
	return p.trials(t, p.only(p.advice.Current), p.only(p.advice.Advised), "100 kB through a link of 1400 bytes take",
		"a minute is how long was waited")
}

// unsent has few connections: a send buffer grows with the congestion window, which many of them share.
func (p planner) unsent() (experiment, error) {
	const connections = 2
	t := cell.Trial{Kind: cell.Unsent, RTT: p.Path.RTT, Rate: 10e6, Count: connections}
	return p.trials(t, p.only(p.advice.Current), p.only(p.advice.Advised), "waits to be sent, a connection", fmt.Sprintf("%d connections on 10 Mbit/s", t.Count))
}

// part is by how much a number of connections is made smaller.
func part(connections int) int { return (connections + mostConnections - 1) / mostConnections }

func scaleText(part int, what string) string {
	if part == 1 {
		return ""
	}
	return fmt.Sprintf("with 1/%d of both, the %s and the setting", part, what)
}

// over divides a setting of one number.
func over(value string, part int) (string, error) {
	n, err := strconv.Atoi(value)
	if err != nil {
		return "", fmt.Errorf("%w: %q is no number", errNoProof, value)
	}
	return strconv.Itoa(max(1, n/part)), nil
}

// divided are both values of the setting as a part.
func (p planner) divided(part int) (now, then string, err error) {
	now, nowErr := over(p.advice.Current, part)
	then, thenErr := over(p.advice.Advised, part)
	return now, then, errors.Join(nowErr, thenErr)
}

func (p planner) crowd(more ...string) (experiment, error) {
	k := part(p.Path.Connections)
	now, then, err := p.divided(k)
	if err != nil {
		return experiment{}, err
	}
	t := cell.Trial{Kind: cell.Crowd, RTT: p.Path.RTT, Count: p.Path.Connections / k}
	return p.trials(t, p.only(now, more...), p.only(then, more...), fmt.Sprintf("the last of %d clients is accepted after", t.Count), scaleText(k, "clients"))
}

// acceptQueue is without SYN cookies: behind those a client that is not accepted does not come back before it sends something.
func (p planner) acceptQueue() (experiment, error) {
	return p.crowd("net.ipv4.tcp_syncookies", "0", "net.ipv4.tcp_max_syn_backlog", "65535")
}

func (p planner) synQueue() (experiment, error) {
	return p.crowd("net.ipv4.tcp_syncookies", "0", "net.core.somaxconn", "65535")
}

// ephemeral is a range of so many ports.
func ephemeral(ports int) string { return fmt.Sprintf("40000 %d", 40000+ports-1) }

func portsIn(value string) (int, error) {
	var first, last int
	if _, err := fmt.Sscan(value, &first, &last); err != nil || last < first {
		return 0, fmt.Errorf("%w: %q are no ports", errNoProof, value)
	}
	return last - first + 1, nil
}

func (p planner) ports() (experiment, error) {
	have, err := portsIn(p.advice.Current)
	wide, wideErr := portsIn(p.advice.Advised)
	if err := errors.Join(err, wideErr); err != nil {
		return experiment{}, err
	}
	k := part(wide)
	t := cell.Trial{Kind: cell.Ports, RTT: p.Path.RTT, Count: wide / k}
	return p.trials(t, p.only(ephemeral(have/k)), p.only(ephemeral(wide/k)), fmt.Sprintf("of %d connections fail", t.Count), scaleText(k, "connections"))
}

func (p planner) reuse() (experiment, error) {
	t := cell.Trial{Kind: cell.Reopen, RTT: p.Path.RTT, Count: 100}
	ports := []string{"net.ipv4.ip_local_port_range", ephemeral(t.Count + 10)}
	return p.trials(t, p.only(p.advice.Current, ports...), p.only(p.advice.Advised, ports...),
		fmt.Sprintf("of %d connections, opened 2 s after as many were closed, fail", t.Count), fmt.Sprintf("with %d ports", t.Count+10))
}

func (p planner) buckets() (experiment, error) {
	closed := int(math.Min(p.Path.New*60, 10e6))
	k := part(closed)
	now, then, err := p.divided(k)
	if err != nil {
		return experiment{}, err
	}
	t := cell.Trial{Kind: cell.Closed, RTT: p.Path.RTT, Count: closed / k}
	return p.trials(t, p.only(now), p.only(then), fmt.Sprintf("of %d closed connections are not in TIME_WAIT", t.Count), scaleText(k, "connections"))
}

func (p planner) keepalive() (experiment, error) {
	t := cell.Trial{Kind: cell.Idle, RTT: p.Path.RTT, Bytes: 1000, Idle: p.Path.Forgets * 3 / 2}
	return p.trials(t, p.only(p.advice.Current), p.only(p.advice.Advised), fmt.Sprintf("of one message after an idle time of %v arrive", t.Idle), "")
}
