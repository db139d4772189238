package services

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/bounds"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/peers"
)

const postgresPort = 5432

// postgreSQL starts a server with a new database, which trusts everybody. It refuses to run as root.
func postgreSQL(lab *harness.Lab, net *harness.Network) {
	GinkgoHelper()
	const owner = "postgres"
	dir := folder(nil)
	account, err := user.Lookup(owner)
	Expect(err).NotTo(HaveOccurred())
	uid, err := strconv.Atoi(account.Uid)
	Expect(err).NotTo(HaveOccurred())
	for _, path := range []string{filepath.Dir(dir), dir} { // GinkgoT().TempDir() is for its owner alone
		Expect(os.Chmod(path, 0o755)).To(Succeed())
	}
	Expect(os.Chown(dir, uid, -1)).To(Succeed())
	data := filepath.Join(dir, "data")
	lab.Start(net.Server(), peers.Command{
		Path: harness.ProgramPath("initdb"), User: owner, Dir: dir, Ready: peers.Readiness{End: true},
		Args: []string{"-D", data, "-A", "trust", "-N", "-E", "UTF8", "--locale=C", "--no-instructions"},
	})
	Expect(os.WriteFile(filepath.Join(data, "pg_hba.conf"), []byte("host all all all trust\n"), 0o644)).To(Succeed())
	args := []string{"-D", data, "-p", strconv.Itoa(postgresPort)}
	for _, setting := range []string{
		"listen_addresses=" + net.Server().IP().String(), "unix_socket_directories=", "autovacuum=off", "fsync=off", "shared_buffers=8MB",
	} {
		args = append(args, "-c", setting)
	}
	lab.Start(net.Server(), peers.Command{Path: harness.ProgramPath("postgres"), User: owner, Dir: dir, Args: args, Ready: peers.Readiness{Line: "ready to accept connections"}})
}

// connection is a connection string of libpq. Without sslmode=disable a client first asks for TLS.
func connection(net *harness.Network, settings ...string) string {
	return strings.Join(append([]string{
		"host=" + net.Server().IP().String(), "port=" + strconv.Itoa(postgresPort), "user=postgres", "dbname=postgres", "gssencmode=disable",
	}, settings...), " ")
}

// psql is a client that has to end with a status: see EXIT STATUS in psql(1).
func psql(status int, connection, commands string) peers.Command {
	GinkgoHelper()
	return peers.Command{
		Path: harness.ProgramPath("psql"), Args: []string{"-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", connection}, Stdin: []byte(commands), ExitStatuses: []int{status},
	}
}

var latency = regexp.MustCompile(`latency average = ([0-9.]+) ms`)

var _ = Describe("pgbench on PostgreSQL:", harness.Programs("initdb", "postgres", "pgbench"), func() {
	const statements, transactions = 5, 20
	// bench returns the latency of a transaction, and the capture of all of them.
	bench := func(lab *harness.Lab, net *harness.Network, script string, args ...string) (time.Duration, *harness.Capture) {
		GinkgoHelper()
		postgreSQL(lab, net)
		wire := lab.Capture(net.Client())
		file := filepath.Join(folder(map[string]string{"script.sql": script}), "script.sql")
		printed := said(lab.Start(net.Client(), peers.Command{
			Path: harness.ProgramPath("pgbench"),
			Args: append(args, "-n", "-c", "1", "-t", strconv.Itoa(transactions), "-f", file, connection(net, "sslmode=disable")),
		})).Stdout
		Expect(printed).To(ContainSubstring(fmt.Sprintf("number of transactions actually processed: %d/%d", transactions, transactions)))
		found := latency.FindStringSubmatch(printed)
		Expect(found).To(HaveLen(2), printed)
		ms, err := strconv.ParseFloat(found[1], 64)
		Expect(err).NotTo(HaveOccurred())
		return time.Duration(ms * float64(time.Millisecond)), wire.Stop()
	}

	It("each statement of a transaction takes a round trip", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt)
		took, _ := bench(lab, net, strings.Repeat("SELECT 1;\n", statements))
		lab.Measure("a transaction took", took, rtts(statements), "one a statement")
	})

	It("a pipeline takes one for all of them", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt)
		took, _ := bench(lab, net, "\\startpipeline\n"+strings.Repeat("SELECT 1;\n", statements)+"\\endpipeline\n", "-M", "extended")
		lab.Measure("a transaction took", took, rtts(1), "PostgreSQL: pipeline mode")
	})

	It("all transactions are processed over a link that loses 5 %", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		net := losing(lab, 5)
		took, wire := bench(lab, net, strings.Repeat("SELECT 1;\n", statements))
		// The first message of the connection is its start-up, the last one its end; between them are the statements, each once its
		// predecessor is answered.
		all := busiest(wire, net)
		first, last := all[0].Seq, all[len(all)-1].Seq
		sent := slices.DeleteFunc(slices.Clone(all), func(s analysis.Segment) bool { return s.Seq == first || s.Seq == last })
		distinct, repeated := transmissions(sent)
		lab.Measure("statements on the wire", distinct, bounds.Exactly(statements*transactions), "one a segment")
		// Of 100 statements with their answers none is lost once in 28,000 runs.
		lab.Measure("statements that were sent again", repeated, bounds.AtLeast(1), "5 % of them, and of the answers; RFC 9293, 3.8.1")
		answers := wire.DataFrom(net.Server(), func(s analysis.Segment) bool { return s.Dst == sent[0].Src })
		least := oneByOne(net.Client().Oracle(), distinct, repeated)
		lab.Measure("a transaction took", took, bounds.AtLeast(least/transactions), "one RTT a statement; RFC 8985, 7.2, for what was sent again")
		lab.Check("all transactions took, in the capture", answers[len(answers)-1].At-sent[0].At, bounds.Around(transactions*took, programDelay))
		lab.Check("retransmits", net.Client().Counters()["TcpRetransSegs"], bounds.AtLeast(repeated), "the capture")
	})
})

