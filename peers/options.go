package peers

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Socket has the options that a program sets on its sockets, before connect(2) or listen(2). Connections inherit
// those of their listener. Each is read back: it is an error if the kernel keeps another value.
//
// The zero value leaves all to the kernel, with Nagle's algorithm on, keepalive off, and SO_REUSEADDR on for a
// listener.
type Socket struct {
	Congestion    string `json:"congestion,omitempty"`     // TCP_CONGESTION, "bbr"; empty is the kernel's default
	SendBuffer    int    `json:"send_buffer,omitempty"`    // SO_SNDBUF in bytes, which the kernel doubles; 0 means autotuning
	ReceiveBuffer int    `json:"receive_buffer,omitempty"` // SO_RCVBUF in bytes, which the kernel doubles; 0 means autotuning
	MSS           int    `json:"mss,omitempty"`            // TCP_MAXSEG, 88 to 32767; 0 is what the route allows
	WindowClamp   int    `json:"window_clamp,omitempty"`   // TCP_WINDOW_CLAMP, the largest window to advertise, in bytes

	NoDelay bool `json:"nodelay,omitempty"` // TCP_NODELAY: switches Nagle's algorithm off
	Cork    bool `json:"cork,omitempty"`    // TCP_CORK: sends full segments only, for up to 200 ms
	// QuickACK is TCP_QUICKACK. It is not permanent (tcp(7)): use Set to set it again. False before connect(2) delays
	// the final ACK of the handshake, so that data can carry it.
	QuickACK *bool `json:"quick_ack,omitempty"`
	// NotSentLowWater is TCP_NOTSENT_LOWAT: a socket accepts no more data while it has this many unsent bytes.
	NotSentLowWater int `json:"notsent_low_water,omitempty"`
	// ReceiveLowWater is SO_RCVLOWAT in bytes: a reader is woken when that many have arrived, or the FIN, or when the
	// window or the buffer is almost full. Until then they stay in the queue and narrow the window. An autotuned
	// receive buffer starts with twice as much (tcp_set_rcvlowat in net/ipv4/tcp.c). 0 means the default of the
	// kernel, 1. With 65536 a BulkServer is woken for each 45th segment of 1448 bytes.
	ReceiveLowWater int `json:"receive_low_water,omitempty"`

	KeepAlive    bool          `json:"keepalive,omitempty"`        // SO_KEEPALIVE
	KeepIdle     time.Duration `json:"keep_idle_ns,omitempty"`     // TCP_KEEPIDLE, whole seconds until the first probe
	KeepInterval time.Duration `json:"keep_interval_ns,omitempty"` // TCP_KEEPINTVL, whole seconds between probes
	KeepProbes   int           `json:"keep_probes,omitempty"`      // TCP_KEEPCNT, unanswered probes until it gives up: 1 to 127
	// UserTimeout is TCP_USER_TIMEOUT (RFC 5482), whole milliseconds that data may stay unacknowledged.
	UserTimeout time.Duration `json:"user_timeout_ns,omitempty"`
	// RTOMax is TCP_RTO_MAX_MS (Linux 6.15), the maximum RTO in whole milliseconds: 1 to 120 s, which the kernel
	// rounds up to its tick; 0 means sysctl net.ipv4.tcp_rto_max_ms.
	RTOMax time.Duration `json:"rto_max_ns,omitempty"`
	// SYNRetries is TCP_SYNCNT, the number of retransmissions of a SYN (for a listener, of a SYN-ACK): 1 to 127, or 0
	// for sysctl net.ipv4.tcp_syn_retries (tcp_synack_retries).
	SYNRetries int `json:"syn_retries,omitempty"`

	// Linger is SO_LINGER, whole seconds: close(2) waits that long until all is acknowledged. new(time.Duration(0))
	// makes close(2), and the end of the process, send RST. nil is off.
	Linger *time.Duration `json:"linger_ns,omitempty"`
	// Linger2 is TCP_LINGER2, whole seconds that an orphan stays in FIN_WAIT2: up to 120 s, or 0 for sysctl
	// net.ipv4.tcp_fin_timeout. [NoFINWait2] lets it skip that state.
	Linger2 time.Duration `json:"linger2_ns,omitempty"`

	// FastOpen is TCP_FASTOPEN_CONNECT, of a client: with a cookie, connect(2) returns at once and the SYN leaves with
	// the first write. Needs bit 1 of sysctl net.ipv4.tcp_fastopen.
	FastOpen bool `json:"fast_open,omitempty"`
	// FastOpenQueue is TCP_FASTOPEN, of a listener: the number of connections that may wait after a SYN with data.
	// Needs bit 2 of sysctl net.ipv4.tcp_fastopen.
	FastOpenQueue int `json:"fast_open_queue,omitempty"`
	// DeferAccept is TCP_DEFER_ACCEPT, of a listener, in whole seconds: a connection is accepted when data has
	// arrived.
	DeferAccept time.Duration `json:"defer_accept_ns,omitempty"`

	ReuseAddr *bool `json:"reuse_addr,omitempty"` // SO_REUSEADDR; nil sets it on what binds: a listener, a client with Local
	ReusePort bool  `json:"reuse_port,omitempty"` // SO_REUSEPORT
	// BindAddressNoPort is IP_BIND_ADDRESS_NO_PORT: where Local has no port, connect(2) chooses it, not bind(2).
	BindAddressNoPort bool `json:"bind_address_no_port,omitempty"`
	// MTUDiscover is IP_MTU_DISCOVER or IPV6_MTU_DISCOVER, by the last part of the kernel's name (IP_PMTUDISC_DO):
	// "dont", "want", "do", "probe", "interface", "omit". Empty is by sysctl net.ipv4.ip_no_pmtu_disc.
	MTUDiscover string `json:"mtu_discover,omitempty"`
}

