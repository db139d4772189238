package diagnose

import (
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/internal/probe"
	"github.com/tcplab/tcplab/peers/tcpinfo"
)

// What a connection was made for.
const (
	purposeConnect    = "connect"
	purposeAsk        = "ask"
	purposeSmall      = "ask in small segments"
	purposeAgain      = "ask once more" // at the same time as that in small segments: the control
	purposeDelayedACK = "ask with delayed ACKs"
)

// An Attempt is one connection that was tried, with what the kernel knew of it.
type Attempt struct {
	Purpose string     `json:"purpose"`
	To      netip.Addr `json:"to"`
	MSS     int        `json:"mss,omitempty"` // that was set, of segments in both directions
	probe.Sample
	Errno string `json:"errno,omitempty"`
	// ICMP is the error that ended connect(2), if it was one.
	ICMP *ICMP `json:"icmp,omitempty"`

	Took    time.Duration `json:"took_ns"`             // in all
	SYNs    int           `json:"syns"`                // that were sent
	Acked   time.Duration `json:"acked_ns,omitempty"`  // until all that was to be sent was acknowledged, since it was connected; 0: it never was
	Closed  time.Duration `json:"closed_ns,omitempty"` // for how long the receive window had no room for a segment that was there to be sent
	Closing time.Duration `json:"closed_at_end_ns,omitempty"`
	// Holes is how often segments had come behind one that was missing for half a round trip and more: one that is only late, by
	// reordering, comes sooner than a retransmission.
	Holes int `json:"holes,omitempty"`
	// Shrank: a smaller MTU of the path became known meanwhile, and what was too large was retransmitted.
	Shrank bool `json:"mtu_shrank,omitempty"`
	// Unread and Unaccepted are of the server's side, where that is on this machine.
	Unread     uint32 `json:"unread,omitempty"`     // bytes
	Unaccepted bool   `json:"unaccepted,omitempty"` // no program has the connection

	Info *tcpinfo.Info `json:"tcp_info,omitempty"` // at the end
}

// ICMP is an error that a router or a host has sent, or this machine's own IP.
type ICMP struct {
	From netip.Addr `json:"from"`
	Type uint8      `json:"type"`
	Code uint8      `json:"code"`
	IPv6 bool       `json:"ipv6,omitempty"`
}

// The time between two looks at a connection: at first, and when it has been open for a while.
const (
	period, laterPeriod = 5 * time.Millisecond, 20 * time.Millisecond
	later               = 2 * time.Second
)

// silent: connect(2) had no answer of any kind.
func (a Attempt) silent() bool {
	return a.Phase == "connect" && a.ICMP == nil && (a.late() || a.Errno == "ETIMEDOUT")
}

func (a Attempt) late() bool { return a.Err == timeOut }

// timedOut: it connected, and then something did not come.
func (a Attempt) timedOut() bool { return a.late() && a.Phase != "connect" && a.Phase != "resolve" }

// gaveUp: it connected, and then this machine's TCP ended it, as nothing was acknowledged (tcp_retries2), with the last ICMP error if there
// was one (net/ipv4/tcp_timer.c: tcp_write_err).
func (a Attempt) gaveUp() bool {
	return a.Phase != "connect" && slices.Contains([]string{"ETIMEDOUT", "EHOSTUNREACH", "ENETUNREACH"}, a.Errno)
}

// closedAtEnd: the window was closed, and had been for longer than a program takes that reads.
func (a Attempt) closedAtEnd() bool { return a.Closing >= stuck }

// stuck is how long a window stays closed before nobody is believed to read.
const stuck = 3 * time.Second

// timeOut is package probe's word.
const timeOut = "time-out"

// synRetransmits are those of the SYN, retransmits all others but those that the other side said were not needed (DSACK), and those of a
// connection that has learnt the path's MTU: how many of them were too large is not known.
func (a Attempt) synRetransmits() int { return max(0, a.SYNs-1) }

func (a Attempt) retransmits() int {
	if a.Info == nil || a.Connect == 0 || a.Shrank {
		return 0
	}
	return max(0, int(a.Info.Total_retrans)-a.synRetransmits()-int(a.Info.Dsack_dups))
}

