package services

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/bounds"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/impair/middlebox"
	"github.com/tcplab/tcplab/impair/rules"
	"github.com/tcplab/tcplab/peers"
)

// sshServer starts sshd with a new key, and returns what ssh needs to log in.
func sshServer(lab *harness.Lab, net *harness.Network, settings ...string) (options []string) {
	GinkgoHelper()
	dir := folder(nil)
	for _, name := range []string{"host", "user"} {
		lab.Start(net.Server(), peers.Command{
			Path: harness.ProgramPath("ssh-keygen"), Args: []string{"-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, name)}, Ready: peers.Readiness{End: true},
		})
	}
	args := []string{"-D", "-e", "-f", "none", "-h", filepath.Join(dir, "host")}
	for _, setting := range append([]string{
		"KexAlgorithms=curve25519-sha256", // the post-quantum one takes seconds at a guest's 500 million instructions a second
		"ListenAddress=" + net.Server().IP().String(), "AuthorizedKeysFile=" + filepath.Join(dir, "user.pub"), "StrictModes=no", "UsePAM=no", "PidFile=none",
	}, settings...) {
		args = append(args, "-o", setting)
	}
	lab.Start(net.Server(), peers.Command{Path: harness.ProgramPath("sshd"), Args: args, Ready: peers.Readiness{Port: 22}})
	return []string{
		"-F", "none", "-i", filepath.Join(dir, "user"), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=" + os.DevNull, "-o", "BatchMode=yes",
	}
}

// ssh is a client that has to end with a status: the remote command's, or 255 if there was an error.
func ssh(net *harness.Network, status int, options []string, args ...string) peers.Command {
	GinkgoHelper()
	return peers.Command{
		Path: harness.ProgramPath("ssh"), ExitStatuses: []int{status},
		Args: append(append(options, "root@"+net.Server().IP().String()), args...),
	}
}

var sshPrograms = harness.Programs("sshd", "ssh", "ssh-keygen")

var _ = DescribeTable("ssh runs a command", sshPrograms, Label("quick", "netem", "rfc9293"),
	func(ctx SpecContext, lost int) {
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt)
		options := sshServer(lab, net)
		var waits oracle.Span
		if lost > 0 {
			// The client waits for it. The server sends nothing else until it is acknowledged (RFC 896), but a probe after a while, with what
			// comes next (RFC 8985, 7.3), whose SACK tells of the loss.
			net.ToClient.Rule(rules.Drop(rules.Data.Number(1)).Named("the server's version"))
			waits = net.Server().Oracle().TailLossProbe(pathRTT, 1).Plus(pathRTT)
		}
		wire := lab.Capture(net.Client(), net.Server())
		got := said(lab.Start(net.Client(), ssh(net, 7, options, "echo hello; exit 7")))
		Expect(got.Stdout).To(Equal("hello\n"))
		segments := wire.Stop().Segments(analysis.On("client/eth0"))
		took := segments[len(segments)-1].At - segments[0].At
		// TCP's handshake; RFC 4253: version and KEXINIT, key exchange, service; RFC 4252: authentication (none, publickey without and with a
		// signature); RFC 4254: session, command.
		const roundTrips = 9
		lab.Measure("took, in RTTs", int(took/rtt), bounds.AtLeast(roundTrips+int(waits.Earliest/rtt)), "RFC 4253, 4252 and 4254")
		lab.Measure("retransmits of the server", net.Server().Counters()["TcpRetransSegs"], bounds.Exactly(lost), "RFC 9293, 3.8.1")
		if lost > 0 {
			first := harness.First(wire.DataFrom(net.Server(), analysis.On("server/eth0")), "data from the server")
			again := harness.First(wire.DataFrom(net.Server(), analysis.On("server/eth0"), func(s analysis.Segment) bool {
				return s.Frame > first.Frame && s.Seq == first.Seq
			}), "retransmissions of it")
			lab.Measure("version sent again after", again.At-first.At, waits, "a round trip")
		}
	},
	Entry("in nine round trips or more", 0),
	Entry("in nine round trips and the time of a probe, or more, where the server's version is lost", 1),
)