// NoFINWait2 as Linger2 is TCP_LINGER2 -1: a closed connection ends with the ACK of its FIN, and later segments are
// answered with RST.
const NoFINWait2 = -time.Second

// A role is the use of a socket. It decides which options are valid.
type role int

const (
	asClient   role = iota // connects, from a port that the kernel chooses
	asBound                // connects, from an address that is given
	asListener             // listens
)

// option is a socket option with an int value.
type option struct {
	name       string
	level, opt int
	min, max   int
	want       func(int) int // what the kernel says after it was set; nil: the same
	later      bool          // it makes sense on a connection: the step Set can set it
	hint       string        // what may help if the kernel has kept something else
}

// The limits of TCP_MAXSEG: TCP_MIN_MSS and MAX_TCP_WINDOW in include/net/tcp.h.
const (
	minMSS = 88
	maxMSS = 32767
)

// maxSYNRetries is MAX_TCP_SYNCNT in include/net/tcp.h.
const maxSYNRetries = 127

// maxKeepalive is MAX_TCP_KEEPIDLE and MAX_TCP_KEEPINTVL, in seconds, and maxKeepProbes MAX_TCP_KEEPCNT.
const (
	maxKeepalive  = 32767
	maxKeepProbes = 127
)

// The limits of TCP_RTO_MAX_MS, in milliseconds: do_tcp_setsockopt in net/ipv4/tcp.c, TCP_RTO_MAX_SEC in
// include/net/tcp.h.
const (
	minRTOMax = 1000
	maxRTOMax = 120_000
)

// maxLinger2 is TCP_FIN_TIMEOUT_MAX in include/net/tcp.h, in seconds.
const maxLinger2 = 120

// minWindowClamp is SOCK_MIN_RCVBUF / 2 in include/net/sock.h, half of 2048 and a struct sk_buff of 256 bytes: the
// kernel raises a smaller clamp to it.
const minWindowClamp = (2048 + 256) / 2

// maxDeferAccept keeps TCP_DEFER_ACCEPT below the maximum RTO of the kernel, where its steps no longer double.
const maxDeferAccept = 63

const (
	doubled   = "the kernel doubles the value, and keeps it between its minimum and sysctl net.core."
	maxBuffer = math.MaxInt32 / 2 // the kernel doubles it, in an int
	maxInt    = math.MaxInt32
)

func double(n int) int { return 2 * n }

