package analysis

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// payloads are the two sides of stream 0 of a capture, with a dot for each byte that is missing.
func payloads(t *testing.T, file []byte) (client, server string) {
	t.Helper()
	r, err := NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	text := map[string]*strings.Builder{"client": {}, "server": {}}
	for piece, err := range r.Payload(0) {
		if err != nil {
			t.Fatal(err)
		}
		text[piece.From].Write(piece.Data)
		text[piece.From].WriteString(strings.Repeat(".", piece.Missing))
	}
	return text["client"].String(), text["server"].String()
}

// talk is a segment with text; back makes it one of the server.
type talk struct {
	back     bool
	seq, ack uint32
	text     string
	flags    string
}

func talkFile(t *testing.T, all []talk) []byte {
	t.Helper()
	var records []record
	for i, x := range all {
		segment := Segment{Src: client4, Dst: server4, TTL: 64, Seq: x.seq, Ack: x.ack, Window: 1000, Length: len(x.text)}
		switch {
		case x.back:
			segment.Src, segment.Dst = server4, client4
			segment.Flags = FlagACK
		case x.flags != "S":
			segment.Flags = FlagACK
		}
		if strings.Contains(x.flags, "S") {
			segment.Flags |= FlagSYN
		}
		if strings.Contains(x.flags, "F") {
			segment.Flags |= FlagFIN
		}
		data := wire(t, segment, nil)
		const headers = 14 + 20 + 20
		copy(data[headers:], x.text)
		records = append(records, record{at: time.Duration(i) * ms, data: data})
	}
	return pcap(binary.LittleEndian, true, records...)
}

func TestPayload(t *testing.T) {
	for _, c := range []struct {
		name           string
		all            []talk
		client, server string
	}{
		{"in order", []talk{
			{seq: 99, flags: "S"}, {back: true, seq: 199, ack: 100, flags: "S"}, {seq: 100, ack: 200, text: "abc"}, {back: true, seq: 200, ack: 103, text: "xy"}, {seq: 103, ack: 202, text: "d", flags: "F"},
		}, "abcd", "xy"},
		{"without the handshake", []talk{{seq: 100, ack: 200, text: "abc"}, {back: true, seq: 200, ack: 103, text: "xy"}}, "abc", "xy"},
		{"data in the SYN", []talk{{seq: 99, flags: "S", text: "abc"}, {back: true, seq: 199, ack: 103, flags: "S"}, {seq: 103, ack: 200, text: "d"}}, "abcd", ""},
		{"retransmitted, with more, and with less", []talk{{seq: 100, text: "abc"}, {seq: 100, text: "abc"}, {seq: 102, text: "cde"}, {seq: 101, text: "b"}}, "abcde", ""},
		{"reordered", []talk{{seq: 99, flags: "S"}, {seq: 103, text: "de"}, {seq: 106, text: "g"}, {seq: 105, text: "f"}, {seq: 100, text: "abc"}}, "abcdefg", ""},
		{"lost before the capture, and never retransmitted there", []talk{{seq: 99, flags: "S"}, {seq: 103, text: "de"}}, "...de", ""},
		{"a keep-alive's byte", []talk{{seq: 100, text: "abc"}, {seq: 102, text: "?"}, {seq: 103, text: "d"}}, "abcd", ""},
		{"numbers that wrap", []talk{{seq: 1<<32 - 2, text: "abc"}, {seq: 3, text: "fg"}, {seq: 1, text: "de"}}, "abcdefg", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			client, server := payloads(t, talkFile(t, c.all))
			if client != c.client || server != c.server {
				t.Errorf("%q and %q, want %q and %q", client, server, c.client, c.server)
			}
		})
	}
}

// What was acknowledged and is not in the capture is not waited for to the end.
func TestPayloadPassesOverWhatIsNotCaptured(t *testing.T) {
	all := []talk{{seq: 99, flags: "S"}, {back: true, seq: 199, ack: 100, flags: "S"}, {seq: 103, ack: 200, text: "de"}, {back: true, seq: 200, ack: 105}}
	for i := range uint32(100) {
		all = append(all, talk{seq: 105 + i, ack: 200, text: "."}, talk{back: true, seq: 200, ack: 106 + i})
	}
	r, err := NewReader(bytes.NewReader(talkFile(t, all)))
	if err != nil {
		t.Fatal(err)
	}
	for piece := range r.Payload(0) {
		if piece.Missing != 3 || r.Stats().Packets > 4+2*passPatience {
			t.Errorf("first %+v, after %d packets", piece, r.Stats().Packets)
		}
		return
	}
	t.Error("nothing")
}

// However a text is cut, repeated and reordered, it comes out as it was said.
func TestPayloadOfAnySlices(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		text := make([]byte, 1+random.IntN(400))
		for i := range text {
			text[i] = 'a' + byte(random.IntN(26))
		}
		begin := random.Uint32()
		all := []talk{{seq: begin - 1, flags: "S"}}
		for at := 0; at < len(text); {
			n := min(1+random.IntN(30), len(text)-at)
			all = append(all, talk{seq: begin + uint32(at), text: string(text[at : at+n])})
			at += n
		}
		for range random.IntN(10) { // some again, in other slices
			at := random.IntN(len(text))
			n := min(1+random.IntN(60), len(text)-at)
			all = append(all, talk{seq: begin + uint32(at), text: string(text[at : at+n])})
		}
		rest := all[1:]
		for i := range rest { // out of order, but not by much
			j := min(i+random.IntN(4), len(rest)-1)
			rest[i], rest[j] = rest[j], rest[i]
		}
		if client, _ := payloads(t, talkFile(t, all)); client != string(text) {
			t.Fatalf("%q, want %q", client, text)
		}
	}
}

func TestPayloadErrors(t *testing.T) {
	file := talkFile(t, []talk{{seq: 100, text: "abc"}, {seq: 103, text: "d"}})
	for name, c := range map[string]struct {
		file   []byte
		stream int
		want   string
	}{
		"no such stream":   {file, 1, "there is no stream 1: it has 1, numbered from 0"},
		"less than none":   {file, -1, "there is no stream -1"},
		"a damaged file":   {file[:len(file)-3], 0, ErrDamaged.Error()},
		"damaged, no such": {file[:len(file)-3], 7, ErrDamaged.Error()},
	} {
		r, err := NewReader(bytes.NewReader(c.file))
		if err != nil {
			t.Fatal(err)
		}
		var errs []error
		for _, err := range r.Payload(c.stream) {
			errs = append(errs, err)
		}
		errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
		if len(errs) != 1 || !strings.Contains(errors.Join(errs...).Error(), c.want) {
			t.Errorf("%s: %v, want %s", name, errs, c.want)
		}
	}
}
