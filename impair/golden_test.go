package impair

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mdlayher/netlink"

	"github.com/tcplab/tcplab/internal/golden"
)

// Text, JSON, the bytes that go to the kernel and the notes of every impairment that valid has, as a new qdisc and as a
// change. After a change that is meant: go test ./impair -run Golden -update
func TestGolden(t *testing.T) {
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("the golden file has the bytes of a little-endian machine")
	}
	var listing bytes.Buffer
	for _, test := range valid(t) {
		fmt.Fprintf(&listing, "# %s\ntext: %v\n", test.name, test.netem)
		text, err := json.Marshal(test.netem)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&listing, "json: %s\n", text)
		for _, change := range []bool{false, true} {
			payload, a := applied(t, test.netem, change)
			fmt.Fprintf(&listing, "change: %t\n", change)
			listPayload(t, &listing, payload)
			fmt.Fprintf(&listing, "  got: %v\n", a.Got)
			for _, note := range a.Notes {
				fmt.Fprintf(&listing, "  note: %s\n", note)
			}
		}
		// A distribution's file is in a folder that has another name each time.
		if path, found := strings.CutPrefix(string(test.netem.Distribution), filePrefix); found {
			replaced := bytes.ReplaceAll(listing.Bytes(), []byte(filepath.Dir(path)), []byte("DIR"))
			listing.Reset()
			listing.Write(replaced)
		}
	}
	golden.Compare(t, "netem.golden", listing.Bytes())
}

// applied is what goes to the kernel, and what is reported if the kernel takes it as it is.
func applied(t *testing.T, n Netem, change bool) ([]byte, Applied) {
	t.Helper()
	r, err := prepare(n, change)
	payload, marshalErr := r.encode().marshal(r.tables)
	got, parseErr := parseOptions(payload)
	if err := errors.Join(err, marshalErr, parseErr); err != nil {
		t.Fatal(err)
	}
	return payload, r.report(got)
}

// listPayload writes the bytes of each attribute, and of a table its hash.
func listPayload(t *testing.T, to *bytes.Buffer, payload []byte) {
	t.Helper()
	const qoptSize = 24 // struct tc_netem_qopt
	fmt.Fprintf(to, "  qopt: %x\n", payload[:qoptSize])
	attributes, err := netlink.UnmarshalAttributes(payload[qoptSize:])
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range attributes {
		if len(a.Data) > 100 {
			fmt.Fprintf(to, "  attribute %d: %d bytes, sha256 %x\n", a.Type, len(a.Data), sha256.Sum256(a.Data))
			continue
		}
		fmt.Fprintf(to, "  attribute %d: %x\n", a.Type, a.Data)
	}
}
