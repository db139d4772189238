// Package probe measures how good connections to a server are: name, connect, TLS, first byte and transfer apart, over many samples, with
// what the kernel knows of each connection (TCP_INFO).
//
// A sample is one connection, or, warm, one request on a connection that is kept. Nothing else is sent than what a client sends. What the
// program and the machine add is measured as well, on the loopback interface, and is part of the [Report].
package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/tcplab/tcplab/harness/invalid"
)

// Options are what to measure. Only Host and Port have to be set.
type Options struct {
	Host string `json:"host"` // a name, or an address
	Port uint16 `json:"port"`

	Count       int           `json:"count"`            // samples; 0 is 20
	Concurrency int           `json:"concurrency"`      // at a time; 0 is 1
	Interval    time.Duration `json:"interval_ns"`      // from one sample's start to the next one's, of each that run at a time
	Timeout     time.Duration `json:"timeout_ns"`       // of each sample; 0 is 10 s
	Family      int           `json:"family,omitempty"` // 4 or 6; 0: what the name's first address is

	// What is asked for. Without any of them a sample ends when it is connected.
	Send []byte `json:"send,omitempty"` // it is sent, and the first byte that comes is waited for
	Wait bool   `json:"wait,omitempty"` // the first byte that comes is waited for, though nothing is sent: a server that greets
	HTTP string `json:"http,omitempty"` // the path of a GET request, such as "/", whose answer is read whole
	TLS  bool   `json:"tls,omitempty"`  // before all that; certificates are verified, unless Insecure
	Warm bool   `json:"warm,omitempty"` // requests follow each other on one connection (of each that run at a time)

	Insecure bool `json:"insecure,omitempty"`

	// Upload is sent as well, so many bytes of zero: with HTTP as the body of a POST, else after Send.
	Upload int64 `json:"upload,omitempty"`
	// Drain waits until the other side has acknowledged all of an Upload that nothing answers.
	Drain bool `json:"drain,omitempty"`

	// Address is connected to in place of what Host resolves to; Host is still what TLS and HTTP are told.
	Address netip.Addr `json:"address,omitzero"`

	// Watch, if set, is told of the socket of each new connection.
	Watch Watcher `json:"-"`
}

// A Watcher looks at sockets beside the samples. A file descriptor is valid during the call only.
type Watcher interface {
	Opened(fd int) error // before it connects; an error fails the sample
	Connected(fd int)
}

// The limits of options.
const (
	mostCount       = 1_000_000
	mostConcurrency = 10_000
	mostSend        = 1 << 20
	mostUpload      = 1 << 30
)

func (o Options) withDefaults() Options {
	if o.Count == 0 {
		o.Count = 20
	}
	if o.Concurrency == 0 {
		o.Concurrency = 1
	}
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
	return o
}

// Validate returns what is wrong with o: an *invalid.FieldError for each field, joined.
func (o Options) Validate() error {
	var errs []error
	refuse := func(wrong bool, field string, value any, allowed string) {
		if wrong {
			errs = append(errs, &invalid.FieldError{Field: "Options." + field, Value: value, Allowed: allowed})
		}
	}
	refuse(o.Host == "", "Host", o.Host, "a name or an address")
	refuse(o.Port == 0, "Port", o.Port, "1 to 65535")
	refuse(o.Count < 0 || o.Count > mostCount, "Count", o.Count, fmt.Sprintf("0 to %d", mostCount))
	refuse(o.Concurrency < 0 || o.Concurrency > mostConcurrency, "Concurrency", o.Concurrency, fmt.Sprintf("0 to %d", mostConcurrency))
	refuse(o.Interval < 0, "Interval", o.Interval, "0 and more")
	refuse(o.Timeout < 0, "Timeout", o.Timeout, "0 and more")
	refuse(o.Family != 0 && o.Family != 4 && o.Family != 6, "Family", o.Family, "0, 4 or 6")
	refuse(len(o.Send) > mostSend, "Send", len(o.Send), fmt.Sprintf("up to %d bytes", mostSend))
	refuse(o.Upload < 0 || o.Upload > mostUpload, "Upload", o.Upload, fmt.Sprintf("0 to %d bytes", mostUpload))
	refuse(o.HTTP != "" && (len(o.Send) > 0 || o.Wait), "HTTP", o.HTTP, "a path, without Send and Wait")
	refuse(o.HTTP != "" && !validPath(o.HTTP), "HTTP", o.HTTP, "a path that begins with a slash")
	refuse(o.Warm && o.HTTP == "", "Warm", o.Warm, "true with HTTP only: nothing else says where an answer ends")
	return errors.Join(errs...)
}

// Run takes samples until it has all, or the context ends: then what there is, is the report. The error is one of the options.
func Run(ctx context.Context, o Options, progress func(done, failed int)) (*Report, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	var (
		lock    sync.Mutex
		samples []Sample
		failed  int
		all     sync.WaitGroup
	)
	next := 0
	take := func() bool { // the next one
		lock.Lock()
		defer lock.Unlock()
		if next == o.Count || ctx.Err() != nil {
			return false
		}
		next++
		return true
	}
	began := time.Now()
	for range min(o.Concurrency, o.Count) {
		all.Go(func() {
			p := prober{Options: o, began: began}
			defer p.close()
			for take() {
				due := time.Now().Add(o.Interval)
				sample := p.sample(ctx)
				if ctx.Err() != nil && sample.Err != "" {
					return // it did not fail: it was ended
				}
				lock.Lock()
				samples = append(samples, sample)
				if sample.Err != "" {
					failed++
				}
				if progress != nil {
					progress(len(samples), failed)
				}
				lock.Unlock()
				select {
				case <-time.After(time.Until(due)):
				case <-ctx.Done():
				}
			}
		})
	}
	all.Wait()
	report := summarise(o, samples)
	report.Took = time.Since(began)
	report.Ended = ctx.Err() != nil
	report.Overhead = overhead(context.WithoutCancel(ctx))
	return report, nil
}

// Take takes one sample, on a connection of its own. Whatever goes wrong is in it.
func Take(ctx context.Context, o Options) Sample {
	p := prober{Options: o.withDefaults(), began: time.Now()}
	defer p.close()
	return p.sample(ctx)
}

// overhead is what connecting costs where the path costs next to nothing: to a listener of this process, on the loopback interface.
func overhead(ctx context.Context) Spread {
	const count = 50
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return Spread{}
	}
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	})
	address := netip.MustParseAddrPort(listener.Addr().String())
	o := Options{Host: address.Addr().String(), Port: address.Port(), Timeout: time.Second}
	var took []time.Duration
	for range count {
		p := prober{Options: o, began: time.Now()}
		if s := p.sample(ctx); s.Err == "" {
			took = append(took, s.Connect)
		}
		p.close()
	}
	listener.Close()
	accepting.Wait()
	return spreadOf(took)
}
