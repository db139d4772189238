// Package diagnose finds out why a server cannot be reached, or why it is slow: it resolves the name, connects, asks, and tries again with
// one thing changed where that tells two causes apart.
//
// What it sees is an errno, an ICMP error with its sender (IP_RECVERR), TCP_INFO of its own connections, and of this machine counters,
// sockets (sock_diag) and the route. [Run] gathers that as data, and judges it last: each [Finding] says what was tried, what was seen,
// what that means, how sure it is, and what to do next. It sends nothing but what a client sends, and changes nothing on the machine.
//
// That each cause is named, and no other, is shown by the suite scenarios/tools.
package diagnose

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/tcplab/tcplab/harness/invalid"
	"github.com/tcplab/tcplab/internal/probe"
)

// Options are what to diagnose. Only Host and Port have to be set.
type Options struct {
	Host   string `json:"host"` // a name, or an address
	Port   uint16 `json:"port"`
	Family int    `json:"family,omitempty"` // 4 or 6; 0: all addresses that the name has, up to four

	Timeout time.Duration `json:"timeout_ns"` // of each connection, its answer included; 0 is 10 s
	Slow    time.Duration `json:"slow_ns"`    // an answer is late that takes so much longer than the path; 0 is 1 s

	// What is asked for, as in [probe.Options]. Without any of them it goes by the port, see [Options.Usual].
	Send     []byte `json:"send,omitempty"`
	Wait     bool   `json:"wait,omitempty"`
	HTTP     string `json:"http,omitempty"`
	TLS      bool   `json:"tls,omitempty"`
	Insecure bool   `json:"insecure,omitempty"`
	Upload   int64  `json:"upload,omitempty"` // bytes

	ConnectOnly bool `json:"connect_only,omitempty"` // ask for nothing
}

// The limits of options, and how often things are tried.
const (
	mostTimeout   = 10 * time.Minute
	mostAddresses = 4
	connects      = 3
	asks          = 5
	delayedAsks   = 3
)

// Usual is the same with what is usual to ask for at the port, where nothing is asked for: a page of 80 and 8080, over TLS of 443 and 8443,
// and the greeting of servers that begin to speak (21, 22, 25, 110, 143, 587).
func (o Options) Usual() Options {
	o.Timeout = cmp.Or(o.Timeout, 10*time.Second)
	o.Slow = cmp.Or(o.Slow, time.Second)
	if o.ConnectOnly || o.asked() {
		return o
	}
	switch o.Port {
	case 443, 8443:
		o.TLS, o.HTTP = true, cmp.Or(o.HTTP, "/")
	case 80, 8080:
		o.HTTP = "/"
	case 21, 22, 25, 110, 143, 587:
		o.Wait = true
	default:
		o.ConnectOnly = !o.TLS
	}
	return o
}

// asked tells whether there is something that the server has to answer, or to take.
func (o Options) asked() bool { return len(o.Send) > 0 || o.Wait || o.HTTP != "" || o.Upload > 0 }

// probe is what one connection is to do.
func (o Options) probe(address netip.Addr) probe.Options {
	return probe.Options{Host: o.Host, Port: o.Port, Address: address, Timeout: o.Timeout,
		Send: o.Send, Wait: o.Wait, HTTP: o.HTTP, TLS: o.TLS, Insecure: o.Insecure, Upload: o.Upload}
}

// Validate returns what is wrong with o: an *invalid.FieldError for each field, joined.
func (o Options) Validate() error {
	var errs []error
	refuse := func(wrong bool, field string, value any, allowed string) {
		if wrong {
			errs = append(errs, &invalid.FieldError{Field: "Options." + field, Value: value, Allowed: allowed})
		}
	}
	refuse(o.Timeout < 0 || o.Timeout > mostTimeout, "Timeout", o.Timeout, "0 to "+mostTimeout.String())
	refuse(o.Slow < 0 || o.Slow > mostTimeout, "Slow", o.Slow, "0 to "+mostTimeout.String())
	refuse(o.ConnectOnly && (o.asked() || o.TLS), "ConnectOnly", o.ConnectOnly, "true without anything to ask for")
	asked := o.probe(netip.Addr{})
	asked.Family, asked.Timeout = o.Family, 0
	return errors.Join(append(errs, asked.Validate())...)
}

// Run diagnoses. When the context ends, what there is by then is judged. The error is one of the options.
func Run(ctx context.Context, o Options, progress func(doing string)) (*Report, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if progress == nil {
		progress = func(string) {}
	}
	r := &run{Report: Report{Options: o.Usual(), Addresses: []netip.Addr{}, Attempts: []Attempt{}}, progress: progress}
	began := time.Now()
	r.all(ctx)
	r.Took = time.Since(began)
	r.Ended = ctx.Err() != nil
	r.Findings = judge(&r.Report)
	r.Status = r.ExitStatus()
	return &r.Report, nil
}

// A run is a report that is being made.
type run struct {
	Report
	progress func(string)
}

