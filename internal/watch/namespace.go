package watch

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"

	"github.com/tcplab/tcplab/internal/thread"
)

// A Namespace is a network namespace to watch; nil is the one that this process is in.
type Namespace struct {
	file *os.File
	name string
}

// own is the namespace of this process.
const own = "/proc/self/ns/net"

// OpenNamespace opens the network namespace of a process ("123"), or that of a file of one, such as /run/netns/NAME or, of a lab that
// runs, /proc/PID/fd/N. It returns nil for the namespace that this process is in, which needs no leave. The caller closes it.
func OpenNamespace(what string) (*Namespace, error) {
	n := &Namespace{name: what}
	path := what
	if pid, err := strconv.Atoi(what); err == nil {
		path, n.name = fmt.Sprintf("/proc/%d/ns/net", pid), fmt.Sprintf("process %d's network namespace", pid)
	}
	here, err := os.Stat(own)
	if err != nil {
		return nil, fmt.Errorf("this process's network namespace: %w", err)
	}
	there, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", n.name, explainNamespace(err))
	}
	if os.SameFile(here, there) {
		return nil, nil
	}
	if n.file, err = os.Open(path); err != nil {
		return nil, fmt.Errorf("%s: %w", n.name, explainNamespace(err))
	}
	if err := n.Do(func() error { return nil }); err != nil {
		n.Close()
		return nil, err
	}
	return n, nil
}

// Do runs a function on a thread in the namespace.
func (n *Namespace) Do(f func() error) error {
	var ran bool
	err := thread.In(int(n.file.Fd()), func() error {
		ran = true
		return f()
	})
	if err != nil && !ran {
		return fmt.Errorf("%s: %w", n.name, explainNamespace(err))
	}
	return err
}

// Close closes it.
func (n *Namespace) Close() {
	if n != nil {
		n.file.Close()
	}
}

// ErrNoNamespace says that there is no such process or file (any more).
var ErrNoNamespace = errors.New("there is no such process, and no such file")

// explainNamespace says what another namespace needs.
func explainNamespace(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %w", ErrNoNamespace, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: another network namespace needs root (CAP_SYS_ADMIN)", err)
	}
	return err
}

// String is what it is: "process 123's network namespace", or the file; "" for nil.
func (n *Namespace) String() string {
	if n == nil {
		return ""
	}
	return n.name
}
