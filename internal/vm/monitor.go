package vm

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
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

// A monitor speaks QEMU's machine protocol (QMP) with one QEMU.
type monitor struct {
	conn    net.Conn
	decoder *json.Decoder
	greeted bool
}

// newMonitor returns a monitor, and the end of it that QEMU is to inherit.
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
	return &monitor{conn: conn, decoder: json.NewDecoder(conn)}, theirs, nil
}

// close ends the conversation. QEMU goes on without it.
func (m *monitor) close() { _ = m.conn.Close() }

// A qmpMessage is what QEMU says: a greeting, an event, or the answer to a command.
type qmpMessage struct {
	Event  string          `json:"event"`
	Return json.RawMessage `json:"return"`
	Error  *struct {
		Description string `json:"desc"`
	} `json:"error"`
}

// greet opens the conversation, once.
func (m *monitor) greet() error {
	if m.greeted {
		return nil
	}
	_, err := m.command("qmp_capabilities", nil) // until then nothing else is understood
	m.greeted = err == nil
	return err
}

// awaitEvent returns when QEMU tells of one of these events.
func (m *monitor) awaitEvent(names ...string) (string, error) {
	for {
		var message qmpMessage
		if err := m.decoder.Decode(&message); err != nil {
			return "", fmt.Errorf("wait for QEMU's event %s: %w", strings.Join(names, " or "), gone(err))
		}
		if slices.Contains(names, message.Event) {
			return message.Event, nil
		}
	}
}

// command gives a command and returns the answer.
func (m *monitor) command(name string, arguments map[string]any) (json.RawMessage, error) {
	request := map[string]any{"execute": name}
	if arguments != nil {
		request["arguments"] = arguments
	}
	text, err := json.Marshal(request)
	if err == nil {
		_, err = m.conn.Write(append(text, '\n'))
		err = gone(err)
	}
	for err == nil {
		var message qmpMessage
		if err = gone(m.decoder.Decode(&message)); err != nil {
			break
		}
		if message.Error != nil {
			err = errors.New(message.Error.Description)
		} else if message.Return != nil {
			return message.Return, nil
		}
	}
	return nil, fmt.Errorf("QEMU's monitor: %s: %w", name, err)
}

// within bounds all that follows in time: QEMU itself can hang.
func (m *monitor) within(limit time.Duration) { _ = m.conn.SetDeadline(time.Now().Add(limit)) }

// clock is how far the guest's clock has come, to the second. The machine's real-time clock goes by it.
func (m *monitor) clock() (time.Duration, error) {
	answer, err := m.command("qom-get", map[string]any{"path": "/machine", "property": "rtc-time"})
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
	if err := json.Unmarshal(answer, &now); err != nil {
		return 0, fmt.Errorf("QEMU's monitor: the machine's clock: %w", err)
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
func (m *monitor) goOn() error {
	_, err := m.command("cont", nil)
	return err
}

// leaveMemoryOut has QEMU write no memory, and expect none, in a state of the machine that is written, or loaded, if the memory is
// in a file. It is meant for migration, and holds for snapshots.
func (m *monitor) leaveMemoryOut() error {
	_, err := m.command("migrate-set-capabilities", map[string]any{
		"capabilities": []map[string]any{{"capability": "x-ignore-shared", "state": true}},
	})
	return err
}

// humanSilent gives a command of the monitor for people that prints nothing unless it fails.
func (m *monitor) humanSilent(line string) error {
	said, err := m.human(line)
	if err == nil && said != "" {
		err = fmt.Errorf("%s: %s", line, strings.Join(strings.FieldsFunc(said, unicode.IsControl), "; "))
	}
	return err
}

// human gives a command of the monitor for people, and returns what that prints.
func (m *monitor) human(line string) (string, error) {
	answer, err := m.command("human-monitor-command", map[string]any{"command-line": line})
	if err != nil {
		return "", fmt.Errorf("%s: %w", line, err)
	}
	var text string
	err = json.Unmarshal(answer, &text)
	return text, err
}
