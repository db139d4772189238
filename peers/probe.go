package peers

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ProbeSender sends numbered UDP datagrams at regular times, whatever happens to them: they show what a link does to
// packets, without a reaction of TCP. Each begins with its number, from 0, in eight bytes of network byte order; see
// [ProbeNumber].
type ProbeSender struct {
	Connect netip.AddrPort `json:"connect"`
	// AwaitBegin lets the sender begin when Peer.Begin is called, rather than at once.
	AwaitBegin bool `json:"await_begin,omitempty"`

	Count int `json:"count,omitempty"` // how many datagrams, up to 1,000,000; 0 is 1
	Size  int `json:"size,omitempty"`  // bytes of payload, 8 to 65507; 0 is 8
	// Interval is the time from one datagram to the next. A late one does not delay the later ones. 0 sends them as
	// fast as the socket accepts them.
	Interval time.Duration `json:"interval_ns,omitempty"`
	// TrafficClass is the byte of DSCP and ECN in the IP header (RFC 2474, RFC 3168), 0 to 255: 2 is ECT(0).
	TrafficClass int `json:"traffic_class,omitempty"`
}

// ProbeReceiver counts the datagrams of a ProbeSender. It cannot know the last one: it ends by Peer.Stop, and counts
// what has arrived until then.
type ProbeReceiver struct {
	Listen netip.AddrPort `json:"listen"` // port 0: the kernel chooses, see Ready
}

// ProbeResult is the result of a sender or a receiver of probes.
type ProbeResult struct {
	Sent int `json:"sent,omitempty"`

	Received int `json:"received,omitempty"` // probes that were read, copies included
	Distinct int `json:"distinct,omitempty"` // of them, without copies
	// Reordered counts, without duplicates, the probes that arrived after one with a higher number (RFC 4737, section
	// 3.3).
	Reordered int `json:"reordered,omitempty"`
	Foreign   int `json:"foreign,omitempty"` // datagrams that are no probes
	// Overflowed counts datagrams that this host dropped because the socket's buffer was full (SK_MEMINFO_DROPS).
	Overflowed int `json:"overflowed,omitempty"`
}

const (
	maxProbes      = 1_000_000
	probeHeader    = 8
	maxDatagram    = 65507    // bytes of UDP payload in IPv4: 65535 less headers of 20 and 8
	probeBuffer    = 32 << 20 // bytes: with 768 of the kernel's bookkeeping each, some 40,000 small datagrams
	maxTrafficByte = 255
)

func (ProbeSender) program() string   { return "probe-sender" }
func (ProbeReceiver) program() string { return "probe-receiver" }

// Validate implements [Program].
func (p ProbeSender) Validate() error {
	c := check{program: p.program()}
	c.connect(p.Connect)
	c.atMost("Count", int64(p.Count), maxProbes)
	if p.Size != 0 && (p.Size < probeHeader || p.Size > maxDatagram) {
		c.fail("Size", p.Size, fmt.Sprintf("want %d to %d (bytes), or 0 for %d", probeHeader, maxDatagram, probeHeader))
	}
	c.duration("Interval", p.Interval)
	c.atMost("TrafficClass", int64(p.TrafficClass), maxTrafficByte)
	return c.err
}

// Validate implements [Program].
func (p ProbeReceiver) Validate() error {
	c := check{program: p.program()}
	c.listen(p.Listen)
	return c.err
}

// ProbeNumber returns the number of a probe from the begin of its payload. It reports false for what is certainly no
// probe.
func ProbeNumber(payload []byte) (number int, ok bool) {
	if len(payload) < probeHeader {
		return 0, false
	}
	n := binary.BigEndian.Uint64(payload)
	return int(n), n < maxProbes
}

// probeSocket is a socket of an address's family, prepared, and the address that it has then.
func probeSocket(family netip.AddrPort, prepare func(fd int) error) (*socket, netip.AddrPort, error) {
	sock, err := udpSocket(family)
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	if err := sock.control(prepare); err != nil {
		sock.close()
		return nil, netip.AddrPort{}, err
	}
	local, err := sock.localAddr()
	if err != nil {
		sock.close()
		return nil, netip.AddrPort{}, peerError("getsockname", "", err)
	}
	return sock, local, nil
}

func (p ProbeSender) run(s *session) (*Result, error) {
	sock, local, err := probeSocket(p.Connect, p.prepare)
	if err != nil {
		return nil, err
	}
	defer sock.close()
	if err := s.ready(netip.AddrPort{}); err != nil {
		return nil, err
	}
	if err := s.awaitBegin(p.AwaitBegin); err != nil {
		return &Result{Probe: &ProbeResult{}, Err: peerError("", "", err)}, nil
	}
	s.started(local, p.Connect)
	sent, err := p.send(s, sock)
	return &Result{Probe: &ProbeResult{Sent: sent}, Err: peerError("write", p.Connect.String(), err)}, nil
}

// prepare sets the traffic class, and the address that all datagrams go to.
func (p ProbeSender) prepare(fd int) error {
	level, option, name := unix.IPPROTO_IP, unix.IP_TOS, "IP_TOS"
	if p.Connect.Addr().Is6() {
		level, option, name = unix.IPPROTO_IPV6, unix.IPV6_TCLASS, "IPV6_TCLASS"
	}
	if err := unix.SetsockoptInt(fd, level, option, p.TrafficClass); err != nil {
		return peerError("setsockopt "+name, "", err)
	}
	to, err := toSockaddr(p.Connect)
	if err == nil {
		err = unix.Connect(fd, to)
	}
	return asError(peerError("connect", p.Connect.String(), err))
}

