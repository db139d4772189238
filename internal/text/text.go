// Package text makes text that is from elsewhere fit for a terminal: without control characters, and no wider than
// there is room.
package text

import (
	"bytes"
	"fmt"
	"strings"
	"unicode"

	"golang.org/x/text/width"
)

// Ellipsis ends a text that was cut. It is ASCII, so that it takes three columns in every terminal.
const Ellipsis = "..."

// Printable makes s safe to print in one line: control characters, of which an escape sequence for the terminal is
// made, become spaces or '?', and what is not UTF-8 becomes U+FFFD.
func Printable(s string) string {
	return strings.Map(func(c rune) rune {
		if c == '\t' || c == '\n' || c == '\r' {
			return ' '
		}
		return harmless(c)
	}, strings.ToValidUTF8(s, string(unicode.ReplacementChar)))
}

// PrintableLines is Printable for a text of several lines, which keeps its ends of lines and its tabs.
func PrintableLines(s string) string {
	s = strings.ReplaceAll(s, "\r\n", "\n")
	return strings.Map(func(c rune) rune {
		if c == '\t' || c == '\n' {
			return c
		}
		return harmless(c)
	}, strings.ToValidUTF8(s, string(unicode.ReplacementChar)))
}

func harmless(c rune) rune {
	if !isHarmless(c) {
		return '?'
	}
	return c
}

func isHarmless(c rune) bool { return !unicode.IsControl(c) && !unicode.In(c, unicode.Bidi_Control) }

// EscapeJSON escapes in JSON what is made of escape sequences or changes the direction of text. It stays what it was:
// JSON itself forbids only some of it within its strings, and outside there is none.
func EscapeJSON(document []byte) []byte {
	var b bytes.Buffer
	for _, c := range string(document) {
		if c == '\n' || c == '\t' || c == '\r' || isHarmless(c) {
			b.WriteRune(c)
		} else {
			fmt.Fprintf(&b, `\u%04x`, c) // all of them are in the first plane
		}
	}
	return b.Bytes()
}

// Width returns how many columns of a terminal s takes.
func Width(s string) int {
	n := 0
	for _, c := range s {
		n += RuneWidth(c)
	}
	return n
}

// RuneWidth follows Unicode's East Asian Width; what combines with the character before it takes no column. It does
// not know emoji that are joined from several: those come out too wide.
func RuneWidth(c rune) int {
	if c < unicode.MaxASCII {
		return 1
	}
	if unicode.In(c, unicode.Mn, unicode.Me, unicode.Cf) {
		return 0
	}
	switch width.LookupRune(c).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	}
	return 1
}

// Prefix returns the longest beginning of s that takes at most n columns, but at least one character, and the rest.
func Prefix(s string, n int) (head, rest string) {
	for i, c := range s {
		if n -= RuneWidth(c); n < 0 && i > 0 {
			return s[:i], s[i:]
		}
	}
	return s, ""
}

// Cut shortens s to n columns, of which the last three then are dots.
func Cut(s string, n int) string {
	if Width(s) <= n {
		return s
	}
	head, _ := Prefix(s, n-len(Ellipsis))
	return strings.TrimRight(head, " ") + Ellipsis
}

// Wrap breaks s between words into lines of at most so many columns. A word that is longer than a line is broken anywhere.
func Wrap(s string, columns int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(s) {
		if line != "" && Width(line)+1+Width(word) <= columns {
			line += " " + word
			continue
		}
		if line != "" {
			lines = append(lines, line)
		}
		for Width(word) > columns {
			var head string
			head, word = Prefix(word, columns)
			lines = append(lines, head)
		}
		line = word
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}
