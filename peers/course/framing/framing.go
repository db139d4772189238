package framing

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

// DefaultMax is the longest message where no other limit is given, in bytes.
const DefaultMax = 64 << 10

// What is no message.
var (
	ErrTooLong   = errors.New("message too long")
	ErrEmpty     = errors.New("message of no bytes")
	ErrDelimiter = errors.New("message with the delimiter in it")
	ErrLength    = errors.New("message of another length")
)

// A Framing marks where messages begin and end in a stream.
type Framing interface {
	// Append appends a message, with its marks, to a part of a stream. It returns an error for what is no message.
	Append(stream, message []byte) ([]byte, error)

	// Read reads the next message into the buffer, or into a larger one if it has no room. At the stream's end the error is io.EOF,
	// or io.ErrUnexpectedEOF within a message.
	Read(stream *bufio.Reader, buffer []byte) ([]byte, error)
}

// checkLength is the error of a message that has not 1 to most bytes.
func checkLength(length, most int) error {
	switch most = cmp.Or(most, DefaultMax); {
	case length == 0:
		return ErrEmpty
	case length > most:
		return fmt.Errorf("%w: %d bytes of at most %d", ErrTooLong, length, most)
	}
	return nil
}

// Fixed are messages that all have one length, and no marks.
type Fixed struct{ Length int } // in bytes, at least 1

// Append implements [Framing].
func (f Fixed) Append(stream, message []byte) ([]byte, error) {
	if len(message) != f.Length {
		return stream, fmt.Errorf("%w: %d bytes instead of %d", ErrLength, len(message), f.Length)
	}
	return append(stream, message...), checkLength(len(message), f.Length)
}

// Read implements [Framing].
func (f Fixed) Read(stream *bufio.Reader, buffer []byte) ([]byte, error) {
	if err := checkLength(f.Length, f.Length); err != nil {
		return nil, err
	}
	return readFull(stream, buffer, f.Length)
}

// readFull reads n bytes, and says io.EOF only if there is none.
func readFull(stream *bufio.Reader, buffer []byte, n int) ([]byte, error) {
	buffer = slices.Grow(buffer[:0], n)[:n]
	_, err := io.ReadFull(stream, buffer)
	return buffer, err
}

// Delimited are messages that end in a delimiter, which is in none of them.
type Delimited struct {
	Delimiter byte
	Max       int // bytes of a message; 0: DefaultMax
}

// Append implements [Framing].
func (f Delimited) Append(stream, message []byte) ([]byte, error) {
	if bytes.IndexByte(message, f.Delimiter) >= 0 {
		return stream, ErrDelimiter
	}
	if err := checkLength(len(message), f.Max); err != nil {
		return stream, err
	}
	return append(append(stream, message...), f.Delimiter), nil
}

// Read implements [Framing].
func (f Delimited) Read(stream *bufio.Reader, buffer []byte) ([]byte, error) {
	message := buffer[:0]
	for {
		part, err := stream.ReadSlice(f.Delimiter)
		message = append(message, part...)
		switch {
		case err == nil:
			message = message[:len(message)-1]
			return message, checkLength(len(message), f.Max)
		case len(message) > cmp.Or(f.Max, DefaultMax):
			return nil, checkLength(len(message), f.Max)
		case errors.Is(err, bufio.ErrBufferFull): // the message is longer than the reader's buffer
		case errors.Is(err, io.EOF) && len(message) > 0:
			return nil, io.ErrUnexpectedEOF
		default:
			return nil, err
		}
	}
}

// Prefixed are messages after their length, which is four bytes, the most significant first.
type Prefixed struct{ Max int } // bytes of a message; 0: DefaultMax

const prefixLength = 4

// Append implements [Framing].
func (f Prefixed) Append(stream, message []byte) ([]byte, error) {
	if err := checkLength(len(message), f.Max); err != nil {
		return stream, err
	}
	return append(binary.BigEndian.AppendUint32(stream, uint32(len(message))), message...), nil
}

// Read implements [Framing].
func (f Prefixed) Read(stream *bufio.Reader, buffer []byte) ([]byte, error) {
	var prefix [prefixLength]byte
	if _, err := io.ReadFull(stream, prefix[:]); err != nil {
		return nil, err
	}
	length, err := f.length(prefix[:])
	if err != nil { // before anything is allocated
		return nil, err
	}
	message, err := readFull(stream, buffer, length)
	if errors.Is(err, io.EOF) { // there was a prefix
		err = io.ErrUnexpectedEOF
	}
	return message, err
}

// Cut returns the first message of a part of a stream, and what follows it, for who does not read but is given bytes. If it has not come
// whole the error is io.ErrUnexpectedEOF. The message is a part of the stream, not a copy.
func (f Prefixed) Cut(stream []byte) (message, rest []byte, err error) {
	if len(stream) < prefixLength {
		return nil, stream, io.ErrUnexpectedEOF
	}
	length, err := f.length(stream)
	if err != nil {
		return nil, stream, err
	}
	if len(stream)-prefixLength < length {
		return nil, stream, io.ErrUnexpectedEOF
	}
	end := prefixLength + length
	return stream[prefixLength:end:end], stream[end:], nil
}

// length is what a prefix says, or the error of what is no message.
func (f Prefixed) length(prefix []byte) (int, error) {
	length := int64(binary.BigEndian.Uint32(prefix))
	if most := int64(cmp.Or(f.Max, DefaultMax)); length > most {
		return 0, fmt.Errorf("%w: %d bytes of at most %d", ErrTooLong, length, most)
	}
	if length == 0 {
		return 0, ErrEmpty
	}
	return int(length), nil
}
