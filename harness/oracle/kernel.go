package oracle

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/tcplab/tcplab/harness/kernelversion"
)

// Kernel is what decides on TCP's behaviour in one host: the kernel's version, its tick, and the host's sysctls.
type Kernel struct {
	Version kernelversion.Version // decides what the sysctls do not
	HZ      int                   // ticks a second, a choice of who built the kernel; 0 is Debian's, 250
	Sysctls Sysctls               // of one host: a network namespace
}

// debianHZ is CONFIG_HZ of Debian's, Ubuntu's (up to 24.04) and SUSE's kernels; it is 100, 250, 300 or 1000.
const debianHZ = 250

func (k Kernel) hz() int { return cmp.Or(k.HZ, debianHZ) }

// Sysctls are the settings that the oracle looks at, in the kernel's units (Documentation/networking/ip-sysctl.rst).
// [Keys] lists their names.
type Sysctls struct {
	SYNRetries        int `json:"net.ipv4.tcp_syn_retries"`
	SYNLinearTimeouts int `json:"net.ipv4.tcp_syn_linear_timeouts"` // Linux 6.5
	SYNACKRetries     int `json:"net.ipv4.tcp_synack_retries"`
	SYNCookies        int `json:"net.ipv4.tcp_syncookies"`
	MaxSYNBacklog     int `json:"net.ipv4.tcp_max_syn_backlog"`
	SOMaxConn         int `json:"net.core.somaxconn"`
	PortsFirst        int `json:"net.ipv4.ip_local_port_range[0]"`
	PortsLast         int `json:"net.ipv4.ip_local_port_range[1]"`

	Retries1           int `json:"net.ipv4.tcp_retries1"`
	Retries2           int `json:"net.ipv4.tcp_retries2"`
	OrphanRetries      int `json:"net.ipv4.tcp_orphan_retries"`
	RTOMin             int `json:"net.ipv4.tcp_rto_min_us"` // microseconds; Linux 6.11
	RTOMax             int `json:"net.ipv4.tcp_rto_max_ms"` // milliseconds; Linux 6.15
	Recovery           int `json:"net.ipv4.tcp_recovery"`   // bits; since Linux 6.17 RACK is always on
	EarlyRetrans       int `json:"net.ipv4.tcp_early_retrans"`
	SACK               int `json:"net.ipv4.tcp_sack"`
	ThinLinearTimeouts int `json:"net.ipv4.tcp_thin_linear_timeouts"`

	KeepaliveTime     int `json:"net.ipv4.tcp_keepalive_time"`  // seconds
	KeepaliveInterval int `json:"net.ipv4.tcp_keepalive_intvl"` // seconds
	KeepaliveProbes   int `json:"net.ipv4.tcp_keepalive_probes"`

	FINTimeout   int `json:"net.ipv4.tcp_fin_timeout"` // seconds
	MaxTWBuckets int `json:"net.ipv4.tcp_max_tw_buckets"`
	TWReuse      int `json:"net.ipv4.tcp_tw_reuse"`
	TWReuseDelay int `json:"net.ipv4.tcp_tw_reuse_delay"` // milliseconds; Linux 6.14
	Timestamps   int `json:"net.ipv4.tcp_timestamps"`

	MTUProbing    int `json:"net.ipv4.tcp_mtu_probing"`
	BaseMSS       int `json:"net.ipv4.tcp_base_mss"`
	MTUProbeFloor int `json:"net.ipv4.tcp_mtu_probe_floor"`
	MinSndMSS     int `json:"net.ipv4.tcp_min_snd_mss"`
	MTUExpires    int `json:"net.ipv4.route.mtu_expires"` // seconds

	ECN         int `json:"net.ipv4.tcp_ecn"`        // 3 to 5 since Linux 7.0
	ECNOption   int `json:"net.ipv4.tcp_ecn_option"` // Linux 6.18
	ECNFallback int `json:"net.ipv4.tcp_ecn_fallback"`

	WindowScaling      int `json:"net.ipv4.tcp_window_scaling"`
	SlowStartAfterIdle int `json:"net.ipv4.tcp_slow_start_after_idle"`
	PacingSSRatio      int `json:"net.ipv4.tcp_pacing_ss_ratio"` // percent
	PacingCARatio      int `json:"net.ipv4.tcp_pacing_ca_ratio"` // percent
}

