package netns

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/internal/thread"
)

// A Setting is a sysctl and its value, such as {"net.ipv4.tcp_sack", "0"}.
//
// Dots separate the parts of a key. As in sysctl.d(5), a slash stands for a dot inside a part
// ("net.ipv4.conf.eth0/1.rp_filter"), or slashes separate all parts ("net/ipv4/conf/eth0.1/rp_filter"). Only keys
// below "net." are settings of a host. Values are compared field by field, so "4096 131072 6291456" may be written
// with single blanks.
type Setting struct {
	Key   string
	Value string
}

// IPv4 is the setting of a sysctl below net.ipv4, where those of TCP are, for IPv6 too: IPv4("tcp_sack", 0). The value is written
// as fmt.Sprint does.
func IPv4(name string, value any) Setting {
	return Setting{Key: "net.ipv4." + name, Value: fmt.Sprint(value)}
}

// defaults are set in every host before anything else. The package's documentation gives the reasons.
var defaults = []Setting{
	{"net.ipv4.tcp_no_metrics_save", "1"},
	{"net.ipv4.ip_forward", "0"},
	{"net.ipv4.conf.all.rp_filter", "0"},
	{"net.ipv4.conf.default.rp_filter", "0"},
	{"net.ipv6.conf.all.disable_ipv6", "0"},
	{"net.ipv6.conf.default.addr_gen_mode", "1"}, // IN6_ADDR_GEN_MODE_NONE: no link-local address
}

// Forwarding returns the settings that make a host a router for IPv4 and IPv6:
//
//	router, err := netns.NewHost("router", netns.Forwarding()...)
//
// Only conf.all decides whether IPv6 packets are forwarded. It also sets the default for interfaces, which is reset
// here: on an interface, forwarding means joining and reporting router multicast groups.
func Forwarding() []Setting {
	return []Setting{
		{"net.ipv4.ip_forward", "1"},
		{"net.ipv6.conf.all.forwarding", "1"},
		{"net.ipv6.conf.default.forwarding", "0"},
	}
}

// parseKey returns the parts of a key.
func parseKey(key string) ([]string, error) {
	path := key
	if i := strings.IndexAny(key, "./"); i >= 0 && key[i] == '.' {
		path = strings.NewReplacer(".", "/", "/", ".").Replace(key)
	}
	parts := strings.Split(path, "/")
	for _, p := range parts {
		if p == "" || p == "." || p == ".." || strings.ContainsRune(p, 0) {
			return nil, fmt.Errorf("sysctl key %q: allowed are parts separated by dots, such as net.ipv4.tcp_sack", key)
		}
	}
	if parts[0] != "net" || len(parts) < 3 {
		return nil, fmt.Errorf("sysctl key %q: %w: allowed are keys below net, such as net.ipv4.tcp_sack", key, ErrNotPerHost)
	}
	return parts, nil
}

// canonical returns the one spelling of a key with dots between its parts.
func canonical(parts []string) string {
	swapped := make([]string, len(parts))
	for i, p := range parts {
		swapped[i] = strings.ReplaceAll(p, ".", "/")
	}
	return strings.Join(swapped, ".")
}

func procPath(parts []string) string { return "/proc/sys/" + strings.Join(parts, "/") }

// ofInterface reports whether the key exists only once an interface does.
func ofInterface(parts []string) bool {
	return len(parts) > 4 && (parts[2] == "conf" || parts[2] == "neigh") &&
		parts[3] != "all" && parts[3] != "default" && parts[3] != "lo"
}

// splitSettings separates the settings of a host from those of its interfaces. They have been checked before.
func splitSettings(settings []Setting) (host, interfaces []Setting) {
	for _, s := range settings {
		if parts, err := parseKey(s.Key); err == nil && ofInterface(parts) {
			interfaces = append(interfaces, s)
		} else {
			host = append(host, s)
		}
	}
	return host, interfaces
}

func checkSettings(field string, settings []Setting) error {
	var errs []error
	for _, s := range settings {
		if err := checkSetting(s); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", field, err))
		}
	}
	return errors.Join(errs...)
}

func checkSetting(s Setting) error {
	if _, err := parseKey(s.Key); err != nil {
		return err
	}
	if strings.ContainsAny(s.Value, "\n\x00") {
		return fmt.Errorf("sysctl %s: value %q: allowed is a single line without NUL", s.Key, s.Value)
	}
	return nil
}

