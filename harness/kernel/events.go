package kernel

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/peers/tcpinfo"
)

// ErrNoTracefs says that the kernel's trace events cannot be had.
var ErrNoTracefs = errors.New("no tracefs: mount it (mount -t tracefs tracefs /sys/kernel/tracing); the kernel needs CONFIG_TRACING")

// MissingEventsError says that this kernel lacks events that were asked for.
type MissingEventsError struct {
	Kinds []EventKind // in the order in which they were asked for
}

func (e *MissingEventsError) Error() string {
	return fmt.Sprintf("this kernel has no event %v: ask for others, see AvailableEvents", e.Kinds)
}

// EventKind is the kernel's name of a trace event: its folder under events/.
type EventKind string

// The events, and since which Linux they are there.
const (
	// StateChange is a change of a TCP socket's state (4.16). What follows on the
	// end of the socket, TIME-WAIT and closed FIN-WAIT-2, has no events: see [PathOf].
	StateChange EventKind = "sock/inet_sock_set_state"
	// Retransmit is a segment that was retransmitted (4.16), or, from Linux 6.15 on, that
	// was to be (Err is not 0).
	Retransmit EventKind = "tcp/tcp_retransmit_skb"
	// RetransmitSynAck is a SYN+ACK that was retransmitted (4.16).
	RetransmitSynAck EventKind = "tcp/tcp_retransmit_synack"
	// ResetSent is a RST that was sent (4.15). Before Linux 6.10, not those that
	// answer a segment for which there is no socket.
	ResetSent EventKind = "tcp/tcp_send_reset"
	// ResetReceived is a RST that ended a connection (4.15).
	ResetReceived EventKind = "tcp/tcp_receive_reset"
	// Probe has the congestion window, and more, at each segment that a connection in
	// ESTABLISHED received, before the segment has an effect (4.16).
	Probe EventKind = "tcp/tcp_probe"
	// CongestionChange is a state of congestion control that was set, even if it was the
	// same before (5.19): it is why the segments that follow are retransmitted.
	CongestionChange EventKind = "tcp/tcp_cong_state_set"
	// Drop is an IP packet that the kernel dropped, and why (reasons since 5.17).
	// Packets that netem loses are among them.
	Drop EventKind = "skb/kfree_skb"
)

// EventKinds returns all kinds of event.
func EventKinds() []EventKind {
	return []EventKind{StateChange, Retransmit, RetransmitSynAck, ResetSent, ResetReceived, Probe, CongestionChange, Drop}
}

// What is recorded of an event, and what the package must have of it.
var tracepoints = map[EventKind]struct {
	filter string
	fields []string
}{
	// The states of MPTCP's own sockets are not TCP's. Their subflows are there.
	StateChange:      {"protocol == 6", []string{"skaddr", "oldstate", "newstate", "saddr", "daddr"}},
	Retransmit:       {"", []string{"skaddr", "state", "saddr", "daddr"}},
	RetransmitSynAck: {"", []string{"saddr", "daddr"}},
	ResetSent:        {"", []string{"skaddr", "state", "saddr", "daddr"}},
	ResetReceived:    {"", []string{"skaddr", "saddr", "daddr"}},
	Probe:            {"", []string{"saddr", "daddr", "data_len", "snd_nxt", "snd_una", "snd_cwnd", "ssthresh", "snd_wnd", "srtt", "rcv_wnd"}},
	CongestionChange: {"", []string{"skaddr", "saddr", "daddr", "cong_state"}},
	Drop:             {"protocol == 0x0800 || protocol == 0x86dd", []string{"skbaddr", "protocol", "reason"}},
}