// flowing: the time was over, and data was still coming or going.
func (a Attempt) flowing() bool {
	if !a.timedOut() || a.Info == nil || a.Closing > 0 {
		return false
	}
	came := a.Phase == "transfer" && time.Duration(a.Info.Last_data_recv)*time.Millisecond < firstRTO
	went := a.Phase == "upload" && a.Info.Backoff == 0 && time.Duration(a.Info.Last_ack_recv)*time.Millisecond < firstRTO
	return came || went
}

// answered is how long the answer took, all of it, since all was sent.
func (a Attempt) answered() time.Duration { return a.FirstByte + a.Transfer }

// beyond is how much longer than the path the server took: for the answer, or for TLS, which needs two round trips at most (TLS 1.2).
func (a Attempt) beyond() time.Duration { return max(a.answered()-a.MinRTT, a.TLS-2*a.MinRTT) }

// A watch looks at a connection while package probe uses it, by a file descriptor of its own: it can ask the kernel when package net has
// closed it, too.
type watch struct {
	configure func(fd int) error // before it connects
	connected func(fd int) error // once it has

	fd   int
	stop chan struct{}
	over sync.WaitGroup

	mu   sync.Mutex // of what follows, until the looking is over
	at   time.Time  // of the last look
	open time.Time  // when it had connected
	mtu  uint32     // by then
	hole hole
	a    Attempt
}

// attempt makes a connection and watches it. configure may set options before it connects.
func attempt(ctx context.Context, purpose string, o probe.Options, change *change) Attempt {
	w := &watch{fd: -1, stop: make(chan struct{})}
	if change != nil {
		w.configure, w.connected = change.opened, change.connected
		w.a.MSS = change.mss
	}
	o.Watch = w
	began := time.Now()
	sample := probe.Take(ctx, o)
	if o.Upload > 0 && sample.Err == "" && !w.drained(ctx, o.Timeout-time.Since(began)) {
		sample.Err, sample.Phase = timeOut, "upload"
	}
	a := w.end()
	a.Took = time.Since(began)
	a.Purpose, a.To, a.Sample = purpose, o.Address, sample
	if sample.Cause != nil {
		var errno syscall.Errno
		switch {
		case errors.As(sample.Cause, &errno):
			a.Errno = unix.ErrnoName(errno)
		case errors.Is(sample.Cause, os.ErrDeadlineExceeded):
			a.Err = timeOut
		}
	}
	return a
}

// A change is what is done differently with one connection.
type change struct {
	mss               int
	opened, connected func(fd int) error
}

// small bounds the segments of both directions: the MSS is what this side announces, and what it sends.
func small(mss int) *change {
	return &change{mss: mss, opened: func(fd int) error { return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_MAXSEG, mss) }}
}

// delayACKs has this side delay its ACKs from the first on, as it does on connections that have been used for a while.
var delayACKs = &change{connected: func(fd int) error { return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_QUICKACK, 0) }}

// Opened is of probe.Watcher.
func (w *watch) Opened(fd int) error {
	queueErrors(fd, true)
	if w.configure != nil {
		if err := w.configure(fd); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	w.mu.Lock()
	before := w.fd
	w.fd, w.at = own, time.Now()
	w.mu.Unlock()
	if before >= 0 { // package net tries again where no port is free
		unix.Close(before)
		return nil
	}
	w.over.Go(func() {
		ticks, slower := time.NewTicker(period), time.Now().Add(later)
		defer ticks.Stop()
		for {
			select {
			case now := <-ticks.C:
				w.look()
				if now.After(slower) {
					ticks.Reset(laterPeriod)
				}
			case <-w.stop:
				return
			}
		}
	})
	return nil
}

// queueErrors has a socket keep the ICMP errors that it gets, or not.
func queueErrors(fd int, yes bool) {
	value := either(yes, 1, 0)
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_RECVERR, value) // an IPv6 socket has either
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVERR, value)
}

