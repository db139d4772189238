package peers

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/peers/tcpinfo"
)

// Result is what a peer reports at its end. All durations come from the monotonic clock.
type Result struct {
	Peer    string `json:"peer"`    // the name given to Start
	Program string `json:"program"` // "bulk-client", ...

	Bulk    *BulkResult    `json:"bulk,omitempty"`    // of BulkServer and BulkClient
	Echo    *EchoResult    `json:"echo,omitempty"`    // of EchoServer and EchoClient
	Accept  *AcceptResult  `json:"accept,omitempty"`  // of Accept, and of a Script that listens
	Flood   *FloodResult   `json:"flood,omitempty"`   // of SYNFlood
	Command *CommandResult `json:"command,omitempty"` // of Command
	Probe   *ProbeResult   `json:"probe,omitempty"`   // of ProbeSender and ProbeReceiver

	// Value is what a Function has returned: see [Function.Value].
	Value json.RawMessage `json:"value,omitempty"`

	// Connections has one entry for each connection, in the order in which they were accepted or asked for.
	Connections []Connection `json:"connections,omitempty"`

	// Err is the error that kept the peer from its work: of the programs that transfer data, the first error of a
	// connection. Wait returns it too. For Accept, Dial and Script.TryConnect the error of a connection is a result,
	// and is only there.
	Err *PeerError `json:"error,omitempty"`
}

// Connection is one TCP connection as its peer saw it, read from the kernel just before the socket was closed.
type Connection struct {
	Local  netip.AddrPort `json:"local,omitzero"`
	Remote netip.AddrPort `json:"remote,omitzero"`

	// ConnectTime is how long connect(2) took, whether it went well or not. Clients only.
	ConnectTime time.Duration `json:"connect_ns,omitempty"`

	Sent     int64 `json:"sent"`     // bytes that the kernel took from this program
	Received int64 `json:"received"` // bytes that this program read

	// Elapsed is, for the sender, the time from before the first byte was written until the other side had
	// acknowledged all and closed; for the receiver, from the first byte to the last. For a Script it is from before
	// connect(2), or after accept(2), until the connection is closed.
	Elapsed time.Duration `json:"elapsed_ns"`
	// Goodput is bytes * 8 / Elapsed, in bit/s, of the bytes sent, or else of those received. 0 if Elapsed is 0, as
	// with all bytes in one read.
	Goodput float64 `json:"goodput_bps"`

	// The state of the socket in the kernel. Buffers are as the kernel counts them: twice what was asked for.
	Congestion    string `json:"congestion,omitempty"`
	MSS           int    `json:"mss,omitempty"`
	SendBuffer    int    `json:"send_buffer,omitempty"`
	ReceiveBuffer int    `json:"receive_buffer,omitempty"`
	NoDelay       bool   `json:"nodelay"`

	// TCPInfo is final if the connection was closed in order: the other side has acknowledged all that this side
	// sent, including its FIN, so nothing can be retransmitted any more.
	TCPInfo *tcpinfo.Info `json:"tcp_info,omitempty"`

	Steps []Outcome `json:"steps,omitempty"` // of Script

	Err *PeerError `json:"error,omitempty"`
}

// BulkResult sums up the transfers of one peer.
type BulkResult struct {
	Bytes   int64         `json:"bytes"`
	Elapsed time.Duration `json:"elapsed_ns"`  // as in Connection; for several, from the first byte of all to the last of all
	Goodput float64       `json:"goodput_bps"` // Bytes * 8 / Elapsed, in bit/s; 0 where Elapsed is 0
}

// EchoResult sums up the exchanges of one peer. The latencies are those of a client.
type EchoResult struct {
	Requests int `json:"requests"` // answered in full

	Min    time.Duration `json:"min_ns,omitempty"`
	Median time.Duration `json:"median_ns,omitempty"` // by nearest rank, like P99
	P99    time.Duration `json:"p99_ns,omitempty"`
	Max    time.Duration `json:"max_ns,omitempty"`

	// Latencies are those of the first MaxLatencies requests, in order.
	Latencies []time.Duration `json:"latencies_ns,omitempty"`
}

// AcceptResult is the final state of a listener.
type AcceptResult struct {
	Backlog  int `json:"backlog"`  // as the kernel kept it
	Queued   int `json:"queued"`   // connections in the accept queue at the end: made, but not accepted
	Accepted int `json:"accepted"` // also those beyond MaxConnections, which have no entry in Connections
}

// CommandResult is how a command ended. Of its output the last Command.MaxOutput bytes are kept.
type CommandResult struct {
	ExitCode      int    `json:"exit_code"`        // -1 if a signal ended it
	Signal        string `json:"signal,omitempty"` // "SIGTERM"
	Stdout        string `json:"stdout"`
	Stderr        string `json:"stderr"`
	StdoutDropped int64  `json:"stdout_dropped,omitempty"` // bytes before those that are kept
	StderrDropped int64  `json:"stderr_dropped,omitempty"`
}

// Bounds of what a result lists one by one.
const (
	MaxLatencies   = 10_000
	MaxConnections = 4096
)

