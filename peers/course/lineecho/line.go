package lineecho

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

// What is wrong with a line. A client sees the text, after "error: ".
var (
	ErrTooLong    = errors.New("line too long")
	ErrNUL        = errors.New("line has a NUL byte")
	ErrUnfinished = errors.New("line without an end")
	ErrTimeout    = errors.New("no whole line in time")
)

// minBuffer is the least that a bufio.Reader has.
const minBuffer = 16

// newReader returns a reader whose buffer holds a line of most bytes, and no more than that needs.
func newReader(r io.Reader, most int) *bufio.Reader {
	return bufio.NewReaderSize(r, max(minBuffer, most+len("\r\n")))
}

// readLine reads a line of at most most bytes, from a reader of newReader. The line is valid until the next call. At the end of the
// stream the error is io.EOF.
func readLine(r *bufio.Reader, most int) ([]byte, error) {
	line, err := r.ReadSlice('\n') // never allocates
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return nil, fmt.Errorf("%w: more than %d bytes", ErrTooLong, most)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, fmt.Errorf("%w: %w", ErrTimeout, err)
	case errors.Is(err, io.EOF) && len(line) > 0:
		return nil, ErrUnfinished
	case err != nil:
		return nil, err
	}
	line = bytes.TrimSuffix(line[:len(line)-1], []byte("\r"))
	switch {
	case len(line) > most:
		return nil, fmt.Errorf("%w: %d bytes of at most %d", ErrTooLong, len(line), most)
	case bytes.IndexByte(line, 0) >= 0:
		return nil, ErrNUL
	}
	return line, nil
}
