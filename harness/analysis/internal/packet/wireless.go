package packet

// radiotap is the header that a driver puts in front of an 802.11 frame (https://www.radiotap.org).
func (w *walk) radiotap(b []byte, n int) Verdict {
	length := u16le(b[2:])
	switch {
	case length < 8 || length > n:
		return Damaged
	case length > len(b):
		return CutOff
	}
	padded := radiotapFlags(b[:length])&0x20 != 0 // between the 802.11 header and what it carries, to 32 bits
	return w.skip(b, n, length, func(b []byte, n int) Verdict { return w.wirelessFrame(b, n, padded) })
}

// radiotapFlags reads the field of that name; 0 if there is none.
func radiotapFlags(b []byte) byte {
	const timestamp, flags, more = 1 << 0, 1 << 1, 1 << 31
	present, at := u32le(b[4:]), 8
	for word := present; word&more != 0; at += 4 {
		if at+4 > len(b) {
			return 0
		}
		word = u32le(b[at:])
	}
	if present&timestamp != 0 {
		at = (at+7)&^7 + 8
	}
	if present&flags == 0 || at >= len(b) {
		return 0
	}
	return b[at]
}

func (w *walk) wireless(b []byte, n int) Verdict { return w.wirelessFrame(b, n, false) }

// wirelessFrame is an 802.11 frame. Only data that is not encrypted, and not one of several in a frame, has IP to see.
func (w *walk) wirelessFrame(b []byte, n int, padded bool) Verdict {
	const control = 2
	if len(b) < control {
		return CutOff
	}
	kind, subtype := b[0]>>2&3, b[0]>>4
	const data, noData, qos = 2, 4, 8
	const fromDS, toDS, protected, order = 2, 1, 0x40, 0x80
	switch {
	case kind != data:
		return w.passOver(whatWireless, wirelessManagement)
	case subtype&noData != 0:
		return w.passOver(whatWireless, wirelessNoData)
	case b[1]&protected != 0:
		return w.passOver(whatWireless, wirelessEncrypted)
	}
	header := 24
	if b[1]&(fromDS|toDS) == fromDS|toDS {
		header += 6
	}
	if subtype&qos != 0 {
		const aggregate = 0x80
		if len(b) < header+2 {
			return CutOff
		}
		if b[header]&aggregate != 0 {
			return w.passOver(whatWireless, wirelessAggregate)
		}
		header += 2
		if b[1]&order != 0 {
			header += 4
		}
	}
	if padded {
		header = (header + 3) &^ 3
	}
	return w.skip(b, n, header, w.llc)
}
