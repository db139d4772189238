package capture

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/internal/ethernet"
	"github.com/tcplab/tcplab/netns/netdev"
)

// Interface is one end of a link to capture on.
type Interface struct {
	// Name labels the end in the file, such as "client/eth0". It must be given
	// and differ from the names of the other ends.
	Name string
	// Device is where to capture. If it has both, the index counts.
	Device netdev.Device
}

// Config says how to capture. The zero value captures every packet as a whole.
type Config struct {
	// SnapLength is how many bytes of each packet to keep, from the link-layer
	// header on: 14 to 262144, or 0 for all. The original length is recorded
	// either way.
	SnapLength int
	// Filter is a classic BPF program that the kernel runs on each packet, from
	// its link-layer header on. It keeps the packets for which the program
	// returns non-zero, and at most so many bytes of them. Packets that it
	// rejects count neither as received nor as dropped. Nil keeps all.
	Filter []bpf.RawInstruction
	// RingBytes is the size of each end's ring in kernel memory: how much can
	// wait for this process. 512 KiB to 1 GiB, rounded up to a multiple of
	// 256 KiB; 0 means 32 MiB, which is 270 ms of whole packets at 1 Gbit/s, or
	// 8 MiB with a snap length of up to 512 bytes, which is 130 ms and more.
	RingBytes int
	// BlockTimeout is how long a packet can wait in the ring before the kernel
	// hands over a block that is not full: 1 ms to 10 s; 0 means 100 ms. Stop
	// waits for at most that long. It does not delay packets or change their
	// time stamps. The kernel's timer runs all the time, which is what a short
	// time out costs: in virtual time every expiry is executed instructions.
	BlockTimeout time.Duration
}

const (
	// blockBytes is the unit of hand-over. It holds the largest packet that is
	// usual, a 64 KB super-packet, and wastes at most a quarter on the next one
	// that does not fit. Larger packets (BIG TCP) are cut by the kernel.
	blockBytes = 256 << 10

	defaultRingBytes    = 32 << 20
	shortRingBytes      = 8 << 20 // for snap lengths up to shortSnapLength
	shortSnapLength     = 512
	minRingBytes        = 2 * blockBytes // one to fill, one to read
	maxRingBytes        = 1 << 30
	minSnapLength       = ethernet.HeaderLength
	maxSnapLength       = 262144 // libpcap's and Wireshark's limit for a packet
	defaultBlockTimeout = 100 * time.Millisecond
	minBlockTimeout     = time.Millisecond
	maxBlockTimeout     = 10 * time.Second
)

func (c Config) withDefaults() (Config, error) {
	if c.SnapLength != 0 && (c.SnapLength < minSnapLength || c.SnapLength > maxSnapLength) {
		return c, fmt.Errorf("snap length %d: allowed are %d to %d bytes, or 0 for whole packets", c.SnapLength, minSnapLength, maxSnapLength)
	}
	if c.RingBytes == 0 {
		c.RingBytes = defaultRingBytes
		if c.SnapLength != 0 && c.SnapLength <= shortSnapLength {
			c.RingBytes = shortRingBytes
		}
	}
	if c.RingBytes < minRingBytes || c.RingBytes > maxRingBytes {
		return c, fmt.Errorf("ring of %d bytes: allowed are %d to %d, or 0 for a default", c.RingBytes, minRingBytes, maxRingBytes)
	}
	c.RingBytes = (c.RingBytes + blockBytes - 1) / blockBytes * blockBytes
	if c.BlockTimeout == 0 {
		c.BlockTimeout = defaultBlockTimeout
	}
	if c.BlockTimeout < minBlockTimeout || c.BlockTimeout > maxBlockTimeout {
		return c, fmt.Errorf("block timeout %v: allowed are %v to %v, or 0 for %v", c.BlockTimeout, minBlockTimeout, maxBlockTimeout, defaultBlockTimeout)
	}
	if c.Filter != nil {
		if len(c.Filter) == 0 || len(c.Filter) > unix.BPF_MAXINSNS {
			return c, fmt.Errorf("filter of %d instructions: allowed are 1 to %d, or nil for no filter", len(c.Filter), unix.BPF_MAXINSNS)
		}
	}
	c.Filter = snapFilter(c.Filter, c.SnapLength)
	return c, nil
}

// snapFilter returns the program with a snap length built in, so that the kernel
// copies no more than that into the ring. What a program computes and returns
// in its accumulator is left alone: such packets are cut in user space.
func snapFilter(filter []bpf.RawInstruction, snap int) []bpf.RawInstruction {
	if snap == 0 {
		return filter
	}
	if filter == nil {
		return []bpf.RawInstruction{{Op: unix.BPF_RET | unix.BPF_K, K: uint32(snap)}}
	}
	out := make([]bpf.RawInstruction, len(filter))
	for i, ins := range filter {
		if ins.Op == unix.BPF_RET|unix.BPF_K {
			ins.K = min(ins.K, uint32(snap))
		}
		out[i] = ins
	}
	return out
}

