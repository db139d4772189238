package picture_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/internal/picture"
	"github.com/tcplab/tcplab/results"
)

// of is the picture of a scenario in testdata, and its record.
func of(t testing.TB, name string) (*picture.Picture, *results.Record) {
	t.Helper()
	record, err := results.Read(filepath.Join("testdata", name, results.FileName))
	if err != nil {
		t.Fatal(err)
	}
	p := picture.OfScenario(record)
	if len(p.Notes) > 0 {
		t.Errorf("%s: %q", name, p.Notes)
	}
	return p, record
}

// Two of twelve segments were dropped by a rule: the picture has where they died, which rule it was, and why TCP sent them again.
func TestTailLoss(t *testing.T) {
	p, record := of(t, "tailloss")
	if len(p.Connections) != 1 || len(p.Connections[0].Path) != 3 {
		t.Fatalf("connections %+v", p.Connections)
	}
	var dropped, sent, again []picture.Packet
	for _, k := range p.Packets {
		switch {
		case p.Places[k.Place].Dropped:
			dropped = append(dropped, k)
		case k.Fate == picture.Dropped:
			sent = append(sent, k)
		case k.Cause != picture.None:
			again = append(again, k)
		}
	}
	acted := 0
	for _, i := range record.Impairments {
		var applied struct {
			Rule  string
			Acted int
		}
		if i.Applied != nil && json.Unmarshal(i.Applied, &applied) == nil && strings.HasPrefix(applied.Rule, "drop") {
			acted += applied.Acted
		}
	}
	if len(dropped) != acted || len(sent) != len(dropped) || len(dropped) == 0 {
		t.Fatalf("%d dropped, %d sent of them; the rules say %v", len(dropped), len(sent), acted)
	}
	for i, d := range dropped {
		s := p.Packets[d.Sent]
		if d.Rule == picture.None || s.Seq != d.Seq || s.Window != d.Window || s.At > d.At || s.Frame != sent[i].Frame {
			t.Errorf("dropped %+v, sent %+v", d, s)
		}
	}
	var causes []string
	for _, a := range again {
		causes = append(causes, analysis.Cause(a.Cause).String())
		if !slices.ContainsFunc(sent, func(s picture.Packet) bool { return s.Seq == a.Seq }) {
			t.Errorf("sent again, and not dropped: %+v", a)
		}
	}
	slices.Sort(causes)
	if want := []string{"fast", "tail loss probe"}; !slices.Equal(causes, want) {
		t.Errorf("causes %q, want %q", causes, want)
	}
	// Times are of the spec: the rule was asked for after the lab was built, and hit what came then.
	if last := record.Impairments[len(record.Impairments)-1].At; dropped[0].At < last || dropped[0].At > record.Duration {
		t.Errorf("dropped at %v; the rule was made at %v, and the spec took %v", dropped[0].At, last, record.Duration)
	}
}

// Where both hosts were captured each packet that was sent has a fate, and what arrives is linked to what was sent.
func TestFates(t *testing.T) {
	p, _ := of(t, "deadreceiver")
	segments, err := analysis.ReadFile("testdata/deadreceiver/capture.pcapng")
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Packets) != len(segments) {
		t.Fatalf("%d packets of %d segments", len(p.Packets), len(segments))
	}
	byFrame := map[int]analysis.Segment{}
	for _, s := range segments {
		byFrame[s.Frame] = s
	}
	count := map[picture.Fate]int{}
	for i, k := range p.Packets {
		s := byFrame[k.Frame]
		if s.Length != k.Length || s.Flags != k.Flags || p.Start.Add(k.At) != s.Time {
			t.Fatalf("packet %+v of segment %v", k, s)
		}
		if i > 0 && k.At < p.Packets[i-1].At {
			t.Errorf("frame %d is not in order", k.Frame)
		}
		if k.Sent != picture.None {
			if first := p.Packets[k.Sent]; first.Seq != k.Seq || first.Ack != k.Ack || first.At > k.At || first.Sent != picture.None {
				t.Errorf("frame %d is linked to %+v", k.Frame, first)
			}
			continue
		}
		count[k.Fate]++
	}
	if count[picture.Dropped] == 0 || count[picture.Arrived] == 0 || count[picture.Unknown] != 0 {
		t.Errorf("fates %v", count)
	}
}

