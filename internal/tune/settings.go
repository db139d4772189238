package tune

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/tcplab/tcplab/harness/oracle"
)

// Settings are sysctls: "net.ipv4.tcp_rmem" is "4096 131072 6291456".
type Settings map[string]string

// The sysctls that the rules look at, beside the oracle's.
const (
	keyReceive    = "net.ipv4.tcp_rmem"
	keySend       = "net.ipv4.tcp_wmem"
	keyMemory     = "net.ipv4.tcp_mem"
	keyWinScale   = "net.ipv4.tcp_adv_win_scale"
	keyCongestion = "net.ipv4.tcp_congestion_control"
	keyNotSent    = "net.ipv4.tcp_notsent_lowat"
	keyConntrack  = "net.netfilter.nf_conntrack_max"
	keyPorts      = "net.ipv4.ip_local_port_range"
)

// Keys are the sysctls that are looked at.
func Keys() []string {
	keys := append(oracle.Keys(), keyReceive, keySend, keyMemory, keyWinScale, keyCongestion, keyNotSent, keyConntrack)
	for _, f := range folklore {
		keys = append(keys, f.Key)
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// ReadFS reads the settings of a machine from its /proc/sys. What a kernel does not have is left out.
func ReadFS(sys fs.FS) (Settings, error) {
	settings := Settings{}
	for _, key := range Keys() {
		text, err := fs.ReadFile(sys, strings.ReplaceAll(key, ".", "/"))
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil: // such as one that only root may read
			return nil, fmt.Errorf("read sysctl %s: %w", key, err)
		default:
			settings[key] = tidy(string(text))
		}
	}
	return settings, nil
}

// The limits of a file of settings: longer ones are none.
const (
	maxLine  = 4096
	maxLines = 100_000
)

// Parse reads what sysctl -a prints, or a file for /etc/sysctl.d: KEY = VALUE, and comments. Of a key that is there twice the last one
// counts. A key with slashes (net/ipv4/tcp_rmem) and a line with a minus before it are allowed, as in sysctl.d(5).
func Parse(r io.Reader) (Settings, error) {
	settings := Settings{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	number := 0
	for lines.Scan() {
		if number++; number > maxLines {
			return nil, fmt.Errorf("more than %d lines", maxLines)
		}
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		key = strings.TrimSpace(strings.TrimPrefix(key, "-"))
		if !ok || key == "" || strings.ContainsAny(key, " \t") {
			return nil, fmt.Errorf("line %d: %q: want KEY = VALUE, a comment (#) or nothing", number, line)
		}
		if slash := strings.IndexByte(key, '/'); slash >= 0 && !strings.Contains(key[:slash], ".") {
			key = strings.ReplaceAll(path.Clean(key), "/", ".")
		}
		settings[key] = tidy(value)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("line %d: %w (at most %d bytes are allowed)", number+1, err, maxLine)
	}
	return settings, nil
}

func tidy(value string) string { return strings.Join(strings.Fields(value), " ") }

// withDefaults are the settings with what a kernel starts with on a machine of some size, where they do not say (net/ipv4/tcp.c: tcp_init).
func (s Settings) withDefaults(k oracle.Kernel) Settings {
	const memory = 16 << 30 // from 1 GB on the buffers' maxima are the same
	all := Settings{
		keyReceive:    fmt.Sprintf("4096 131072 %d", k.ReceiveBufferMost(memory)),
		keySend:       "4096 16384 4194304",
		keyCongestion: "cubic",
	}
	maps.Copy(all, s)
	return all
}

// numbers are the fields of a setting.
func (s Settings) numbers(key string, count int) ([]int64, error) {
	value, ok := s[key]
	if !ok {
		return nil, fmt.Errorf("%s is not set", key)
	}
	fields := strings.Fields(value)
	if len(fields) != count {
		return nil, fmt.Errorf("%s is %q: want %d numbers", key, value, count)
	}
	var list []int64
	for _, field := range fields {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil || n < 0 {
			return nil, fmt.Errorf("%s is %q: want %d numbers", key, value, count)
		}
		list = append(list, n)
	}
	return list, nil
}

// number is a setting of one number; false if there is none.
func (s Settings) number(key string) (int64, bool) {
	list, err := s.numbers(key, 1)
	if err != nil {
		return 0, false
	}
	return list[0], true
}

// ParseShare reads a share: "1%" or "0.01".
func ParseShare(text string) (float64, error) {
	number, percent := strings.CutSuffix(strings.TrimSpace(text), "%")
	share, err := strconv.ParseFloat(number, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is no share: write it as 1%% or 0.01", text)
	}
	if percent {
		share /= 100
	}
	return share, nil
}