// An Event is one firing of a tracepoint. Which fields are set depends on Kind.
type Event struct {
	At   time.Duration `json:"at_ns"` // since boot, by CLOCK_MONOTONIC; a harness.Lab makes it since the start of the spec
	Kind EventKind     `json:"kind"`  // which tracepoint fired

	// Host is that of the local address, if [EventConfig] knows it.
	Host string `json:"host,omitempty"`

	// Local and Remote are the addresses of the socket's own and of the other end,
	// whatever the direction of the packet. IPv4 addresses of IPv6 sockets are shown
	// as IPv4. A Drop has none, unless another event is about the same packet (a reset
	// that answers it) or socket (from Linux 6.11 on).
	Local  netip.AddrPort `json:"local"`
	Remote netip.AddrPort `json:"remote"`

	// Old and New are set for StateChange.
	Old State `json:"oldstate,omitzero"`
	New State `json:"newstate,omitzero"`

	// State is set for Retransmit and ResetSent; 0: there is no socket.
	State State `json:"state,omitzero"`

	// Congestion is set for CongestionChange.
	Congestion *tcpinfo.CongestionState `json:"cong_state,omitempty"`

	// Reason is why a packet was dropped (enum skb_drop_reason), and, from Linux 6.10
	// on, why a reset was sent (enum sk_rst_reason): "NOT_SPECIFIED", "NO_SOCKET".
	Reason string `json:"reason,omitempty"`
	// Err is the negative error number of a retransmission that was not sent.
	Err int `json:"err,omitempty"`

	// Probe is set for Probe.
	Probe *ProbeValues `json:"probe,omitempty"`

	// Cookie is that of [Socket]. Probe and ResetReceived have it.
	Cookie uint64 `json:"sock_cookie,omitempty"`

	// Socket is the address of the kernel's struct sock, to tell apart which events
	// are of one socket while it lives. 0: there is none, or the kernel does not say.
	Socket uint64 `json:"-"`

	packet uint64 // address of the struct sk_buff
}

// ProbeValues are those of a connection, under the kernel's names and in its
// units.
type ProbeValues struct {
	DataLen  uint16 `json:"data_len"` // bytes of data in the received segment
	SndNxt   uint32 `json:"snd_nxt"`  // sequence number to be sent next
	SndUna   uint32 `json:"snd_una"`  // first that is not acknowledged
	SndCwnd  uint32 `json:"snd_cwnd"` // segments
	Ssthresh uint32 `json:"ssthresh"` // segments; 2147483647 and above: none yet
	SndWnd   uint32 `json:"snd_wnd"`  // bytes
	SRTT     uint32 `json:"srtt"`     // microseconds
	RcvWnd   uint32 `json:"rcv_wnd"`  // bytes
}

// EventConfig says what to record. The zero value records everything.
type EventConfig struct {
	// Kinds of event; none means all.
	Kinds []EventKind

	// BufferKiB is the size of the kernel's buffer for each CPU, from which events
	// are taken when it is half full: 64 to 1048576, 0 means 4096. What comes faster
	// is lost, and counted. Some 20,000 events fit into 4 MiB.
	BufferKiB int

	// Host returns the name of the host that has an address, "" for none. Tracepoints
	// do not have the network namespace, so hosts need different addresses: those of a
	// topology have them, loopback addresses do not.
	Host func(netip.Addr) string
}

// Events is a recording that runs. Its methods are not to be called at the same
// time.
type Events struct {
	config   EventConfig
	instance string
	prepared *os.File // the instance, locked, if it is not of our making
	formats  map[uint16]*format
	kinds    map[uint16]EventKind
	layout   layout
	buffers  []*buffer
	wake     int // eventfd: the reader is to end
	stopped  chan struct{}
	readErr  error
}

// buffer is that of a CPU.
type buffer struct {
	dir   string
	pipe  int
	pages [][]byte // those that were taken from the kernel
}

// AvailableEvents returns which kinds this kernel has, in the order of
// [EventKinds], or [ErrNoTracefs].
func AvailableEvents() ([]EventKind, error) {
	dir, err := tracefs()
	if err != nil {
		return nil, err
	}
	var kinds []EventKind
	for _, kind := range EventKinds() {
		switch _, err := os.Stat(filepath.Join(dir, "events", string(kind), "format")); {
		case err == nil:
			kinds = append(kinds, kind)
		case !errors.Is(err, fs.ErrNotExist):
			return nil, fmt.Errorf("list events: %w", err)
		}
	}
	return kinds, nil
}

