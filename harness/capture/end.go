package capture

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/gopacket/gopacket/layers"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/internal/thread"
)

// end is one packet socket with its ring, its spool and, from start on, the
// goroutine that moves packets from the one to the other. Only that goroutine
// touches ring, spool and counters until drain has returned.
type end struct {
	name     string
	index    int
	linkType layers.LinkType
	config   Config // with defaults

	fd    int
	wake  int // eventfd: written by drain, once, and by pause
	ring  *ring
	spool *spool

	accepted uint64 // packets that the kernel put into the ring
	dropped  uint64 // packets that it could not
	read     uint64 // packets that we read from the ring
	err      error

	refused error // why refuse failed
	pauses  chan pause
	done    chan struct{}
}

// A pause asks the goroutine to stand still between two packets.
type pause struct {
	reached chan error    // gets nil when all that the kernel had accepted is in the spool, or why that cannot be
	over    chan struct{} // is closed when the goroutine may go on
}

// openEnd opens everything but the ring.
func openEnd(i Interface, c Config, dir string) (_ *end, err error) {
	e := &end{name: i.Name, index: i.Device.Index, config: c, fd: -1, wake: -1, pauses: make(chan pause, 1), done: make(chan struct{})}
	defer func() {
		if err != nil {
			e.close()
		}
	}()
	open := func() (err error) {
		// Protocol 0: the socket receives nothing until bind names one.
		e.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		return err
	}
	if err := thread.In(i.Device.NetNS, open); err != nil {
		return nil, opError("open a packet socket", e.name, err)
	}
	// From here on the socket, not the thread, knows the namespace.
	if e.index == 0 {
		if e.index, err = deviceIndex(e.fd, i.Device.Name); err != nil {
			return nil, opError("look up device "+i.Device.Name, e.name, err)
		}
	}
	if c.Filter != nil {
		if err := attachFilter(e.fd, c.Filter); err != nil {
			return nil, opError(fmt.Sprintf("attach the filter of %d instructions", len(c.Filter)), e.name, err)
		}
	}
	if e.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, opError("open an eventfd", e.name, err)
	}
	if e.spool, err = newSpool(dir); err != nil {
		return nil, opError("create a spool file in "+dir, e.name, err)
	}
	return e, nil
}

func deviceIndex(fd int, device string) (int, error) {
	req, err := unix.NewIfreq(device)
	if err != nil {
		return 0, err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, req); err != nil {
		return 0, err
	}
	return int(req.Uint32()), nil
}

func attachFilter(fd int, filter []bpf.RawInstruction) error {
	program := make([]unix.SockFilter, len(filter))
	for i, ins := range filter {
		program[i] = unix.SockFilter{Code: ins.Op, Jt: ins.Jt, Jf: ins.Jf, K: ins.K}
	}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
}

// setRing makes the end ready for packets. None come before bind.
func (e *end) setRing() (err error) {
	if e.ring, err = newRing(e.fd, e.config.RingBytes, e.config.BlockTimeout); err != nil {
		return opError(fmt.Sprintf("set up a ring of %d bytes", e.config.RingBytes), e.name, err)
	}
	return nil
}

// bind lets packets in.
func (e *end) bind() error {
	addr := &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: e.index}
	if err := unix.Bind(e.fd, addr); err != nil {
		return opError(fmt.Sprintf("bind to device %d", e.index), e.name, err)
	}
	bound, err := unix.Getsockname(e.fd)
	if err != nil {
		return opError("read the link type", e.name, err)
	}
	hatype := bound.(*unix.SockaddrLinklayer).Hatype
	switch hatype {
	case unix.ARPHRD_ETHER, unix.ARPHRD_LOOPBACK: // loopback has an all-zero Ethernet header
		e.linkType = layers.LinkTypeEthernet
	case unix.ARPHRD_NONE: // tun devices
		e.linkType = layers.LinkTypeRaw
	default:
		return opError("choose a link type", e.name, fmt.Errorf("%w: ARPHRD type %d; allowed are %d (Ethernet), %d (loopback) and %d (plain IP)",
			ErrUnsupported, hatype, unix.ARPHRD_ETHER, unix.ARPHRD_LOOPBACK, unix.ARPHRD_NONE))
	}
	return nil
}

func (e *end) start() {
	go func() {
		defer close(e.done)
		if err := e.run(); err != nil {
			e.err = fmt.Errorf("%w: %w", ErrIncomplete, err)
		}
	}()
}

// run copies blocks to the spool until drain asks it to finish. A spool that
// cannot be written is no reason to leave, for the kernel would count drops that
// are none; it is reported when everything is flushed.
func (e *end) run() error {
	fds := []unix.PollFd{
		{Fd: int32(e.fd), Events: unix.POLLIN},
		{Fd: int32(e.wake), Events: unix.POLLIN},
	}
	for {
		if err := e.copyBlocks(); err != nil {
			return err
		}
		if err := poll(fds, -1); err != nil {
			return opError("wait for packets", e.name, err)
		}
		if fds[0].Revents&unix.POLLERR != 0 {
			e.clearError()
		}
		if fds[1].Revents != 0 {
			select {
			case p := <-e.pauses:
				e.standStill(p)
			default:
				return e.finish()
			}
		}
	}
}

