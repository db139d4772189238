package picture

import (
	"bufio"
	"encoding/json"
	"io"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/peers/tcpinfo"
)

// An event is a line of events.jsonl.
type event struct {
	At         time.Duration  `json:"at_ns"`
	Kind       string         `json:"kind"`
	Local      netip.AddrPort `json:"local"`
	Remote     netip.AddrPort `json:"remote"`
	Old        string         `json:"oldstate"`
	New        string         `json:"newstate"`
	State      string         `json:"state"`
	Congestion string         `json:"cong_state"`
	Err        int            `json:"err"`
	Probe      *struct {
		Cwnd     float64 `json:"snd_cwnd"`
		Ssthresh float64 `json:"ssthresh"`
		SRTT     float64 `json:"srtt"` // in microseconds
		Window   float64 `json:"snd_wnd"`
	} `json:"probe"`
}

// kernelEvents reads the tracepoints.
func (e *evidence) kernelEvents() {
	for _, name := range e.numbered("events", ".jsonl") {
		f, err := e.root.Open(name)
		if err != nil {
			e.note("%s: %v", name, err)
			continue
		}
		faults := 0
		lines := bufio.NewScanner(io.LimitReader(f, maxEvidence))
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var one event
			if json.Unmarshal(lines.Bytes(), &one) != nil {
				faults++
				continue
			}
			e.events = append(e.events, one)
		}
		if faults > 0 || lines.Err() != nil {
			e.note("%s: not all of its lines can be read", name)
		}
		_ = f.Close() // read only: there is nothing that an error could tell
	}
	slices.SortStableFunc(e.events, func(a, b event) int { return int(a.At - b.At) })
}

// told is what of that tells why segments were retransmitted.
func (e *evidence) told() []analysis.KernelEvent {
	states := map[string]tcpinfo.CongestionState{}
	for s := tcpinfo.CongestionOpen; s <= tcpinfo.CongestionLoss; s++ {
		states[s.String()] = s
	}
	var told []analysis.KernelEvent
	for _, v := range e.events {
		k := analysis.KernelEvent{Time: e.Start.Add(v.At), Local: v.Local, Remote: v.Remote}
		switch {
		case v.Kind == "tcp/tcp_retransmit_skb" && v.Err == 0:
			k.Kind, k.Established = analysis.KernelRetransmit, v.State == "TCP_ESTABLISHED"
		case v.Kind == "tcp/tcp_cong_state_set":
			k.Kind, k.State = analysis.KernelCongestionState, states[v.Congestion]
		case v.Kind == "tcp/tcp_probe" && v.Probe != nil:
			k.Kind, k.Window = analysis.KernelReceive, uint32(v.Probe.Cwnd)
		default:
			continue
		}
		told = append(told, k)
	}
	return told
}

// find is whose socket it is: the last connection of these addresses that had begun.
func (p *Picture) find(local, remote netip.AddrPort, at time.Duration) (connection int, fromServer, found bool) {
	best := None
	for i := range p.Connections {
		k := &p.Connections[i]
		if (k.Client == local && k.Server == remote || k.Client == remote && k.Server == local) &&
			(best == None || betterFor(at, k, &p.Connections[best])) {
			best = i
		}
	}
	if best == None {
		return None, false, false
	}
	return best, p.Connections[best].Server == local, true
}

// seriesKey is what one series is of.
type seriesKey struct {
	name, of   string
	connection int
	fromServer bool
}

// A collector makes series of values that come in the order of their times.
type collector struct {
	order []seriesKey
	byKey map[seriesKey]*Series
}

func (c *collector) add(key seriesKey, unit, source string, at time.Duration, value float64) {
	if math.IsNaN(value) || math.IsInf(value, 0) {
		return
	}
	if c.byKey == nil {
		c.byKey = map[seriesKey]*Series{}
	}
	s := c.byKey[key]
	if s == nil {
		s = &Series{Name: key.name, Of: key.of, Connection: key.connection, FromServer: key.fromServer, Unit: unit, Source: source}
		c.byKey[key] = s
		c.order = append(c.order, key)
	}
	s.Times, s.Values = append(s.Times, at), append(s.Values, value)
}

func (c *collector) series() []Series {
	var all []Series
	for _, key := range c.order {
		all = append(all, *c.byKey[key])
	}
	return all
}

// noThreshold is what the kernel says as long as there is no slow start threshold (TCP_INFINITE_SSTHRESH).
const noThreshold = 0x7fffffff