// The kernel's states are bands, one after the other.
func TestBands(t *testing.T) {
	p, _ := of(t, "halfclose")
	last := map[bool]time.Duration{}
	states := map[string]bool{}
	for _, b := range p.Bands {
		if b.Name != "state" {
			continue
		}
		states[b.Value] = true
		if b.From < last[b.FromServer] || b.To < b.From {
			t.Errorf("%+v begins before the one before ends", b)
		}
		last[b.FromServer] = b.To
	}
	for _, want := range []string{"TCP_ESTABLISHED", "TCP_FIN_WAIT1", "TCP_FIN_WAIT2"} {
		if !states[want] {
			t.Errorf("no band of %s in %v", want, states)
		}
	}
}

// scenario is a copy of one in testdata with other files.
func scenario(t testing.TB, files map[string]string) *results.Record {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/tailloss")); err != nil {
		t.Fatal(err)
	}
	record, err := results.Read(filepath.Join(dir, results.FileName))
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		record.Artefacts = append(record.Artefacts, results.Artefact{Path: name})
	}
	return record
}

func TestSeries(t *testing.T) {
	p, _ := of(t, "tailloss")
	client, server := p.Connections[0].Client.String(), p.Connections[0].Server.String()
	record := scenario(t, map[string]string{
		"samples.json": `{"host": "client", "samples": [
{"at_ns":200000000,"sockets":[{"local":"` + client + `","remote":"` + server + `","tcp_info":{"snd_cwnd":10,"snd_ssthresh":2147483647,"rtt":20060},"bbr":{"pacing_gain":1.25}}]},
{"at_ns":300000000,"sockets":[{"local":"` + client + `","remote":"` + server + `","tcp_info":{"snd_cwnd":7,"snd_ssthresh":5,"rtt":20070}},{"local":"192.0.2.1:1","remote":"192.0.2.2:2","tcp_info":{"snd_cwnd":99}}]}]}`,
		"queue-2.json": `{"end": "router/eth1", "samples": [{"at_ns":100,"backlog":1514,"length":1,"drops":3}]}`,
		"queueing.txt": `not one`,
		"events.jsonl": `{"at_ns":250000000,"kind":"tcp/tcp_probe","host":"client","local":"` + client + `","remote":"` + server + `","probe":{"snd_cwnd":8,"ssthresh":2147483647,"srtt":20000}}` + "\n",
	})
	got := picture.OfScenario(record)
	if len(got.Notes) > 0 {
		t.Errorf("notes %q", got.Notes)
	}
	type key struct{ name, of string }
	values := map[key][]float64{}
	for _, s := range got.Series {
		values[key{s.Name, s.Of}] = s.Values
	}
	for k, want := range map[key][]float64{
		{"cwnd", "client"}: {10, 7}, {"ssthresh", "client"}: {5}, {"pacing gain", "client"}: {1.25}, {"cwnd", "tcp_probe"}: {8},
		{"queue", "router/eth1"}: {1514}, {"queue drops", "router/eth1"}: {3},
	} {
		if !slices.Equal(values[k], want) {
			t.Errorf("%v is %v, want %v", k, values[k], want)
		}
	}
	if values[key{"ssthresh", "tcp_probe"}] != nil {
		t.Error("there was no threshold yet")
	}
	// Goodput is all that was acknowledged, and no more.
	sum := 0.0
	g := got.Connections[0].Goodput[0]
	step := g.Times[1] - g.Times[0]
	for _, v := range g.Values {
		sum += v / 8 * step.Seconds()
	}
	if want := float64(got.Connections[0].Views[0].Summary.Client.Bytes - got.Connections[0].Views[0].Summary.Client.BytesAgain); sum < want || sum > want+3 {
		t.Errorf("goodput adds up to %v bytes of %v", sum, want)
	}
}

// Round trips are those of package analysis, which measures them in its own way.
func TestRoundTrips(t *testing.T) {
	for _, name := range []string{"tailloss", "deadreceiver", "halfclose"} {
		p, _ := of(t, name)
		for _, v := range p.Connections[0].Views {
			for fromServer, want := range map[bool]analysis.Times{true: v.Summary.Client.RTT, false: v.Summary.Server.RTT} {
				var got []time.Duration
				for _, k := range p.Packets {
					if k.Place == v.Place && k.FromServer == fromServer && k.RTT > 0 {
						got = append(got, k.RTT)
					}
				}
				if len(got) == 0 && want.Count == 0 {
					continue
				}
				// Analysis measures each segment that an ACK covers, this the newest of them: so there are fewer, and no longer ones.
				if len(got) == 0 || len(got) > want.Count || slices.Min(got) != want.Min || slices.Max(got) > want.Max {
					t.Errorf("%s at %s: %d round trips of %v to %v; analysis has %+v", name, p.Places[v.Place].Name, len(got), slices.Min(got), slices.Max(got), want)
				}
			}
		}
	}
}

