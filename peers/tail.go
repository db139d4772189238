package peers

import (
	"bytes"
	"regexp"
	"sync"
)

// tail keeps the last bytes that were written to it, at least max/2 and at most max of them. Safe for concurrent use.
type tail struct {
	mu      sync.Mutex
	max     int
	buf     []byte
	dropped int64
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if len(t.buf) > t.max {
		// Cut to half, so that a program that writes without end does not cause a copy of max bytes each time.
		cut := len(t.buf) - t.max/2
		t.buf = append(t.buf[:0], t.buf[cut:]...)
		t.dropped += int64(cut)
	}
	return len(p), nil
}

// Bytes returns a copy of what is kept.
func (t *tail) Bytes() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	return bytes.Clone(t.buf)
}

// Dropped returns how many bytes came before those that are kept.
func (t *tail) Dropped() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.dropped
}

// lastLines returns the last n lines of b, without the final newline.
func lastLines(b []byte, n int) string {
	b = bytes.TrimRight(b, "\n")
	at := len(b)
	for range n {
		at = bytes.LastIndexByte(b[:at], '\n')
		if at < 0 {
			return string(b)
		}
	}
	return string(b[at+1:])
}

// death matches the line with which a Go program reports its end: a panic, an error of the runtime, an unhandled
// signal.
var death = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(?m)^(panic|fatal error|SIG[A-Z]+): `) })

// excerpt returns n lines of the standard error of a program: the last ones, or, of a Go program that has panicked,
// those from the panic on. The stacks of all its goroutines follow, and would hide it.
func excerpt(b []byte, n int) string {
	found := death().FindAllIndex(b, -1)
	if len(found) == 0 {
		return lastLines(b, n)
	}
	said := b[found[len(found)-1][0]:]
	lines := bytes.SplitAfterN(said, []byte{'\n'}, n+1)
	if len(lines) <= n {
		return lastLines(b, n)
	}
	return string(bytes.TrimRight(bytes.Join(lines[:n], nil), "\n"))
}
