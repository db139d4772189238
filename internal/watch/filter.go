package watch

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/tcplab/tcplab/harness/kernel"
)

// A Filter says which sockets to show. The zero value shows all; what is set has to be so of a socket, all of it.
type Filter struct {
	PID    int          // a process that has it; 0 means any
	Name   string       // part of the name of a process that has it
	Port   uint16       // the local or the remote one; 0 means any
	State  kernel.State // 0 means any
	Prefix netip.Prefix // that the local or the remote address is in; the zero value means any
	Sick   bool         // it has a trouble
}

// ParseFilter reads what a person types: words of "pid N", "port N" (or ":N"), "state NAME", "sick", an address or a prefix, and
// anything else as part of a process's name.
func ParseFilter(text string) (Filter, error) {
	var f Filter
	words := strings.Fields(text)
	for i := 0; i < len(words); i++ {
		word := words[i]
		value := ""
		switch word {
		case "pid", "port", "state":
			if i++; i == len(words) {
				return Filter{}, fmt.Errorf("filter: %s needs a value", word)
			}
			value = words[i]
		}
		if err := f.add(word, value); err != nil {
			return Filter{}, err
		}
	}
	return f, nil
}

func (f *Filter) add(word, value string) (err error) {
	if port, found := strings.CutPrefix(word, ":"); found && len(port) > 0 && strings.Trim(port, "0123456789") == "" {
		word, value = "port", port
	}
	switch word {
	case "pid":
		if f.PID, err = strconv.Atoi(value); err != nil || f.PID <= 0 {
			return fmt.Errorf("filter: pid %q: want a number above 0", value)
		}
	case "port":
		port, err := strconv.ParseUint(value, 10, 16)
		if err != nil || port == 0 {
			return fmt.Errorf("filter: port %q: want 1 to 65535", value)
		}
		f.Port = uint16(port)
	case "state":
		if f.State, err = ParseState(value); err != nil {
			return fmt.Errorf("filter: %w", err)
		}
	case "sick":
		f.Sick = true
	default:
		if prefix, err := parsePrefix(word); err == nil {
			f.Prefix = prefix
		} else {
			f.Name = word
		}
	}
	return nil
}

// parsePrefix takes an address, too.
func parsePrefix(text string) (netip.Prefix, error) {
	if address, err := netip.ParseAddr(text); err == nil {
		address = address.Unmap().WithZone("")
		return netip.PrefixFrom(address, address.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(text)
	return prefix.Masked(), err
}

// ParseState takes a state by ss's name or the kernel's, in any case, with dashes, underscores or neither: "close-wait", "CLOSE_WAIT",
// "ESTAB", "established".
func ParseState(text string) (kernel.State, error) {
	plain := func(s string) string {
		return strings.NewReplacer("-", "", "_", "").Replace(strings.TrimPrefix(strings.ToLower(s), "tcp_"))
	}
	var names []string
	for _, s := range stateOrder {
		kernelName, err := s.MarshalText()
		if err != nil {
			return 0, err
		}
		if want := plain(text); want == plain(s.String()) || want == plain(string(kernelName)) {
			return s, nil
		}
		names = append(names, strings.ToLower(s.String()))
	}
	return 0, fmt.Errorf("state %q: allowed are %s", text, strings.Join(names, ", "))
}

// String is what ParseFilter reads.
func (f Filter) String() string {
	var words []string
	if f.PID != 0 {
		words = append(words, "pid "+strconv.Itoa(f.PID))
	}
	if f.Name != "" {
		words = append(words, f.Name)
	}
	if f.Port != 0 {
		words = append(words, fmt.Sprintf("port %d", f.Port))
	}
	if f.State != 0 {
		words = append(words, "state "+strings.ToLower(f.State.String()))
	}
	if f.Prefix.IsValid() {
		if f.Prefix.IsSingleIP() {
			words = append(words, f.Prefix.Addr().String())
		} else {
			words = append(words, f.Prefix.String())
		}
	}
	if f.Sick {
		words = append(words, "sick")
	}
	return strings.Join(words, " ")
}

// matcher returns a function that says which sockets pass, but for Sick. Processes are looked up once, now.
func (f Filter) matcher(proc string) (func(*kernel.Socket) bool, error) {
	var inodes map[uint32]bool
	if f.PID != 0 || f.Name != "" {
		pids := []int{f.PID}
		if f.PID == 0 {
			pids = processes(proc)
		}
		if f.Name != "" {
			pids = slices.DeleteFunc(pids, func(pid int) bool { return !strings.Contains(processName(proc, pid), f.Name) })
		}
		inodes = map[uint32]bool{}
		for _, pid := range pids {
			err := eachSocket(proc, pid, func(inode uint32, _ int) { inodes[inode] = true })
			if f.PID != 0 && err != nil {
				return nil, explainProcess(pid, err)
			}
		}
	}
	return func(s *kernel.Socket) bool {
		state := s.State
		if state == kernel.NewSynRecv {
			state = kernel.SynRecv
		}
		return (f.Port == 0 || f.Port == s.Local.Port() || f.Port == s.Remote.Port()) &&
			(f.State == 0 || f.State == state) &&
			(!f.Prefix.IsValid() || f.Prefix.Contains(s.Local.Addr().WithZone("")) || f.Prefix.Contains(s.Remote.Addr().WithZone(""))) &&
			(inodes == nil || inodes[s.Inode])
	}, nil
}

// ErrNoProcess says that there is no such process (any more).
var ErrNoProcess = errors.New("there is no such process")

// explainProcess says why a process cannot be looked at.
func explainProcess(pid int, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("process %d: %w", pid, ErrNoProcess)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("process %d is another user's: %w: run it as that user, or as root", pid, err)
	}
	return fmt.Errorf("process %d: %w", pid, err)
}

// processes are those that are there, in the order of /proc.
func processes(proc string) []int {
	dir, err := os.Open(proc)
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1) // what there is, is enough
	var pids []int
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// processName is what a process calls itself, "" if it is gone. It is whatever it likes, up to 15 bytes.
func processName(proc string, pid int) string {
	name, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(pid), "comm"))
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(string(name), "\n")
}
