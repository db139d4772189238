package rules

import (
	"bytes"
	"encoding/binary"
	"testing"
)

func TestAssemble(t *testing.T) {
	code := assemble(fds{}, 1<<20)
	var b bytes.Buffer
	if err := code.Marshal(&b, binary.LittleEndian); err != nil {
		t.Errorf("%v: %v", err, code[20:30])
	}
	t.Log(len(code), b.Len()/8)
}
