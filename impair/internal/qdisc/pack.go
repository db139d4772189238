package qdisc

import (
	"encoding/binary"
	"fmt"
)

// Pack writes a value of fixed size as the kernel has it in memory. The structs in use have no padding.
func Pack(v any) []byte {
	data, err := binary.Append(nil, binary.NativeEndian, v)
	if err != nil {
		panic(err) // a type without a fixed size: a mistake of the caller
	}
	return data
}

// Unpack reads a value of fixed size from the start of data.
func Unpack(what string, data []byte, v any) error {
	if _, err := binary.Decode(data, binary.NativeEndian, v); err != nil {
		return fmt.Errorf("%s: %d bytes, want at least %d", what, len(data), binary.Size(v))
	}
	return nil
}
