package framing

import (
	"bufio"
	"encoding/binary"
	"io"
)

// NaivePrefixed is the wrong reader of [Prefixed]: one Read is the prefix, and one is the message. It is here to be seen failing.
type NaivePrefixed struct{ Prefixed }

// Read implements [Framing], wrongly.
func (f NaivePrefixed) Read(stream *bufio.Reader, _ []byte) ([]byte, error) {
	var prefix [prefixLength]byte
	if _, err := stream.Read(prefix[:]); err != nil { // WRONG: it may be less than four bytes
		return nil, err
	}
	length := binary.BigEndian.Uint32(prefix[:])
	if err := checkLength(int(length), f.Max); err != nil { // right: see TrustingPrefixed
		return nil, err
	}
	message := make([]byte, length)
	n, err := stream.Read(message) // WRONG: it may be a part of the message
	return message[:n], err
}

// TrustingPrefixed is another wrong reader of [Prefixed]: it allocates what the prefix says. It is here to be seen failing.
type TrustingPrefixed struct{ Prefixed }

// Read implements [Framing], wrongly.
func (f TrustingPrefixed) Read(stream *bufio.Reader, _ []byte) ([]byte, error) {
	var prefix [prefixLength]byte
	if _, err := io.ReadFull(stream, prefix[:]); err != nil {
		return nil, err
	}
	message := make([]byte, binary.BigEndian.Uint32(prefix[:])) // WRONG: whoever connects says how much
	_, err := io.ReadFull(stream, message)
	return message, err
}

// OneRead is the wrong reader of messages without marks: one Read is one message. It is here to be seen failing.
type OneRead struct{ Max int } // bytes of a message; 0: DefaultMax

// Append implements [Framing]: it trusts that a write stays a write.
func (f OneRead) Append(stream, message []byte) ([]byte, error) {
	return append(stream, message...), checkLength(len(message), f.Max)
}

// Read implements [Framing], wrongly.
func (f OneRead) Read(stream *bufio.Reader, _ []byte) ([]byte, error) {
	message := make([]byte, DefaultMax)
	n, err := stream.Read(message) // WRONG: it may be a part of a message, or more than one
	return message[:n], err
}
