package reconnect

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// MaxMessage is how many bytes a message can have.
const MaxMessage = 64 << 10

var (
	// ErrUnknown says that a message was written, and that nobody knows whether it was processed.
	ErrUnknown = errors.New("unknown whether the message was processed")

	// ErrNotSent says that no byte of a message was written.
	ErrNotSent = errors.New("the message was not sent")

	// ErrTooLong says that a message is longer than MaxMessage.
	ErrTooLong = fmt.Errorf("a message has at most %d bytes", MaxMessage)

	// ErrProtocol says that the other side sent what it must not.
	ErrProtocol = errors.New("protocol error")
)

// defaultTimeout is that of either side where none is given.
const defaultTimeout = 5 * time.Second

const (
	numberSize = 8
	headerSize = numberSize + 4
)

func readNumber(r io.Reader) (uint64, error) {
	var b [numberSize]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint64(b[:]), nil
}

func writeNumbers(w io.Writer, numbers ...uint64) error {
	var b []byte
	for _, n := range numbers {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	_, err := w.Write(b)
	return err
}

// encode returns a message as it is sent.
func encode(number uint64, payload []byte) []byte {
	b := binary.BigEndian.AppendUint64(nil, number)
	b = binary.BigEndian.AppendUint32(b, uint32(len(payload))) //nolint:gosec // at most MaxMessage
	return append(b, payload...)
}

// readMessage reads a message. The error is io.EOF if there is none, and io.ErrUnexpectedEOF if it is cut off.
func readMessage(r io.Reader) (number uint64, payload []byte, err error) {
	var header [headerSize]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return 0, nil, err
	}
	number, length := binary.BigEndian.Uint64(header[:]), binary.BigEndian.Uint32(header[numberSize:])
	if length > MaxMessage {
		return 0, nil, fmt.Errorf("%w: message %d of %d bytes: %w", ErrProtocol, number, length, ErrTooLong)
	}
	payload = make([]byte, length)
	if _, err := io.ReadFull(r, payload); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, fmt.Errorf("message %d: %w", number, err)
	}
	return number, payload, nil
}
