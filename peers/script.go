package peers

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"github.com/tcplab/tcplab/peers/tcpinfo"
)

// Script is a client or a server that does exactly its steps, in order, and reports the outcome of each. It does
// nothing else on a connection, except that it closes it when its steps are done.
//
//	peers.Script{Connect: addr, Steps: peers.Steps(peers.Write(1000), peers.CloseWrite(), peers.ReadAll())}
//
// It can speak a protocol:
//
//	peers.Script{Listen: addr, Steps: peers.Steps(
//		peers.ReadBytes([]byte("PING\r\n")), peers.WriteBytes([]byte("+PONG\r\n")))}
//
// An error ends the script: all connections are closed, and the error is that of the peer. With [Try] it is only a
// result, and the next step runs. Peer.Stop ends the script in order: a waiting step is interrupted with ECANCELED,
// which is no error of the peer, and no other begins.
//
// One goroutine runs all steps, and calls connect(2) for all connections, so packets are sent in the order of the
// script.
type Script struct {
	// One of Connect, a client, and Listen, a server; port 0 of the latter: the kernel chooses, see Ready.
	Connect netip.AddrPort `json:"connect,omitzero"`
	// The listener stays open until the script ends.
	Listen netip.AddrPort `json:"listen,omitzero"`
	// Local is the address that a client binds to, with SO_REUSEADDR. Port 0: the kernel chooses. Without Local, the
	// client does not bind, and connect(2) chooses.
	Local netip.AddrPort `json:"local,omitzero"`
	// Backlog of listen(2). 0 is sysctl net.core.somaxconn, the most that the kernel allows.
	Backlog int `json:"backlog,omitempty"`

	// AwaitBegin lets the client connect, or the server accept, when Peer.Begin is called, rather than at once.
	AwaitBegin bool `json:"await_begin,omitempty"`
	// Connections is the number of connections to make or accept. 0 means 1. They run one after the other: the next
	// when the one before has done its steps and is closed.
	Connections int `json:"connections,omitempty"`
	// Together makes or accepts all connections first. Then each step runs on all of them, in their order, before the
	// next step begins; Sleep and Await once for all. They are closed at the end.
	Together bool `json:"together,omitempty"`

	// Timeout bounds a connect(2), as in Dial. 0 leaves it to the kernel.
	Timeout time.Duration `json:"timeout_ns,omitempty"`
	// TryConnect makes a failure of connect(2) or bind(2) a result instead of an error, as in Dial: the errno is the
	// Err of the connection, no step runs on it, and the other connections continue.
	TryConnect bool `json:"try_connect,omitempty"`

	Socket

	Steps []Step `json:"steps,omitempty"`
}

// Outcome is the outcome of a step. Those of a connection are in Connection.Steps, in the order in which they ran:
// without Repeat, at the same place as in Script.Steps.
type Outcome struct {
	Step    string        `json:"step"`               // "write 1000": see Step.String
	Start   time.Duration `json:"start_ns"`           // since the script began, before its first connect(2) or accept(2)
	Elapsed time.Duration `json:"elapsed_ns"`         // from its start to its end
	Bytes   int64         `json:"bytes,omitempty"`    // written or read, also where there is an error
	TCPInfo *tcpinfo.Info `json:"tcp_info,omitempty"` // of Inspect
	Err     *PeerError    `json:"error,omitempty"`
}

// End returns when the step ended, since the script began.
func (o Outcome) End() time.Duration { return o.Start + o.Elapsed }

// Bounds of what scripts report.
const (
	MaxOutcomes = 10_000 // steps with all repetitions, times connections
	MaxInspects = 2000   // of them, Inspect
)

func (Script) program() string { return "script" }

// Validate implements [Program].
func (p Script) Validate() error {
	c := check{program: p.program()}
	r := asClient
	switch {
	case p.Connect.IsValid() == p.Listen.IsValid():
		c.fail("Connect", p.Connect, "one of Connect and Listen must be set, and not both")
	case p.Listen.IsValid():
		r = asListener
		c.listen(p.Listen)
		if p.Local.IsValid() {
			c.fail("Local", p.Local, "is for a client; a server binds to Listen")
		}
		if p.Timeout != 0 {
			c.fail("Timeout", p.Timeout, "is for a client")
		}
		if p.TryConnect {
			c.fail("TryConnect", p.TryConnect, "is for a client")
		}
	default:
		c.connect(p.Connect)
		if p.Local.IsValid() {
			r = asBound
			c.local(p.Local, p.Connect)
		}
		if p.Backlog != 0 {
			c.fail("Backlog", p.Backlog, "is for a server")
		}
	}
	c.atMost("Backlog", int64(p.Backlog), maxBacklog)
	c.atMost("Connections", int64(p.Connections), MaxConnections)
	c.duration("Timeout", p.Timeout)
	c.socket(p.Socket, r)

	total, inspects, _ := c.steps("Steps", p.Steps, false, 1)
	connections := int64(max(p.Connections, 1))
	if c.err == nil && total*connections > MaxOutcomes {
		c.fail("Steps", fmt.Sprintf("%d on %d connections", total, connections),
			fmt.Sprintf("want %d at most, with all repetitions", MaxOutcomes))
	}
	if c.err == nil && inspects*connections > MaxInspects {
		c.fail("Steps", fmt.Sprintf("%d times Inspect", inspects*connections), fmt.Sprintf("want %d at most", MaxInspects))
	}
	if c.err == nil {
		// The script has to fit into the first line to the peer, beside its name and the like.
		const most = maxCommandLine - 1024
		if b, err := json.Marshal(p); err != nil || len(b) > most {
			c.fail("Steps", fmt.Sprintf("%d bytes of JSON", len(b)), fmt.Sprintf("want %d at most: use Repeat, and less given bytes", most))
		}
	}
	return c.err
}

// local checks the address that a client binds to.
func (c *check) local(local, remote netip.AddrPort) {
	c.address("Local", local)
	if local.Addr().Is4() != remote.Addr().Is4() {
		c.fail("Local", local, "must be of the same family as Connect")
	}
}
