package middlebox

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// table is the name of a box's table, of family inet: IPv4 and IPv6.
const table = "tcplab"

// typeMask is without the flags of an attribute's type (include/uapi/linux/netlink.h, NLA_TYPE_MASK).
const typeMask = 1<<14 - 1

// attributes encodes attributes, whose types and lengths are this package's own.
func attributes(list ...netlink.Attribute) []byte {
	encoded, err := netlink.MarshalAttributes(list)
	if err != nil {
		panic(fmt.Sprintf("middlebox: attributes that are too long: %v", err))
	}
	return encoded
}

func text(kind uint16, value string) netlink.Attribute {
	return netlink.Attribute{Type: kind, Data: append([]byte(value), 0)}
}

// message is one of nf_tables: a header of netfilter (struct nfgenmsg), and attributes.
func message(kind uint16, flags netlink.HeaderFlags, list ...netlink.Attribute) netlink.Message {
	return netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | kind), Flags: netlink.Request | flags},
		Data:   append([]byte{unix.NFPROTO_INET, unix.NFNETLINK_V0, 0, 0}, attributes(list...)...),
	}
}

// transaction puts messages between those that begin and end a batch, and has each acknowledged.
func transaction(messages ...netlink.Message) []netlink.Message {
	edge := func(kind netlink.HeaderType) netlink.Message {
		return netlink.Message{
			Header: netlink.Header{Type: kind, Flags: netlink.Request},
			Data:   binary.BigEndian.AppendUint16([]byte{unix.AF_UNSPEC, unix.NFNETLINK_V0}, unix.NFNL_SUBSYS_NFTABLES),
		}
	}
	for i := range messages {
		messages[i].Header.Flags |= netlink.Acknowledge
	}
	return slices.Concat([]netlink.Message{edge(unix.NFNL_MSG_BATCH_BEGIN)}, messages, []netlink.Message{edge(unix.NFNL_MSG_BATCH_END)})
}

// add makes the table with these chains and rules.
func add(chains []chain) []netlink.Message {
	messages := []netlink.Message{message(unix.NFT_MSG_NEWTABLE, netlink.Create|netlink.Excl, text(unix.NFTA_TABLE_NAME, table))}
	for _, c := range chains {
		messages = append(messages, message(unix.NFT_MSG_NEWCHAIN, netlink.Create|netlink.Excl, c.attributes()...))
		for _, r := range c.rules {
			messages = append(messages, message(unix.NFT_MSG_NEWRULE, netlink.Create|netlink.Append,
				text(unix.NFTA_RULE_TABLE, table), text(unix.NFTA_RULE_CHAIN, c.name), r.attribute()))
		}
	}
	return transaction(messages...)
}

func (c chain) attributes() []netlink.Attribute {
	const accept = 1
	hook := attributes(number(unix.NFTA_HOOK_HOOKNUM, c.hook), number(unix.NFTA_HOOK_PRIORITY, uint32(c.priority)))
	return []netlink.Attribute{
		text(unix.NFTA_CHAIN_TABLE, table), text(unix.NFTA_CHAIN_NAME, c.name), text(unix.NFTA_CHAIN_TYPE, c.kind),
		{Type: unix.NFTA_CHAIN_HOOK, Data: hook}, number(unix.NFTA_CHAIN_POLICY, accept),
	}
}

func (r rule) attribute() netlink.Attribute {
	var list []netlink.Attribute
	for _, e := range r.expressions {
		list = append(list, netlink.Attribute{Type: unix.NFTA_LIST_ELEM, Data: attributes(
			text(unix.NFTA_EXPR_NAME, e.name), netlink.Attribute{Type: unix.NFTA_EXPR_DATA, Data: attributes(e.attributes...)})})
	}
	return netlink.Attribute{Type: unix.NFTA_RULE_EXPRESSIONS, Data: attributes(list...)}
}

// remove deletes the table with all that is in it.
func remove() []netlink.Message {
	return transaction(message(unix.NFT_MSG_DELTABLE, 0, text(unix.NFTA_TABLE_NAME, table)))
}

// list asks for all of a kind that the namespace has: the kernel need not look at a filter.
func list(kind uint16) netlink.Message { return message(kind, netlink.Dump) }

// decode is the attributes of what the kernel says, without the flags of their types.
func decode(data []byte) ([]netlink.Attribute, error) {
	list, err := netlink.UnmarshalAttributes(data)
	if err != nil {
		return nil, err
	}
	for i := range list {
		list[i].Type &= typeMask
	}
	return list, nil
}

// find is the value of an attribute, nil if it is not there.
func find(list []netlink.Attribute, kind uint16) []byte {
	for _, a := range list {
		if a.Type == kind {
			return a.Data
		}
	}
	return nil
}

// parseMessage takes the header of netfilter from a message, and decodes the rest. It is nil for what is not of the box's table,
// whose name has this type.
func parseMessage(data []byte, tableKind uint16) ([]netlink.Attribute, error) {
	const header = 4
	if len(data) < header {
		return nil, fmt.Errorf("a message of %d bytes", len(data))
	}
	list, err := decode(data[header:])
	if err != nil || data[0] != unix.NFPROTO_INET || unix.ByteSliceToString(find(list, tableKind)) != table {
		return nil, err
	}
	return list, nil
}

// parsedRule is a rule as the kernel has it.
type parsedRule struct {
	chain       string
	expressions []expression
}

// parseRule decodes a rule of the box's table; nil if it is of another.
func parseRule(data []byte) (*parsedRule, error) {
	list, err := parseMessage(data, unix.NFTA_RULE_TABLE)
	if err != nil || list == nil {
		return nil, err
	}
	r := &parsedRule{chain: unix.ByteSliceToString(find(list, unix.NFTA_RULE_CHAIN))}
	elements, err := decode(find(list, unix.NFTA_RULE_EXPRESSIONS))
	if err != nil {
		return nil, err
	}
	for _, element := range elements {
		parts, err := decode(element.Data)
		if err != nil {
			return nil, err
		}
		e := expression{name: unix.ByteSliceToString(find(parts, unix.NFTA_EXPR_NAME))}
		if e.attributes, err = decode(find(parts, unix.NFTA_EXPR_DATA)); err != nil {
			return nil, err
		}
		r.expressions = append(r.expressions, e)
	}
	return r, nil
}

// count is what the rule's counter has counted.
func (r *parsedRule) count() (packets, bytes uint64, err error) {
	for _, e := range r.expressions {
		if e.name != "counter" {
			continue
		}
		of := func(kind uint16) uint64 {
			value := find(e.attributes, kind)
			if len(value) != 8 {
				err = fmt.Errorf("a counter of %d bytes", len(value))
				return 0
			}
			return binary.BigEndian.Uint64(value)
		}
		return of(unix.NFTA_COUNTER_PACKETS), of(unix.NFTA_COUNTER_BYTES), err
	}
	return 0, 0, fmt.Errorf("a rule without a counter")
}

// lacks is the first attribute that was sent and is not there with the same value; nil if there is none. What the kernel
// says beside is its own.
func lacks(sent, got []netlink.Attribute) *netlink.Attribute {
	for _, a := range sent {
		if !bytes.Equal(a.Data, find(got, a.Type)) {
			return &a
		}
	}
	return nil
}
