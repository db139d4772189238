package text

import (
	"errors"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// hostile has what gives a terminal orders: escape, CSI, OSC, C1 in UTF-8 and as a byte, what changes the direction,
// line ends in all ways, backspace, NUL, and what is no UTF-8.
const hostile = "\x1b[2J\x1b]0;title\a\u009b31m\x9b\u202e\u2066a\rb\r\nc\x08d\x00e\x7f\xff\xed\xa0\x80\x1b[31mred\x1b[8mhidden\x1b[0m\té日"

func harmlessText(s string, colour bool) bool {
	if colour {
		for _, c := range colours {
			s = strings.ReplaceAll(s, c, "")
		}
	}
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(c rune) bool {
		return unicode.IsControl(c) && c != '\n' && c != '\t' || unicode.In(c, unicode.Bidi_Control)
	})
}

// oneFor lets several replacement characters be one: of bytes in pieces nobody can tell how many characters they
// were to be.
func oneFor(s string) string {
	for strings.Contains(s, "\ufffd\ufffd") {
		s = strings.ReplaceAll(s, "\ufffd\ufffd", "\ufffd")
	}
	return s
}

func written(t *testing.T, colour bool, pieces ...string) string {
	t.Helper()
	var out strings.Builder
	w := NewWriter(&out, colour)
	for _, piece := range pieces {
		if n, err := w.Write([]byte(piece)); n != len(piece) || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Error(err)
	}
	return out.String()
}

func TestWriter(t *testing.T) {
	if got, want := written(t, false, hostile), PrintableLines(hostile); got != want {
		t.Errorf("%q, expected %q", got, want)
	}
	if got, want := written(t, true, "\x1b[1mhead\x1b[0m\x1b[8m\x1b[31\x1b[32mgreen\x1b["), "\x1b[1mhead\x1b[0m?[8m?[31\x1b[32mgreen?["; got != want {
		t.Errorf("%q, expected %q", got, want)
	}
	for _, colour := range []bool{false, true} {
		whole := written(t, colour, hostile)
		for at := range len(hostile) {
			if got := written(t, colour, hostile[:at], hostile[at:]); oneFor(got) != oneFor(whole) {
				t.Errorf("cut at %d: %q, expected %q", at, got, whole)
			}
		}
		if got := written(t, colour, strings.Split(hostile, "")...); oneFor(got) != oneFor(whole) {
			t.Errorf("one by one: %q, expected %q", got, whole)
		}
	}
}

func TestWriterPassesErrorsOn(t *testing.T) {
	w := NewWriter(closed{}, false)
	if _, err := w.Write([]byte("x")); !errors.Is(err, errClosed) {
		t.Error(err)
	}
}

type closed struct{}

var errClosed = errors.New("closed")

func (closed) Write([]byte) (int, error) { return 0, errClosed }

func FuzzWriter(f *testing.F) {
	f.Add("\x1b[31m\u202e\u009b\xff日本e\u0301\r", "\n\x1b[2J", true)
	f.Add("\x1b[3", "1m", true)
	f.Add("\xe2\x80", "\xae\x1b]0;x\a", false)
	f.Fuzz(func(t *testing.T, a, b string, colour bool) {
		got := written(t, colour, a, b)
		if !harmlessText(got, colour) {
			t.Errorf("%q and %q give %q", a, b, got)
		}
		if whole := written(t, colour, a+b); oneFor(got) != oneFor(whole) {
			t.Errorf("%q and %q give %q, together %q", a, b, got, whole)
		}
		if !colour && oneFor(got) != oneFor(PrintableLines(a+b)) {
			t.Errorf("%q and %q give %q, not as lines do", a, b, got)
		}
	})
}
