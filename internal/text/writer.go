package text

import (
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// colours are the sequences that tables are painted with. They can hide nothing: neither the cursor moves, nor does text
// take the colour of what is behind it.
var colours = []string{"\x1b[0m", "\x1b[1m", "\x1b[31m", "\x1b[32m", "\x1b[33m"}

// longestColour of them.
const longestColour = 5

// A Writer makes all that is written to a terminal, a pipe or a file harmless, as PrintableLines does, whoever wrote it.
// Nothing that a command prints goes past it, so it does not matter what a spec, a capture or a package's name has in
// it, and that somebody has forgotten to look.
type Writer struct {
	to      io.Writer
	colour  bool
	partial []byte // what may be the beginning of a character or a colour
}

// NewWriter returns a writer of harmless text. Where colour is set, it passes on the few colours that tables have.
func NewWriter(to io.Writer, colour bool) *Writer { return &Writer{to: to, colour: colour} }

// Write passes on text in one piece. What may be the beginning of a character or a colour waits for the rest.
func (w *Writer) Write(p []byte) (int, error) {
	w.partial = append(w.partial, p...)
	whole := len(w.partial) - w.unfinished(w.partial)
	err := w.pass(w.partial[:whole])
	w.partial = append(w.partial[:0], w.partial[whole:]...)
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// Flush passes on what waits for a rest that does not come.
func (w *Writer) Flush() error {
	rest := w.partial
	w.partial = nil
	return w.pass(rest)
}

func (w *Writer) pass(text []byte) error {
	if len(text) == 0 {
		return nil
	}
	_, err := io.WriteString(w.to, w.harmless(string(text)))
	return err
}

// unfinished is how many bytes at the end may go on.
func (w *Writer) unfinished(text []byte) int {
	for n := 1; n <= min(len(text), max(utf8.UTFMax, longestColour)-1); n++ {
		switch end := text[len(text)-n:]; {
		case n == 1 && end[0] == '\r':
			return n // of "\r\n"
		case n < utf8.UTFMax && utf8.RuneStart(end[0]) && !utf8.FullRune(end):
			return n
		case w.colour && end[0] == '\x1b' && beginsColour(string(end)):
			return n
		}
	}
	return 0
}

func (w *Writer) harmless(text string) string {
	if !w.colour {
		return PrintableLines(text)
	}
	var b strings.Builder
	for text != "" {
		at := strings.IndexByte(text, '\x1b')
		if at < 0 {
			at = len(text)
		}
		b.WriteString(PrintableLines(text[:at]))
		text = text[at:]
		if text == "" {
			break
		}
		length := 1
		for _, colour := range colours {
			if strings.HasPrefix(text, colour) {
				length = len(colour)
			}
		}
		if length > 1 {
			b.WriteString(text[:length])
		} else {
			b.WriteString(PrintableLines(text[:length]))
		}
		text = text[length:]
	}
	return b.String()
}

func beginsColour(s string) bool {
	return slices.ContainsFunc(colours, func(colour string) bool { return strings.HasPrefix(colour, s) })
}