// A sysctl is one setting: its key, its fields (more than one where the value is a list), what the kernel starts with,
// and what it does where it does not know the key.
type sysctl struct {
	key         string
	fields      func(*Sysctls) []*int
	initial     []int
	since       [2]int // the version that brought it; 0.0 where it is older than the oracle
	without     int    // the value that behaves as a kernel before that
	least, most int

	// wider is the version since which most is allowed, and narrow what was before; 0.0 where that never changed.
	wider  [2]int
	narrow int
}

// greatest is the greatest value that a kernel of that version takes.
func (s sysctl) greatest(v kernelversion.Version) int {
	if v.AtLeast(s.wider[0], s.wider[1]) {
		return s.most
	}
	return s.narrow
}

func one(field func(*Sysctls) *int) func(*Sysctls) []*int {
	return func(s *Sysctls) []*int { return []*int{field(s)} }
}

const maxInt32 = 1<<31 - 1

// The initial values and ranges are those of net/ipv4/tcp_ipv4.c (tcp_sk_init) and net/ipv4/sysctl_net_ipv4.c.
var sysctls = []sysctl{
	{
		key: "net.ipv4.tcp_syn_retries", initial: []int{6}, least: 1, most: 127,
		fields: one(func(s *Sysctls) *int { return &s.SYNRetries }),
	},
	{
		key: "net.ipv4.tcp_syn_linear_timeouts", initial: []int{4}, since: [2]int{6, 5}, without: 0, most: 127,
		fields: one(func(s *Sysctls) *int { return &s.SYNLinearTimeouts }),
	},
	{
		key: "net.ipv4.tcp_synack_retries", initial: []int{5}, most: 255,
		fields: one(func(s *Sysctls) *int { return &s.SYNACKRetries }),
	},
	{
		key: "net.ipv4.tcp_syncookies", initial: []int{1}, most: 2,
		fields: one(func(s *Sysctls) *int { return &s.SYNCookies }),
	},
	// The kernel sizes these two by memory (tcp_sk_init); these are a guest's of 512 MB.
	{
		key: "net.ipv4.tcp_max_syn_backlog", initial: []int{128}, most: maxInt32,
		fields: one(func(s *Sysctls) *int { return &s.MaxSYNBacklog }),
	},
	{
		key: "net.ipv4.tcp_max_tw_buckets", initial: []int{2048}, most: maxInt32,
		fields: one(func(s *Sysctls) *int { return &s.MaxTWBuckets }),
	},
	{
		key: "net.core.somaxconn", initial: []int{4096}, most: maxInt32,
		fields: one(func(s *Sysctls) *int { return &s.SOMaxConn }),
	},
	{
		key:     "net.ipv4.ip_local_port_range",
		fields:  func(s *Sysctls) []*int { return []*int{&s.PortsFirst, &s.PortsLast} },
		initial: []int{32768, 60999}, least: 1, most: 65535,
	},
	{
		key: "net.ipv4.tcp_retries1", initial: []int{3}, most: 255,
		fields: one(func(s *Sysctls) *int { return &s.Retries1 }),
	},
	{
		key: "net.ipv4.tcp_retries2", initial: []int{15}, most: 255,
		fields: one(func(s *Sysctls) *int { return &s.Retries2 }),
	},
	{
		key: "net.ipv4.tcp_orphan_retries", initial: []int{0}, most: 255,
		fields: one(func(s *Sysctls) *int { return &s.OrphanRetries }),
	},
	{
		key: "net.ipv4.tcp_rto_min_us", initial: []int{200_000}, since: [2]int{6, 11}, without: 200_000, least: 1, most: maxInt32,
		fields: one(func(s *Sysctls) *int { return &s.RTOMin }),
	},
	{
		key: "net.ipv4.tcp_rto_max_ms", initial: []int{120_000}, since: [2]int{6, 15}, without: 120_000, least: 1000, most: 120_000,
		fields: one(func(s *Sysctls) *int { return &s.RTOMax }),
	},
	{
		key: "net.ipv4.tcp_recovery", initial: []int{1}, most: 255,
		fields: one(func(s *Sysctls) *int { return &s.Recovery }),
	},
	{
		key: "net.ipv4.tcp_early_retrans", initial: []int{3}, most: 4,
		fields: one(func(s *Sysctls) *int { return &s.EarlyRetrans }),
	},
	{
		key: "net.ipv4.tcp_sack", initial: []int{1}, most: 255,
		fields: one(func(s *Sysctls) *int { return &s.SACK }),
	},
	{
		key: "net.ipv4.tcp_thin_linear_timeouts", initial: []int{0}, most: 255,
		fields: one(func(s *Sysctls) *int { return &s.ThinLinearTimeouts }),
	},
	{
		key: "net.ipv4.tcp_keepalive_time", initial: []int{7200}, most: maxInt32,
		fields: one(func(s *Sysctls) *int { return &s.KeepaliveTime }),
	},
	{
		key: "net.ipv4.tcp_keepalive_intvl", initial: []int{75}, most: maxInt32,
		fields: one(func(s *Sysctls) *int { return &s.KeepaliveInterval }),
	},
	{
		key: "net.ipv4.tcp_keepalive_probes", initial: []int{9}, most: 255,
		fields: one(func(s *Sysctls) *int { return &s.KeepaliveProbes }),
	},
	{
		key: "net.ipv4.tcp_fin_timeout", initial: []int{60}, most: maxInt32,
		fields: one(func(s *Sysctls) *int { return &s.FINTimeout }),
	},
	{
		key: "net.ipv4.tcp_tw_reuse", initial: []int{2}, most: 2,
		fields: one(func(s *Sysctls) *int { return &s.TWReuse }),
	},
	{
		key: "net.ipv4.tcp_tw_reuse_delay", initial: []int{1000}, since: [2]int{6, 14}, without: 1000, most: 60_000,
		fields: one(func(s *Sysctls) *int { return &s.TWReuseDelay }),
	},
	{
		key: "net.ipv4.tcp_timestamps", initial: []int{1}, most: 2,
		fields: one(func(s *Sysctls) *int { return &s.Timestamps }),
	},
	{
		key: "net.ipv4.tcp_mtu_probing", initial: []int{0}, most: 2,
		fields: one(func(s *Sysctls) *int { return &s.MTUProbing }),
	},
	{
		key: "net.ipv4.tcp_base_mss", initial: []int{1024}, most: maxInt32,
		fields: one(func(s *Sysctls) *int { return &s.BaseMSS }),
	},
	{
		key: "net.ipv4.tcp_mtu_probe_floor", initial: []int{48}, most: maxInt32,
		fields: one(func(s *Sysctls) *int { return &s.MTUProbeFloor }),
	},
	{
		key: "net.ipv4.tcp_min_snd_mss", initial: []int{48}, least: 48, most: 65535,
		fields: one(func(s *Sysctls) *int { return &s.MinSndMSS }),
	},
	{
		key: "net.ipv4.route.mtu_expires", initial: []int{600}, without: 600, most: maxInt32,
		fields: one(func(s *Sysctls) *int { return &s.MTUExpires }),
	},
	{
		key: "net.ipv4.tcp_ecn", initial: []int{2}, most: 5, wider: [2]int{7, 0}, narrow: 2,
		fields: one(func(s *Sysctls) *int { return &s.ECN }),
	},
	{
		key: "net.ipv4.tcp_ecn_option", initial: []int{2}, since: [2]int{6, 18}, without: 0, most: 3, wider: [2]int{7, 0}, narrow: 2,
		fields: one(func(s *Sysctls) *int { return &s.ECNOption }),
	},
	{
		key: "net.ipv4.tcp_ecn_fallback", initial: []int{1}, most: 255,
		fields: one(func(s *Sysctls) *int { return &s.ECNFallback }),
	},
	{
		key: "net.ipv4.tcp_window_scaling", initial: []int{1}, most: 255,
		fields: one(func(s *Sysctls) *int { return &s.WindowScaling }),
	},
	{
		key: "net.ipv4.tcp_slow_start_after_idle", initial: []int{1}, most: 255,
		fields: one(func(s *Sysctls) *int { return &s.SlowStartAfterIdle }),
	},
	{
		key: "net.ipv4.tcp_pacing_ss_ratio", initial: []int{200}, most: 1000,
		fields: one(func(s *Sysctls) *int { return &s.PacingSSRatio }),
	},
	{
		key: "net.ipv4.tcp_pacing_ca_ratio", initial: []int{120}, most: 1000,
		fields: one(func(s *Sysctls) *int { return &s.PacingCARatio }),
	},
}

