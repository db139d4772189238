package oracle

import "fmt"

// ECN is how far a host goes with explicit congestion notification: the further includes the nearer.
type ECN int

// The variants.
const (
	NoECN       ECN = iota // not at all
	ClassicECN             // ECE until CWR (RFC 3168)
	AccurateECN            // counters (RFC 9768), since Linux 7.0
)

func (e ECN) String() string {
	switch e {
	case NoECN:
		return "none"
	case ClassicECN:
		return "classic"
	case AccurateECN:
		return "accurate"
	}
	return fmt.Sprintf("ECN %d", int(e))
}

// ecnAsked is what connect(2) asks for, by tcp_ecn: 1 and 4 classic, 3 accurate, else none
// (include/net/tcp_ecn.h: tcp_ecn_send_syn; before Linux 6.18 net/ipv4/tcp_output.c). A route or a congestion control can
// ask for more. 3 to 5 are allowed since Linux 7.0; the default has always been 2, also there.
func (k Kernel) ecnAsked() ECN {
	switch k.Sysctls.ECN {
	case 1, 4:
		return ClassicECN
	case 3:
		return AccurateECN
	}
	return NoECN
}

// ecnTaken is how much a listener takes of what it is asked for, by tcp_ecn: 0 none, 1 and 2 classic, 3 and more accurate
// (net/ipv4/tcp_input.c: tcp_ecn_create_request).
func (k Kernel) ecnTaken() ECN {
	switch n := k.Sysctls.ECN; {
	case n == 0:
		return NoECN
	case n < 3:
		return ClassicECN
	}
	return AccurateECN
}

// AgreedECN is the variant that client and server use: the furthest that both know.
func AgreedECN(client, server Kernel) ECN { return min(client.ecnAsked(), server.ecnTaken()) }

// The values of the field ACE, which AE, CWR and ECE make up, in a handshake (RFC 9768, 3.1.2, table 2; RFC 3168, 6.1.1).
const (
	aceSYNClassic  = 0b011
	aceSYNAccurate = 0b111
	aceEcho        = 0b001
)

// aceOfSYN is what the ACE of a SYN-ACK says of the SYN's codepoint (not ECT, ECT(1), ECT(0), CE), and that of the third
// segment of the SYN-ACK's (RFC 9768, table 2 and table 3; include/net/tcp_ecn.h: tcp_accecn_reflector_flags).
var aceOfSYN = [4]uint8{0b010, 0b011, 0b100, 0b110}

// SYNACE is the field ACE of a client's SYN that has been retransmitted that often. Retransmissions drop it, in case something on the path
// drops SYNs that have it: a SYN that asks for classic ECN at the first one (RFC 3168, 6.1.1.1), for accurate ECN at the
// second (RFC 9768, 3.1.4.1), where tcp_ecn_fallback is on (net/ipv4/tcp_output.c: __tcp_retransmit_skb).
func (k Kernel) SYNACE(retransmissions int) uint8 {
	asked := k.ecnAsked()
	if k.Sysctls.ECNFallback != 0 && retransmissions >= int(asked) {
		return 0
	}
	return [...]uint8{0, aceSYNClassic, aceSYNAccurate}[asked]
}

// SYNACKACE is the field ACE of the SYN-ACK that answers a SYN with that ACE and ECN codepoint (0 to 3), retransmitted
// that often: from the second retransmission on it is without accurate ECN (RFC 9768, 3.2.3.2.2; include/net/tcp_ecn.h: tcp_ecn_make_synack).
func (k Kernel) SYNACKACE(syn, codepoint uint8, retransmissions int) uint8 {
	switch taken := k.ecnTaken(); {
	case syn != 0 && syn != aceSYNClassic && taken == AccurateECN: // 3.1.3: any other value stands for 111
		if retransmissions > 1 {
			return 0
		}
		return aceOfSYN[codepoint&3]
	case syn&aceSYNClassic == aceSYNClassic && taken >= ClassicECN:
		return aceEcho
	}
	return 0
}

// ReflectedACE is the ACE of the third segment of an accurate handshake, where it has no data: it says with which
// codepoint the SYN-ACK came (RFC 9768, 3.2.2.1; net/ipv4/tcp_input.c: tcp_send_ack_reflect_ect).
func ReflectedACE(codepoint uint8) uint8 { return aceOfSYN[codepoint&3] }

// ACE is the counter, after the handshake, of a receiver that has got `ce` packets marked CE: modulo 8, from 5 on
// (RFC 9768, 3.2.2; include/net/tcp.h: TCP_ACCECN_CEP_INIT_OFFSET).
func ACE(ce int) uint8 { return uint8(5+ce) & 7 }

// The fields of the AccECN option before anything has come, in bytes of payload modulo 2^24 (RFC 9768, 3.2.1;
// include/net/tcp.h: TCP_ACCECN_E0B_INIT_OFFSET, TCP_ACCECN_CEB_INIT_OFFSET, TCP_ACCECN_E1B_INIT_OFFSET).
const (
	FirstE0B = 1 // ECT(0)
	FirstCEB = 0 // CE
	FirstE1B = 1 // ECT(1)
)

// AccECNOption is how many bytes the AccECN option takes in each segment of a connection with accurate ECN, if both sides
// send it (tcp_ecn_option 2 and more) and there are no SACK blocks: three fields, in whole words (net/ipv4/tcp_output.c:
// tcp_options_fit_accecn). A full segment has so much less payload.
func (k Kernel) AccECNOption() int {
	if k.Sysctls.ECNOption < 2 {
		return 0
	}
	return 12
}
