package peers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/peers/tcpinfo"
)

// socket is a TCP socket as the kernel makes it. Package net is not used, because it adds what an experiment has not
// asked for: MPTCP, TCP_NODELAY, keepalive, its own backlog, and a second connect(2) after EADDRNOTAVAIL or a
// connection to itself. os.File polls the non-blocking descriptor, and so can wait.
type socket struct {
	f   *os.File
	raw syscall.RawConn
}

func wrapSocket(fd int) (*socket, error) {
	f := os.NewFile(uintptr(fd), "tcp")
	raw, err := f.SyscallConn()
	if err != nil {
		f.Close()
		return nil, err
	}
	// If this works, setting a deadline never fails later.
	if err := f.SetDeadline(time.Time{}); err != nil {
		f.Close()
		return nil, err
	}
	return &socket{f, raw}, nil
}

// newSocket makes a socket for that address, with the options set and read back.
func newSocket(addr netip.AddrPort, o Socket, r role) (*socket, error) {
	family := unix.AF_INET
	if addr.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return nil, peerError("socket", addr.String(), err)
	}
	if err := o.apply(fd, family, r); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return wrapSocket(fd)
}

// readSysctl returns the value of a sysctl, for people to read.
func readSysctl(path string) string {
	b, err := os.ReadFile("/proc/sys/" + path)
	if err != nil {
		return "not known (" + err.Error() + ")"
	}
	return strings.TrimSpace(string(b))
}

// listen makes a listening socket. A backlog of 0 is the largest that the kernel allows.
func listen(addr netip.AddrPort, o Socket, backlog int) (*socket, error) {
	const somaxconn = "net/core/somaxconn"
	if backlog == 0 {
		n, err := strconv.Atoi(readSysctl(somaxconn))
		if err != nil {
			return nil, peerError("read sysctl net.core.somaxconn", "", err)
		}
		backlog = n
	}
	s, err := newSocket(addr, o, asListener)
	if err != nil {
		return nil, err
	}
	if err := s.bind(addr); err != nil {
		s.close()
		return nil, err
	}
	if err := s.control(func(fd int) error { return unix.Listen(fd, backlog) }); err != nil {
		s.close()
		return nil, peerError("listen", addr.String(), err)
	}
	// Of a listener, sacked is the backlog and unacked the length of the queue (tcp_get_info in net/ipv4/tcp.c).
	info, err := s.tcpInfo()
	if err != nil {
		s.close()
		return nil, peerError("getsockopt TCP_INFO", addr.String(), err)
	}
	if int(info.Sacked) != backlog {
		s.close()
		return nil, &PeerError{Op: "listen", Addr: addr.String(), Message: fmt.Sprintf(
			"a backlog of %d was asked for, but the kernel has %d: sysctl net.core.somaxconn is the most, and is %s",
			backlog, info.Sacked, readSysctl(somaxconn))}
	}
	return s, nil
}

func (s *socket) bind(addr netip.AddrPort) error {
	sa, err := toSockaddr(addr)
	if err == nil {
		err = s.control(func(fd int) error { return unix.Bind(fd, sa) })
	}
	return asError(peerError("bind", addr.String(), err))
}

// accept waits for a connection until ctx ends.
func (s *socket) accept(ctx context.Context) (*socket, netip.AddrPort, error) {
	// An established connection in the queue would be returned in spite of the deadline.
	if ctx.Err() != nil {
		return nil, netip.AddrPort{}, unix.ECANCELED
	}
	release := cancelOn(ctx, s.f.SetReadDeadline)
	defer release()
	var fd int
	var sa unix.Sockaddr
	var err error
	waitErr := s.raw.Read(func(listener uintptr) bool {
		for {
			fd, sa, err = unix.Accept4(int(listener), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
			if !errors.Is(err, unix.EINTR) {
				return !errors.Is(err, unix.EAGAIN)
			}
		}
	})
	if waitErr != nil {
		return nil, netip.AddrPort{}, interrupted(ctx, waitErr)
	}
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	c, err := wrapSocket(fd)
	return c, fromSockaddr(sa), err
}

// connect connects and returns the duration, also if it failed. The kernel decides how long to try, unless timeout is
// above 0: then the error is EINPROGRESS, as in a blocking connect(2) with SO_SNDTIMEO (socket(7)). If ctx has ended,
// no SYN is sent.
func (s *socket) connect(ctx context.Context, addr netip.AddrPort, timeout time.Duration) (time.Duration, error) {
	start := time.Now()
	return s.awaitConnect(ctx, addr, start, s.beginConnect(ctx, addr), timeout)
}

// beginConnect calls connect(2), which sends the SYN, and does not wait. Its error is for awaitConnect.
func (s *socket) beginConnect(ctx context.Context, addr netip.AddrPort) error {
	sa, err := toSockaddr(addr)
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		return unix.ECANCELED
	}
	return s.control(func(fd int) error { return unix.Connect(fd, sa) })
}