func tracefs() (string, error) {
	for _, dir := range []string{"/sys/kernel/tracing", "/sys/kernel/debug/tracing"} {
		var s unix.Statfs_t
		if unix.Statfs(dir, &s) == nil && s.Type == unix.TRACEFS_MAGIC {
			return dir, nil
		}
	}
	return "", ErrNoTracefs
}

// PreparedInstance is the name of a tracing instance that is used, one recording at a time, if somebody has made it. Those that
// StartEvents makes for itself it also removes, which costs Linux before 6.6 thousands of files each time.
const PreparedInstance = "tcplab"

// DefaultBufferKiB is [EventConfig.BufferKiB] if that is 0.
const DefaultBufferKiB = 4096

// instancePrefix is followed by the process and a number.
const instancePrefix = "tcplab-"

var instances atomic.Uint64

// StartEvents begins to record. It makes a separate tracing instance, which Stop
// removes, so that it neither disturbs other tracing nor sees it. What
// a killed process left over is removed by the next one that starts. A
// [PreparedInstance] is taken instead, and left for the next one, which empties it.
//
// It sees all of the machine: every host and every network namespace. It needs
// root. The errors to expect are [ErrNoTracefs], [*MissingEventsError] and
// fs.ErrPermission.
func StartEvents(c EventConfig) (_ *Events, err error) {
	if len(c.Kinds) == 0 {
		c.Kinds = EventKinds()
	}
	if c.BufferKiB == 0 {
		c.BufferKiB = DefaultBufferKiB
	}
	if c.BufferKiB < 64 || c.BufferKiB > 1<<20 {
		return nil, fmt.Errorf("record events: buffer of %d KiB: want 64 to %d", c.BufferKiB, 1<<20)
	}
	for _, kind := range c.Kinds {
		if _, ok := tracepoints[kind]; !ok {
			return nil, fmt.Errorf("record events: unknown event %q: want some of %v", kind, EventKinds())
		}
	}
	available, err := AvailableEvents()
	if err != nil {
		return nil, fmt.Errorf("record events: %w", err)
	}
	missing := slices.DeleteFunc(slices.Clone(c.Kinds), func(kind EventKind) bool { return slices.Contains(available, kind) })
	if len(missing) > 0 {
		return nil, fmt.Errorf("record events: %w", &MissingEventsError{missing})
	}
	e := &Events{config: c, wake: -1, stopped: make(chan struct{})}
	defer func() {
		if err != nil {
			err = fmt.Errorf("record events: %w", errors.Join(err, e.remove()))
		}
	}()
	if err := e.start(); err != nil {
		return nil, err
	}
	go e.collect()
	return e, nil
}

// start does all but collect.
func (e *Events) start() error {
	if err := e.create(); err != nil {
		return err
	}
	if err := e.prepare(); err != nil {
		return err
	}
	var err error
	if e.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC); err != nil {
		return fmt.Errorf("eventfd: %w", err)
	}
	return e.write("tracing_on", "1")
}

// takePrepared takes the instance that is there already, if it is and nobody else has it.
func (e *Events) takePrepared(dir string) error {
	file, err := os.Open(filepath.Join(dir, PreparedInstance))
	if err != nil {
		return nil //nolint:nilerr // there is none for us
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		file.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil
		}
		return fmt.Errorf("lock %s: %w", file.Name(), err)
	}
	e.instance, e.prepared = file.Name(), file
	// What was recorded there before, by a process that was killed or did not read all, is in nobody's way.
	if err := e.reset(EventKinds()); err != nil {
		return err
	}
	if empty, err := e.isEmpty(); err != nil || empty {
		return err
	}
	return e.clear()
}

