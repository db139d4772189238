package htmlreport

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
)

// The page's data is in script elements that no browser runs. Each is base64 of gzip, a block; codec.js reads them when they are needed:
//
//	overview    an object of JSON: what the first view shows, and in which bundle each scenario is, and where in it
//	sources     a list of JSON: the lines of each spec, once, whichever scenarios show them
//	bundle0...  an object of JSON: what is known of some scenarios, but for their packets and the points of their series. It has a list for each
//	            member, with the value of each scenario, or null: {"record.peers": [of the first, of the second, ...], "steps": [...], ...}.
//	            Scenarios of a suite have much in common, and gzip finds it within 32 kB only: so the same members are side by side.
//	drawing0... packets and points of a scenario, by its number: see type drawing. A scenario with neither has none.
//
// So opening a scenario unpacks a bundle, its drawing and the sources, and the overview none of them.

// A drawing has columns of whole numbers, and the fields of packets. Its block is the length of an object of JSON (4 bytes, little endian),
// the object {"counts": how many numbers each column has, "decoded": fields}, and the columns one after the other. Their names are known: first
// packetColumns, then times and values of each series of the scenario.
type drawing struct {
	counts  []int
	numbers []byte
	decoded []decodedPacket
}

// add appends a column: each number is the difference to the one before, as a zigzag varint, as in package encoding/binary. Numbers are at most
// 2^53, as JavaScript's are.
func (d *drawing) add(values []int64) {
	d.counts = append(d.counts, len(values))
	last := int64(0)
	for _, v := range values {
		d.numbers = binary.AppendVarint(d.numbers, v-last)
		last = v
	}
}

// encode is the block of a drawing, or "" if there is nothing in it.
func (d *drawing) encode() (string, error) {
	if len(d.numbers) == 0 {
		return "", nil
	}
	text, err := json.Marshal(map[string]any{"counts": d.counts, "decoded": present(d.decoded)})
	if err != nil {
		return "", fmt.Errorf("encode a drawing: %w", err)
	}
	head := binary.LittleEndian.AppendUint32(nil, uint32(len(text))) //nolint:gosec // a page has megabytes
	return compress(head, text, d.numbers)
}

// compress is the block of these bytes.
func compress(parts ...[]byte) (string, error) {
	var packed bytes.Buffer
	z, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return "", err
	}
	for _, part := range parts {
		if _, err := z.Write(part); err != nil {
			return "", err
		}
	}
	if err := z.Close(); err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(packed.Bytes()), nil
}

// compressJSON is the block of a value.
func compressJSON(value any) (string, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return "", fmt.Errorf("encode a block: %w", err)
	}
	return compress(text)
}

// members are what is known of a scenario, by name, as JSON.
type members map[string]json.RawMessage

// put adds what JSON can say.
func (m members) put(name string, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("encode %s: %w", name, err)
	}
	m[name] = text
	return nil
}

// The most that is in one bundle, so that it is unpacked before anybody waits: in scenarios, and in bytes of JSON unless one alone has more.
const (
	bundleScenarios = 16
	bundleBytes     = 1 << 20
)

// A place is where a scenario is: the number of its bundle, and the index in its lists.
type place [2]int

// bundle puts scenarios into bundles, those next to each other that have the most in common: of one suite, of one name.
func bundle(parts []*part) (blocks []string, places []place, err error) {
	order := make([]int, len(parts))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(parts[a].name, parts[b].name) })
	places = make([]place, len(parts))
	var some []members
	bytes := 0
	flush := func() error {
		block, err := compressJSON(transpose(some))
		blocks, some, bytes = append(blocks, block), nil, 0
		return err
	}
	for _, i := range order {
		size := 0
		for _, value := range parts[i].known {
			size += len(value)
		}
		if len(some) == bundleScenarios || len(some) > 0 && bytes+size > bundleBytes {
			if err := flush(); err != nil {
				return nil, nil, err
			}
		}
		places[i] = place{len(blocks), len(some)}
		some, bytes = append(some, parts[i].known), bytes+size
	}
	if len(some) > 0 {
		err = flush()
	}
	return blocks, places, err
}

// transpose has a list for each member that one of them has.
func transpose(some []members) map[string][]json.RawMessage {
	lists := map[string][]json.RawMessage{}
	for i, known := range some {
		for name, value := range known {
			if lists[name] == nil {
				lists[name] = make([]json.RawMessage, len(some))
			}
			lists[name][i] = value
		}
	}
	return lists // one that was not set is null
}