func (r *run) all(ctx context.Context) {
	r.progress("resolving the name")
	r.resolve(ctx)
	r.Machine.before(r.Addresses, r.Options.Port)
	for _, address := range r.Addresses {
		r.connect(ctx, address)
	}
	if address, ok := r.reached(); ok && !r.Options.ConnectOnly {
		r.ask(ctx, address)
	}
	r.Machine.after(r.Options.Port)
}

func (r *run) resolve(ctx context.Context) {
	within, cancel := context.WithTimeout(ctx, r.Options.Timeout)
	defer cancel()
	network := "ip"
	if r.Options.Family != 0 {
		network = fmt.Sprint("ip", r.Options.Family)
	}
	began := time.Now()
	list, err := net.DefaultResolver.LookupNetIP(within, network, r.Options.Host)
	r.Name.Took = time.Since(began)
	if ctx.Err() != nil {
		return
	}
	var dns *net.DNSError
	if errors.As(err, &dns) {
		r.Name.NotFound, r.Name.Server = dns.IsNotFound, dns.Server
		// Package net calls what goes wrong with the socket temporary, and SERVFAIL (net/dnsclient_unix.go: tryOneName).
		answered := dns.Server != "" && !dns.IsTimeout && (!dns.IsTemporary || dns.Err == "server misbehaving")
		r.Name.Misbehaves = answered && !dns.IsNotFound
	}
	if err != nil {
		r.Name.Err = err.Error()
		return
	}
	for _, address := range list {
		if address = address.Unmap(); !slices.Contains(r.Addresses, address) && len(r.Addresses) < mostAddresses {
			r.Addresses = append(r.Addresses, address)
		}
	}
}

// connect tries an address a few times, and finds out how far its SYNs come if nobody answers them.
func (r *run) connect(ctx context.Context, address netip.Addr) {
	o := probe.Options{Host: r.Options.Host, Port: r.Options.Port, Address: address, Timeout: r.Options.Timeout}
	began := time.Now()
	for i := range connects {
		r.progress(fmt.Sprintf("connecting to %s, %d of %d", address, i+1, connects))
		a := attempt(ctx, purposeConnect, o, nil)
		if !r.take(ctx, a) || a.silent() || r.longSince(began) {
			break
		}
	}
	if a := r.of(purposeConnect, address); len(a) > 0 && a[len(a)-1].silent() && ctx.Err() == nil && !r.Machine.Routes[address].Local {
		r.progress("following the SYN")
		r.Hops = append(r.Hops, trace(ctx, netip.AddrPortFrom(address, r.Options.Port))...)
	}
}

// longSince tells whether what was tried more than once by now took so long that it is enough.
func (r *run) longSince(began time.Time) bool { return time.Since(began) > r.Options.Timeout }

// take keeps an attempt. One that was ended from outside shows something only if there was no answer until then for longer than the first
// RTO (RFC 6298, 2.1): then it counts as one that took too long.
func (r *run) take(ctx context.Context, a Attempt) bool {
	if ctx.Err() != nil && a.Err != "" {
		if a.Took < firstRTO || a.ICMP != nil || a.Errno != "" {
			return false
		}
		a.Err = timeOut
	}
	r.Attempts = append(r.Attempts, a)
	return true
}

const firstRTO = time.Second

// of are the attempts of a purpose, to an address if it is valid.
func (r *Report) of(purpose string, address netip.Addr) []Attempt {
	var list []Attempt
	for _, a := range r.Attempts {
		if a.Purpose == purpose && (!address.IsValid() || a.To == address) {
			list = append(list, a)
		}
	}
	return list
}

// reached is the first address that was connected to.
func (r *Report) reached() (netip.Addr, bool) {
	for _, a := range r.Attempts {
		if a.Err == "" {
			return a.To, true
		}
	}
	return netip.Addr{}, false
}

// ask asks a few times, and then with one thing changed, where that tells causes apart.
func (r *run) ask(ctx context.Context, address netip.Addr) {
	o := r.Options.probe(address)
	began := time.Now()
	for i := range asks {
		r.progress(fmt.Sprintf("asking, %d of %d", i+1, asks))
		a := attempt(ctx, purposeAsk, o, nil)
		if !r.take(ctx, a) || a.Err != "" || r.longSince(began) || r.Options.Upload > 0 && !a.Shrank { // one upload is enough, if it tells of loss
			break
		}
	}
	list := r.of(purposeAsk, address)
	if len(list) == 0 {
		return
	}
	last := list[len(list)-1]
	switch {
	case last.timedOut() && !last.closedAtEnd() && !last.flowing() || r.late():
		r.smallSegments(ctx, o, last)
	case last.Err == "" && r.Options.HTTP != "" && r.Options.Upload == 0:
		r.progress("asking with delayed ACKs")
		for range delayedAsks {
			if !r.take(ctx, attempt(ctx, purposeDelayedACK, o, delayACKs)) {
				break
			}
		}
	}
}
