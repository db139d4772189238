package tools

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/harness"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/internal/diagnose"
	"github.com/tcplab/tcplab/internal/subprocess"
	"github.com/tcplab/tcplab/peers"
)

var _ = Describe("diagnose: the name:", func() {
	const (
		missing = "no-such-name.example" // RFC 6761, 6.5

		// What resolv.conf(5) says without options, and package net does: each question twice, and 5 s for each.
		tries, patience = 2, 5 * time.Second
		types           = 2 // of addresses: A and AAAA, at the same time
	)

	It("this machine's list does not have it, and no resolver is asked", Label("quick", "netem", "linux"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		path := lab.Path(rtt)
		report := resolved(ctx, path, byName{Options: diagnose.Options{Host: missing}, Sources: "files"})
		f := expectOnly(report, diagnose.NoSuchName)
		Expect(f.Means).To(ContainSubstring("No DNS server was asked"))
		Expect(report.Attempts).To(BeEmpty())
		Expect(path.Client().Counters()).To(HaveCounters{harness.ByFamily("UdpOutDatagrams", "Udp6OutDatagrams"): 0})
	})

	DescribeTable("the resolver answers", Label("quick", "netem", "rfc1035"), func(ctx SpecContext, rcode dnsmessage.RCode, host string, family int, kind diagnose.Kind, means string) {
		lab := harness.NewLab(ctx)
		path := lab.Path(rtt)
		dns := lab.Start(path.Server(), nameServe.With(nameServer{Address: path.Server().Addr(53).String(), RCode: rcode}))
		report := resolved(ctx, path, byName{Options: diagnose.Options{Host: host, Family: family}, Sources: "files dns"})
		f := expectOnly(report, kind)
		Expect(f.Means).To(ContainSubstring(means))
		Expect(report.Attempts).To(BeEmpty())

		asked, err := nameServe.Value(dns.Stop())
		Expect(err).NotTo(HaveOccurred())
		Expect(asked).To(And(Not(BeEmpty()), HaveEach(HavePrefix(host+". "))))
		Expect(path.Server().Counters()).To(HaveGrown(harness.ByFamily("UdpInDatagrams", "Udp6InDatagrams"), len(asked)))
	},
		Entry("that there is no such name (NXDOMAIN)", dnsmessage.RCodeNameError, missing, 0, diagnose.NoSuchName, "There is no such name"),
		Entry("that the name has no address of the family (no data)", dnsmessage.RCodeSuccess, "only.example", 6, diagnose.NoSuchName, "no address of that family"),
		Entry("that it cannot say (SERVFAIL)", dnsmessage.RCodeServerFailure, missing, 0, diagnose.NoResolver, "that it cannot say"),
	)

	DescribeTable("the resolver does not answer", Label("quick", "netem", "linux"), func(ctx SpecContext, listens bool, took oracle.Span) {
		lab := harness.NewLab(ctx)
		path := lab.Path(rtt)
		if listens {
			lab.Start(path.Server(), nameServe.With(nameServer{Address: path.Server().Addr(53).String(), Silent: true}))
		}
		// Longer than the resolver tries, so that it is the resolver who gives up.
		report := resolved(ctx, path, byName{Options: diagnose.Options{Host: missing, Timeout: 20 * time.Second}, Sources: "files dns"})
		f := expectOnly(report, diagnose.NoResolver)
		Expect(f.Means).To(HavePrefix("No resolver has answered"))
		Expect(report.Attempts).To(BeEmpty())
		lab.Measure("given up after", report.Name.Took, took)
		Expect(path.Client().Counters()).To(HaveGrown(harness.ByFamily("UdpOutDatagrams", "Udp6OutDatagrams"), types*tries))
		unwanted := types * tries
		if listens {
			unwanted = 0
		}
		Expect(path.Server().Counters()).To(HaveCounters{harness.ByFamily("UdpNoPorts", "Udp6NoPorts"): unwanted})
	},
		Entry("at all", true, oracle.PollTimeout(patience).Plus(oracle.PollTimeout(patience)).LateBy(programDelay).From("resolv.conf(5): attempts 2, timeout 5")),
		Entry("as nobody listens on its port", false, oracle.Between(tries*rtt, tries*(rtt+programDelay)).From("resolv.conf(5): attempts 2, each one RTT")),
	)

	It("the name has an address, and nothing is found", Label("quick", "netem", "rfc1035"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		path := lab.Path(rtt)
		web(lab, path.Server(), webServer{Bytes: 1000})
		server := nameServer{Address: path.Server().Addr(53).String(), Has: path.Server().IP()}
		lab.Start(path.Server(), nameServe.With(server))
		report := resolved(ctx, path, byName{Options: diagnose.Options{Host: "www.example", Port: port}, Sources: "files dns"})
		Expect(report.Findings).To(BeEmpty(), reportText{report}.String())
		Expect(report.Status).To(BeZero())
		Expect(report.Addresses).To(Equal([]netip.Addr{path.Server().IP()}))
		lab.Measure("resolved in", report.Name.Took, oracle.Between(rtt, rtt+programDelay).From("1 RTT"))
	})
})