// Errors that a caller may want to tell apart, with [errors.Is]. The kernel's
// errno is wrapped beside them.
var (
	// ErrPermission: the process may not open packet sockets there.
	ErrPermission = errors.New("needs CAP_NET_RAW over the network namespace (run as root)")
	// ErrNoMemory: the kernel could not allocate the ring.
	ErrNoMemory = errors.New("no kernel memory for the ring (ask for a smaller one with RingBytes)")
	// ErrUnsupported: the kernel lacks AF_PACKET or TPACKET_V3, or the device
	// has a link layer that is neither Ethernet nor plain IP.
	ErrUnsupported = errors.New("not supported")
	// ErrIncomplete: an end could not be read to its end; the file is there
	// but lacks packets, or has more than it should at its end.
	ErrIncomplete = errors.New("the capture is incomplete")
)

// Error says which step failed on which end.
type Error struct {
	Op        string // the step, such as "bind"
	Interface string // the label of the end; empty if it concerns the file
	Err       error
}

func (e *Error) Error() string {
	if e.Interface == "" {
		return "capture: " + e.Op + ": " + e.Err.Error()
	}
	return "capture " + e.Interface + ": " + e.Op + ": " + e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

// opError wraps err and, where the errno means one of this package's errors,
// that error too.
func opError(op, name string, err error) error {
	var kind error
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		kind = ErrPermission
	case errors.Is(err, unix.ENOMEM), errors.Is(err, unix.ENOBUFS):
		kind = ErrNoMemory
	case errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		kind = netdev.ErrNoDevice
	case errors.Is(err, unix.EAFNOSUPPORT), errors.Is(err, unix.ENOPROTOOPT):
		kind = ErrUnsupported
	}
	if kind != nil && !errors.Is(err, kind) {
		err = fmt.Errorf("%w: %w", err, kind)
	}
	return &Error{Op: op, Interface: name, Err: err}
}

// Summary says what a capture holds.
type Summary struct {
	Path  string // of the pcapng file
	Bytes int64  // its size
	// Interfaces are the ends in the order of [Start], and after them those of
	// [Capture.AddDropped].
	Interfaces []InterfaceSummary
	Unplaced   int // comments that no packet was found for
}

// InterfaceSummary says what was seen on one end.
type InterfaceSummary struct {
	Name    string // as in the Interface
	Packets uint64 // in the file
	Dropped uint64 // that the kernel could not put into the ring (PACKET_STATISTICS)
}

// Packets is the number of packets in the file.
func (s Summary) Packets() uint64 {
	var n uint64
	for _, i := range s.Interfaces {
		n += i.Packets
	}
	return n
}

// Dropped is the number of packets that are missing from the file because this
// process did not read fast enough.
func (s Summary) Dropped() uint64 {
	var n uint64
	for _, i := range s.Interfaces {
		n += i.Dropped
	}
	return n
}

// Capture is a running capture. Its methods are safe for concurrent use.
type Capture struct {
	path   string
	config Config
	ends   []*end

	copying sync.Mutex // while the ends are paused, or ended
	ended   bool

	notes    sync.Mutex // guards the next three
	stopped  bool
	dropped  []Note
	comments []Note

	stop    sync.Once
	summary Summary
	err     error
}

// Start begins to capture on the given ends. When it returns, every packet on
// them is recorded. The file appears at path when Stop has returned; its folder
// must exist. An existing file is replaced then.
//
// A device may be down, or go down and come up again while it is captured on. If
// it is deleted, what it carried before is kept.
func Start(path string, c Config, ends ...Interface) (*Capture, error) {
	c, err := c.withDefaults()
	if err == nil && path == "" {
		err = errors.New("path: must not be empty")
	}
	if err == nil {
		err = checkEnds(ends)
	}
	if err != nil {
		return nil, &Error{Op: "check configuration", Err: err}
	}
	capture := &Capture{path: path, config: c}
	for _, e := range ends {
		end, err := openEnd(e, c, filepath.Dir(path))
		if err != nil {
			capture.close()
			return nil, err
		}
		capture.ends = append(capture.ends, end)
	}
	// All ends are ready before the first one sees a packet. In setting up and
	// in closing a ring the kernel waits for an RCU grace period, 10 ms and more:
	// those of several ends can be waited for at once.
	if err := capture.each((*end).setRing); err != nil {
		capture.close()
		return nil, err
	}
	for _, e := range capture.ends {
		if err := e.bind(); err != nil {
			capture.close()
			return nil, err
		}
	}
	for _, e := range capture.ends {
		e.start()
	}
	return capture, nil
}