// awaitConnect waits for the end of what beginConnect began at start, with that error. See connect.
func (s *socket) awaitConnect(ctx context.Context, addr netip.AddrPort, start time.Time, err error, timeout time.Duration) (time.Duration, error) {
	if errors.Is(err, unix.EINPROGRESS) {
		if timeout > 0 {
			_ = s.f.SetWriteDeadline(start.Add(timeout))
		}
		release := cancelOn(ctx, s.f.SetWriteDeadline)
		waitErr := s.raw.Write(func(fd uintptr) bool {
			err = connectStatus(int(fd))
			return !errors.Is(err, unix.EINPROGRESS)
		})
		if waitErr != nil {
			if err = interrupted(ctx, waitErr); errors.Is(err, os.ErrDeadlineExceeded) {
				err = unix.EINPROGRESS
			}
		}
		release()
	}
	took := time.Since(start)
	if err == nil {
		return took, s.f.SetWriteDeadline(time.Time{})
	}
	p := peerError("connect", addr.String(), err)
	if errors.Is(err, unix.EINPROGRESS) {
		p.Message = fmt.Sprintf("no answer within the timeout of %v", timeout)
	}
	return took, p
}

// connectStatus returns the state of a connect(2) in progress: nil, EINPROGRESS, or its error.
func connectStatus(fd int) error {
	if err := pendingError(fd); err != nil {
		return err
	}
	// Both a connection and one in progress have no error; only the former has a peer.
	_, err := unix.Getpeername(fd)
	if errors.Is(err, unix.ENOTCONN) {
		return unix.EINPROGRESS
	}
	return err
}

// pendingError returns and clears the pending error of a socket.
func pendingError(fd int) error {
	n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return err
	}
	if n != 0 {
		return syscall.Errno(n)
	}
	return nil
}

// finishActive closes the sending direction first and waits for the other side to close. Then all that was sent,
// including the FIN, is acknowledged, and nothing can be retransmitted any more: TCP_INFO is final. It reads and
// drops what the other side still sends.
func (s *socket) finishActive(ctx context.Context) error {
	release := cancelOn(ctx, s.f.SetReadDeadline)
	defer release()
	if err := s.closeWrite(); err != nil {
		return peerError("shutdown", "", err)
	}
	if _, err := io.Copy(io.Discard, onlyReader{s.f}); err != nil {
		return peerError("read", "", interrupted(ctx, err))
	}
	// The other side closes when it has read our FIN, so its FIN acknowledges ours, and this side goes from
	// FIN-WAIT-1 to TIME-WAIT. The kernel keeps TIME-WAIT elsewhere and leaves the socket in CLOSE. A FIN that
	// arrived earlier, as from a killed peer, leaves it in CLOSING.
	info, err := s.tcpInfo()
	if err != nil {
		return peerError("getsockopt TCP_INFO", "", err)
	}
	if info.State != tcpClose {
		return &PeerError{Op: "close", Message: fmt.Sprintf(
			"the other side closed before it had read all (this side is in state %d, %d segments are not acknowledged)", info.State, info.Unacked)}
	}
	return nil
}

// finishPassive closes after the other side did, and waits until this side's FIN is acknowledged.
func (s *socket) finishPassive(ctx context.Context) error {
	release := cancelOn(ctx, s.f.SetReadDeadline)
	defer release()
	if err := s.closeWrite(); err != nil {
		return peerError("shutdown", "", err)
	}
	// The kernel wakes pollers at the change from LAST_ACK to CLOSE (tcp_done in net/ipv4/tcp.c).
	var err error
	waitErr := s.raw.Read(func(fd uintptr) bool {
		var info *tcpinfo.Info
		if info, err = tcpinfo.Get(int(fd)); err != nil {
			return true
		}
		if info.State != tcpClose {
			return false
		}
		err = pendingError(int(fd)) // an RST and a time out lead to CLOSE as well
		return true
	})
	if waitErr != nil {
		err = interrupted(ctx, waitErr)
	}
	if err != nil {
		return peerError("close", "", err)
	}
	return nil
}