// send sends all probes, or those until the first stop. It returns how many.
func (p ProbeSender) send(s *session, sock *socket) (sent int, err error) {
	release := cancelOn(s.soft, sock.f.SetWriteDeadline)
	defer release()
	datagram := pattern(max(p.Size, probeHeader))
	start := time.Now()
	for i := range max(p.Count, 1) {
		if s.sleep(time.Until(start.Add(time.Duration(i)*p.Interval))) != nil {
			return i, nil
		}
		binary.BigEndian.PutUint64(datagram, uint64(i))
		if _, err := sock.f.Write(datagram); err != nil {
			if err = interrupted(s.soft, err); errors.Is(err, unix.ECANCELED) {
				err = nil // a stop is an end in order
			}
			return i, err
		}
	}
	return max(p.Count, 1), nil
}

func (p ProbeReceiver) run(s *session) (*Result, error) {
	sock, local, err := probeSocket(p.Listen, p.prepare)
	if err != nil {
		return nil, err
	}
	defer sock.close()
	if err := s.ready(local); err != nil {
		return nil, err
	}
	var count probeCount
	err = p.receive(s, sock, local, &count)
	if err == nil {
		err = sock.control(func(fd int) (err error) {
			count.Overflowed, err = socketDrops(fd)
			return err
		})
	}
	return &Result{Probe: &count.ProbeResult, Err: peerError("read", p.Listen.String(), err)}, nil
}

// prepare enlarges the receive buffer for datagrams that arrive while this program does not run, and binds.
func (p ProbeReceiver) prepare(fd int) error {
	// Beyond sysctl net.core.rmem_max only root may go. A smaller buffer is no error here: its drops are counted.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, probeBuffer) != nil {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, probeBuffer); err != nil {
			return peerError("setsockopt SO_RCVBUF", "", err)
		}
	}
	at, err := toSockaddr(p.Listen)
	if err == nil {
		err = unix.Bind(fd, at)
	}
	return asError(peerError("bind", p.Listen.String(), err))
}

// receive counts datagrams until the first stop, and then those already in the socket.
func (p ProbeReceiver) receive(s *session, sock *socket, local netip.AddrPort, count *probeCount) error {
	buf := make([]byte, maxDatagram)
	release := cancelOn(s.soft, sock.f.SetReadDeadline)
	for {
		n, from, err := sock.receive(buf, true)
		if err != nil {
			release()
			if !errors.Is(interrupted(s.soft, err), unix.ECANCELED) {
				return err
			}
			break
		}
		s.started(local, from)
		count.add(buf[:n])
	}
	for {
		n, _, err := sock.receive(buf, false)
		if errors.Is(err, unix.EAGAIN) {
			return nil
		}
		if err != nil {
			return err
		}
		count.add(buf[:n])
	}
}

// receive reads a datagram. If there is none it waits, or the error is EAGAIN.
func (s *socket) receive(buf []byte, wait bool) (n int, from netip.AddrPort, err error) {
	waitErr := s.raw.Read(func(fd uintptr) bool {
		var sa unix.Sockaddr
		for {
			n, sa, err = unix.Recvfrom(int(fd), buf, 0)
			if !errors.Is(err, unix.EINTR) {
				break
			}
		}
		if err == nil {
			from = fromSockaddr(sa)
		}
		return !wait || !errors.Is(err, unix.EAGAIN)
	})
	if waitErr != nil {
		err = waitErr
	}
	return n, from, err
}

// probeCount counts probes as they come.
type probeCount struct {
	ProbeResult
	next int      // one above the highest number so far
	seen []uint64 // a bit for each number
}

func (c *probeCount) add(datagram []byte) {
	number, ok := ProbeNumber(datagram)
	if !ok {
		c.Foreign++
		return
	}
	c.Received++
	for number/64 >= len(c.seen) {
		c.seen = append(c.seen, 0)
	}
	bit := uint64(1) << (number % 64)
	if c.seen[number/64]&bit != 0 {
		return // a copy
	}
	c.seen[number/64] |= bit
	c.Distinct++
	if number < c.next {
		c.Reordered++
	}
	c.next = max(c.next, number+1)
}

// socketDrops is the number of datagrams that the kernel dropped at a socket: SK_MEMINFO_DROPS of SO_MEMINFO, whose
// layout is in include/uapi/linux/sock_diag.h. Package unix cannot read it.
func socketDrops(fd int) (int, error) {
	const drops = 8
	var info [drops + 1]uint32
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return 0, peerError("getsockopt SO_MEMINFO", "", errno)
	}
	return int(info[drops]), nil
}

// udpSocket makes a UDP socket of the address's family, which waits like the TCP ones.
func udpSocket(addr netip.AddrPort) (*socket, error) {
	family := unix.AF_INET
	if addr.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_UDP)
	if err != nil {
		return nil, peerError("socket", addr.String(), err)
	}
	return wrapSocket(fd)
}
