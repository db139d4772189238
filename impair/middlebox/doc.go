// Package middlebox makes a router of a namespace that changes or refuses what it forwards: a NAT that forgets idle
// connections, silently or with a reset, a stateful firewall, a clamp of the MSS, a box that strips TCP options or clears ECN.
//
//	box := middlebox.Box{NAT: true, Outside: "eth1", IdleTimeout: 5 * time.Minute, Unknown: middlebox.Reset}
//	installed, err := middlebox.Apply(router.FD(), box)
//	if err != nil {
//		return err
//	}
//	defer installed.Remove()
//	...
//	counts, err := installed.Counts() // what each of its rules has done
//
// # What it needs
//
// Root (CAP_NET_ADMIN over the namespace), and Linux 5.18 or later with nf_tables, nf_conntrack, and the modules nft_ct, nft_masq,
// nft_chain_nat and nft_reject_inet, each where a box asks for it. Errors say what is missing: [ErrNotPermitted],
// [ErrNotSupported]. The guests of tcplab have them all, where their kernel does.
//
// # How it works
//
// A box is a table of nftables, called tcplab, in its namespace, which is written by netlink in one transaction and read back:
// each chain and each rule has to be there as it was sent. How long connections are remembered is set by the namespace's sysctls of
// conntrack, which are read back, too. The rules are encoded here, for
// github.com/google/nftables has no word for taking out a TCP option (nft: reset tcp option), and no way to add one.
//
// A NAT or firewall of this package knows connections by their SYN only: nf_conntrack_tcp_loose is 0, where Linux would pick up
// one that goes on. So it forgets what was idle for its time-out, as boxes do, and what comes then is unknown to it; so is what
// began before it was there.
//
//	go test ./impair/middlebox                                        # without root: what is sent for a box
//	tcplab run ./impair/middlebox --clock virtual -- -test.v          # in a guest: what a kernel makes of it
package middlebox