// Keys returns the sysctls that the oracle looks at, in alphabetical order.
func Keys() []string {
	keys := make([]string, len(sysctls))
	for i, s := range sysctls {
		keys[i] = s.key
	}
	slices.Sort(keys)
	return keys
}

// known reports whether a kernel of that version has the sysctl.
func (s sysctl) known(v kernelversion.Version) bool { return v.AtLeast(s.since[0], s.since[1]) }

func (s sysctl) store(to *Sysctls, values []int) {
	for i, field := range s.fields(to) {
		*field = values[i]
	}
}

// Defaults is a kernel as it comes, at 250 Hz. tcp_max_syn_backlog and tcp_max_tw_buckets go by the machine's memory:
// they are those of a small guest.
func Defaults(version kernelversion.Version) Kernel {
	k := Kernel{Version: version, HZ: debianHZ}
	for _, s := range sysctls {
		values := s.initial
		if !s.known(version) {
			values = []int{s.without}
		}
		s.store(&k.Sysctls, values)
	}
	return k
}

// Set sets one sysctl from the text that the kernel would show or take, such as "32768 60999". Blanks around and
// between numbers do not matter.
func (k *Kernel) Set(key, value string) error {
	i := slices.IndexFunc(sysctls, func(s sysctl) bool { return s.key == key })
	if i < 0 {
		return fmt.Errorf("sysctl %s: unknown sysctl: the oracle looks at %s", key, strings.Join(Keys(), ", "))
	}
	if s := sysctls[i]; !s.known(k.Version) {
		return fmt.Errorf("sysctl %s: unknown sysctl: Linux %d.%d brought it, this is %s", key, s.since[0], s.since[1], k.Version)
	}
	return sysctls[i].parse(&k.Sysctls, value, k.Version)
}

