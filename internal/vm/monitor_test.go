package vm

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"strings"
	"testing"
)

// A script is a connection on which all has been said.
type script struct {
	net.Conn
	said io.Reader
}

func (s script) Read(p []byte) (int, error)  { return s.said.Read(p) }
func (s script) Write(p []byte) (int, error) { return len(p), nil }

func scripted(said []byte) *monitor {
	conn := script{said: bytes.NewReader(said)}
	return &monitor{conn: conn, decoder: json.NewDecoder(conn)}
}

// FuzzMonitor: whatever QEMU says, or what is left of it when it is killed, a command ends with an answer or an error
// that names it.
func FuzzMonitor(f *testing.F) {
	f.Add([]byte(`{"QMP":{}}{"return":{}}{"return":"x"}{"event":"STOP"}`))
	f.Add([]byte(`{"return":{}}{"event":"STOP","return":null}{"error":{"desc":"d"}}{"error":nul`))
	f.Fuzz(func(t *testing.T, said []byte) {
		m := scripted(said)
		if err := m.greet(); err != nil && !strings.Contains(err.Error(), "qmp_capabilities") {
			t.Errorf("%v names no command", err)
		}
		if _, err := m.human("savevm x"); err != nil && len(err.Error()) == 0 {
			t.Error("an error that says nothing")
		}
		event, err := m.awaitEvent(stoppedEvent, passedEvent)
		if err == nil && event != stoppedEvent && event != passedEvent {
			t.Errorf("event %q was not awaited", event)
		}
		if err != nil && !strings.Contains(err.Error(), stoppedEvent) {
			t.Errorf("%v does not say what was awaited", err)
		}
	})
}