// What cannot be read is said, and the rest is drawn.
func TestBrokenEvidence(t *testing.T) {
	for name, content := range map[string]string{
		"rules.json": "{", "samples.json": "[]", "queue.json": "nonsense", "events.jsonl": "{}\n{", "ginkgo.json": "1", "capture.pcapng": "",
	} {
		p := picture.OfScenario(scenario(t, map[string]string{name: content}))
		if len(p.Notes) == 0 && name != "ginkgo.json" { // the rules' hits say when the spec began
			t.Errorf("%s: nothing is said", name)
		}
		if name != "capture.pcapng" && len(p.Packets) == 0 {
			t.Errorf("%s: nothing is drawn", name)
		}
	}
}

// A capture of somebody else: nothing is known of hosts, rules and fates.
func TestOfCapture(t *testing.T) {
	p, err := picture.OfCapture("testdata/deadreceiver/capture.pcapng")
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Hosts) > 0 || len(p.Connections) != 1 || p.Packets[0].At != 0 {
		t.Errorf("hosts %v, %d connections, the first at %v", p.Hosts, len(p.Connections), p.Packets[0].At)
	}
	if _, err := picture.OfCapture("testdata/none.pcapng"); err == nil {
		t.Error("a capture that is not there gives no error")
	}
}

// Reduce keeps what is around events, says what it left out, and keeps both ends of arrows.
func TestReduce(t *testing.T) {
	whole, _ := of(t, "deadreceiver")
	total := len(whole.Packets)
	for _, most := range []int{0, 1, total / 4, total / 2, total - 1, total, total + 1} {
		small := whole.Reduce(most)
		left := map[int]int{}
		for i, k := range small.Packets {
			left[k.Place] += k.LeftOut
			if k.Sent != picture.None && (small.Packets[k.Sent].Frame == k.Frame || small.Packets[k.Sent].Seq != k.Seq || k.Sent == i) {
				t.Errorf("of %d: frame %d is linked to %+v", most, k.Frame, small.Packets[k.Sent])
			}
		}
		if len(small.Packets) > most*len(whole.Places) && len(small.Packets) > 0 {
			t.Errorf("%d packets where %d were asked for", len(small.Packets), most)
		}
		if most >= total && len(small.Packets) != total {
			t.Errorf("%d of %d packets", len(small.Packets), total)
		}
		twice := small.Reduce(most / 2)
		sum := len(twice.Packets)
		for _, k := range twice.Packets {
			sum += k.LeftOut
		}
		if sum > total {
			t.Errorf("%d packets are there or left out, of %d", sum, total)
		}
	}
	if small := whole.Reduce(total / 4); len(small.Packets) < total/5 {
		t.Errorf("only %d packets where %d may be", len(small.Packets), total/4)
	}
	if len(whole.Packets) != total {
		t.Error("the whole picture has changed")
	}
}

func TestShare(t *testing.T) {
	for _, c := range []struct {
		sizes []int
		total int
		want  int
	}{{[]int{10, 20, 30}, 30, 10}, {[]int{1, 20, 30}, 31, 15}, {[]int{1, 2, 100}, 50, 47}, {nil, 5, 1<<63 - 1}, {[]int{1, 2}, 10, 1<<63 - 1}} {
		got := picture.Share(c.sizes, c.total)
		if got != c.want {
			t.Errorf("Share(%v, %d) = %d, want %d", c.sizes, c.total, got, c.want)
		}
	}
}