// Get returns a sysctl as /proc/sys has it; false where the oracle does not know it, or the kernel does not have it.
func (k *Kernel) Get(key string) (value string, ok bool) {
	i := slices.IndexFunc(sysctls, func(s sysctl) bool { return s.key == key })
	if i < 0 || !sysctls[i].known(k.Version) {
		return "", false
	}
	var words []string
	for _, field := range sysctls[i].fields(&k.Sysctls) {
		words = append(words, strconv.Itoa(*field))
	}
	return strings.Join(words, " "), true
}

// parse stores a value, if a kernel of that version allows it.
func (s sysctl) parse(to *Sysctls, value string, v kernelversion.Version) error {
	words := strings.Fields(value)
	if len(words) != len(s.initial) {
		return fmt.Errorf("sysctl %s: value %q: want %d numbers", s.key, value, len(s.initial))
	}
	values := make([]int, len(words))
	for i, word := range words {
		n, err := strconv.Atoi(word)
		if err != nil || n < s.least || n > s.greatest(v) {
			return fmt.Errorf("sysctl %s: value %q: allowed are %d to %d", s.key, value, s.least, s.greatest(v))
		}
		values[i] = n
	}
	if !slices.IsSorted(values) {
		return fmt.Errorf("sysctl %s: value %q: want the lower number first", s.key, value)
	}
	s.store(to, values)
	return nil
}

// A Host has sysctls: a *netns.Host has.
type Host interface {
	// Sysctl returns the value of a sysctl as the kernel prints it. Where there is no such sysctl the error is
	// fs.ErrNotExist.
	Sysctl(key string) (string, error)
}

// Read asks a host for its sysctls. Which of them there are decides, not the version: one that the host does not have
// gets the value that behaves as a kernel without it.
func Read(host Host, version kernelversion.Version, hz int) (Kernel, error) {
	k := Kernel{Version: version, HZ: hz}
	var errs []error
	for _, s := range sysctls {
		value, err := host.Sysctl(s.key)
		switch {
		case err == nil:
			errs = append(errs, s.parse(&k.Sysctls, value, version))
		case errors.Is(err, fs.ErrNotExist) && len(s.initial) == 1 && (s.since != [2]int{} || s.without != 0):
			s.store(&k.Sysctls, []int{s.without})
		default:
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return Kernel{}, fmt.Errorf("oracle: read sysctls: %w", err)
	}
	return k, nil
}