// options are all options that this package can set and read back, in the order in which they are set.
var options = []option{
	{"SO_REUSEADDR", unix.SOL_SOCKET, unix.SO_REUSEADDR, 0, 1, nil, false, ""},
	{"SO_REUSEPORT", unix.SOL_SOCKET, unix.SO_REUSEPORT, 0, 1, nil, false, ""},
	{"IPV6_V6ONLY", unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0, 1, nil, false, ""},
	{"IP_BIND_ADDRESS_NO_PORT", unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 0, 1, nil, false, ""},
	{"IP_MTU_DISCOVER", unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, 0, len(mtuDiscover) - 1, nil, true, ""},
	{"IPV6_MTU_DISCOVER", unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, 0, len(mtuDiscover) - 1, nil, true, ""},
	{"SO_SNDBUF", unix.SOL_SOCKET, unix.SO_SNDBUF, 1, maxBuffer, double, true, doubled + "wmem_max"},
	{"SO_RCVBUF", unix.SOL_SOCKET, unix.SO_RCVBUF, 1, maxBuffer, double, true, doubled + "rmem_max"},
	{"SO_RCVLOWAT", unix.SOL_SOCKET, unix.SO_RCVLOWAT, 1, maxInt, nil, true, "half of SO_RCVBUF, or of sysctl net.ipv4.tcp_rmem's last, is the most"},
	{"SO_KEEPALIVE", unix.SOL_SOCKET, unix.SO_KEEPALIVE, 0, 1, nil, true, ""},
	{"TCP_KEEPIDLE", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 1, maxKeepalive, nil, true, ""},
	{"TCP_KEEPINTVL", unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 1, maxKeepalive, nil, true, ""},
	{"TCP_KEEPCNT", unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 1, maxKeepProbes, nil, true, ""},
	{"TCP_USER_TIMEOUT", unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 0, maxInt, nil, true, ""},
	{"TCP_RTO_MAX_MS", unix.IPPROTO_TCP, unix.TCP_RTO_MAX_MS, minRTOMax, maxRTOMax, nil, true, "Linux 6.15 brought it, in whole ticks"},
	{"TCP_SYNCNT", unix.IPPROTO_TCP, unix.TCP_SYNCNT, 1, maxSYNRetries, nil, false, ""},
	{"TCP_LINGER2", unix.IPPROTO_TCP, unix.TCP_LINGER2, -1, maxLinger2, nil, true, ""},
	{"TCP_MAXSEG", unix.IPPROTO_TCP, unix.TCP_MAXSEG, minMSS, maxMSS, nil, false, ""},
	{"TCP_WINDOW_CLAMP", unix.IPPROTO_TCP, unix.TCP_WINDOW_CLAMP, minWindowClamp, maxInt, nil, true, ""},
	{"TCP_NOTSENT_LOWAT", unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, 1, maxInt, nil, true, ""},
	{"TCP_NODELAY", unix.IPPROTO_TCP, unix.TCP_NODELAY, 0, 1, nil, true, ""},
	{"TCP_CORK", unix.IPPROTO_TCP, unix.TCP_CORK, 0, 1, nil, true, ""},
	{"TCP_QUICKACK", unix.IPPROTO_TCP, unix.TCP_QUICKACK, 0, 1, nil, true, ""},
	{"TCP_DEFER_ACCEPT", unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, 1, maxDeferAccept, deferredFor, false, ""},
	{"TCP_FASTOPEN", unix.IPPROTO_TCP, unix.TCP_FASTOPEN, 1, maxBacklog, nil, false, "sysctl net.core.somaxconn is the most"},
	{"TCP_FASTOPEN_CONNECT", unix.IPPROTO_TCP, unix.TCP_FASTOPEN_CONNECT, 0, 1, nil, false, ""},
}

// mtuDiscover are the values of IP_MTU_DISCOVER, from IP_PMTUDISC_DONT (0) on (include/uapi/linux/in.h).
var mtuDiscover = []string{"dont", "want", "do", "probe", "interface", "omit"}

// deferredFor is the effective time of TCP_DEFER_ACCEPT: the kernel stores a number of SYN-ACKs, which it sends after
// 1, 2, 4, ... seconds (secs_to_retrans in net/ipv4/tcp.c).
func deferredFor(seconds int) int {
	period := 1
	for period < seconds {
		period = 2*period + 1
	}
	return period
}

func optionNamed(name string) (option, bool) {
	i := slices.IndexFunc(options, func(o option) bool { return o.name == name })
	if i < 0 {
		return option{}, false
	}
	return options[i], true
}

// laterOptions are the names that the step Set takes.
func laterOptions() []string {
	var names []string
	for _, o := range options {
		if o.later {
			names = append(names, o.name)
		}
	}
	return names
}

