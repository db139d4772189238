package middlebox

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/internal/thread"
)

// A Count is what one rule of a box has done.
type Count struct {
	Chain   string `json:"chain"`
	Rule    string `json:"rule"` // much as nft writes it
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"` // from the IP header on
}

// Installed is a box that works.
type Installed struct {
	namespace int
	chains    []chain
	before    map[string]string // the sysctls that were changed, as they had been
}

// Apply makes a box of the network namespace of a file descriptor; 0 is that of the calling thread. Then it reads back what the
// kernel has. If that is not what was sent, or anything else fails, nothing of the box stays.
//
// Errors: [*invalid.FieldError] (joined; nothing was done), [ErrNotSupported], [ErrNotPermitted], [ErrBusy], [*MismatchError].
func Apply(namespace int, b Box) (_ *Installed, err error) {
	if err := b.Validate(); err != nil {
		return nil, err
	}
	i := &Installed{namespace: namespace, chains: b.chains(), before: map[string]string{}}
	if err := i.transact(add(i.chains)); err != nil {
		return nil, fmt.Errorf("make a middlebox: %w", translate(err))
	}
	err = i.verify()
	if err == nil {
		err = i.setSysctls(b.sysctls()) // which are there since the rules need conntrack
	}
	if err != nil {
		return nil, fmt.Errorf("make a middlebox: %w", errors.Join(err, i.Remove()))
	}
	return i, nil
}

// sysctls are those of a box that knows connections, below net.netfilter.
func (b Box) sysctls() map[string]string {
	if !b.stateful() {
		return nil
	}
	settings := map[string]string{"nf_conntrack_tcp_loose": "0"}
	if b.IdleTimeout > 0 {
		seconds := strconv.Itoa(int(b.IdleTimeout / time.Second))
		// The last two take the place of the first where they are shorter (nf_conntrack_tcp_packet).
		for _, name := range []string{"established", "unacknowledged", "max_retrans"} {
			settings["nf_conntrack_tcp_timeout_"+name] = seconds
		}
	}
	return settings
}

// setSysctls sets and reads back.
func (i *Installed) setSysctls(settings map[string]string) error {
	return thread.In(i.namespace, func() error {
		for key, value := range settings {
			before, err := readSysctl(key)
			if err == nil {
				err = writeSysctl(key, value)
			}
			if err != nil {
				return err
			}
			i.before[key] = before
			got, err := readSysctl(key)
			if err != nil {
				return err
			}
			if got != value {
				return &MismatchError{What: "sysctl net.netfilter." + key, Sent: value, Got: got}
			}
		}
		return nil
	})
}

func sysctlPath(key string) string { return "/proc/sys/net/netfilter/" + key }

func readSysctl(key string) (string, error) {
	content, err := os.ReadFile(sysctlPath(key))
	if err != nil {
		return "", fmt.Errorf("read sysctl: %w", translate(err))
	}
	return strings.TrimSpace(string(content)), nil
}

func writeSysctl(key, value string) error {
	if err := os.WriteFile(sysctlPath(key), []byte(value), 0); err != nil {
		return fmt.Errorf("set sysctl: %w", translate(err))
	}
	return nil
}

// Remove ends what the box does, and sets the sysctls back. What it has changed in packets stays changed; the
// connections of a NAT go on without it, which nobody understands.
func (i *Installed) Remove() error {
	err := i.transact(remove())
	if err != nil {
		err = translate(err)
	}
	restored := thread.In(i.namespace, func() error {
		var errs []error
		for key, value := range i.before {
			errs = append(errs, writeSysctl(key, value))
		}
		return errors.Join(errs...)
	})
	if err := errors.Join(err, restored); err != nil {
		return fmt.Errorf("remove a middlebox: %w", err)
	}
	return nil
}