// clearError takes the pending error from the socket, or poll would return at
// once for ever. The only one there is, ENETDOWN, says that the device went
// down or away; if it comes up again, so does the capture.
func (e *end) clearError() {
	_, _ = unix.GetsockoptInt(e.fd, unix.SOL_SOCKET, unix.SO_ERROR)
}

// standStill copies what the kernel has accepted so far, and then waits until the pause is over. Packets wait in the ring
// meanwhile.
func (e *end) standStill(p pause) {
	var count [8]byte
	_, _ = unix.Read(e.wake, count[:]) // or it would wake us for ever; it was written, so there is something to read
	err := e.count()
	if err == nil {
		err = e.readAccepted(func() error { return nil }) // those that come meanwhile are not waited for
	}
	if err == nil {
		err = e.spool.flush()
	}
	p.reached <- err
	<-p.over
}

// askPause asks the goroutine to stand still when all packets that the kernel has accepted are in the spool. That is reached after
// awaitPause, and it goes on when the channel over is closed.
func (e *end) askPause() (pause, error) {
	p := pause{reached: make(chan error, 1), over: make(chan struct{})}
	e.pauses <- p
	err := e.wakeUp()
	if err != nil {
		<-e.pauses
	}
	return p, err
}

// awaitPause also returns if the goroutine has ended with an error.
func (e *end) awaitPause(p pause) error {
	select {
	case err := <-p.reached:
		return err
	case <-e.done:
		return e.err
	}
}

// finish reads what is left in the ring. New packets are refused already.
func (e *end) finish() error { return e.readAccepted(e.count) }

// readAccepted reads until all is read that the kernel has accepted, which it says itself when it is asked to count. It hands
// over the block that the last packets are in when the block's timeout expires.
func (e *end) readAccepted(count func() error) error {
	// Far more than the kernel takes, so that a kernel that never hands over
	// ends in an error rather than in a hang.
	deadline := time.Now().Add(10*e.config.BlockTimeout + 10*time.Second)
	fds := []unix.PollFd{{Fd: int32(e.fd), Events: unix.POLLIN}}
	for {
		if err := count(); err != nil {
			return err
		}
		if err := e.copyBlocks(); err != nil {
			return err
		}
		if e.read >= e.accepted {
			return nil
		}
		left := time.Until(deadline)
		if left <= 0 {
			return opError("drain the ring", e.name, fmt.Errorf("read %d packets of %d that the kernel accepted", e.read, e.accepted))
		}
		if err := poll(fds, left); err != nil {
			return opError("drain the ring", e.name, err)
		}
		if fds[0].Revents&unix.POLLERR != 0 {
			e.clearError()
		}
	}
}

// copyBlocks moves all blocks that the kernel has handed over to the spool.
func (e *end) copyBlocks() error {
	for {
		block, ok := e.ring.block()
		if !ok {
			return nil
		}
		err := readBlock(block, func(p packet) {
			e.read++
			e.spool.add(p, e.config.SnapLength)
		})
		e.ring.release()
		if err != nil {
			return opError("read the ring", e.name, err)
		}
	}
}

// count adds up the kernel's statistics, which it resets on each reading.
func (e *end) count() error {
	s, err := unix.GetsockoptTpacketStatsV3(e.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return opError("read the statistics", e.name, err)
	}
	// af_packet.c, packet_getsockopt: tp_packets includes tp_drops.
	e.accepted += uint64(s.Packets) - uint64(s.Drops)
	e.dropped += uint64(s.Drops)
	return nil
}

// refuse makes the kernel reject all further packets, uncounted. What is in the
// ring stays there.
func (e *end) refuse() {
	none := []bpf.RawInstruction{{Op: unix.BPF_RET | unix.BPF_K, K: 0}}
	if err := attachFilter(e.fd, none); err != nil {
		e.refused = opError("stop the flow of packets", e.name, err)
	}
}

// drain waits until every accepted packet is in the spool.
func (e *end) drain() error {
	if err := e.wakeUp(); err != nil {
		return err
	}
	<-e.done
	return errors.Join(e.refused, e.err)
}

// wakeUp wakes the goroutine from its poll.
func (e *end) wakeUp() error {
	var one [8]byte
	one[0] = 1 // any non-zero number, in either byte order
	if _, err := unix.Write(e.wake, one[:]); err != nil {
		return opError("wake the reader", e.name, err)
	}
	return nil
}

// close releases everything that was opened. The goroutine must have ended, or
// never have started.
func (e *end) close() {
	if e.ring != nil {
		e.ring.close()
	}
	for _, fd := range []int{e.fd, e.wake} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	if e.spool != nil {
		e.spool.close()
	}
}

// poll is poll(2) without EINTR. A negative timeout waits for ever.
func poll(fds []unix.PollFd, timeout time.Duration) error {
	ms := -1
	if timeout >= 0 {
		ms = int((timeout + time.Millisecond - 1) / time.Millisecond)
	}
	for {
		_, err := unix.Poll(fds, ms)
		if err != unix.EINTR {
			return os.NewSyscallError("poll", err)
		}
	}
}

// htons converts to network byte order.
func htons(v uint16) uint16 {
	var b [2]byte
	b[0], b[1] = byte(v>>8), byte(v)
	return nativeEndian.Uint16(b[:])
}
