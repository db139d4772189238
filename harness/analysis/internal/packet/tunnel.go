package packet

// mpls is a stack of labels (RFC 3032). What it carries is not said: the first four bits tell (RFC 4928).
func (w *walk) mpls(b []byte, n int) Verdict {
	const label, bottom = 4, 1
	for {
		if len(b) < label {
			return CutOff
		}
		last := b[2]&bottom != 0
		b, n = b[label:], n-label
		if !w.deeper(inMPLS) {
			return Damaged
		}
		if last {
			break
		}
	}
	if len(b) == 0 {
		return CutOff
	}
	switch b[0] >> 4 {
	case 4, 6:
		return w.version(b, n)
	case 0: // the control word of a pseudowire, and Ethernet (RFC 4448)
		if !w.deeper(inEthernet) {
			return Damaged
		}
		return w.skip(b, n, 4, w.ethernet)
	}
	return w.passOver(whatNothing, 0)
}

// pppoe is a session of RFC 2516.
func (w *walk) pppoe(b []byte, n int) Verdict {
	const header = 6
	if len(b) < header {
		return CutOff
	}
	if b[1] != 0 { // discovery
		return w.passOver(whatEtherType, 0x8863)
	}
	if !w.deeper(inPPPoE) {
		return Damaged
	}
	return w.ppp(b[header:], n-header)
}

// pppFramed is PPP with its address and control bytes (RFC 1662), or without; or Cisco's HDLC, which has others.
func (w *walk) pppFramed(b []byte, n int) Verdict {
	const header = 2
	if len(b) < header {
		return CutOff
	}
	const control = 3
	switch {
	case b[1] == control && (b[0] == 0xff || b[0] <= 1): // pppd has the direction in place of the address
		return w.skip(b, n, header, w.ppp)
	case b[0] == 0x0f && b[1] == 0, b[0] == 0x8f && b[1] == 0:
		return w.typed(b, n, 4)
	}
	return w.ppp(b, n)
}

// ppp begins with the protocol (IANA, PPP Numbers), of one byte if it is odd (RFC 1661, section 6.5).
func (w *walk) ppp(b []byte, n int) Verdict {
	if len(b) < 2 {
		return CutOff
	}
	protocol, header := int(b[0]), 1
	if protocol&1 == 0 {
		protocol, header = u16(b), 2
	}
	if !w.deeper(inPPP) {
		return Damaged
	}
	switch protocol {
	case 0x21, 0x57:
		return w.skip(b, n, header, w.version)
	case 0x281, 0x283:
		return w.skip(b, n, header, w.mpls)
	}
	return w.passOver(whatPPP, protocol)
}

// gre is RFC 2784 and 2890, and version 1 of PPTP (RFC 2637).
func (w *walk) gre(b []byte, n int) Verdict {
	const fixed = 4
	if len(b) < fixed {
		return CutOff
	}
	const checksum, routing, key, sequence, acknowledgement = 0x8000, 0x4000, 0x2000, 0x1000, 0x80
	flags, etherType, header := u16(b), u16(b[2:]), fixed
	if flags&(checksum|routing) != 0 {
		header += 4
	}
	for _, bit := range []int{key, sequence} {
		if flags&bit != 0 {
			header += 4
		}
	}
	if flags&7 == 1 && flags&acknowledgement != 0 {
		header += 4
	}
	if !w.deeper(inGRE) {
		return Damaged
	}
	switch {
	case etherType == typeERSPAN && flags&sequence != 0:
		header += 8
		etherType = typeBridging
	case etherType == typeERSPAN:
		etherType = typeBridging // type I has no header
	case etherType == typeERSPAN3:
		const short, optional = 12, 8
		if len(b) < header+short {
			return CutOff
		}
		if b[header+short-1]&1 != 0 {
			header += optional
		}
		header += short
		etherType = typeBridging
	}
	return w.skip(b, n, header, func(b []byte, n int) Verdict {
		if n == 0 {
			return w.passOver(whatNothing, 0) // a keep-alive
		}
		return w.etherType(etherType, b, n)
	})
}

// udp looks for a tunnel in a datagram, by its port and by what its header must be. What does not hold that is a datagram like others.
func (w *walk) udp(b []byte, n int) Verdict {
	const header = 8
	if len(b) < header {
		return CutOff
	}
	inner := *w
	for _, port := range []int{u16(b[2:]), u16(b)} {
		if open := tunnels[port]; open != nil {
			if v := open(&inner, b[header:], n-header); v != Damaged {
				*w = inner
				return v
			}
		}
	}
	return w.passOver(whatUDP, u16(b[2:]))
}

// tunnels by port (IANA, Service Names).
var tunnels map[int]func(w *walk, b []byte, n int) Verdict