// Counts is what each rule has done so far, in their order. A packet counts in a rule that decides on it or changes it.
func (i *Installed) Counts() ([]Count, error) {
	got, err := i.read()
	if err != nil {
		return nil, fmt.Errorf("count what a middlebox did: %w", err)
	}
	var counts []Count
	for _, c := range i.chains {
		if len(got[c.name]) != len(c.rules) {
			return nil, fmt.Errorf("count what a middlebox did: chain %s has %d rules, and had %d", c.name, len(got[c.name]), len(c.rules))
		}
		for n, r := range c.rules {
			packets, bytes, err := got[c.name][n].count()
			if err != nil {
				return nil, fmt.Errorf("count what a middlebox did: chain %s, rule %q: %w", c.name, r.text, err)
			}
			counts = append(counts, Count{c.name, r.text, packets, bytes})
		}
	}
	return counts, nil
}

// Rules are the box's rules, much as nft writes them, for a record.
func (i *Installed) Rules() []string {
	var list []string
	for _, c := range i.chains {
		for _, r := range c.rules {
			list = append(list, c.name+": "+r.text)
		}
	}
	return list
}

// verify compares what the kernel has with what was sent.
func (i *Installed) verify() error {
	chains, err := i.dump(list(unix.NFT_MSG_GETCHAIN))
	if err != nil {
		return err
	}
	had := map[string][]netlink.Attribute{}
	for _, m := range chains {
		got, err := parseMessage(m.Data, unix.NFTA_CHAIN_TABLE)
		if err != nil {
			return fmt.Errorf("read back a chain: %w", err)
		}
		had[unix.ByteSliceToString(find(got, unix.NFTA_CHAIN_NAME))] = got
	}
	rules, err := i.read()
	if err != nil {
		return err
	}
	for _, c := range i.chains {
		if a := lacks(c.attributes(), had[c.name]); a != nil {
			return mismatch("chain "+c.name, *a, had[c.name])
		}
		if sent, got := len(c.rules), len(rules[c.name]); sent != got {
			return &MismatchError{"chain " + c.name, fmt.Sprintf("%d rules", sent), fmt.Sprint(got)}
		}
		for n, r := range c.rules {
			if err := r.verify(c.name, rules[c.name][n]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r rule) verify(chain string, got *parsedRule) error {
	what := fmt.Sprintf("rule %q of chain %s", r.text, chain)
	if len(r.expressions) != len(got.expressions) {
		return &MismatchError{what, fmt.Sprintf("%d expressions", len(r.expressions)), fmt.Sprint(len(got.expressions))}
	}
	for n, e := range r.expressions {
		has := got.expressions[n]
		if e.name != has.name {
			return &MismatchError{what, "expression " + e.name, has.name}
		}
		if a := lacks(e.attributes, has.attributes); a != nil {
			return mismatch(what+", expression "+e.name, *a, has.attributes)
		}
	}
	return nil
}

func mismatch(what string, sent netlink.Attribute, got []netlink.Attribute) error {
	return &MismatchError{what, fmt.Sprintf("attribute %d as %x", sent.Type, sent.Data), fmt.Sprintf("%x", find(got, sent.Type))}
}

// read is the rules that the kernel has in the box's table, by chain.
func (i *Installed) read() (map[string][]*parsedRule, error) {
	messages, err := i.dump(list(unix.NFT_MSG_GETRULE))
	if err != nil {
		return nil, err
	}
	rules := map[string][]*parsedRule{}
	for _, m := range messages {
		r, err := parseRule(m.Data)
		if err != nil {
			return nil, fmt.Errorf("read back a rule: %w", err)
		}
		if r != nil {
			rules[r.chain] = append(rules[r.chain], r)
		}
	}
	return rules, nil
}

func (i *Installed) dial() (*netlink.Conn, error) {
	return netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: i.namespace})
}

// transact sends a transaction, and waits for the kernel's acknowledgements: an error of any message undoes all.
func (i *Installed) transact(batch []netlink.Message) error {
	conn, err := i.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.SendMessages(batch); err != nil {
		return err
	}
	for range batch[1 : len(batch)-1] {
		if _, err := conn.Receive(); err != nil {
			return err
		}
	}
	return nil
}

// dump asks for a list.
func (i *Installed) dump(request netlink.Message) ([]netlink.Message, error) {
	conn, err := i.dial()
	if err == nil {
		defer conn.Close()
		var messages []netlink.Message
		if messages, err = conn.Execute(request); err == nil {
			return messages, nil
		}
	}
	return nil, fmt.Errorf("read back: %w", translate(err))
}
