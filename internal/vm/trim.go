package vm

import (
	"bytes"
	"encoding/binary"
)

// moduleSignature ends a signed module (scripts/sign-file.c). Before it stands a struct module_signature,
// whose last four bytes are the length of the signature before that.
var moduleSignature = []byte("~Module signature appended~\n")

const moduleSignatureInfo = 12

// withoutSignature returns a module as it was before it was signed. The kernel that it is loaded into is as
// much in our hands as the module, and checking an RSA signature is what takes most of the time of loading
// one in a guest.
func withoutSignature(content []byte) []byte {
	rest, signed := bytes.CutSuffix(content, moduleSignature)
	if !signed || len(rest) < moduleSignatureInfo {
		return content
	}
	length := int64(binary.BigEndian.Uint32(rest[len(rest)-4:]))
	end := int64(len(rest)) - moduleSignatureInfo - length
	if end < 0 {
		return content // not what it says it is: the kernel may decide
	}
	return content[:end]
}
