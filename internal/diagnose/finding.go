package diagnose

import (
	"net/netip"
	"time"

	"github.com/tcplab/tcplab/internal/probe"
)

// A Kind is a fixed word for a cause.
type Kind string

// The kinds. docs/tools.md says what evidence each needs.
const (
	NoSuchName       Kind = "no-such-name"      // the name has no address
	NoResolver       Kind = "no-resolver"       // no resolver says whether it has one
	NoRoute          Kind = "no-route"          // this machine does not know where to send
	NoNeighbour      Kind = "no-neighbour"      // the next hop does not answer on its link
	LocalFirewall    Kind = "local-firewall"    // this machine does not let the SYN out
	PortsExhausted   Kind = "ports-exhausted"   // this machine has no local port left for the server
	Failed           Kind = "failed"            // the kernel refused in another way, such as for want of file descriptors; the finding quotes it
	Refused          Kind = "refused"           // a reset answered the SYN
	Rejected         Kind = "rejected"          // an ICMP error answered the SYN
	Filtered         Kind = "filtered"          // nothing answered any SYN
	AcceptQueueFull  Kind = "accept-queue-full" // the server, on this machine, does not accept what comes
	SYNQueueFull     Kind = "syn-queue-full"    // the listener, on this machine, has no room for SYNs
	MTUBlackHole     Kind = "mtu-black-hole"    // large packets vanish, small ones do not
	Unacknowledged   Kind = "unacknowledged"    // it connected, and what was sent then is not acknowledged
	NotReading       Kind = "not-reading"       // the server's program does not read
	SilentServer     Kind = "silent-server"     // the server's program reads, as far as one can see, and does not answer
	ClosedUnanswered Kind = "closed-unanswered" // the server closed the connection in place of an answer
	Reset            Kind = "reset"             // the server, or a box on the way, reset the connection
	TLSFailed        Kind = "tls-failed"        // the two sides do not agree on TLS
	NotHTTP          Kind = "not-http"          // the server's answer is no HTTP
	SYNLoss          Kind = "syn-loss"          // it connected, after SYNs were retransmitted
	Loss             Kind = "loss"              // the path loses packets
	LateAnswer       Kind = "late-answer"       // the server's program takes long
	ZeroWindow       Kind = "zero-window"       // the server's program reads more slowly than the path brings
	WindowLimited    Kind = "window-limited"    // the server's receive buffer is too small for the path
	DelayedACK       Kind = "delayed-ack"       // the server's Nagle algorithm waits for this side's delayed ACK
	TimeWait         Kind = "time-wait"         // this machine has many connections to the server in TIME-WAIT
	CloseWait        Kind = "close-wait"        // a program of this machine does not close
	NoKeepalive      Kind = "no-keepalive"      // advice: connections are idle without a keepalive
)

// A Certainty is how sure a finding is.
type Certainty string

// The certainties.
const (
	Certain  Certainty = "certain"  // the kernel, or a packet, says so
	Likely   Certainty = "likely"   // what was seen has other explanations, which are rare
	Possible Certainty = "possible" // it has others that are not
)

// A Finding is a cause, and what it rests on, in plain words.
type Finding struct {
	Kind    Kind       `json:"kind"`
	Status  int        `json:"exit_status"`      // of its kind, by [ExitStatuses]
	Address netip.Addr `json:"address,omitzero"` // of the server, where it is about one
	Sure    Certainty  `json:"sure"`
	// Advice is a finding that is no fault.
	Advice bool `json:"advice,omitempty"`

	Tried string `json:"tried"`
	Seen  string `json:"seen"`
	Means string `json:"means"`
	Next  string `json:"next"`
}

// A Report is what was seen, and what it means.
type Report struct {
	Options   Options       `json:"options"`
	Took      time.Duration `json:"took_ns"`
	Ended     bool          `json:"ended,omitempty"` // before all was tried
	Name      Name          `json:"name"`
	Addresses []netip.Addr  `json:"addresses"`
	Attempts  []Attempt     `json:"attempts"`
	Hops      []Hop         `json:"hops,omitempty"` // to addresses that did not answer
	Machine   Machine       `json:"machine"`
	Findings  []Finding     `json:"findings"`
	Status    int           `json:"exit_status"` // of a program that found this: see [Report.ExitStatus]
}

// A Name is what resolving it gave.
type Name struct {
	Took     time.Duration `json:"took_ns"`
	Err      string        `json:"error,omitempty"`
	NotFound bool          `json:"not_found,omitempty"` // a server says that there is no such name
	// Misbehaves: a server answers, and its answer is neither an address nor that there is none (SERVFAIL, REFUSED, nonsense).
	Misbehaves bool   `json:"misbehaves,omitempty"`
	Server     string `json:"server,omitempty"`
}

// Faults are the findings that are no advice.
func (r *Report) Faults() []Finding {
	var faults []Finding
	for _, f := range r.Findings {
		if !f.Advice {
			faults = append(faults, f)
		}
	}
	return faults
}

// phase is what an attempt was at when it failed, in words.
func phase(s probe.Sample) string {
	return map[string]string{
		"connect": "connecting", "tls": "the TLS handshake", "upload": "sending", "first byte": "waiting for the answer", "transfer": "the rest of the answer",
	}[s.Phase]
}