// A fail-over moves the address of the database to another host, or the host dies. No packet comes from the old one any more, and none says so.
var _ = Describe("psql, when PostgreSQL's host is gone,", harness.Programs("initdb", "postgres", "psql"), func() {
	// gone has psql run a command, and the path go dark when its first query has arrived, or a while later. It returns when psql has ended.
	gone := func(lab *harness.Lab, commands string, after time.Duration, settings ...string) (net *harness.Network, wire *harness.Capture, ended time.Time) {
		GinkgoHelper()
		net = lab.Path(rtt)
		postgreSQL(lab, net)
		wire = lab.Capture(net.Client())
		client := lab.Start(net.Client(), psql(2, connection(net, append(settings, "sslmode=disable")...), commands)) // the connection went bad
		const messages = 2                                                                                            // the connection's start-up, and the query
		Eventually(func() bool {
			segments := wire.SoFar()
			var sent []analysis.Segment
			for _, s := range segments {
				if s.Src.Addr() == net.Client().IP() && s.Length > 0 {
					sent = append(sent, s)
				}
			}
			return len(sent) == messages && slices.ContainsFunc(segments, func(s analysis.Segment) bool {
				return s.Dst == sent[0].Src && s.Ack == sent[messages-1].NextSeq()
			})
		}).WithTimeout(10*time.Second).Should(BeTrue(), "the first query is acknowledged")
		time.Sleep(after)
		net.ToServer.Blackhole()
		net.ToClient.Blackhole()
		Expect(said(client).Stderr).To(ContainSubstring("Connection timed out"))
		ended = time.Now()
		return net, wire.Stop(), ended
	}

	const period = 10 * time.Second
	asking := fmt.Sprintf("SELECT 1 \\watch %d\n", period/time.Second)
	DescribeTable("with a query that is sent into the dark, gives up", Label("netem", "linux"),
		func(ctx SpecContext, userTimeout time.Duration, settings ...string) {
			lab := harness.NewLab(ctx)
			net, wire, ended := gone(lab, asking, period/2, settings...)
			heard := wire.Segments(analysis.To(net.Client().IP()))
			last := heard[len(heard)-1]
			lost := wire.DataFrom(net.Client(), func(s analysis.Segment) bool { return s.Frame > last.Frame })
			expected := net.Client().Oracle().Blackhole(oracle.Flow{RTT: pathRTT, UserTimeout: userTimeout})
			retransmits := len(lost) - 1
			lab.Measure("retransmits", retransmits, expected.Count())
			lab.Measure("last retransmit after", lost[retransmits].At-lost[0].At, expected.Sent[retransmits-1])
			lab.Measure("gave up after", ended.Sub(lost[0].Time), expected.End.LateBy(programEnd))
			Expect(net.Client().Counters()).To(HaveCounters{"TcpExtTCPAbortOnTimeout": 1})
		},
		Entry("after a quarter of an hour by default", Label("long"), time.Duration(0)),
		Entry("after 15 s with tcp_user_timeout=15000", Label("quick"), 15*time.Second, "tcp_user_timeout=15000"),
	)

	const forever = "SELECT pg_sleep(100000);\n"
	DescribeTable("with a query that was sent before, gives up", Label("netem", "linux"),
		func(ctx SpecContext, keepalive oracle.KeepaliveOptions, settings ...string) {
			lab := harness.NewLab(ctx)
			net, wire, _ := gone(lab, forever, 0, settings...)
			heard := wire.Segments(analysis.To(net.Client().IP()))
			last := heard[len(heard)-1]
			probes := wire.From(net.Client(), func(s analysis.Segment) bool {
				return s.At-last.At > time.Second && s.Flags&analysis.FlagRST == 0 && s.Length == 0
			})
			expected := net.Client().Oracle().Keepalive(keepalive)
			lab.Measure("TCP keepalives", len(probes), expected.Count())
			lab.Measure("gave up after", harness.First(wire.From(net.Client(), analysis.RSTs), "resets").At-last.At, expected.End)
		},
		Entry("after more than two hours by default", Label("long"), oracle.KeepaliveOptions{}),
		Entry("after 25 s with keepalives_idle=10 keepalives_interval=5 keepalives_count=3", Label("quick"),
			oracle.KeepaliveOptions{Time: 10 * time.Second, Interval: 5 * time.Second, Probes: 3},
			"keepalives_idle=10", "keepalives_interval=5", "keepalives_count=3"),
	)
})