// Evidence comes from outside: whatever is in it, a picture comes of it.
func FuzzEvidence(f *testing.F) {
	for _, name := range []string{"rules.json", "ginkgo.json"} {
		text, err := os.ReadFile(filepath.Join("testdata/tailloss", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(name, text)
	}
	f.Add("events.jsonl", []byte(`{"at_ns":1,"kind":"tcp/tcp_cong_state_set","local":"10.0.1.1:1","remote":"10.0.2.2:80","cong_state":"Loss"}`))
	f.Add("samples.json", []byte(`{"samples":[{"at_ns":1,"sockets":[{"tcp_info":{"snd_cwnd":1e300}}]}]}`))
	f.Add("queue.json", []byte(`{"end":"x","samples":[{"at_ns":-1,"backlog":1}]}`))
	f.Fuzz(func(t *testing.T, name string, text []byte) {
		if !slices.Contains([]string{"rules.json", "ginkgo.json", "events.jsonl", "samples.json", "queue.json"}, name) {
			return
		}
		p := picture.OfScenario(scenario(t, map[string]string{name: string(text)}))
		p.Reduce(5)
	})
}

func ExampleOfScenario() {
	record, err := results.Read("testdata/tailloss/record.json")
	if err != nil {
		panic(err)
	}
	p := picture.OfScenario(record)
	for _, k := range p.Packets {
		if k.Cause != picture.None {
			os.Stdout.WriteString(analysis.Cause(k.Cause).String() + "\n")
		}
	}
	// Output:
	// tail loss probe
	// fast
}

// What packets show of the client's states is what its kernel has told of them.
func TestStatesByPackets(t *testing.T) {
	p, _ := of(t, "halfclose")
	told := map[bool][]string{}
	for _, b := range p.Bands {
		if b.Name == picture.BandState && b.Connection == 0 {
			told[b.FromServer] = append(told[b.FromServer], b.Value)
			if b.Inferred != b.FromServer {
				t.Errorf("the events are the client's: %+v", b)
			}
		}
	}
	capture, err := picture.OfCapture("testdata/halfclose/capture.pcapng")
	if err != nil {
		t.Fatal(err)
	}
	var shown []string
	for _, b := range capture.Bands {
		if b.Connection == 0 && !b.FromServer {
			shown = append(shown, b.Value)
		}
	}
	// The kernel says TCP_CLOSE where a smaller socket takes over for TIME-WAIT (tcp_time_wait).
	if want := append(slices.Clone(told[false][:len(told[false])-1]), "TCP_TIME_WAIT"); !slices.Equal(shown, want) || len(shown) != 5 {
		t.Errorf("the packets show %q, the kernel told %q", shown, told[false])
	}
	if want := []string{"TCP_SYN_RECV", "TCP_ESTABLISHED", "TCP_CLOSE_WAIT", "TCP_LAST_ACK", "TCP_CLOSE"}; !slices.Equal(told[true], want) {
		t.Errorf("the server's states are %q, want %q", told[true], want)
	}
	p, _ = of(t, "tailloss") // the client's FIN acknowledges the server's: it came first
	var states []string
	for _, b := range p.Bands {
		if b.Name == picture.BandState && !b.FromServer {
			states = append(states, b.Value)
		}
	}
	if n := len(states); n == 0 || states[n-1] != "TCP_LAST_ACK" {
		t.Errorf("the client's states are %q", states)
	}
	for kernels, want := range map[string]string{"TCP_FIN_WAIT1": "FIN-WAIT-1", "TCP_SYN_SENT": "SYN-SENT", "TCP_CLOSE": "CLOSED", "TCP_SYN_RECV": "SYN-RECEIVED"} {
		if got := picture.StateName(kernels); got != want {
			t.Errorf("%s is %s, want %s", kernels, got, want)
		}
	}
}

// Each probe of a closed window was sent by its timer, as many as the scenario has counted; and a tail loss probe by its own.
func TestTimers(t *testing.T) {
	timers := func(p *picture.Picture) map[picture.Timer]int {
		got := map[picture.Timer]int{}
		for _, k := range p.Packets {
			if k.Timer != picture.TimerNone && k.Sent == picture.None {
				got[k.Timer]++
			}
		}
		return got
	}
	p, _ := of(t, "tailloss")
	if got, want := timers(p), (map[picture.Timer]int{picture.TimerTLP: 1}); !maps.Equal(got, want) {
		t.Errorf("timers %v, want %v", got, want)
	}
	p, record := of(t, "deadreceiver")
	probes := 0
	for _, m := range record.Metrics {
		if strings.HasSuffix(m.Name, "answered probes") {
			probes += int(m.Value)
		}
	}
	if got := timers(p)[picture.TimerPersist]; got != probes || probes == 0 {
		t.Errorf("%d probes by the persist timer, the scenario counted %d", got, probes)
	}
}
