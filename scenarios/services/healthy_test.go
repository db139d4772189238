package services

import (
	"bytes"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/bounds"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/peers"
)

// healthy runs programs on a good path, captured at both hosts and on both sides of the router, and asserts that analyze finds nothing
// in so many conversations.
func healthy(ctx SpecContext, conversations int, programs func(*harness.Lab, *harness.Network)) {
	GinkgoHelper()
	lab := harness.NewLab(ctx)
	net := lab.Path(rtt)
	wire := lab.Capture(net.Client(), net.Routers[0], net.Server())
	programs(lab, net)
	report := wire.Stop().Report()
	clients := map[netip.AddrPort]bool{}
	for i := range report.Conversations {
		c := report.Conversations[i]
		clients[c.Client.Addr] = true
		if len(c.Findings) > 0 {
			var text bytes.Buffer
			Expect((&analysis.Report{Conversations: []analysis.Conversation{c}}).WriteText(&text, true)).To(Succeed())
			Fail(fmt.Sprintf("%s on %s: %s\n%s", c.Findings[0].Kind, c.Interface, c.Findings[0].Seen, &text))
		}
	}
	lab.Measure("conversations", len(clients), bounds.Exactly(conversations), "as many as the programs have made")
	for _, host := range net.Hosts() {
		Expect(host.Counters()).To(HaveCounters{"TcpRetransSegs": 0})
	}
}

// again runs a program on the client some times, one after the other.
func again(lab *harness.Lab, net *harness.Network, times int, program peers.Command) {
	GinkgoHelper()
	for range times {
		said(lab.Start(net.Client(), program))
	}
}

var _ = Describe("nothing is found in healthy conversations", Label("quick", "netem", "rfc9293"), func() {
	It("of nginx and curl: HTTP/1.1, and HTTP/2 over TLS", harness.Programs("nginx", "curl"), func(ctx SpecContext) {
		healthy(ctx, 4+1+3+1, func(lab *harness.Lab, net *harness.Network) {
			plain, secret := net.Server().Addr(80).String(), net.Server().Addr(443).String()
			files := certificate()
			files["www/small.txt"], files["www/empty.txt"], files["www/large.bin"] = small, "", strings.Repeat("0123456789", 20_000)
			lab.Start(net.Server(), nginx(443, files, "listen "+plain, "listen "+secret+" ssl http2",
				"ssl_certificate certificate.pem", "ssl_certificate_key key.pem"))
			web, tls := "http://"+plain, "https://"+secret
			again(lab, net, 2, curl(0, web+"/small.txt"))
			again(lab, net, 1, curl(0, web+"/empty.txt"))
			again(lab, net, 1, curl(0, web+"/large.bin"))
			again(lab, net, 1, curl(0, web+"/small.txt", "-o", "/dev/null", web+"/large.bin", "-o", "/dev/null", web+"/small.txt")) // one connection
			again(lab, net, 2, curl(0, "-k", "--http2", tls+"/small.txt"))
			again(lab, net, 1, curl(0, "-k", "--http1.1", tls+"/small.txt"))
			again(lab, net, 1, curl(0, "-k", "--http2", "--parallel", tls+"/small.txt", "-o", "/dev/null", tls+"/large.bin"))
		})
	})

	It("of Redis: requests, a pipeline, and many clients", harness.Programs("redis-server", "redis-cli", "redis-benchmark"), func(ctx SpecContext) {
		const clients = 8
		healthy(ctx, 3+clients+1+1+1, func(lab *harness.Lab, net *harness.Network) {
			lab.Start(net.Server(), redis(net))
			again(lab, net, 3, redisCLI(net, 0, "-r", "3", "PING"))
			benchmark := func(args ...string) {
				again(lab, net, 1, peers.Command{Path: harness.ProgramPath("redis-benchmark"), Args: append([]string{
					"-h", net.Server().IP().String(), "-p", fmt.Sprint(redisPort), "-t", "ping_mbulk", "--csv",
				}, args...)}) // each has one connection more, for the server's configuration
			}
			benchmark("-c", fmt.Sprint(clients), "-n", "64")
			benchmark("-c", "1", "-n", "64", "-P", "16")
		})
	})

	It("of PostgreSQL: queries, and transactions of pgbench", harness.Programs("initdb", "postgres", "psql", "pgbench"), func(ctx SpecContext) {
		const clients = 4
		healthy(ctx, 4+1+clients, func(lab *harness.Lab, net *harness.Network) {
			postgreSQL(lab, net)
			again(lab, net, 4, psql(0, connection(net, "sslmode=disable"), "SELECT 1;\nSELECT generate_series(1, 2000);\n"))
			script := filepath.Join(folder(map[string]string{"script.sql": "SELECT 1;\nSELECT 2;\n"}), "script.sql")
			again(lab, net, 1, peers.Command{Path: harness.ProgramPath("pgbench"), Args: []string{
				"-n", "-c", fmt.Sprint(clients), "-t", "5", "-f", script, connection(net, "sslmode=disable"),
			}}) // it has one connection more, for itself
		})
	})

	It("of ssh: commands", sshPrograms, func(ctx SpecContext) {
		healthy(ctx, 3, func(lab *harness.Lab, net *harness.Network) {
			options := sshServer(lab, net)
			again(lab, net, 3, ssh(net, 0, options, "printf %20000s x"))
		})
	})
})