// bufferDirs are the folders of the CPUs' buffers.
func (e *Events) bufferDirs() ([]string, error) {
	return filepath.Glob(filepath.Join(e.instance, "per_cpu/cpu*"))
}

// readStats reads the statistics of the buffer in a folder such as per_cpu/cpu0.
func readStats(dir string) (bufferStats, error) {
	file := filepath.Join(dir, "stats")
	text, err := os.ReadFile(file)
	if err != nil {
		return bufferStats{}, err
	}
	stats, err := parseStats(bytes.NewReader(text))
	if err != nil {
		return bufferStats{}, fmt.Errorf("%s: %w", file, err)
	}
	return stats, nil
}

// isEmpty reports whether nothing has been in the buffers since they were emptied.
func (e *Events) isEmpty() (bool, error) {
	dirs, err := e.bufferDirs()
	if err != nil {
		return false, err
	}
	for _, dir := range dirs {
		if stats, err := readStats(dir); err != nil || stats != (bufferStats{}) {
			return false, err
		}
	}
	return len(dirs) > 0, nil
}

// reset takes back what prepare does to the events.
func (e *Events) reset(kinds []EventKind) error {
	var errs []error
	for _, kind := range kinds {
		file := "events/" + string(kind) + "/enable"
		text, err := os.ReadFile(filepath.Join(e.instance, file))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue // this kernel lacks it
		case err != nil:
			errs = append(errs, err)
		case !bytes.HasPrefix(text, []byte("0")):
			errs = append(errs, e.write(file, "0"))
		}
	}
	return errors.Join(errs...)
}

// clear empties the buffers: to open "trace" for writing does so.
func (e *Events) clear() error {
	file, err := os.OpenFile(filepath.Join(e.instance, "trace"), os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return fmt.Errorf("empty the buffers: %w", err)
	}
	return file.Close()
}

// create makes the instance, having removed those of processes that are gone.
func (e *Events) create() error {
	dir, err := tracefs()
	if err != nil {
		return err
	}
	dir = filepath.Join(dir, "instances")
	if err := e.takePrepared(dir); err != nil || e.instance != "" {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		name, ok := strings.CutPrefix(entry.Name(), instancePrefix)
		number, _, _ := strings.Cut(name, "-")
		pid, err := strconv.Atoi(number)
		if ok && err == nil && pid > 0 && errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
			// The kernel refuses as long as it is in use: then its process is alive in
			// another PID namespace. Whether it goes is of no concern here.
			_ = unix.Rmdir(filepath.Join(dir, entry.Name()))
		}
	}
	instance := filepath.Join(dir, fmt.Sprintf("%s%d-%d", instancePrefix, os.Getpid(), instances.Add(1)))
	if err := os.Mkdir(instance, 0o700); err != nil {
		return err
	}
	e.instance = instance
	return nil
}

// prepare sets up the instance, up to the events that are enabled but not yet
// recorded.
func (e *Events) prepare() error {
	size := strconv.Itoa(e.config.BufferKiB)
	for _, setting := range []struct{ file, value, read string }{
		{"tracing_on", "0", "0"}, // an instance starts recording by itself
		{"trace_clock", "mono", "[mono]"},
		{"buffer_size_kb", size, size},
	} {
		// Setting what is set already has the kernel go through all pages of the buffers, for 12 to 48 virtual ms.
		text, err := os.ReadFile(filepath.Join(e.instance, setting.file))
		if err == nil && slices.Contains(strings.Fields(string(text)), setting.read) {
			continue
		}
		if err := e.write(setting.file, setting.value); err != nil {
			return err
		}
	}
	b, err := os.ReadFile(filepath.Join(e.instance, "events/header_page"))
	if err != nil {
		return err
	}
	if e.layout, err = parseLayout(bytes.NewReader(b)); err != nil {
		return fmt.Errorf("events/header_page: %w", err)
	}
	e.formats, e.kinds = make(map[uint16]*format), make(map[uint16]EventKind)
	for _, kind := range e.config.Kinds {
		b, err := os.ReadFile(filepath.Join(e.instance, "events", string(kind), "format"))
		if err != nil {
			return err
		}
		f, err := parseFormat(bytes.NewReader(b))
		if err != nil {
			return fmt.Errorf("format of %s: %w", kind, err)
		}
		if err := f.need(append([]string{"common_type"}, tracepoints[kind].fields...)...); err != nil {
			return err
		}
		e.formats[f.id], e.kinds[f.id] = f, kind
	}
	dirs, err := e.bufferDirs()
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		pipe, err := unix.Open(dir+"/trace_pipe_raw", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open %s/trace_pipe_raw: %w", dir, err)
		}
		e.buffers = append(e.buffers, &buffer{dir: dir, pipe: pipe})
	}
	for _, kind := range e.config.Kinds {
		if filter := tracepoints[kind].filter; filter != "" {
			if err := e.write("events/"+string(kind)+"/filter", filter); err != nil {
				return err
			}
		}
		if err := e.write("events/"+string(kind)+"/enable", "1"); err != nil {
			return err
		}
	}
	return nil
}