// samples reads sockets over time.
func (e *evidence) samples() {
	for _, name := range e.numbered("samples", ".json") {
		var file struct {
			Host    string `json:"host"`
			Samples []struct {
				At      time.Duration `json:"at_ns"`
				Sockets []struct {
					Local  netip.AddrPort     `json:"local"`
					Remote netip.AddrPort     `json:"remote"`
					Info   map[string]float64 `json:"tcp_info"`
					BBR    map[string]float64 `json:"bbr"`
				} `json:"sockets"`
			} `json:"samples"`
		}
		if !e.load(name, &file) {
			continue
		}
		var c collector
		for _, sample := range file.Samples {
			for _, s := range sample.Sockets {
				connection, fromServer, found := e.find(s.Local, s.Remote, sample.At)
				if !found {
					continue
				}
				put := func(series, unit string, from map[string]float64, member string, scale float64) {
					v, known := from[member]
					if !known || member == "snd_ssthresh" && v >= noThreshold || member == "min_rtt" && v >= math.MaxUint32 {
						return
					}
					c.add(seriesKey{series, file.Host, connection, fromServer}, unit, name, sample.At, v*scale)
				}
				put("cwnd", "segments", s.Info, "snd_cwnd", 1)
				put("ssthresh", "segments", s.Info, "snd_ssthresh", 1)
				put("in flight", "segments", s.Info, "unacked", 1)
				put("srtt", "s", s.Info, "rtt", 1e-6)
				put("rto", "s", s.Info, "rto", 1e-6)
				put("pacing rate", "bit/s", s.Info, "pacing_rate", 8)
				put("delivery rate", "bit/s", s.Info, "delivery_rate", 8)
				put("BBR's bandwidth", "bit/s", s.BBR, "bw", 8)
				put("BBR's min RTT", "s", s.BBR, "min_rtt", 1e-6)
				put("pacing gain", "", s.BBR, "pacing_gain", 1)
			}
		}
		e.Series = append(e.Series, c.series()...)
	}
}

// queues reads queues over time.
func (e *evidence) queues() {
	for _, name := range e.numbered("queue", ".json") {
		var file struct {
			End     string `json:"end"`
			Samples []struct {
				At      time.Duration `json:"at_ns"`
				Backlog float64       `json:"backlog"`
				Length  float64       `json:"length"`
				Drops   float64       `json:"drops"`
			} `json:"samples"`
		}
		if !e.load(name, &file) {
			continue
		}
		var c collector
		for _, s := range file.Samples {
			c.add(seriesKey{"queue", file.End, None, false}, "bytes", name, s.At, s.Backlog)
			c.add(seriesKey{"queue length", file.End, None, false}, "packets", name, s.At, s.Length)
			c.add(seriesKey{"queue drops", file.End, None, false}, "packets", name, s.At, s.Drops)
		}
		e.Series = append(e.Series, c.series()...)
	}
}

// congestion makes series of the events that have values, and bands of those that have states.
func (e *evidence) congestion() {
	type of struct {
		name       string
		connection int
		fromServer bool
	}
	open := map[of]int{} // the band that has not ended
	var c collector
	begin := func(v event, name, value string) {
		connection, fromServer, found := e.find(v.Local, v.Remote, v.At)
		if !found {
			return
		}
		key := of{name, connection, fromServer}
		if last, before := open[key]; before {
			if e.Bands[last].Value == value {
				return
			}
			e.Bands[last].To = v.At
		}
		open[key] = len(e.Bands)
		e.Bands = append(e.Bands, Band{Name: name, Value: value, Connection: connection, FromServer: fromServer, From: v.At, To: math.MaxInt64})
	}
	for _, v := range e.events {
		switch {
		case v.Kind == "sock/inet_sock_set_state":
			begin(v, BandState, v.New)
		case v.Kind == "tcp/tcp_cong_state_set":
			begin(v, BandCongestion, v.Congestion)
		case v.Kind == "tcp/tcp_probe" && v.Probe != nil:
			connection, fromServer, found := e.find(v.Local, v.Remote, v.At)
			if !found {
				continue
			}
			const source = "events.jsonl"
			c.add(seriesKey{"cwnd", "tcp_probe", connection, fromServer}, "segments", source, v.At, v.Probe.Cwnd)
			if v.Probe.Ssthresh < noThreshold {
				c.add(seriesKey{"ssthresh", "tcp_probe", connection, fromServer}, "segments", source, v.At, v.Probe.Ssthresh)
			}
			c.add(seriesKey{"srtt", "tcp_probe", connection, fromServer}, "s", source, v.At, v.Probe.SRTT*1e-6)
		}
	}
	e.Series = append(e.Series, c.series()...)
	for i := range e.Bands {
		e.Bands[i].To = min(e.Bands[i].To, max(e.record.Duration, e.Bands[i].From))
	}
}