// Connected is of probe.Watcher.
func (w *watch) Connected(fd int) {
	queueErrors(fd, false) // with it an ICMP error would end the connection, as it does not end those of other programs
	if w.connected != nil {
		_ = w.connected(fd) // without it the attempt shows nothing new
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open = time.Now()
	if info, err := tcpinfo.Get(fd); err == nil {
		w.a.SYNs, w.mtu = 1+int(info.Total_retrans), info.Pmtu
	}
}

func (w *watch) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	info, err := tcpinfo.Get(w.fd)
	if err != nil {
		return
	}
	now := time.Now()
	since := now.Sub(w.at)
	w.at = now
	before, last := w.a.Info, now.Add(-since)
	w.a.Info = info
	if w.open.IsZero() {
		w.a.SYNs = max(1, int(info.Total_retrans)+1)
		return
	}
	w.a.Shrank = w.a.Shrank || info.Pmtu < w.mtu
	pending := info.Unacked > 0 || info.Notsent_bytes > 0
	if pending && info.Has("snd_wnd") && info.Notsent_bytes > 0 && info.Snd_wnd < info.Snd_mss {
		w.a.Closed += since
		w.a.Closing += since
	} else {
		w.a.Closing = 0
	}
	switch {
	case pending:
		w.a.Acked = 0
	case w.a.Acked == 0:
		w.a.Acked = now.Sub(w.open)
	}
	if before != nil && w.hole.look(before, info, last, now) {
		w.a.Holes++
	}
}

// A hole is something that is missing of what comes, since a time.
type hole struct{ since time.Time }

// look compares two looks. It tells whether a hole was filled between them that had been there for half a round trip and more.
func (h *hole) look(before, info *tcpinfo.Info, last, now time.Time) (lost bool) {
	if info.Bytes_received > before.Bytes_received && !h.since.IsZero() {
		lost = last.Sub(h.since) >= max(time.Duration(info.Min_rtt)*time.Microsecond/2, 2*period)
		h.since = time.Time{}
	}
	if info.Rcv_ooopack > before.Rcv_ooopack && h.since.IsZero() {
		h.since = now
	}
	return lost
}

// drained waits until all that was written is acknowledged: the kernel takes more than it sends.
func (w *watch) drained(ctx context.Context, within time.Duration) bool {
	until := time.After(within)
	for {
		w.look()
		w.mu.Lock()
		const over = 7 // TCP_CLOSE
		done := w.a.Acked > 0 || w.a.Info == nil || w.a.Info.State == over
		w.mu.Unlock()
		if done {
			return true
		}
		select {
		case <-time.After(laterPeriod):
		case <-until:
			return false
		case <-ctx.Done():
			return true // it was ended, and did not fail
		}
	}
}

// end takes a last look, and lets go of the connection.
func (w *watch) end() Attempt {
	if w.fd < 0 {
		return w.a
	}
	close(w.stop)
	w.over.Wait()
	w.look()
	w.a.ICMP = lastICMP(w.fd)
	w.peer()
	unix.Close(w.fd)
	return w.a
}

// lastICMP takes the newest error from a socket's error queue.
func lastICMP(fd int) (found *ICMP) {
	oob := make([]byte, 512)
	for {
		_, n, _, _, err := unix.Recvmsg(fd, nil, oob, unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
		if err != nil {
			return found
		}
		messages, err := unix.ParseSocketControlMessage(oob[:n])
		if err != nil {
			return found
		}
		for _, m := range messages {
			if icmp := parseError(m.Data); icmp != nil {
				found = icmp
			}
		}
	}
}

// parseError reads a struct sock_extended_err and the address behind it (ip(7), IP_RECVERR). Errors that are not of ICMP are nil.
func parseError(b []byte) *ICMP {
	const header = 16
	if len(b) < header+2 {
		return nil
	}
	origin, icmp := b[4], &ICMP{Type: b[5], Code: b[6], IPv6: b[4] == unix.SO_EE_ORIGIN_ICMP6}
	if origin != unix.SO_EE_ORIGIN_ICMP && origin != unix.SO_EE_ORIGIN_ICMP6 {
		return nil
	}
	from := b[header:]
	switch family := binary.NativeEndian.Uint16(from); {
	case family == unix.AF_INET && len(from) >= unix.SizeofSockaddrInet4:
		icmp.From = netip.AddrFrom4([4]byte(from[4:8]))
	case family == unix.AF_INET6 && len(from) >= 24:
		icmp.From = netip.AddrFrom16([16]byte(from[8:24])).Unmap()
	}
	return icmp
}
