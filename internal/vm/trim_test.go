package vm

import (
	"bytes"
	"encoding/binary"
	"testing"

	. "github.com/onsi/gomega"
)

// signed appends a signature as scripts/sign-file.c does.
func signed(module, signature []byte) []byte {
	info := make([]byte, moduleSignatureInfo)
	binary.BigEndian.PutUint32(info[moduleSignatureInfo-4:], uint32(len(signature)))
	return bytes.Join([][]byte{module, signature, info, moduleSignature}, nil)
}

func TestWithoutSignature(t *testing.T) {
	g := NewWithT(t)
	module := []byte("\x7fELF a module")
	g.Expect(withoutSignature(signed(module, []byte("signature")))).To(Equal(module))
	g.Expect(withoutSignature(module)).To(Equal(module))
	for name, odd := range map[string][]byte{
		"empty":                     nil,
		"only the mark":             moduleSignature,
		"longer than what is there": signed(nil, make([]byte, 10))[1:],
	} {
		g.Expect(withoutSignature(odd)).To(Equal(odd), name)
	}
}

func FuzzWithoutSignature(f *testing.F) {
	f.Add(signed([]byte("module"), []byte("signature")))
	f.Fuzz(func(t *testing.T, content []byte) {
		if got := withoutSignature(content); !bytes.HasPrefix(content, got) {
			t.Error("what is left is not the beginning")
		}
	})
}