func (e *Events) write(file, value string) error {
	if err := os.WriteFile(filepath.Join(e.instance, file), []byte(value), 0); err != nil {
		return fmt.Errorf("set %q: %w", value, err)
	}
	return nil
}

// collect takes whole pages from the kernel whenever a CPU's buffer is half full
// (buffer_percent), and what is left when it is told to end.
func (e *Events) collect() {
	defer close(e.stopped)
	polled := make([]unix.PollFd, 0, len(e.buffers)+1)
	for _, b := range e.buffers {
		polled = append(polled, unix.PollFd{Fd: int32(b.pipe), Events: unix.POLLIN})
	}
	polled = append(polled, unix.PollFd{Fd: int32(e.wake), Events: unix.POLLIN})
	for stopping := false; !stopping && e.readErr == nil; {
		if _, err := unix.Poll(polled, -1); errors.Is(err, unix.EINTR) {
			continue
		} else if err != nil {
			e.readErr = fmt.Errorf("await events: %w", err)
			return
		}
		stopping = polled[len(e.buffers)].Revents != 0
		for i, b := range e.buffers {
			if stopping || polled[i].Revents != 0 {
				e.readErr = errors.Join(e.readErr, b.drain(e.layout.size()))
			}
		}
	}
}

// drain takes all that there is; one read is one page.
func (b *buffer) drain(pageSize int) error {
	for {
		page := make([]byte, pageSize)
		n, err := unix.Read(b.pipe, page)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN) || err == nil && n == 0:
			return nil
		case err != nil:
			return fmt.Errorf("read %s/trace_pipe_raw: %w", b.dir, err)
		default:
			b.pages = append(b.pages, page[:n])
		}
	}
}

// Stop ends the recording. It returns the events in the order of their time, and
// how many were lost because the buffer was full: with any, the rest has gaps at
// unknown places. It must be called once.
func (e *Events) Stop() (events []Event, lost uint64, err error) {
	defer func() {
		if err = errors.Join(err, e.remove()); err != nil {
			err = fmt.Errorf("record events: %w", err)
		}
	}()
	off := e.write("tracing_on", "0")
	if _, err := unix.Write(e.wake, binary.NativeEndian.AppendUint64(nil, 1)); err != nil {
		return nil, 0, fmt.Errorf("end the reader: %w", err)
	}
	<-e.stopped
	if err := errors.Join(off, e.readErr); err != nil {
		return nil, 0, err
	}
	for _, b := range e.buffers {
		stats, err := readStats(b.dir)
		if err != nil {
			return nil, 0, err
		}
		lost += stats.lost
		for _, page := range b.pages {
			if events, err = e.decode(page, events); err != nil {
				return nil, 0, fmt.Errorf("%s/trace_pipe_raw: %w", b.dir, err)
			}
		}
	}
	slices.SortStableFunc(events, func(a, b Event) int { return cmp.Compare(a.At, b.At) })
	relate(events)
	if e.config.Host != nil {
		for i, x := range events {
			if x.Local.IsValid() {
				events[i].Host = e.config.Host(x.Local.Addr())
			}
		}
	}
	return events, lost, nil
}

