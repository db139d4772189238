package analysis

import (
	"encoding/binary"
	"slices"
)

// farewells are the lengths of the records in which TLS says that no more data comes (close_notify): plain, of TLS 1.3 (AEAD, CCM_8), and
// of TLS 1.2 (ChaCha20, GCM, CBC with its MACs).
var farewells = []int{7, 24, 16, 23, 31, 37, 53, 57, 69}

// saysFarewell reports whether a payload of this length, of which these bytes were captured, ends with a record of TLS that is close_notify
// (RFC 8446, section 6.1), or an alert that is encrypted. In TLS 1.3 that calls itself application data, of no other length.
func saysFarewell(payload []byte, length int) bool {
	const (
		head         = 5
		alert        = 21
		data         = 23
		closeNotify  = 0 // a plain alert has its level and this description
		plain, tls13 = 7, 24
		ccm8         = 16
	)
	if len(payload) < length {
		return false // its end was cut off
	}
	return slices.ContainsFunc(farewells, func(n int) bool {
		if length < n {
			return false
		}
		record := payload[length-n : length]
		if record[1] != 3 || record[2] > 4 || int(binary.BigEndian.Uint16(record[3:])) != n-head {
			return false
		}
		switch n {
		case plain:
			return record[0] == alert && record[6] == closeNotify
		case tls13, ccm8:
			return record[0] == data
		default:
			return record[0] == alert
		}
	})
}

// parted reports whether a reset of this side took nothing away: it came when this side had closed, or was about to, and the last that the other
// side had said was that it has no more to say. TLS asks for that answer, for which nobody waits (RFC 8446, section 6.1).
func (d *sideTracker) parted() bool {
	if !d.other.farewell {
		return false
	}
	switch d.Reset.Reason {
	case ResetDataAfterClose:
		return true
	case ResetAfterFIN, ResetAfterClose: // the word had come before, and the program was done, too
		return d.farewell
	default:
		return false
	}
}