func init() { // an initializer would refer to itself
	tunnels = map[int]func(w *walk, b []byte, n int) Verdict{
		1701: (*walk).l2tp, 2152: (*walk).gtp, 4754: (*walk).gre, 4789: (*walk).vxlan, 4790: (*walk).vxlanGPE, 6081: (*walk).geneve, 6635: (*walk).mpls,
		8472:  (*walk).vxlan, // Linux without another port
		37008: (*walk).tzsp,
	}
}

// vxlan is RFC 7348.
func (w *walk) vxlan(b []byte, n int) Verdict {
	const header, valid = 8, 0x08
	if len(b) < header {
		return CutOff
	}
	if b[0] != valid || b[7] != 0 || !w.deeper(inVXLAN) {
		return Damaged
	}
	return w.skip(b, n, header, w.ethernet)
}

// vxlanGPE says what it carries (draft-ietf-nvo3-vxlan-gpe).
func (w *walk) vxlanGPE(b []byte, n int) Verdict {
	const header, valid, hasNext = 8, 0x08, 0x04
	if len(b) < header {
		return CutOff
	}
	if b[0]&valid == 0 || !w.deeper(inVXLAN) {
		return Damaged
	}
	next := w.ethernet
	switch {
	case b[0]&hasNext != 0 && (b[3] == 1 || b[3] == 2):
		next = w.version
	case b[0]&hasNext != 0 && b[3] != 3:
		return w.passOver(whatNothing, 0)
	}
	return w.skip(b, n, header, next)
}

// geneve is RFC 8926.
func (w *walk) geneve(b []byte, n int) Verdict {
	const fixed = 8
	if len(b) < fixed {
		return CutOff
	}
	if b[0]>>6 != 0 || b[7] != 0 || !w.deeper(inGENEVE) {
		return Damaged
	}
	etherType := u16(b[2:])
	return w.skip(b, n, fixed+int(b[0]&0x3f)*4, func(b []byte, n int) Verdict { return w.etherType(etherType, b, n) })
}

// gtp is a user's packet in GTP-U (3GPP TS 29.281).
func (w *walk) gtp(b []byte, n int) Verdict {
	const fixed, optional, userData = 8, 4, 0xff
	if len(b) < fixed {
		return CutOff
	}
	if b[0]>>5 != 1 || b[0]&0x10 == 0 || !w.deeper(inGTP) {
		return Damaged
	}
	if b[1] != userData {
		return w.passOver(whatNothing, 0) // signalling
	}
	header := fixed
	if b[0]&7 != 0 {
		header += optional
	}
	const extension = 4
	if b[0]&extension != 0 {
		for next := header - 1; ; next = header - 1 {
			if next >= len(b) || header >= len(b) && b[next] != 0 {
				return CutOff
			}
			if b[next] == 0 {
				break
			}
			if b[header] == 0 {
				return Damaged
			}
			header += int(b[header]) * 4
		}
	}
	return w.skip(b, n, header, w.version)
}

// l2tp is data of version 2 (RFC 2661).
func (w *walk) l2tp(b []byte, n int) Verdict {
	const fixed = 6
	if len(b) < fixed {
		return CutOff
	}
	const control, length, sequence, offset = 0x8000, 0x4000, 0x0800, 0x0200
	flags, header := u16(b), fixed
	if flags&7 != 2 || !w.deeper(inL2TP) {
		return Damaged
	}
	if flags&control != 0 {
		return w.passOver(whatNothing, 0)
	}
	if flags&length != 0 {
		header += 2
	}
	if flags&sequence != 0 {
		header += 4
	}
	if flags&offset != 0 {
		if len(b) < header+2 {
			return CutOff
		}
		header += 2 + u16(b[header:])
	}
	return w.skip(b, n, header, w.pppFramed)
}

// tzsp is how wireless access points, and MikroTik, send what they capture.
func (w *walk) tzsp(b []byte, n int) Verdict {
	const fixed, version, padding, end, isEthernet, isWireless = 4, 1, 0, 1, 1, 18
	if len(b) < fixed {
		return CutOff
	}
	if b[0] != version || !w.deeper(inTZSP) {
		return Damaged
	}
	at := fixed
	for {
		if at >= len(b) {
			return CutOff
		}
		tag := b[at]
		at++
		if tag == end {
			break
		}
		if tag == padding {
			continue
		}
		if at >= len(b) {
			return CutOff
		}
		at += 1 + int(b[at])
	}
	switch u16(b[2:]) {
	case isEthernet:
		return w.skip(b, n, at, w.ethernet)
	case isWireless:
		return w.skip(b, n, at, w.wireless)
	}
	return w.passOver(whatNothing, 0)
}
