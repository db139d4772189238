package vm

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/sys/unix"
)

// errMonitorGone says that QEMU cannot be spoken with any more: it has ended, most often.
var errMonitorGone = errors.New("QEMU does not answer")

func gone(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", errMonitorGone, err)
}

// A monitor speaks with one QEMU.
type monitor struct {
	conn     net.Conn
	language language
	greeted  bool
}

// A language is one of those that QEMU's monitor speaks. What a command prints is the same in all of them.
type language interface {
	mode() string                      // as QEMU's option -mon has it
	greet() error                      // opens the conversation
	human(line string) (string, error) // gives a command of the monitor for people, and returns what that prints
}

// newMonitor returns a monitor, and the end of it that QEMU is to inherit. It speaks as people do.
func newMonitor() (*monitor, *os.File, error) {
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("QEMU's monitor: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(ends[0]), "monitor"), os.NewFile(uintptr(ends[1]), "monitor")
	conn, err := net.FileConn(ours)
	ours.Close() // conn has its own
	if err != nil {
		theirs.Close()
		return nil, nil, fmt.Errorf("QEMU's monitor: %w", err)
	}
	return &monitor{conn: conn, language: newHMP(conn)}, theirs, nil
}

// withEvents has the monitor speak the machine protocol, which has events. QEMU has a thread for it that each timer of the guest
// wakes up, so that is for the guest whose state is kept, and not for all that begin there.
func (m *monitor) withEvents() *qmp {
	events := newQMP(m.conn)
	m.language = events
	return events
}

// arguments of QEMU, which has the monitor as file 11.
func (m *monitor) arguments() []string {
	return []string{"-chardev", "socket,id=monitor,fd=11", "-mon", "chardev=monitor,mode=" + m.language.mode()}
}

// close ends the conversation. QEMU goes on without it.
func (m *monitor) close() { _ = m.conn.Close() }

// greet opens the conversation, once.
func (m *monitor) greet() error {
	if m.greeted {
		return nil
	}
	err := m.language.greet()
	m.greeted = err == nil
	return err
}

// within bounds all that follows in time: QEMU itself can hang.
func (m *monitor) within(limit time.Duration) { _ = m.conn.SetDeadline(time.Now().Add(limit)) }

// clock is how far the guest's clock has come, to the second. The machine's real-time clock goes by it.
func (m *monitor) clock() (time.Duration, error) {
	answer, err := m.human("qom-get /machine rtc-time")
	if err != nil {
		return 0, err
	}
	var now struct { // struct tm of C
		Year   int `json:"tm_year"`
		Month  int `json:"tm_mon"`
		Day    int `json:"tm_mday"`
		Hour   int `json:"tm_hour"`
		Minute int `json:"tm_min"`
		Second int `json:"tm_sec"`
	}
	if err := json.Unmarshal([]byte(answer), &now); err != nil {
		return 0, fmt.Errorf("QEMU's monitor: the machine's clock: %q: %w", answer, err)
	}
	return time.Date(1900+now.Year, time.Month(1+now.Month), now.Day, now.Hour, now.Minute, now.Second, 0, time.UTC).Sub(machineDate), nil
}

// interrupt has the guest's keyboard controller (i8042) say that Ctrl-Alt-Del was pressed, of which the guest's kernel tells its /init. The
// controller is there anyway, so that no byte of other runs depends on this. QEMU's own command for that, send-key, has no
// effect under rr=record.
func (m *monitor) interrupt() error {
	const (
		control, data = 0x64, 0x60
		asKeyboard    = 0xd2 // the next byte of data is taken for the keyboard's
		unread        = 1    // of the controller's status: the guest has not fetched it yet
		tries, pause  = 50, 20 * time.Millisecond
	)
	for _, code := range []int{0x1d, 0x38, 0xe0, 0x53} { // Ctrl, Alt, Delete
		for _, write := range [][2]int{{control, asKeyboard}, {data, code}} {
			if _, err := m.human(fmt.Sprintf("o /b %#x %#x", write[0], write[1])); err != nil {
				return err
			}
		}
		fetched := false
		for try := 0; try < tries && !fetched; try++ {
			said, err := m.human(fmt.Sprintf("i /b %#x", control))
			if err != nil {
				return err
			}
			_, value, _ := strings.Cut(strings.TrimSpace(said), " = ")
			status, err := strconv.ParseUint(value, 0, 8)
			if err != nil {
				return fmt.Errorf("QEMU's monitor: status of the keyboard controller: %q", said)
			}
			if fetched = status&unread == 0; !fetched {
				time.Sleep(pause)
			}
		}
		if !fetched {
			return errors.New("the guest's kernel does not read its keyboard")
		}
	}
	return nil
}

// goOn has a machine that has not begun, or has been stopped, go on.
func (m *monitor) goOn() error { return m.humanSilent("cont") }

// leaveMemoryOut has QEMU write no memory, and expect none, in a state of the machine that is written, or loaded, if the memory is
// in a file. It is meant for migration, and holds for snapshots.
func (m *monitor) leaveMemoryOut() error {
	return m.humanSilent("migrate_set_capability x-ignore-shared on")
}

// humanSilent gives a command that prints nothing unless it fails.
func (m *monitor) humanSilent(line string) error {
	said, err := m.human(line)
	if err == nil && said != "" {
		err = fmt.Errorf("%s: %s", line, strings.Join(strings.FieldsFunc(said, unicode.IsControl), "; "))
	}
	return err
}

func (m *monitor) human(line string) (string, error) {
	said, err := m.language.human(line)
	if err != nil {
		err = fmt.Errorf("QEMU's monitor: %s: %w", line, err)
	}
	return said, err
}
