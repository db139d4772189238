package vm

import (
	"bytes"
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

func scripted(said []byte) net.Conn { return script{said: bytes.NewReader(said)} }

// FuzzMonitor: whatever QEMU says, or what is left of it when it is killed, a command ends with an answer or an error
// that names it.
func FuzzMonitor(f *testing.F) {
	f.Add([]byte("QEMU 10.0.2 monitor\r\n(qemu) savevm x\x1b[K\r\n(qemu) "))
	f.Add([]byte("(qemu) (qemu) \n\n(qemu)\n (qemu) savevm x\r\nError: x\r\n(qemu) "))
	f.Fuzz(func(t *testing.T, said []byte) {
		m := &monitor{language: newHMP(scripted(said))}
		if err := m.greet(); err != nil {
			return
		}
		answer, err := m.human("savevm x")
		if err != nil && !strings.Contains(err.Error(), "savevm x") {
			t.Errorf("%v names no command", err)
		}
		if !bytes.Contains(said, []byte(answer)) {
			t.Errorf("%q was not said", answer)
		}
	})
}

// FuzzMachineProtocol: the same, and an event that is awaited.
func FuzzMachineProtocol(f *testing.F) {
	f.Add([]byte(`{"QMP":{}}{"return":{}}{"return":"x"}{"event":"STOP"}`))
	f.Add([]byte(`{"return":{}}{"event":"STOP","return":null}{"error":{"desc":"d"}}{"error":nul`))
	f.Fuzz(func(t *testing.T, said []byte) {
		events := newQMP(scripted(said))
		m := &monitor{language: events}
		if err := m.greet(); err != nil && !strings.Contains(err.Error(), "qmp_capabilities") {
			t.Errorf("%v names no command", err)
		}
		if _, err := m.human("savevm x"); err != nil && !strings.Contains(err.Error(), "savevm x") {
			t.Errorf("%v names no command", err)
		}
		event, err := events.awaitEvent(stoppedEvent, passedEvent)
		if err == nil && event != stoppedEvent && event != passedEvent {
			t.Errorf("event %q was not awaited", event)
		}
		if err != nil && !strings.Contains(err.Error(), stoppedEvent) {
			t.Errorf("%v does not say what was awaited", err)
		}
	})
}
