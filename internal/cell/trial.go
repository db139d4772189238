package cell

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/bounds"
	"github.com/tcplab/tcplab/harness/invalid"
	"github.com/tcplab/tcplab/harness/kernel"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/impair/middlebox"
	"github.com/tcplab/tcplab/impair/rules"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/peers"
)

// A Trial is something that connections do on a path, for which one sysctl or another makes a difference.
type Trial struct {
	Kind    Kind              `json:"kind"`
	RTT     time.Duration     `json:"rtt_ns"`
	Rate    int64             `json:"rate_bit_per_s,omitempty"` // where the kind has one
	Count   int               `json:"count,omitempty"`          // of connections
	Bytes   int64             `json:"bytes,omitempty"`          // of a message or a burst
	Idle    time.Duration     `json:"idle_ns,omitempty"`        // between two of them
	Sysctls map[string]string `json:"sysctls,omitempty"`        // of all hosts
}

// A Kind says what a trial does, and what its metric is.
type Kind string

// The kinds.
const (
	// Crowd: Count clients connect at once to a server that is busy for half a second; when it has accepted the last.
	Crowd Kind = "clients connect at once"
	// Ports: one client opens Count connections to one server; how many fail.
	Ports Kind = "connections to one server"
	// Reopen: Count connections, closed by the client, and two seconds later as many again; how many fail.
	Reopen Kind = "connections, closed and opened again"
	// Closed: Count connections, closed by the client; how many are not in TIME_WAIT then.
	Closed Kind = "connections closed at once"
	// Bursts: a burst of Bytes, a pause of Idle, and another one; how long that takes.
	Bursts Kind = "bursts with a pause between them"
	// Hole: Bytes over a path with a smaller MTU whose ICMP messages are dropped; when they have arrived, at most a minute.
	Hole Kind = "a transfer through an MTU black hole"
	// Idle: a message after a pause of Idle through a NAT that forgets after two thirds of it; whether it arrives.
	Idle Kind = "a message through a NAT after a pause"
	// Unsent: Count connections write as much as the kernel takes, over Rate; how much waits in the sender.
	Unsent Kind = "connections that write ahead"
)

// Result is the name of a trial's metric.
const Result = "result"

// Validate returns what is wrong with t, an *invalid.FieldError for each field.
func (t Trial) Validate() error {
	var errs []error
	refuse := func(wrong bool, field string, value any, allowed string) {
		if wrong {
			errs = append(errs, &invalid.FieldError{Field: "Trial." + field, Value: value, Allowed: allowed})
		}
	}
	refuse(trials[t.Kind] == nil, "Kind", t.Kind, "one of the kinds")
	refuse(t.RTT < 0 || t.RTT > time.Minute, "RTT", t.RTT, "0 to 1m")
	refuse(t.Count < 0 || t.Count > 5000, "Count", t.Count, "0 to 5000")
	refuse(t.Bytes < 0 || t.Bytes > 1<<30, "Bytes", t.Bytes, "0 to 1 GB")
	refuse(t.Idle < 0 || t.Idle > 24*time.Hour, "Idle", t.Idle, "0 to 24h")
	return errors.Join(errs...)
}

// String names the trial by all that it depends on.
func (t Trial) String() string {
	parts := []string{string(t.Kind), "RTT " + t.RTT.String()}
	add := func(there bool, format string, value any) {
		if there {
			parts = append(parts, fmt.Sprintf(format, value))
		}
	}
	add(t.Rate > 0, "%d bit/s", t.Rate)
	add(t.Count > 0, "%d of them", t.Count)
	add(t.Bytes > 0, "%d bytes", t.Bytes)
	add(t.Idle > 0, "pause %v", t.Idle)
	for _, key := range slices.Sorted(maps.Keys(t.Sysctls)) {
		parts = append(parts, fmt.Sprintf("%s = %s", strings.TrimPrefix(key, "net.ipv4."), t.Sysctls[key]))
	}
	return strings.Join(parts, ", ")
}

// trials do the kinds.
var trials = map[Kind]func(Trial, *harness.Lab){
	Crowd: Trial.crowd, Ports: Trial.ports, Reopen: Trial.reopen, Closed: Trial.closed, Bursts: Trial.bursts, Hole: Trial.hole, Idle: Trial.idle,
	Unsent: Trial.unsent,
}

func (t Trial) measure(lab *harness.Lab) { trials[t.Kind](t, lab) }

func settingsOf(sysctls map[string]string) netns.Config {
	var settings []netns.Setting
	for _, key := range slices.Sorted(maps.Keys(sysctls)) {
		settings = append(settings, netns.Setting{Key: key, Value: sysctls[key]})
	}
	return netns.Config{Sysctls: settings}
}

func (t Trial) path(lab *harness.Lab) *harness.Network {
	return lab.Path(t.RTT, settingsOf(t.Sysctls))
}

// crowded is how long the server is busy with something else.
const crowded = 500 * time.Millisecond

// crowd looks at the server: a client takes the SYN-ACK for a connection, though the server has no room for its ACK.
func (t Trial) crowd(lab *harness.Lab) {
	lab.AllowBusy()
	net := t.path(lab)
	server := lab.Start(net.Server(), peers.Script{
		Listen: net.Server().Addr(port), Connections: t.Count, Together: true, AwaitBegin: true, Steps: peers.Steps(peers.Await()),
	})
	began := time.Now()
	lab.Start(net.Client(), peers.Dial{Connect: net.Server().Addr(port), Count: t.Count, Parallel: true, Hold: peers.UntilStopped})
	time.Sleep(crowded)
	server.Begin()
	server.Waiting() // it has accepted all
	lab.Note(Result, time.Since(began))
}

