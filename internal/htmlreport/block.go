package htmlreport

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
)

// A block is what a part of the page is drawn from: an object of JSON, and columns of whole numbers. In the page it is one script
// element of data: base64 of gzip of the object's length (4 bytes, little endian), the object, and the columns. codec.js reads it.
type block struct {
	columns []column
	numbers []byte
}

// A column is many whole numbers, each written as the difference to the one before: zigzag varints, as in package encoding/binary.
type column struct {
	Name  string `json:"name"`
	Count int    `json:"count"`
}

// add appends a column. Numbers are at most 2^53, as JavaScript's are.
func (b *block) add(name string, values []int64) {
	b.columns = append(b.columns, column{name, len(values)})
	last := int64(0)
	for _, v := range values {
		b.numbers = binary.AppendVarint(b.numbers, v-last)
		last = v
	}
}

// encode is the block in base64. content gets the list of its columns as the member columns.
func (b *block) encode(content map[string]any) (string, error) {
	content["columns"] = b.columns
	text, err := json.Marshal(content)
	if err != nil {
		return "", fmt.Errorf("encode a block: %w", err)
	}
	var packed bytes.Buffer
	z, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return "", err
	}
	head := binary.LittleEndian.AppendUint32(nil, uint32(len(text))) //nolint:gosec // a page has megabytes
	for _, part := range [][]byte{head, text, b.numbers} {
		if _, err := z.Write(part); err != nil {
			return "", err
		}
	}
	if err := z.Close(); err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(packed.Bytes()), nil
}
