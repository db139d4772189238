package middlebox

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/harness/invalid"
	"github.com/tcplab/tcplab/internal/golden"
)

var boxes = []Box{
	{NAT: true, Outside: "eth1", IdleTimeout: 20 * time.Second},
	{NAT: true, Outside: "eth1", IdleTimeout: 20 * time.Second, Unknown: Reset},
	{Firewall: true, Outside: "eth0", Unknown: Prohibited},
	{ClampMSS: 1200, StripOptions: []Option{SACKPermitted, Timestamps, 254}, ClearECN: true},
}

// What a box is made of. After a change that is meant: go test ./impair/middlebox -run Golden -update
func TestGolden(t *testing.T) {
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("states of conntrack are listed as a little-endian machine has them")
	}
	var listing strings.Builder
	for _, b := range boxes {
		described, err := json.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&listing, "%s\n", described)
		for _, c := range b.chains() {
			fmt.Fprintf(&listing, "chain %s, type %s, hook %d, priority %d\n", c.name, c.kind, c.hook, c.priority)
			for _, r := range c.rules {
				fmt.Fprintf(&listing, "  %s\n", r.text)
				for _, e := range r.expressions {
					fmt.Fprintf(&listing, "    %s", e.name)
					for _, a := range e.attributes {
						fmt.Fprintf(&listing, " %d=%s", a.Type, hex.EncodeToString(a.Data))
					}
					listing.WriteString("\n")
				}
			}
		}
		for _, m := range add(b.chains()) {
			fmt.Fprintf(&listing, "message %#x flags %#x: %x\n", uint16(m.Header.Type), uint16(m.Header.Flags), m.Data)
		}
		listing.WriteString("\n")
	}
	golden.Compare(t, "boxes.txt", []byte(listing.String()))
}

// What the kernel says of a rule has the form of what it was told: so what was sent can be parsed.
func TestRulesAreParsedAsTheyWereSent(t *testing.T) {
	for _, b := range boxes {
		for _, c := range b.chains() {
			for _, sent := range c.rules {
				m := message(unix.NFT_MSG_NEWRULE, 0, text(unix.NFTA_RULE_TABLE, table), text(unix.NFTA_RULE_CHAIN, c.name), sent.attribute())
				got, err := parseRule(m.Data)
				if err != nil || got == nil || got.chain != c.name {
					t.Fatalf("%s: %+v, %v", sent.text, got, err)
				}
				if err := sent.verify(c.name, got); err != nil {
					t.Error(err)
				}
			}
		}
	}
}

func TestVerifyFindsWhatDiffers(t *testing.T) {
	sent := Box{Firewall: true, Outside: "eth0"}.chains()[0].rules[0]
	for _, change := range []func(*parsedRule){
		func(r *parsedRule) { r.expressions = r.expressions[1:] },
		func(r *parsedRule) { r.expressions[0].name = "meta" },
		func(r *parsedRule) { r.expressions[1].attributes[2].Data = []byte{0, 0, 0, 2} },
		func(r *parsedRule) { r.expressions[1].attributes = nil },
	} {
		m := message(unix.NFT_MSG_NEWRULE, 0, text(unix.NFTA_RULE_TABLE, table), text(unix.NFTA_RULE_CHAIN, "forward"), sent.attribute())
		got, err := parseRule(m.Data)
		if err != nil {
			t.Fatal(err)
		}
		change(got)
		if _, is := errors.AsType[*MismatchError](sent.verify("forward", got)); !is {
			t.Errorf("no mismatch: %+v", got)
		}
	}
}

func TestOthersRulesAreNotOurs(t *testing.T) {
	for _, m := range []netlink.Message{
		message(unix.NFT_MSG_NEWRULE, 0, text(unix.NFTA_RULE_TABLE, "filter")),
		{Data: append([]byte{unix.NFPROTO_IPV4, 0, 0, 0}, attributes(text(unix.NFTA_RULE_TABLE, table))...)},
	} {
		if got, err := parseRule(m.Data); got != nil || err != nil {
			t.Errorf("%+v, %v", got, err)
		}
	}
}

// FuzzParseRule: whatever the kernel may say, it is a rule, not ours, or an error.
func FuzzParseRule(f *testing.F) {
	for _, b := range boxes {
		for _, m := range add(b.chains()) {
			f.Add(m.Data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := parseRule(data)
		if r != nil && err == nil {
			_, _, _ = r.count()
			_ = lacks(r.expressionsOf(), nil)
		}
	})
}

func (r *parsedRule) expressionsOf() []netlink.Attribute {
	var all []netlink.Attribute
	for _, e := range r.expressions {
		all = append(all, e.attributes...)
	}
	return all
}

func TestValidate(t *testing.T) {
	for _, b := range boxes {
		if err := b.Validate(); err != nil {
			t.Errorf("%+v: %v", b, err)
		}
	}
	for _, c := range []struct {
		box   Box
		field string
	}{
		{Box{NAT: true}, "Outside"},
		{Box{Firewall: true, Outside: "a name that is too long"}, "Outside"},
		{Box{ClearECN: true, Outside: "eth0"}, "Outside"},
		{Box{ClearECN: true, IdleTimeout: time.Second}, "IdleTimeout"},
		{Box{ClearECN: true, Unknown: Reset}, "Unknown"},
		{Box{NAT: true, Outside: "eth0", IdleTimeout: 1500 * time.Millisecond}, "IdleTimeout"},
		{Box{NAT: true, Outside: "eth0", IdleTimeout: -time.Second}, "IdleTimeout"},
		{Box{NAT: true, Outside: "eth0", Unknown: "shout"}, "Unknown"},
		{Box{StripOptions: []Option{1}}, "StripOptions[0]"},
		{Box{StripOptions: []Option{MSS, SACK, MSS}}, "StripOptions[2]"},
	} {
		field, is := errors.AsType[*invalid.FieldError](c.box.Validate())
		if !is || field.Field != c.field {
			t.Errorf("%+v: %v, want field %s refused", c.box, c.box.Validate(), c.field)
		}
	}
	if err := (Box{}).Validate(); err == nil {
		t.Error("a box that does nothing is valid")
	}
	if _, err := Apply(0, Box{}); err == nil {
		t.Error("a box that does nothing was made")
	}
}

func TestSysctls(t *testing.T) {
	if got := (Box{ClearECN: true}).sysctls(); got != nil {
		t.Errorf("%v, and it knows no connections", got)
	}
	want := map[string]string{
		"nf_conntrack_tcp_loose": "0", "nf_conntrack_tcp_timeout_established": "20",
		"nf_conntrack_tcp_timeout_unacknowledged": "20", "nf_conntrack_tcp_timeout_max_retrans": "20",
	}
	if got := boxes[0].sysctls(); !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
