package netns

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
)

func TestParseKey(t *testing.T) {
	for _, c := range []struct {
		key, path, canonical string
		err                  error
	}{
		{"net.ipv4.tcp_sack", "net/ipv4/tcp_sack", "net.ipv4.tcp_sack", nil},
		{"net/ipv4/tcp_sack", "net/ipv4/tcp_sack", "net.ipv4.tcp_sack", nil},
		{"net.ipv4.conf.eth0/1.rp_filter", "net/ipv4/conf/eth0.1/rp_filter", "net.ipv4.conf.eth0/1.rp_filter", nil},
		{"net/ipv4/conf/eth0.1/rp_filter", "net/ipv4/conf/eth0.1/rp_filter", "net.ipv4.conf.eth0/1.rp_filter", nil},
		{"kernel.pid_max", "", "", ErrNotPerHost},
		{"vm/swappiness", "", "", ErrNotPerHost},
		{"net", "", "", ErrNotPerHost},
		{"net.ipv4", "", "", ErrNotPerHost},
		{"network.ipv4.tcp_sack", "", "", ErrNotPerHost},
		{"", "", "", nil},
		{"net..tcp_sack", "", "", nil},
		{"net.ipv4.", "", "", nil},
		{"/net/ipv4/tcp_sack", "", "", nil},
		{"net/../kernel/pid_max", "", "", nil},
		{"net.//.kernel.pid_max", "", "", nil}, // reads as net/../kernel/pid_max
		{"net.ipv4.tcp_sack\x00", "", "", nil},
	} {
		parts, err := parseKey(c.key)
		if c.path == "" {
			if err == nil || c.err != nil && !errors.Is(err, c.err) {
				t.Errorf("%q: got %v, %v", c.key, parts, err)
			}
			continue
		}
		if err != nil || procPath(parts) != "/proc/sys/"+c.path || canonical(parts) != c.canonical {
			t.Errorf("%q: got %v, %v", c.key, parts, err)
		}
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add("net.ipv4.conf.eth0/1.rp_filter")
	f.Add("net/../kernel/pid_max")
	f.Add("net.//.kernel")
	f.Fuzz(func(t *testing.T, key string) {
		parts, err := parseKey(key)
		if err != nil {
			return
		}
		if path := procPath(parts); !strings.HasPrefix(path, "/proc/sys/net/") || strings.Contains(path+"/", "/../") || strings.Contains(path, "//") {
			t.Fatalf("%q leads to %s", key, path)
		}
		again, err := parseKey(canonical(parts))
		if err != nil || !slices.Equal(again, parts) {
			t.Fatalf("%q: %v became %v, %v", key, parts, again, err)
		}
	})
}

func TestSysctls(t *testing.T) {
	needNamespaces(t)
	outside, err := os.ReadFile("/proc/sys/net/ipv4/tcp_fin_timeout")
	if err != nil {
		t.Fatal(err)
	}
	h := newHost(t, "a", Setting{"net/ipv4/tcp_fin_timeout", "17"}, Setting{"net.ipv4.tcp_no_metrics_save", "0"})
	if err := h.SetSysctl("net.ipv4.tcp_rmem", "4096 131072 6291456"); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"net.ipv4.tcp_fin_timeout":     "17",
		"net/ipv4/tcp_fin_timeout":     "17",
		"net.ipv4.tcp_no_metrics_save": "0",
		"net.ipv4.tcp_rmem":            "4096\t131072\t6291456",
		"net.ipv4.ip_forward":          "0",
	} {
		if got, err := h.Sysctl(key); got != want || err != nil {
			t.Errorf("%s: got %q, %v, want %q", key, got, err, want)
		}
	}
	if now, err := os.ReadFile("/proc/sys/net/ipv4/tcp_fin_timeout"); err != nil || string(now) != string(outside) {
		t.Errorf("the machine's own went from %q to %q (%v)", outside, now, err)
	}
	want := []Setting{
		{"net.ipv4.conf.all.rp_filter", "0"},
		{"net.ipv4.conf.default.rp_filter", "0"},
		{"net.ipv4.ip_forward", "0"},
		{"net.ipv4.tcp_fin_timeout", "17"},
		{"net.ipv4.tcp_no_metrics_save", "0"},
		{"net.ipv4.tcp_rmem", "4096\t131072\t6291456"},
		{"net.ipv6.conf.all.disable_ipv6", "0"},
		{"net.ipv6.conf.default.addr_gen_mode", "1"},
	}
	if got := h.Sysctls(); !slices.Equal(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
}

func TestSysctlErrors(t *testing.T) {
	needNamespaces(t)
	h := newHost(t, "a")
	before := h.Sysctls()
	for _, c := range []struct {
		key, value string
		is         error
		want       string
	}{
		{"net.ipv4.tcp_sack", "much", nil, "invalid argument"},
		{"net.ipv4.no_such_thing", "1", os.ErrNotExist, "this kernel has no such sysctl"},
		{"net.ipv4.tcp_mem", "1 2 3", ErrNotPerHost, "not a setting of a single host"},
		{"net.ipv4.tcp_available_congestion_control", "reno", nil, "it can only be read, or only be written"},
		{"net.ipv4.route.flush", "1", nil, "only be read, or only be written"},
		{"net.ipv4.tcp_congestion_control", "no-such", os.ErrNotExist, "host a: no such file or directory"},
		{"kernel.hostname", "x", ErrNotPerHost, "allowed are keys below net, such as net.ipv4.tcp_sack"},
	} {
		err := h.SetSysctl(c.key, c.value)
		if err == nil || !strings.HasSuffix(err.Error(), c.want) || c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("%s: got %v", c.key, err)
		}
		t.Log(err)
	}
	// One value of three: the kernel keeps its own for the other two.
	err := h.SetSysctl("net.ipv4.tcp_rmem", "8192")
	var mismatch *SysctlMismatchError
	if !errors.As(err, &mismatch) || mismatch.Want != "8192" || !strings.HasPrefix(mismatch.Got, "8192\t") {
		t.Errorf("got %v", err)
	}
	if got := h.Sysctls(); !slices.Equal(got, before) {
		t.Errorf("what could not be set is listed: %v", got)
	}
}