func checkEnds(ends []Interface) error {
	if len(ends) == 0 {
		return errors.New("interfaces: at least one must be given")
	}
	seen := make(map[string]bool, len(ends))
	for i, e := range ends {
		switch {
		case e.Name == "":
			return fmt.Errorf("interface %d: name must not be empty", i)
		case seen[e.Name]:
			return fmt.Errorf("interface %d: name %q is given twice", i, e.Name)
		case strings.HasSuffix(e.Name, analysis.DroppedSuffix):
			return fmt.Errorf("interface %d: name %q: must not end in %q, which marks packets that were dropped", i, e.Name, analysis.DroppedSuffix)
		case len(e.Name) > 1024:
			return fmt.Errorf("interface %d: name of %d bytes: allowed are 1024", i, len(e.Name))
		}
		if err := e.Device.Validate(); err != nil {
			return fmt.Errorf("interface %s: %w", e.Name, err)
		}
		seen[e.Name] = true
	}
	return nil
}

// Stop ends the capture and writes the file. Packets that the kernel had passed
// to the ends' packet sockets before the call are in it, or counted as dropped.
// Stop waits until the kernel has handed over its last block, see
// [Config.BlockTimeout]. If it returns an error there is no file at the path,
// except with [ErrIncomplete], where the file has what could be saved.
//
// Further calls return the same as the first, which they wait for.
func (c *Capture) Stop() (Summary, error) {
	c.stop.Do(func() { c.summary, c.err = c.finish() })
	return c.summary, c.err
}

// CopyTo writes the packets that were captured so far, while the capture goes on, as the file has them but for notes. Packets
// that the kernel had passed to the ends' packet sockets before the call are among them, so that it can wait as [Capture.Stop]
// does. After Stop it is an error: there is the file.
func (c *Capture) CopyTo(w io.Writer) error {
	c.copying.Lock()
	defer c.copying.Unlock()
	const op = "copy what was captured so far"
	if c.ended {
		return &Error{Op: op, Err: errors.New("the capture has ended: read its file")}
	}
	pauses := make([]pause, len(c.ends))
	for i, e := range c.ends { // all at once: each can wait for its block
		p, err := e.askPause()
		defer close(p.over)
		if err != nil {
			return opError(op, e.name, err)
		}
		pauses[i] = p
	}
	for i, e := range c.ends {
		if err := e.awaitPause(pauses[i]); err != nil {
			return opError(op, e.name, err)
		}
	}
	if err := writePackets(w, c.config.SnapLength, c.ends, nil); err != nil {
		return opError(op, "", err)
	}
	return nil
}

func (c *Capture) finish() (Summary, error) {
	c.copying.Lock()
	defer c.copying.Unlock()
	c.ended = true
	defer c.close()
	// First close all ends to new packets, as near in time as can be; then wait.
	for _, e := range c.ends {
		e.refuse()
	}
	var incomplete error
	for _, e := range c.ends {
		if err := e.drain(); err != nil {
			incomplete = errors.Join(incomplete, err)
		}
	}
	for _, e := range c.ends {
		if err := e.spool.flush(); err != nil {
			return Summary{}, errors.Join(opError("write the spool files of "+c.path, e.name, err), incomplete)
		}
	}
	s, err := c.write()
	if err != nil {
		return Summary{}, errors.Join(opError("write "+c.path, "", err), incomplete)
	}
	return s, incomplete
}

// write merges what was captured and noted into the file.
func (c *Capture) write() (Summary, error) {
	c.notes.Lock()
	defer c.notes.Unlock()
	c.stopped = true
	placed, unplaced, err := c.place(c.comments)
	if err != nil {
		return Summary{}, fmt.Errorf("place comments: %w", err)
	}
	dropped, comments, err := c.droppedEnds(c.dropped)
	defer func() {
		for _, d := range dropped {
			d.close()
		}
	}()
	if err != nil {
		return Summary{}, fmt.Errorf("add dropped packets: %w", err)
	}
	ends := slices.Concat(c.ends, dropped)
	size, err := writeFile(c.path, c.config.SnapLength, ends, append(placed, comments...))
	if err != nil {
		return Summary{}, err
	}
	s := Summary{Path: c.path, Bytes: size, Unplaced: unplaced}
	for _, e := range ends {
		s.Interfaces = append(s.Interfaces, InterfaceSummary{Name: e.name, Packets: e.spool.packets, Dropped: e.dropped})
	}
	return s, nil
}

// close releases everything. It is called once, when no goroutine runs.
func (c *Capture) close() {
	_ = c.each(func(e *end) error { e.close(); return nil })
}

// each calls f for all ends at once and returns the error of the first end that
// has one.
func (c *Capture) each(f func(*end) error) error {
	errs := make([]error, len(c.ends))
	var wait sync.WaitGroup
	for i, e := range c.ends {
		wait.Go(func() { errs[i] = f(e) })
	}
	wait.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
