package middlebox

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/harness/invalid"
)

// Box is what a router does beside forwarding. What is not set it does not do; a Box that does nothing is refused.
type Box struct {
	// NAT gives what leaves through Outside the address of that device, and forwards nothing that comes from there but answers, as
	// Firewall.
	NAT bool `json:"nat,omitempty"`

	// Firewall forwards from Outside only what belongs to connections that were opened from the other side.
	Firewall bool `json:"firewall,omitempty"`

	// Outside is the name of the device where the world is, for NAT and Firewall.
	Outside string `json:"outside,omitempty"`

	// IdleTimeout is after how long without a packet, either way, NAT and Firewall forget an established connection: whole seconds,
	// from 1. 0 leaves it to the kernel: 5 days (nf_conntrack_tcp_timeout_established), and 5 minutes with data unacknowledged.
	IdleTimeout time.Duration `json:"idle_timeout_ns,omitempty"`

	// Unknown is what NAT and Firewall do with packets of a connection that they do not know, from either side.
	Unknown Answer `json:"unknown,omitempty"`

	// ClampMSS lowers a larger MSS option of SYNs and SYN-ACKs to this, in bytes, in both directions; 0 leaves it.
	ClampMSS uint16 `json:"clamp_mss,omitempty"`

	// StripOptions are taken out of all TCP headers: no-operations take their places.
	StripOptions []Option `json:"strip_options,omitempty"`

	// ClearECN clears the ECN field of IP, and the flags ECE, CWR and AE of TCP. Linux 7.3 does not let nf_tables write AE; there a
	// segment whose checksum is complete, which none of a local TCP is, arrives with a wrong one if it had ECE or CWR.
	ClearECN bool `json:"clear_ecn,omitempty"`
}

// An Answer is what a box says to who sends a packet that it does not let through.
type Answer string

// The answers.
const (
	Silence    Answer = ""           // nothing: the packet is dropped
	Reset      Answer = "reset"      // TCP is reset, other protocols as Prohibited
	Prohibited Answer = "prohibited" // ICMP says: communication administratively prohibited
)

// An Option is a kind of TCP option (IANA, TCP parameters).
type Option uint8

// The options that boxes are known to take out.
const (
	MSS           Option = 2  // maximum segment size (RFC 9293)
	WindowScale   Option = 3  // RFC 7323
	SACKPermitted Option = 4  // RFC 2018
	SACK          Option = 5  // RFC 2018
	Timestamps    Option = 8  // RFC 7323
	MPTCP         Option = 30 // RFC 8684
	FastOpen      Option = 34 // RFC 7413
)

var optionNames = map[Option]string{
	MSS: "maxseg", WindowScale: "window", SACKPermitted: "sack-perm", SACK: "sack", Timestamps: "timestamp", MPTCP: "mptcp", FastOpen: "fastopen",
}

// String is nft's name of the option, or its number.
func (o Option) String() string {
	if name, ok := optionNames[o]; ok {
		return name
	}
	return fmt.Sprint(uint8(o))
}

// stateful tells whether the box knows connections.
func (b Box) stateful() bool { return b.NAT || b.Firewall }

// Validate returns what is wrong with b: an [*invalid.FieldError] for each field, joined; nil if it is valid. It does not check
// that the device exists.
func (b Box) Validate() error {
	var errs []error
	refuse := func(field string, value any, allowed string) {
		errs = append(errs, &invalid.FieldError{Of: "middlebox", Field: field, Value: value, Allowed: allowed})
	}
	if b.Outside == "" && b.stateful() {
		refuse("Outside", nil, "NAT and Firewall need the device where the world is")
	}
	if !b.stateful() {
		for _, field := range []struct {
			name  string
			set   bool
			value any
		}{{"Outside", b.Outside != "", b.Outside}, {"IdleTimeout", b.IdleTimeout != 0, b.IdleTimeout}, {"Unknown", b.Unknown != "", b.Unknown}} {
			if field.set {
				refuse(field.name, field.value, "want it with NAT or Firewall only")
			}
		}
	}
	if len(b.Outside) >= unix.IFNAMSIZ || strings.ContainsRune(b.Outside, 0) {
		refuse("Outside", b.Outside, fmt.Sprintf("want a name of 1 to %d bytes", unix.IFNAMSIZ-1))
	}
	if b.IdleTimeout < 0 || b.IdleTimeout%time.Second != 0 || b.IdleTimeout > maxTimeout {
		refuse("IdleTimeout", b.IdleTimeout, fmt.Sprintf("want whole seconds, as conntrack counts, up to %v", maxTimeout))
	}
	if !slices.Contains([]Answer{Silence, Reset, Prohibited}, b.Unknown) {
		refuse("Unknown", b.Unknown, fmt.Sprintf("want Silence, %q or %q", Reset, Prohibited))
	}
	for i, option := range b.StripOptions {
		if option < 2 {
			refuse(fmt.Sprintf("StripOptions[%d]", i), uint8(option), "want 2 to 255: the end of the list, 0, and the no-operation, 1, are no options to take out")
		}
		if slices.Index(b.StripOptions, option) != i {
			refuse(fmt.Sprintf("StripOptions[%d]", i), option, "is there already")
		}
	}
	if len(errs) == 0 && !b.stateful() && b.ClampMSS == 0 && len(b.StripOptions) == 0 && !b.ClearECN {
		errs = append(errs, errors.New("a middlebox that does nothing: set one of NAT, Firewall, ClampMSS, StripOptions, ClearECN"))
	}
	return errors.Join(errs...)
}

// maxTimeout is far beyond what any box has, and what a counter of jiffies holds.
const maxTimeout = 24 * 24 * time.Hour
