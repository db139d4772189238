package vm

import (
	"bufio"
	"errors"
	"io"
	"net"
	"strings"
)

// hmp is QEMU's monitor for people: it prompts, shows what is typed as a terminal would, and prints what a command has to say.
type hmp struct {
	conn   net.Conn
	reader *bufio.Reader
}

func newHMP(conn net.Conn) *hmp { return &hmp{conn: conn, reader: bufio.NewReader(conn)} }

func (*hmp) mode() string { return "readline" }

// greet waits for the first prompt, before which QEMU tells its version.
func (h *hmp) greet() error {
	_, err := h.untilPrompt()
	return err
}

func (h *hmp) human(line string) (string, error) {
	if _, err := io.WriteString(h.conn, line+"\n"); err != nil {
		return "", gone(err)
	}
	said, err := h.untilPrompt()
	_, said, _ = strings.Cut(said, "\n") // the first line is what was typed
	return said, err
}

const (
	hmpPrompt = "(qemu) "
	hmpMost   = 1 << 20 // bytes: what is asked here takes a line or two, and what is typed some kB of escape sequences
)

// untilPrompt returns what QEMU says before its next prompt, which begins a line and ends without one.
func (h *hmp) untilPrompt() (string, error) {
	var said strings.Builder
	line := 0 // where the last one begins
	for said.Len() < hmpMost {
		b, err := h.reader.ReadByte()
		if err != nil {
			return "", gone(err)
		}
		said.WriteByte(b)
		if b == '\n' {
			line = said.Len()
		} else if said.String()[line:] == hmpPrompt {
			return said.String()[:line], nil
		}
	}
	return "", errors.New("QEMU says much, and does not prompt")
}