var _ = Describe("ssh through an MTU black hole", sshPrograms, func() {
	const limit = 30 * time.Second
	login := func(lab *harness.Lab, net *harness.Network, status int) (peers.CommandResult, *harness.Capture) {
		GinkgoHelper()
		options := sshServer(lab, net)
		wire := lab.Capture(net.Client(), net.Server())
		options = append(options, "-o", fmt.Sprintf("ConnectTimeout=%d", limit/time.Second))
		return said(lab.Start(net.Client(), ssh(net, status, options, "true"))), wire.Stop()
	}
	both := func(lab *harness.Lab) (*harness.Network, []*harness.Rule) {
		GinkgoHelper()
		net, hole := blackHole(lab)
		return net, []*harness.Rule{hole, net.ToServer.Rule(rules.Drop(rules.Data.PayloadAtLeast(fits + 1)))}
	}

	It("hangs in the key exchange, whose messages are the first large ones, until the server gives up: ConnectTimeout is over by then", Label("long", "netem", "rfc2923"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		net, _ := both(lab)
		got, wire := login(lab, net, 255)
		Expect(got.Stderr).To(ContainSubstring("Connection closed by"))
		fin := harness.First(wire.From(net.Server(), analysis.FINs, analysis.On("server/eth0")), "FINs")
		accepted := wire.From(net.Client(), analysis.On("server/eth0"))[0]
		lab.Measure("closed by the server after", fin.At-accepted.At, oracle.Exactly(120*time.Second).LateBy(time.Second), "sshd_config(5): LoginGraceTime")
		lost := wire.DataFrom(net.Client(), analysis.On("client/eth0"), func(s analysis.Segment) bool { return s.Length > fits })
		lab.Measure("transmissions that were lost", len(lost), bounds.AtLeast(2), "RFC 6298, 5.5")
	})

	It("logs in if a router clamps the MSS", Label("quick", "netem", "linux"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		net, holes := both(lab)
		net.Routers[0].Middlebox(middlebox.Box{ClampMSS: fits + harness.TCPTimestamps})
		login(lab, net, 0)
		for _, hole := range holes {
			Expect(hole.Count().Acted).To(BeZero())
		}
	})
})

var _ = Describe("an ssh session on a path that goes dark", sshPrograms, func() {
	dark := func(lab *harness.Lab, status int, args ...string) (*harness.Network, *harness.Peer, *harness.Capture) {
		GinkgoHelper()
		net := lab.Path(rtt)
		options := sshServer(lab, net)
		wire := lab.Capture(net.Client())
		command := ssh(net, status, append(options, args...), "-v", "-N")
		command.Ready = peers.Readiness{Line: "Entering interactive session"}
		client := lab.Start(net.Client(), command)
		time.Sleep(harness.Settle)
		net.ToServer.Blackhole()
		net.ToClient.Blackhole()
		return net, client, wire
	}

	It("ends by ServerAliveInterval", Label("quick", "netem", "linux"), func(ctx SpecContext) {
		const interval, count = 5 * time.Second, 3
		lab := harness.NewLab(ctx)
		net, client, wire := dark(lab, 255, "-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3")
		Expect(said(client).Stderr).To(ContainSubstring("not responding."))
		ended := time.Now()
		heard := wire.Stop().Segments(analysis.To(net.Client().IP()))
		last := heard[len(heard)-1]
		lab.Measure("gave up after", ended.Sub(last.Time), oracle.Between((count+1)*interval-time.Second, (count+1)*interval+time.Second), "ssh_config(5): ServerAliveCountMax intervals after the first one; it counts whole seconds (monotime)")
	})

	It("wrong: hangs without ServerAliveInterval, for more than two hours", Label("long", "netem", "linux"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		net, client, wire := dark(lab, 255, "-o", "ServerAliveInterval=0") // Debian's BatchMode makes it 300 s
		said(client)
		heard := wire.Stop().Segments(analysis.To(net.Client().IP()))
		reset := harness.First(wire.From(net.Client(), analysis.RSTs), "resets")
		lab.Measure("gave up after", reset.At-heard[len(heard)-1].At, net.Client().Oracle().Keepalive(oracle.KeepaliveOptions{}).End)
	})
})