// set sets the option and reads it back.
func (o option) set(fd, value int) error {
	if err := unix.SetsockoptInt(fd, o.level, o.opt, value); err != nil {
		p := peerError("setsockopt "+o.name, "", err)
		p.Message = fmt.Sprintf("value %d", value)
		if errors.Is(err, unix.ENOPROTOOPT) && o.hint != "" {
			p.Message += ": " + o.hint
		}
		return p
	}
	got, err := unix.GetsockoptInt(fd, o.level, o.opt)
	if err != nil {
		return peerError("getsockopt "+o.name, "", err)
	}
	want := value
	if o.want != nil {
		want = o.want(value)
	}
	if got != want {
		p := &PeerError{Op: "setsockopt " + o.name}
		p.Message = fmt.Sprintf("set to %d, expected to read back %d, but the kernel has %d", value, want, got)
		if o.hint != "" {
			p.Message += ": " + o.hint
		}
		return p
	}
	return nil
}

// setting is an option with a value, and the field of Socket that asks for it.
type setting struct {
	field, option string
	value         int
}

// settings returns the options with an int value to set on the socket, on request or always.
func (s Socket) settings(family int, r role) []setting {
	reuse := r != asClient
	if s.ReuseAddr != nil {
		reuse = *s.ReuseAddr
	}
	list := []setting{
		{"ReuseAddr", "SO_REUSEADDR", boolInt(reuse)},
		{"KeepAlive", "SO_KEEPALIVE", boolInt(s.KeepAlive)},
		{"NoDelay", "TCP_NODELAY", boolInt(s.NoDelay)},
	}
	discover := "IP_MTU_DISCOVER"
	if family == unix.AF_INET6 {
		discover = "IPV6_MTU_DISCOVER"
		list = append(list, setting{"", "IPV6_V6ONLY", 1})
	}
	if s.MTUDiscover != "" {
		list = append(list, setting{"MTUDiscover", discover, slices.Index(mtuDiscover, s.MTUDiscover)})
	}
	if s.QuickACK != nil {
		list = append(list, setting{"QuickACK", "TCP_QUICKACK", boolInt(*s.QuickACK)})
	}
	for _, x := range []setting{
		{"SendBuffer", "SO_SNDBUF", s.SendBuffer},
		{"ReceiveBuffer", "SO_RCVBUF", s.ReceiveBuffer},
		{"ReceiveLowWater", "SO_RCVLOWAT", s.ReceiveLowWater},
		{"MSS", "TCP_MAXSEG", s.MSS},
		{"WindowClamp", "TCP_WINDOW_CLAMP", s.WindowClamp},
		{"Cork", "TCP_CORK", boolInt(s.Cork)},
		{"NotSentLowWater", "TCP_NOTSENT_LOWAT", s.NotSentLowWater},
		{"KeepIdle", "TCP_KEEPIDLE", int(s.KeepIdle / time.Second)},
		{"KeepInterval", "TCP_KEEPINTVL", int(s.KeepInterval / time.Second)},
		{"KeepProbes", "TCP_KEEPCNT", s.KeepProbes},
		{"UserTimeout", "TCP_USER_TIMEOUT", int(s.UserTimeout / time.Millisecond)},
		{"RTOMax", "TCP_RTO_MAX_MS", int(s.RTOMax / time.Millisecond)},
		{"SYNRetries", "TCP_SYNCNT", s.SYNRetries},
		{"Linger2", "TCP_LINGER2", int(s.Linger2 / time.Second)},
		{"FastOpen", "TCP_FASTOPEN_CONNECT", boolInt(s.FastOpen)},
		{"FastOpenQueue", "TCP_FASTOPEN", s.FastOpenQueue},
		{"DeferAccept", "TCP_DEFER_ACCEPT", int(s.DeferAccept / time.Second)},
		{"ReusePort", "SO_REUSEPORT", boolInt(s.ReusePort)},
		{"BindAddressNoPort", "IP_BIND_ADDRESS_NO_PORT", boolInt(s.BindAddressNoPort)},
	} {
		if x.value != 0 {
			list = append(list, x)
		}
	}
	return list
}

// apply sets the options of a new socket.
func (s Socket) apply(fd, family int, r role) error {
	for _, x := range s.settings(family, r) {
		o, ok := optionNamed(x.option)
		if !ok {
			return fmt.Errorf("option %s is not in the table", x.option)
		}
		if err := o.set(fd, x.value); err != nil {
			return err
		}
	}
	if s.Linger != nil {
		if err := setLinger(fd, *s.Linger); err != nil {
			return err
		}
	}
	return setCongestion(fd, s.Congestion)
}