// remove gives back everything.
func (e *Events) remove() error {
	for _, b := range e.buffers {
		unix.Close(b.pipe)
	}
	if e.wake >= 0 {
		unix.Close(e.wake)
	}
	e.buffers, e.wake = nil, -1
	if e.instance == "" {
		return nil
	}
	if e.prepared != nil {
		err := errors.Join(e.write("tracing_on", "0"), e.reset(e.config.Kinds), e.prepared.Close())
		e.instance, e.prepared = "", nil
		return err
	}
	if err := unix.Rmdir(e.instance); err != nil {
		return fmt.Errorf("remove %s: %w", e.instance, err)
	}
	e.instance = ""
	return nil
}

// decode appends the events of a page.
func (e *Events) decode(page []byte, events []Event) ([]Event, error) {
	err := parsePage(e.layout, page, func(at uint64, data []byte) error {
		if len(data) < 2 {
			return fmt.Errorf("event of %d bytes", len(data))
		}
		// common_type is the first field of each event.
		id := binary.LittleEndian.Uint16(data)
		f, ok := e.formats[id]
		if !ok {
			return nil // such as a marker that someone wrote
		}
		events = append(events, parseEvent(e.kinds[id], at, record{f, data}))
		return nil
	})
	return events, err
}

func parseEvent(kind EventKind, at uint64, r record) Event {
	e := Event{
		At: time.Duration(at), Kind: kind,
		Socket: r.uint("skaddr"), Cookie: r.uint("sock_cookie"), packet: r.uint("skbaddr"),
	}
	if kind != Drop {
		e.Local, e.Remote = r.addrPort("saddr", "sport"), r.addrPort("daddr", "dport")
	}
	switch kind {
	case StateChange:
		e.Old, e.New = State(r.uint("oldstate")), State(r.uint("newstate"))
	case Retransmit:
		e.State, e.Err = State(r.uint("state")), int(r.uint("err"))
	case ResetSent:
		e.State, e.Reason = State(r.uint("state")), r.symbol("reason")
	case Probe:
		e.Probe = &ProbeValues{
			DataLen: uint16(r.uint("data_len")),
			SndNxt:  uint32(r.uint("snd_nxt")), SndUna: uint32(r.uint("snd_una")),
			SndCwnd: uint32(r.uint("snd_cwnd")), Ssthresh: uint32(r.uint("ssthresh")),
			SndWnd: uint32(r.uint("snd_wnd")), SRTT: uint32(r.uint("srtt")), RcvWnd: uint32(r.uint("rcv_wnd")),
		}
	case CongestionChange:
		state := tcpinfo.CongestionState(r.uint("cong_state"))
		e.Congestion = &state
	case Drop:
		e.Reason, e.Socket = r.symbol("reason"), r.uint("rx_sk")
	}
	return e
}

// addrPort returns what is in one of the kernel's two ways of storing an address:
// as a struct sockaddr_in or sockaddr_in6, or as 4 bytes, 16 bytes and a port.
func (r record) addrPort(addr, port string) netip.AddrPort {
	b := r.bytes(addr)
	if len(b) == 28 {
		port := binary.BigEndian.Uint16(b[2:])
		switch binary.LittleEndian.Uint16(b) {
		case unix.AF_INET:
			return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:])), port)
		case unix.AF_INET6:
			return netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[8:])).Unmap(), port)
		default:
			return netip.AddrPort{}
		}
	}
	v6 := r.bytes(addr + "_v6")
	if len(b) != 4 || len(v6) != 16 {
		return netip.AddrPort{}
	}
	a := netip.AddrFrom4([4]byte(b))
	if r.uint("family") == unix.AF_INET6 {
		a = netip.AddrFrom16([16]byte(v6)).Unmap()
	}
	return netip.AddrPortFrom(a, uint16(r.uint(port)))
}

