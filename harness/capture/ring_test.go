package capture

import (
	"bytes"
	"testing"

	"golang.org/x/sys/unix"
)

// block builds a block as the kernel does.
func makeBlock(packets ...packet) []byte {
	b := make([]byte, blockBytes)
	nativeEndian.PutUint32(b[blockVersion:], unix.TPACKET_V3)
	nativeEndian.PutUint32(b[blockStatus:], unix.TP_STATUS_USER)
	nativeEndian.PutUint32(b[blockPackets:], uint32(len(packets)))
	nativeEndian.PutUint32(b[blockFirstPacket:], blockHeader)
	at := blockHeader
	for i, p := range packets {
		const mac = packetHeader + 14
		h := b[at:]
		next := (mac + len(p.data) + 7) &^ 7
		if i < len(packets)-1 {
			nativeEndian.PutUint32(h[packetNext:], uint32(next))
		}
		nativeEndian.PutUint32(h[packetSec:], uint32(p.time/1e9))
		nativeEndian.PutUint32(h[packetNsec:], uint32(p.time%1e9))
		nativeEndian.PutUint32(h[packetSnap:], uint32(len(p.data)))
		nativeEndian.PutUint32(h[packetLen:], uint32(p.length))
		nativeEndian.PutUint16(h[packetMAC:], mac)
		h[packetType] = p.kind
		if p.tagged {
			nativeEndian.PutUint32(h[packetStatus:], unix.TP_STATUS_VLAN_VALID|unix.TP_STATUS_VLAN_TPID_VALID)
			nativeEndian.PutUint32(h[packetTCI:], uint32(p.tag[2])<<8|uint32(p.tag[3]))
			nativeEndian.PutUint16(h[packetTPID:], uint16(p.tag[0])<<8|uint16(p.tag[1]))
		}
		copy(h[mac:], p.data)
		at += next
	}
	return b
}

func TestReadBlock(t *testing.T) {
	want := []packet{
		{time: 1_700_000_000_123456789, length: 5, kind: unix.PACKET_OUTGOING, data: []byte("hello")},
		{time: 1_700_000_001_000000000, length: 9000, kind: unix.PACKET_HOST, tagged: true, tag: [4]byte{0x88, 0xa8, 0x20, 0x2a}, data: bytes.Repeat([]byte("x"), 1500)},
		{time: 1_700_000_001_000000001, length: 0, kind: unix.PACKET_BROADCAST, data: []byte{}},
	}
	var got []packet
	if err := readBlock(makeBlock(want...), func(p packet) { got = append(got, p) }); err != nil {
		t.Fatal(err)
	}
	if len(got) != len(want) {
		t.Fatalf("read %d packets, want %d", len(got), len(want))
	}
	for i := range want {
		g, w := got[i], want[i]
		if g.time != w.time || g.length != w.length || g.kind != w.kind || g.tagged != w.tagged || g.tag != w.tag || !bytes.Equal(g.data, w.data) {
			t.Errorf("packet %d: %+v, want %+v", i, g, w)
		}
	}
}

func TestReadBlockRefusesNonsense(t *testing.T) {
	for name, spoil := range map[string]func(b []byte) []byte{
		"short":             func(b []byte) []byte { return b[:blockHeader-1] },
		"other version":     func(b []byte) []byte { b[blockVersion]++; return b },
		"offset of first":   func(b []byte) []byte { nativeEndian.PutUint32(b[blockFirstPacket:], 1<<31); return b },
		"too many packets":  func(b []byte) []byte { b[blockPackets]++; return b },
		"offset of next":    func(b []byte) []byte { nativeEndian.PutUint32(b[blockHeader+packetNext:], ^uint32(0)); return b },
		"captured length":   func(b []byte) []byte { nativeEndian.PutUint32(b[blockHeader+packetSnap:], ^uint32(0)); return b },
		"offset of the MAC": func(b []byte) []byte { nativeEndian.PutUint16(b[blockHeader+packetMAC:], 3); return b },
	} {
		t.Run(name, func(t *testing.T) {
			b := spoil(makeBlock(packet{data: []byte("a")}, packet{data: []byte("b")}))
			if err := readBlock(b, func(packet) {}); err == nil {
				t.Error("no error")
			}
		})
	}
}

func FuzzReadBlock(f *testing.F) {
	f.Add(makeBlock(packet{data: []byte("hello"), tagged: true}, packet{data: []byte("world")})[:512])
	f.Fuzz(func(t *testing.T, block []byte) {
		_ = readBlock(block, func(p packet) {
			if len(p.data) > len(block) {
				t.Fatal("packet larger than its block")
			}
		})
	})
}