// PeerError is an error that happened in a peer. [errors.Is] finds its errno: errors.Is(err, unix.ECONNREFUSED).
type PeerError struct {
	Op      string `json:"op"`                // "connect", "setsockopt TCP_CONGESTION", ...
	Addr    string `json:"addr,omitempty"`    // the address it was about
	Errno   string `json:"errno,omitempty"`   // the name, "ECONNREFUSED"; empty where the kernel had no part in it
	Message string `json:"message,omitempty"` // what else there is to say
}

func (e *PeerError) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.Addr != "" {
		b.WriteString(" " + e.Addr)
	}
	if e.Errno != "" {
		b.WriteString(": " + e.Errno)
		if errno := errnoByName(e.Errno); errno != 0 {
			b.WriteString(" (" + errno.Error() + ")")
		}
	}
	if e.Message != "" {
		b.WriteString(": " + e.Message)
	}
	return b.String()
}

// Unwrap returns the errno, or nil if there is none, as for a step without an error.
func (e *PeerError) Unwrap() error {
	if e == nil {
		return nil
	}
	if errno := errnoByName(e.Errno); errno != 0 {
		return errno
	}
	return nil
}

// peerError turns any error into a PeerError: the errno in it by name, or else its text.
func peerError(op, addr string, err error) *PeerError {
	if err == nil {
		return nil
	}
	var p *PeerError
	if errors.As(err, &p) {
		return p
	}
	p = &PeerError{Op: op, Addr: addr, Errno: errnoIn(err)}
	if p.Errno == "" {
		p.Message = err.Error()
	}
	return p
}

// errnoIn returns the name of the errno in an error; empty if there is none.
func errnoIn(err error) string {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return unix.ErrnoName(errno)
	}
	return ""
}

// errnoByName is the inverse of unix.ErrnoName; 0 if there is none of that name.
func errnoByName(name string) syscall.Errno {
	if name == "" {
		return 0
	}
	const last = 133 // EHWPOISON, the last in include/uapi/asm-generic/errno.h
	for n := syscall.Errno(1); n <= last; n++ {
		if unix.ErrnoName(n) == name {
			return n
		}
	}
	return 0
}

// ErrKilled is in the error of a peer that was killed before it had reported, by [Peer.Kill] or by the end of the
// context of [Start].
var ErrKilled = errors.New("killed")

// ExitError says that a peer ended without a result, or, of [Peer.Fault], as nobody asked for.
type ExitError struct {
	ExitCode int    // -1 if a signal ended it
	Signal   string // "SIGKILL"
	Stderr   string // its last lines, or those from a panic on
	Cause    error  // ErrKilled, joined with the context's error if that was the reason; nil if it ended by itself

	when     moment
	missing  string // of beforeReady: what it was not ready for
	accepted []int  // of a Command: its ExitStatuses
	unasked  bool   // nobody here sent the signal
}

// A moment is the phase in which a process ended, relative to its result.
type moment int

const (
	beforeResult moment = iota
	afterResult
	beforeReady // of a Command
	atAll       // of a Command that was ready: it has no result of its own
)

func (e *ExitError) Error() string {
	var b strings.Builder
	switch {
	case e.Cause != nil:
		b.WriteString(e.Cause.Error())
	case e.Signal != "":
		b.WriteString("ended by " + e.Signal)
	default:
		fmt.Fprintf(&b, "exited with status %d", e.ExitCode)
		if len(e.accepted) > 0 && !slices.Contains(e.accepted, e.ExitCode) {
			fmt.Fprintf(&b, " (accepted are %v)", e.accepted)
		}
	}
	switch {
	case e.when == afterResult:
		b.WriteString(" after its result")
	case e.when == beforeReady:
		b.WriteString(" before it was ready (" + e.missing + ")")
	case e.when == atAll:
	case e.Cause == nil && e.Signal == "":
		b.WriteString(" and no result")
	default:
		b.WriteString(" before it had a result")
	}
	if e.unasked && e.Signal == unix.SignalName(unix.SIGKILL) {
		b.WriteString(", which was not sent from here: the kernel's log tells if it was the OOM killer")
	}
	if e.Stderr != "" {
		b.WriteString("; its last lines on stderr:\n" + e.Stderr)
	}
	return b.String()
}

// Unwrap returns Cause.
func (e *ExitError) Unwrap() error { return e.Cause }

// Progress is the state of a transfer.
type Progress struct {
	Elapsed time.Duration `json:"elapsed_ns"` // since it started
	Bytes   int64         `json:"bytes"`      // so far, on all connections of the peer
}

// Ready reports that a peer has its sockets: a server can be connected to, a client has a socket with all options
// set.
type Ready struct {
	Addr netip.AddrPort `json:"addr,omitzero"` // where a server listens, with the port that the kernel chose
}

// Started reports that the work has begun: a client has its first connection, or a server has accepted one.
type Started struct {
	Local  netip.AddrPort `json:"local,omitzero"`
	Remote netip.AddrPort `json:"remote,omitzero"`
}

// Waiting reports that a Script, or a Function, is at an Await.
type Waiting struct {
	Number int `json:"number"` // of the Await, among all so far: 1 is the first
}

// goodput returns bytes in that time as bit/s.
func goodput(bytes int64, elapsed time.Duration) float64 {
	if elapsed <= 0 {
		return 0
	}
	return float64(bytes) * 8 / elapsed.Seconds()
}