// setLinger sets SO_LINGER on, with that many seconds, and reads it back.
func setLinger(fd int, d time.Duration) error {
	set := unix.Linger{Onoff: 1, Linger: int32(d / time.Second)}
	if err := unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &set); err != nil {
		return peerError("setsockopt SO_LINGER", "", err)
	}
	got, err := unix.GetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER)
	if err != nil {
		return peerError("getsockopt SO_LINGER", "", err)
	}
	if *got != set {
		return &PeerError{Op: "setsockopt SO_LINGER", Message: fmt.Sprintf("set to %+v, but the kernel has %+v", set, *got)}
	}
	return nil
}

func setCongestion(fd int, name string) error {
	const op = "setsockopt TCP_CONGESTION"
	if name == "" {
		return nil
	}
	if err := unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, name); err != nil {
		p := peerError(op, "", err)
		switch {
		case errors.Is(err, unix.ENOENT):
			p.Message = fmt.Sprintf("congestion control %q is unknown or its module is not loaded; available are: %s",
				name, readSysctl("net/ipv4/tcp_available_congestion_control"))
		case errors.Is(err, unix.EPERM):
			p.Message = fmt.Sprintf("congestion control %q needs CAP_NET_ADMIN here; allowed for all are: %s",
				name, readSysctl("net/ipv4/tcp_allowed_congestion_control"))
		}
		return p
	}
	got, err := getCongestion(fd)
	if err != nil {
		return peerError("getsockopt TCP_CONGESTION", "", err)
	}
	if got != name {
		return &PeerError{Op: op, Message: fmt.Sprintf("set to %q, but the kernel has %q", name, got)}
	}
	return nil
}

func getCongestion(fd int) (string, error) {
	return unix.GetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION)
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// socket checks the options of a socket that is to have that role.
func (c *check) socket(s Socket, r role) {
	const nameMax = 15 // TCP_CA_NAME_MAX - 1; setsockopt cuts a longer one, and might find another by that
	if len(s.Congestion) > nameMax {
		c.fail("Congestion", fmt.Sprintf("%q", s.Congestion), fmt.Sprintf("a name has at most %d bytes", nameMax))
	}
	if s.MTUDiscover != "" && !slices.Contains(mtuDiscover, s.MTUDiscover) {
		c.fail("MTUDiscover", fmt.Sprintf("%q", s.MTUDiscover), "known are "+strings.Join(mtuDiscover, ", "))
	}
	if s.Linger != nil {
		c.whole("Linger", *s.Linger, time.Second)
		c.atMost("Linger", int64(*s.Linger/time.Second), math.MaxInt32)
	}
	c.whole("KeepIdle", s.KeepIdle, time.Second)
	c.whole("KeepInterval", s.KeepInterval, time.Second)
	c.whole("UserTimeout", s.UserTimeout, time.Millisecond)
	c.whole("RTOMax", s.RTOMax, time.Millisecond)
	if s.Linger2 != NoFINWait2 {
		c.whole("Linger2", s.Linger2, time.Second)
	}
	c.whole("DeferAccept", s.DeferAccept, time.Second)
	if c.err != nil {
		return // the values below come from these
	}
	for _, x := range s.settings(unix.AF_INET, r) {
		o, _ := optionNamed(x.option)
		if x.value < o.min || x.value > o.max {
			c.fail(x.field, x.value, fmt.Sprintf("want %d to %d (%s), or 0 for the kernel's choice", o.min, o.max, x.option))
		}
	}
	onlyFor := func(is bool, field string, set bool, what string) {
		if set && !is {
			c.fail(field, "set", what)
		}
	}
	onlyFor(r == asListener, "FastOpenQueue", s.FastOpenQueue != 0, "is for a listener; a client has FastOpen")
	onlyFor(r == asListener, "DeferAccept", s.DeferAccept != 0, "is for a listener")
	onlyFor(r != asListener, "FastOpen", s.FastOpen, "is for a client; a listener has FastOpenQueue")
	onlyFor(r == asBound, "BindAddressNoPort", s.BindAddressNoPort, "is for a client that binds to an address: a Script with Local")
}

// whole checks a time that the kernel takes in whole units.
func (c *check) whole(field string, d, unit time.Duration) {
	if d < 0 || d%unit != 0 {
		c.fail(field, d, fmt.Sprintf("must not be negative, and a multiple of %v", unit))
	}
}
