package peers

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"regexp"
)

// Readiness says when a [Command] is ready. At most one field is set; with none, it is ready as soon as it runs. One that ends
// before is never ready: who waits for it gets an [*ExitError] at once.
type Readiness struct {
	// Port is a TCP port, 1 to 65535: a socket listens there, whatever its address, in the host where the process runs. It
	// needs a [ListenWatcher].
	Port int `json:"port,omitempty"`
	// Line is a regular expression: a line of its standard output or error matches, of which the first 64 KiB are looked at.
	// Many programs keep back what they print while it goes to no terminal.
	Line string `json:"line,omitempty"`
	// End: it has ended with one of its ExitStatuses.
	End bool `json:"end,omitempty"`
}

// A ListenWatcher is a [Starter] that knows who listens where it starts processes. The hosts of a harness.Lab are, [Local] is not.
type ListenWatcher interface {
	Starter
	// AwaitListener returns when a TCP socket listens at the port, whatever its address, and with an error when ctx ends.
	AwaitListener(ctx context.Context, port uint16) error
}

// maxReadyLine is how many bytes of a line Readiness looks at.
const maxReadyLine = 64 << 10

// readiness checks the Ready of a Command.
func (c *check) readiness(r Readiness) {
	set := 0
	for _, is := range []bool{r.Port != 0, r.Line != "", r.End} {
		if is {
			set++
		}
	}
	if set > 1 {
		c.fail("Ready", fmt.Sprintf("%+v", r), "only one of Port, Line and End can be set")
	}
	c.atMost("Ready.Port", int64(r.Port), math.MaxUint16)
	if _, err := regexp.Compile(r.Line); err != nil {
		c.fail("Ready.Line", r.Line, "want a regular expression: "+err.Error())
	}
}

// atOnce reports whether a process is ready when it runs.
func (r Readiness) atOnce() bool { return r == Readiness{} }

// missing says what is not there yet.
func (r Readiness) missing() string {
	switch {
	case r.Port != 0:
		return fmt.Sprintf("nobody listens at TCP port %d", r.Port)
	case r.Line != "":
		return fmt.Sprintf("no line of its output matches %q", r.Line)
	}
	return "it has not ended"
}

// watcher returns what to watch the port with; nil if there is none to watch.
func (r Readiness) watcher(on Starter) (ListenWatcher, error) {
	if r.Port == 0 {
		return nil, nil
	}
	if w, ok := on.(ListenWatcher); ok {
		return w, nil
	}
	c := check{program: Command{}.program()}
	c.fail("Ready.Port", r.Port, "needs a host of a harness.Lab, or another ListenWatcher: this one does not see who listens. Use Ready.Line")
	return nil, c.err
}

// lines returns a writer to w that calls found at the first line that is the one to wait for, and what to call at the end.
func (r Readiness) lines(w io.Writer, found func()) (to io.Writer, end func()) {
	if r.Line == "" {
		return w, func() {}
	}
	l := &lineWatch{to: w, match: regexp.MustCompile(r.Line), found: found}
	return l, func() {
		if len(l.line) > 0 { // its last line has no end
			l.look()
		}
	}
}

// A lineWatch looks at the lines that are written to it.
type lineWatch struct {
	to    io.Writer
	match *regexp.Regexp // nil once it has matched
	found func()
	line  []byte // the last one so far
}

// Write passes on what it is given before it looks: who hears of the line finds it.
func (l *lineWatch) Write(b []byte) (int, error) {
	n, err := l.to.Write(b)
	for l.match != nil && len(b) > 0 {
		part, rest, isWhole := bytes.Cut(b, []byte{'\n'})
		l.line = append(l.line, part[:min(len(part), maxReadyLine-len(l.line))]...)
		if isWhole {
			l.look()
		}
		b = rest
	}
	return n, err
}

// look looks at a line that is whole.
func (l *lineWatch) look() {
	if l.match != nil && l.match.Match(bytes.TrimSuffix(l.line, []byte{'\r'})) {
		l.match = nil
		l.found()
	}
	l.line = l.line[:0]
}