// byName is diagnose with names that are resolved in another way than this machine resolves its own.
type byName struct {
	Options diagnose.Options
	Sources string // the line "hosts" of nsswitch.conf(5)
}

// resolved runs diagnose in the client, with a resolver on the server, and returns what it says.
func resolved(ctx SpecContext, path *harness.Network, c byName) *diagnose.Report {
	GinkgoHelper()
	c.Options.Port = port
	peer, err := peers.Start(ctx, ownEtc{path.Client(), map[string]string{
		"resolv.conf":   fmt.Sprintf("nameserver %s\n", path.Server().IP()),
		"nsswitch.conf": fmt.Sprintf("hosts: %s\n", c.Sources),
		"hosts":         "127.0.0.1 localhost\n",
	}}, "diagnose", diagnosing.With(c.Options))
	Expect(err).NotTo(HaveOccurred())
	result, err := peer.Wait(ctx)
	Expect(err).NotTo(HaveOccurred())
	report, err := diagnosing.Value(result)
	Expect(err).NotTo(HaveOccurred())
	AddReportEntry("diagnosis", reportText{report}, ReportEntryVisibilityFailureOrVerbose)
	return report
}

// ownEtc starts processes in a host that see these files in /etc, and nothing else: in a mount namespace of their own, as ip-netns(8) does
// with /etc/netns/NAME. Nobody else sees them.
type ownEtc struct {
	host  *harness.Host
	files map[string]string
}

// Start is of peers.Starter.
func (e ownEtc) Start(cmd *exec.Cmd) (wait func() error, err error) {
	subprocess.Bind(cmd)
	started, ended := make(chan error, 1), make(chan struct{})
	go func() {
		err := e.host.Do(func() error { // on a thread that ends with this, and with it the mount namespace
			if err := e.mount(); err != nil {
				return err
			}
			if err := cmd.Start(); err != nil {
				return err
			}
			started <- nil
			subprocess.AwaitEnd(cmd.Process.Pid)
			close(ended)
			return nil
		})
		if err != nil {
			started <- err
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return sync.OnceValue(func() error { <-ended; return cmd.Wait() }), nil
}

// mount gives the calling thread such an /etc.
func (e ownEtc) mount() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return os.NewSyscallError("mount / private", err)
	}
	if err := unix.Mount("tcplab", "/etc", "tmpfs", 0, ""); err != nil {
		return os.NewSyscallError("mount a tmpfs on /etc", err)
	}
	for name, content := range e.files {
		if err := os.WriteFile("/etc/"+name, []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// A nameServer answers each question in the same way.
type nameServer struct {
	Address string
	Silent  bool             // it answers none
	RCode   dnsmessage.RCode // RFC 1035, 4.1.1
	Has     netip.Addr       // of all names; none is an answer without data
}

// nameServe serves until it is stopped, and returns what it was asked, as "NAME TYPE".
var nameServe = peers.Func("name-server", func(t *peers.Task, c nameServer) ([]string, error) {
	conn, err := net.ListenPacket("udp", c.Address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := t.Ready(conn.LocalAddr()); err != nil {
		return nil, err
	}
	go func() { <-t.Context().Done(); conn.Close() }()
	var asked []string
	packet := make([]byte, 1500)
	for {
		n, from, err := conn.ReadFrom(packet)
		if err != nil {
			return asked, nil // it was stopped
		}
		var query dnsmessage.Message
		if err := query.Unpack(packet[:n]); err != nil || len(query.Questions) != 1 {
			return asked, fmt.Errorf("a query of %d bytes with %d questions: %w", n, len(query.Questions), err)
		}
		question := query.Questions[0]
		asked = append(asked, fmt.Sprintf("%s %s", question.Name, question.Type))
		if c.Silent {
			continue
		}
		answer, err := c.answer(query.ID, question).Pack()
		if err != nil {
			return asked, err
		}
		if _, err := conn.WriteTo(answer, from); err != nil {
			return asked, err
		}
	}
})

func (c nameServer) answer(id uint16, question dnsmessage.Question) *dnsmessage.Message {
	m := &dnsmessage.Message{
		Header:    dnsmessage.Header{ID: id, Response: true, Authoritative: true, RCode: c.RCode},
		Questions: []dnsmessage.Question{question},
	}
	var body dnsmessage.ResourceBody
	switch {
	case c.Has.Is4() && question.Type == dnsmessage.TypeA:
		body = &dnsmessage.AResource{A: c.Has.As4()}
	case c.Has.Is6() && question.Type == dnsmessage.TypeAAAA:
		body = &dnsmessage.AAAAResource{AAAA: c.Has.As16()}
	default:
		return m
	}
	m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: question.Name, Class: question.Class, TTL: 60}, Body: body}}
	return m
}