// Sysctl returns the value of a sysctl in the host, as the kernel prints it, without the final newline.
func (h *Host) Sysctl(key string) (string, error) {
	parts, err := parseKey(key)
	if err != nil {
		return "", fmt.Errorf("read sysctl on host %s: %w", h.name, err)
	}
	var value string
	err = h.Do(func() error {
		value, err = readSysctl(parts)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("read sysctl %s on host %s: %w", canonical(parts), h.name, err)
	}
	return value, nil
}

// SetSysctl sets a sysctl in the host and reads it back. The error is a [*SysctlMismatchError] if the kernel keeps
// another value, and [ErrNotPerHost] if the sysctl is not per host.
//
// The kernel reads many TCP settings when a connection begins: set them before opening sockets.
func (h *Host) SetSysctl(key, value string) error {
	s := Setting{key, value}
	if err := checkSetting(s); err != nil {
		return fmt.Errorf("set sysctl on host %s: %w", h.name, err)
	}
	return h.Do(func() error { return h.setSysctlHere(s) })
}

// setSysctlHere sets a valid setting from a thread that is in the host.
func (h *Host) setSysctlHere(s Setting) error {
	parts, err := parseKey(s.Key)
	if err != nil {
		return err
	}
	key := canonical(parts)
	got, err := writeSysctl(parts, s.Value)
	if err != nil {
		return fmt.Errorf("set sysctl %s to %q on host %s: %w", key, s.Value, h.name, err)
	}
	if !slices.Equal(strings.Fields(got), strings.Fields(s.Value)) {
		return &SysctlMismatchError{Host: h.name, Key: key, Want: s.Value, Got: got}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	at, found := slices.BinarySearchFunc(h.settings, key, func(s Setting, key string) int { return cmp.Compare(s.Key, key) })
	if !found {
		h.settings = slices.Insert(h.settings, at, Setting{Key: key})
	}
	h.settings[at].Value = got
	return nil
}

// Sysctls returns the sysctls that this package has set in the host, by default or by a call, sorted by key, with the
// values that the kernel keeps.
func (h *Host) Sysctls() []Setting {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.settings)
}

// readSysctl reads a sysctl of the namespace that the calling thread is in.
func readSysctl(parts []string) (string, error) {
	fd, err := openSysctl(parts, unix.O_RDONLY)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	return readAt0(fd)
}

// writeSysctl writes a value and returns the one that the kernel keeps. It opens the file for both at once: what
// cannot be read back is not written.
func writeSysctl(parts []string, value string) (string, error) {
	fd, err := openSysctl(parts, unix.O_RDWR)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, []byte(value+"\n"))
	if errors.Is(err, unix.EPERM) && parts[len(parts)-1] == "tcp_congestion_control" {
		// net/ipv4/tcp_cong.c, tcp_set_default_congestion_control
		return "", fmt.Errorf("%w: a host's default must be in the machine's net.ipv4.tcp_allowed_congestion_control; "+
			"a program can choose any other one with the socket option TCP_CONGESTION", err)
	}
	if err != nil {
		return "", err
	}
	return readAt0(fd)
}

// openSysctl opens a sysctl of the namespace that the calling thread is in. Package os would try to register every
// file with the poller, and there are a dozen for each host.
func openSysctl(parts []string, mode int) (int, error) {
	fd, err := unix.Open(procPath(parts), mode|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EACCES) {
		err = explainOpen(parts, err)
	}
	return fd, err
}

func readAt0(fd int) (string, error) {
	buf := make([]byte, 4096) // the kernel prints no more (fs/proc/proc_sysctl.c: values are at most a page)
	n, err := unix.Pread(fd, buf, 0)
	if err != nil {
		return "", err
	}
	return strings.TrimSuffix(string(buf[:n]), "\n"), nil
}

// explainOpen explains why a sysctl could not be opened: the kernel hides sysctls that are not per namespace, or
// makes them read-only there.
func explainOpen(parts []string, err error) error {
	const readWrite = 0o600
	outside, statErr := machineMode(parts)
	switch {
	case statErr != nil && errors.Is(err, unix.ENOENT):
		return fmt.Errorf("%w: this kernel has no such sysctl", err)
	case statErr != nil:
		return err
	case errors.Is(err, unix.ENOENT), outside&readWrite == readWrite:
		return fmt.Errorf("%w: %w", err, ErrNotPerHost)
	default:
		return fmt.Errorf("%w: it can only be read, or only be written", err)
	}
}

// machineMode returns the permissions of a sysctl in the namespace that this process was started in.
func machineMode(parts []string) (mode os.FileMode, err error) {
	err = thread.Run(func() error {
		// /proc/self is the main thread, which package thread keeps where it is.
		fd, err := unix.Open("/proc/self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
			return err
		}
		info, err := os.Stat(procPath(parts))
		if err == nil {
			mode = info.Mode().Perm()
		}
		return err
	})
	return mode, err
}