// tcpClose is TCP_CLOSE of include/net/tcp_states.h.
const tcpClose = 7

// onlyReader hides the other methods of a file, so that io.Copy uses a plain loop.
type onlyReader struct{ io.Reader }

func (s *socket) closeWrite() error {
	return s.control(func(fd int) error { return unix.Shutdown(fd, unix.SHUT_WR) })
}

func (s *socket) tcpInfo() (info *tcpinfo.Info, err error) {
	err = s.control(func(fd int) (err error) { info, err = tcpinfo.Get(fd); return err })
	return info, err
}

// localAddr returns the address that the socket is bound to.
func (s *socket) localAddr() (addr netip.AddrPort, err error) {
	err = s.control(func(fd int) error {
		sa, err := unix.Getsockname(fd)
		addr = fromSockaddr(sa)
		return err
	})
	return addr, err
}

// describe fills in the state of the socket in the kernel.
func (s *socket) describe(c *Connection) error {
	return s.control(func(fd int) error {
		if sa, err := unix.Getsockname(fd); err != nil {
			return peerError("getsockname", "", err)
		} else {
			c.Local = fromSockaddr(sa)
		}
		var noDelay int
		for _, i := range []struct {
			name       string
			level, opt int
			to         *int
		}{
			{"TCP_MAXSEG", unix.IPPROTO_TCP, unix.TCP_MAXSEG, &c.MSS},
			{"SO_SNDBUF", unix.SOL_SOCKET, unix.SO_SNDBUF, &c.SendBuffer},
			{"SO_RCVBUF", unix.SOL_SOCKET, unix.SO_RCVBUF, &c.ReceiveBuffer},
			{"TCP_NODELAY", unix.IPPROTO_TCP, unix.TCP_NODELAY, &noDelay},
		} {
			v, err := unix.GetsockoptInt(fd, i.level, i.opt)
			if err != nil {
				return peerError("getsockopt "+i.name, "", err)
			}
			*i.to = v
		}
		c.NoDelay = noDelay != 0
		var err error
		if c.Congestion, err = getCongestion(fd); err != nil {
			return peerError("getsockopt TCP_CONGESTION", "", err)
		}
		if c.TCPInfo, err = tcpinfo.Get(fd); err != nil {
			return peerError("getsockopt TCP_INFO", "", err)
		}
		return nil
	})
}

func (s *socket) control(f func(fd int) error) error {
	var err error
	if e := s.raw.Control(func(fd uintptr) { err = f(int(fd)) }); e != nil {
		return e
	}
	return err
}

func (s *socket) close() { s.f.Close() }

// longAgo, as a deadline, ends whatever waits.
var longAgo = time.Unix(1, 0)

// cancelOn sets a deadline in the past when ctx ends, so that waiting calls return. The returned function undoes
// that, and must be called.
func cancelOn(ctx context.Context, setDeadline func(time.Time) error) (release func()) {
	set := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = setDeadline(longAgo)
		close(set)
	})
	return func() {
		if !stop() {
			<-set // or it would be set after it was cleared
			_ = setDeadline(time.Time{})
		}
	}
}

// interrupted returns ECANCELED for an error that comes from cancelOn.
func interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		return unix.ECANCELED
	}
	return err
}

func toSockaddr(a netip.AddrPort) (unix.Sockaddr, error) {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}, nil
	}
	sa := &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
	zone := a.Addr().Zone()
	if zone == "" {
		return sa, nil
	}
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		sa.ZoneId = uint32(n)
		return sa, nil
	}
	link, err := net.InterfaceByName(zone)
	if err != nil {
		return nil, err
	}
	sa.ZoneId = uint32(link.Index)
	return sa, nil
}

func fromSockaddr(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		addr := netip.AddrFrom16(sa.Addr)
		if sa.ZoneId != 0 {
			addr = addr.WithZone(strconv.FormatUint(uint64(sa.ZoneId), 10))
		}
		return netip.AddrPortFrom(addr, uint16(sa.Port))
	}
	return netip.AddrPort{}
}