// dial opens connections one after the other, and says how many failed.
func (t Trial) dial(lab *harness.Lab, net *harness.Network, dial peers.Dial) (failed int) {
	dial.Connect, dial.Count = net.Server().Addr(port), t.Count
	for _, c := range lab.Start(net.Client(), dial).Wait().Connections {
		if c.Err != nil {
			failed++
		}
	}
	return failed
}

func (t Trial) accepting(lab *harness.Lab) *harness.Network {
	lab.AllowBusy()
	net := t.path(lab)
	lab.Start(net.Server(), peers.Accept{Listen: net.Server().Addr(port)})
	return net
}

func (t Trial) ports(lab *harness.Lab) {
	net := t.accepting(lab)
	lab.Note(Result, t.dial(lab, net, peers.Dial{Hold: time.Second}))
}

func (t Trial) reopen(lab *harness.Lab) {
	net := t.accepting(lab)
	t.dial(lab, net, peers.Dial{CloseImmediately: true})
	time.Sleep(2 * time.Second)
	lab.Note(Result, t.dial(lab, net, peers.Dial{CloseImmediately: true}))
}

func (t Trial) closed(lab *harness.Lab) {
	net := t.accepting(lab)
	t.dial(lab, net, peers.Dial{CloseImmediately: true})
	time.Sleep(time.Second + 2*t.RTT)
	waiting := net.Client().Sockets(kernel.SocketFilter{States: []kernel.State{kernel.TimeWait}}).List()
	lab.Note(Result, t.Count-len(waiting))
}

func (t Trial) bursts(lab *harness.Lab) {
	net := lab.Dumbbell(1, settingsOf(t.Sysctls))
	// Room for a burst that comes at once.
	net.ToServer.Impair(impair.Netem{Rate: impair.Rate{BitsPerSecond: t.Rate}, Limit: leastBuffer + 2*int(t.Bytes/frame)})
	net.ToClient.Impair(impair.Netem{Delay: t.RTT, Limit: roomBack})
	pair := lab.Connect(net.Client(), net.Server(),
		peers.Script{Steps: peers.Steps(peers.Write(t.Bytes), peers.Read(1), peers.Sleep(t.Idle), peers.Write(t.Bytes), peers.Read(1))},
		peers.Script{Steps: peers.Steps(peers.Read(t.Bytes), peers.Write(1), peers.Read(t.Bytes), peers.Write(1), peers.ReadAll())})
	steps := pair.Client.Wait().Connections[0].Steps
	gomega.Expect(steps).To(gomega.HaveLen(5))
	lab.Note(Result, steps[3].Elapsed+steps[4].Elapsed)
}

// patience is how long a transfer through a black hole is waited for.
const patience = time.Minute

func (t Trial) hole(lab *harness.Lab) {
	config := settingsOf(t.Sysctls)
	config.BottleneckMTU = 1400
	net := lab.Dumbbell(1, config)
	net.ToClient.Impair(impair.Netem{Delay: t.RTT, Limit: roomBack})
	net.Routers[0].Ends()[1].Rule(rules.Drop(rules.PacketTooBig)) // to the client: the first link is the bottleneck
	pair := lab.Connect(net.Client(), net.Server(),
		peers.Script{Steps: peers.Steps(peers.Write(t.Bytes), peers.Read(1))},
		peers.Script{Steps: peers.Steps(peers.Read(t.Bytes), peers.Write(1), peers.Try(peers.ReadAll()))})
	time.Sleep(patience)
	took := patience
	for _, c := range pair.Client.Stop().Connections {
		if len(c.Steps) == 2 && c.Steps[1].Err == nil {
			took = c.Steps[1].End() - c.Steps[0].Start
		}
	}
	lab.Note(Result, took)
}

func (t Trial) idle(lab *harness.Lab) {
	net := t.path(lab)
	net.Routers[0].Middlebox(middlebox.Box{NAT: true, Outside: net.ToServer.Name(), IdleTimeout: t.Idle * 2 / 3})
	pair := lab.Connect(net.Client(), net.Server(),
		peers.Script{Socket: peers.Socket{KeepAlive: true}, Steps: peers.Steps(peers.Sleep(t.Idle), peers.Write(t.Bytes), peers.Await())},
		peers.Script{Steps: peers.Steps(peers.Try(peers.Read(t.Bytes)))})
	pair.Client.Waiting()
	time.Sleep(10*t.RTT + time.Second)
	arrived := 0
	for _, c := range pair.Server.Stop().Connections {
		if len(c.Steps) > 0 && c.Steps[0].Bytes == t.Bytes {
			arrived = 1
		}
	}
	lab.Note(Result, arrived)
}

func (t Trial) unsent(lab *harness.Lab) {
	lab.AllowBusy()
	net := lab.Dumbbell(1, settingsOf(t.Sysctls))
	net.ToServer.Impair(impair.Netem{Rate: impair.Rate{BitsPerSecond: t.Rate}, Limit: 10 * leastBuffer})
	net.ToClient.Impair(impair.Netem{Delay: t.RTT, Limit: roomBack})
	lab.Start(net.Server(), peers.BulkServer{Listen: net.Server().Addr(port), Connections: t.Count})
	for range t.Count {
		lab.Start(net.Client(), peers.BulkClient{Connect: net.Server().Addr(port), Duration: time.Hour})
	}
	time.Sleep(20 * time.Second)
	var waiting uint64
	for _, s := range net.Client().Sockets(kernel.SocketFilter{States: []kernel.State{kernel.Established}, Port: port}).List() {
		waiting += uint64(s.TCPInfo.Notsent_bytes)
	}
	lab.Note(Result, bounds.In(float64(waiting)/float64(t.Count), "bytes"))
}
