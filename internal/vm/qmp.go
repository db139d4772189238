package vm

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
)

// qmp is QEMU's machine protocol.
type qmp struct {
	conn    net.Conn
	decoder *json.Decoder
}

func newQMP(conn net.Conn) *qmp { return &qmp{conn: conn, decoder: json.NewDecoder(conn)} }

func (*qmp) mode() string { return "control" }

// A qmpMessage is what QEMU says: a greeting, an event, or the answer to a command.
type qmpMessage struct {
	Event  string          `json:"event"`
	Return json.RawMessage `json:"return"`
	Error  *struct {
		Description string `json:"desc"`
	} `json:"error"`
}

// greet says what has to be said before anything else is understood.
func (q *qmp) greet() error {
	_, err := q.command("qmp_capabilities", nil)
	if err != nil {
		err = fmt.Errorf("QEMU's monitor: qmp_capabilities: %w", err)
	}
	return err
}

// awaitEvent returns when QEMU tells of one of these events.
func (q *qmp) awaitEvent(names ...string) (string, error) {
	for {
		var message qmpMessage
		if err := q.decoder.Decode(&message); err != nil {
			return "", fmt.Errorf("wait for QEMU's event %s: %w", strings.Join(names, " or "), gone(err))
		}
		if slices.Contains(names, message.Event) {
			return message.Event, nil
		}
	}
}

// command gives a command and returns the answer.
func (q *qmp) command(name string, arguments map[string]any) (json.RawMessage, error) {
	request := map[string]any{"execute": name}
	if arguments != nil {
		request["arguments"] = arguments
	}
	text, err := json.Marshal(request)
	if err == nil {
		_, err = q.conn.Write(append(text, '\n'))
		err = gone(err)
	}
	for err == nil {
		var message qmpMessage
		if err = gone(q.decoder.Decode(&message)); err != nil {
			break
		}
		if message.Error != nil {
			err = errors.New(message.Error.Description)
		} else if message.Return != nil {
			return message.Return, nil
		}
	}
	return nil, err
}

func (q *qmp) human(line string) (string, error) {
	answer, err := q.command("human-monitor-command", map[string]any{"command-line": line})
	if err != nil {
		return "", err
	}
	var text string
	err = json.Unmarshal(answer, &text)
	return text, err
}
