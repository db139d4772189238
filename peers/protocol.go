package peers

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
)

// Version is the version of the protocol between a peer and its parent. Both sides refuse another one.
const Version = 1

// Bounds of a line, newline included.
const (
	maxCommandLine = 32 << 10 // to the peer; fits into a pipe, so that writing the first one never waits
	maxMessageLine = 32 << 20 // from the peer; a result with all that it can have takes 20 MB
)

// The types of a message, and what it carries. See the package's documentation.
const (
	typeConfig   = "config"
	typeStart    = "start"
	typeStop     = "stop"
	typeContinue = "continue"
	typeReady    = "ready"
	typeStarted  = "started"
	typeProgress = "progress"
	typeWaiting  = "waiting"
	typeResult   = "result"
	typeError    = "error"
)

// command is a line to the peer.
type command struct {
	Type    string          `json:"type"`
	Version int             `json:"version,omitempty"` // config
	Name    string          `json:"name,omitempty"`    // config
	Program string          `json:"program,omitempty"` // config
	Config  json.RawMessage `json:"config,omitempty"`  // config
}

// message is a line from the peer.
type message struct {
	Type     string     `json:"type"`
	Version  int        `json:"version,omitempty"` // ready, error
	Ready    *Ready     `json:"ready,omitempty"`
	Started  *Started   `json:"started,omitempty"`
	Progress *Progress  `json:"progress,omitempty"`
	Waiting  *Waiting   `json:"waiting,omitempty"`
	Result   *Result    `json:"result,omitempty"`
	Error    *PeerError `json:"error,omitempty"`
}

func parseCommand(line []byte) (command, error) {
	var c command
	if err := checkVersion(line, typeConfig); err != nil {
		return command{}, err
	}
	if err := decodeStrict(line, &c); err != nil {
		return command{}, err
	}
	switch c.Type {
	case typeConfig:
		if c.Program == "" || len(c.Config) == 0 {
			return command{}, errors.New("config without program or config")
		}
	case typeStart, typeStop, typeContinue:
	default:
		return command{}, fmt.Errorf("unknown type %q, known are config, start, stop, continue", c.Type)
	}
	return c, nil
}

func parseMessage(line []byte) (message, error) {
	var m message
	// An error has the version too: it may be about the version, and come instead of ready.
	if err := checkVersion(line, typeReady, typeError); err != nil {
		return message{}, err
	}
	if err := decodeStrict(line, &m); err != nil {
		return message{}, err
	}
	var has bool
	switch m.Type {
	case typeReady:
		has = m.Ready != nil
	case typeStarted:
		has = m.Started != nil
	case typeProgress:
		has = m.Progress != nil
	case typeWaiting:
		has = m.Waiting != nil
	case typeResult:
		has = m.Result != nil
	case typeError:
		has = m.Error != nil
	default:
		return message{}, fmt.Errorf("unknown type %q, known are ready, started, progress, waiting, result, error", m.Type)
	}
	if !has {
		return message{}, fmt.Errorf("%s without its content", m.Type)
	}
	return m, nil
}

// checkVersion checks the version before anything else, because another version may have other fields. Only lines of
// the given types have one.
func checkVersion(line []byte, types ...string) error {
	var head struct {
		Type    string `json:"type"`
		Version int    `json:"version"`
	}
	if err := json.Unmarshal(line, &head); err != nil {
		return err
	}
	if slices.Contains(types, head.Type) && head.Version != Version {
		return fmt.Errorf("version %d of the protocol, this program speaks version %d", head.Version, Version)
	}
	return nil
}

// decodeStrict decodes exactly one JSON value without unknown fields.
func decodeStrict(b []byte, to any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(to); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("more than one value in a line")
	}
	return nil
}

// lineScanner returns the lines of r, without newline. It ends with bufio.ErrTooLong at a line of max bytes or more,
// and with io.ErrUnexpectedEOF at a last line without newline: its writer died mid-line.
func lineScanner(r io.Reader, max int) *bufio.Scanner {
	s := bufio.NewScanner(r)
	s.Buffer(nil, max)
	s.Split(func(data []byte, atEOF bool) (int, []byte, error) {
		if i := bytes.IndexByte(data, '\n'); i >= 0 {
			return i + 1, data[:i], nil
		}
		if atEOF && len(data) > 0 {
			return 0, nil, io.ErrUnexpectedEOF
		}
		return 0, nil, nil
	})
	return s
}

// lineWriter writes one JSON value a line. Safe for concurrent use.
type lineWriter struct {
	mu    sync.Mutex
	w     io.Writer
	max   int
	ended bool
}

// write writes a line, or nothing after the last one.
func (l *lineWriter) write(v any) error { return l.writeLine(v, false) }

// writeLast writes a line that is the last one, if none was that already.
func (l *lineWriter) writeLast(v any) error { return l.writeLine(v, true) }

func (l *lineWriter) writeLine(v any, last bool) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(b)+1 > l.max {
		return fmt.Errorf("line of %d bytes: allowed are %d", len(b)+1, l.max)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return nil
	}
	l.ended = last
	_, err = l.w.Write(append(b, '\n'))
	return err
}
