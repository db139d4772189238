package vm

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// A monitor speaks QEMU's machine protocol (QMP) with one QEMU.
type monitor struct {
	conn    net.Conn
	decoder *json.Decoder
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

// greet opens the conversation.
func (m *monitor) greet() error {
	_, err := m.command("qmp_capabilities", nil) // until then nothing else is understood
	return err
}

// awaitEvent returns when QEMU tells of one of these events.
func (m *monitor) awaitEvent(names ...string) (string, error) {
	for {
		var message qmpMessage
		if err := m.decoder.Decode(&message); err != nil {
			return "", fmt.Errorf("wait for QEMU's event %s: %w", strings.Join(names, " or "), err)
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
	}
	for err == nil {
		var message qmpMessage
		if err = m.decoder.Decode(&message); err != nil {
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
