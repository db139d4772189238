package queue

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Kind is "pfifo", or "bfifo" with Bytes.
func (q DropTail) Kind() string {
	if q.Bytes != 0 {
		return "bfifo"
	}
	return "pfifo"
}

// String is as of [Discipline].
func (q DropTail) String() string {
	switch {
	case q.Bytes != 0:
		return fmt.Sprintf("bfifo limit %d", q.Bytes)
	case q.Packets != 0:
		return fmt.Sprintf("pfifo limit %d", q.Packets)
	}
	return "pfifo"
}

// Validate is as of [Discipline].
func (q DropTail) Validate() error {
	var c checker
	if q.Packets < 0 || q.Packets > maxInt {
		c.refuse("DropTail.Packets", q.Packets, fmt.Sprintf("0 (as long as the device's queue), or 1 to %d packets", maxInt))
	}
	if q.Bytes < 0 || q.Bytes > maxInt {
		c.refuse("DropTail.Bytes", q.Bytes, fmt.Sprintf("0, or 1 to %d bytes", maxInt))
	}
	if q.Bytes != 0 && q.Packets != 0 {
		c.refuse("DropTail.Bytes", q.Bytes, "0 with Packets: the kernel counts one or the other")
	}
	return errors.Join(c.errs...)
}

// tail is DropTail's form: struct tc_fifo_qopt, a number of packets or bytes.
type tail struct {
	DropTail
}

func (t *tail) UnmarshalJSON(data []byte) error { return unmarshalStrict(data, &t.DropTail) }

func (t *tail) discipline() Discipline { return t.DropTail }

func (t *tail) chosen() []string { return nil }

func (t *tail) encode() ([]byte, error) {
	if limit := max(t.Bytes, t.Packets); limit != 0 {
		return binary.NativeEndian.AppendUint32(nil, uint32(limit)), nil
	}
	return nil, nil
}

func (t *tail) decode(data []byte) error {
	limit, err := fifoLimit(data)
	if err != nil {
		return err
	}
	if t.Bytes != 0 {
		t.Bytes = int(limit)
	} else {
		t.Packets = int(limit)
	}
	return nil
}

func (t *tail) differences(sent, got []byte) ([]string, error) {
	if sent == nil {
		return nil, nil
	}
	want, err := fifoLimit(sent)
	if err != nil {
		return nil, err
	}
	limit, err := fifoLimit(got)
	if err == nil && want != limit {
		return []string{fmt.Sprintf("limit: sent %d, got %d", want, limit)}, nil
	}
	return nil, err
}

func fifoLimit(data []byte) (uint32, error) {
	const size = 4
	if len(data) < size {
		return 0, fmt.Errorf("struct tc_fifo_qopt: %d bytes, want at least %d", len(data), size)
	}
	return binary.NativeEndian.Uint32(data), nil
}