// relate fills in addresses that an event lacks from other events of the same
// socket or packet.
func relate(events []Event) {
	type ends struct{ local, remote netip.AddrPort }
	sockets, packets := make(map[uint64]ends), make(map[uint64]ends)
	early := make(map[uint64]int)
	for i := range events {
		e := &events[i]
		switch {
		case e.Kind == Drop:
			known, ok := packets[e.packet]
			if !ok {
				known = sockets[e.Socket]
			}
			e.Local, e.Remote = known.local, known.remote
			delete(packets, e.packet) // its memory will be another packet's
			continue
		case e.Kind == RetransmitSynAck:
			continue // its socket is the listener
		case e.Kind == ResetSent && e.packet != 0:
			packets[e.packet] = ends{e.Local, e.Remote}
		}
		if e.Socket == 0 {
			continue
		}
		// The kernel enters SYN-SENT before it chooses a local port, and SYN-RECV with
		// the listener's addresses.
		if e.Kind == StateChange && (e.New == SynSent && e.Local.Port() == 0 || e.New == SynRecv && e.Remote.Port() == 0) {
			early[e.Socket] = i
			continue
		}
		if first, ok := early[e.Socket]; ok {
			if e.Local.Port() != 0 && e.Remote.Port() != 0 {
				events[first].Local, events[first].Remote = e.Local, e.Remote
			}
			delete(early, e.Socket)
		}
		sockets[e.Socket] = ends{e.Local, e.Remote}
		if e.Kind == StateChange && e.New == Close {
			delete(sockets, e.Socket)
		}
	}
}

// sameCall is longer than the time between two events of one call into the kernel.
const sameCall = time.Millisecond

// A Path is the states that one side of a connection went through, such as [SynSent Established FinWait1 FinWait2
// TimeWait].
type Path struct {
	Local, Remote netip.AddrPort // of that side
	States        []State        // in order, without the first one
	Events        []Event        // of that side, in order: what the states are known by
}

// PathOf returns the path of one side of a connection, from the changes of state and the resets among events. If the
// addresses were used again, the states of the later connection follow.
//
// TimeWait is inferred. When nothing is left but to wait, Linux replaces the socket by a small one that has no events:
// one only sees that a socket in FIN-WAIT-2 or CLOSING is closed. Without a reset, that counts as TimeWait, so record
// ResetSent and ResetReceived, too; a reset can also follow from the same call (TCP_LINGER2 below 0). If the other
// side has not sent its FIN by then, the small socket first is in FIN-WAIT-2, and may end there 60 seconds later:
// [ReadSockets] shows it.
func PathOf(events []Event, local, remote netip.AddrPort) Path {
	p := Path{Local: local, Remote: remote, States: statesOf(events, local, remote)}
	for _, e := range events {
		if e.Local == local && e.Remote == remote {
			p.Events = append(p.Events, e)
		}
	}
	return p
}

// statesOf returns the states of a [Path].
func statesOf(events []Event, local, remote netip.AddrPort) []State {
	var states []State
	reset := false
	var inferred *Event // that the last state is inferred from, if it is
	for i, e := range events {
		if e.Local != local || e.Remote != remote {
			continue
		}
		switch e.Kind {
		case ResetSent, ResetReceived:
			reset = true
			if e.Kind == ResetSent && inferred != nil && e.At-inferred.At < sameCall {
				states[len(states)-1], inferred = Close, nil
			}
		case StateChange:
			if e.New == e.Old {
				continue // LAST-ACK, when the process closes the socket
			}
			if e.Old == Close || e.Old == Listen {
				reset = false // of an earlier connection
			}
			if e.New == Close && !reset && (e.Old == FinWait2 || e.Old == Closing) {
				states, inferred = append(states, TimeWait), &events[i]
			} else {
				states, inferred = append(states, e.New), nil
			}
		}
	}
	return states
}
