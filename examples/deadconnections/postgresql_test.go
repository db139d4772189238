package deadconnections

import (
	"context"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/peers"
)

// A pgxClient is how a pool of pgx is set up.
type pgxClient struct {
	Config string
	Limit  time.Duration // of a query's context; 0: none
}

var askPostgreSQL = peers.Func("ask-postgresql", func(t *peers.Task, c pgxClient) (outcome, error) {
	if err := t.Ready(nil); err != nil {
		return outcome{}, err
	}
	pool, err := pgxpool.New(t.Context(), c.Config)
	if err != nil {
		return outcome{}, err
	}
	defer pool.Close()
	return ask(t, func(ctx context.Context) error {
		_, err := pool.Exec(ctx, "SELECT 1")
		return err
	}, c.Limit)
})

// server starts PostgreSQL with a new database, as a user who may: it refuses to run as root.
func server(lab *harness.Lab, net *harness.Network, port int) {
	GinkgoHelper()
	account, err := user.Lookup("postgres")
	Expect(err).NotTo(HaveOccurred())
	uid, err := strconv.Atoi(account.Uid)
	Expect(err).NotTo(HaveOccurred())
	dir := GinkgoT().TempDir()
	Expect(os.Chmod(filepath.Dir(dir), 0o755)).To(Succeed())
	Expect(os.Chown(dir, uid, -1)).To(Succeed())
	lab.Start(net.Server(), peers.Command{
		Path: harness.ProgramPath("initdb"), User: account.Username, Dir: dir, Ready: peers.Readiness{End: true},
		Args: []string{"-D", "data", "-A", "trust", "-N", "--locale=C"},
	})
	Expect(os.WriteFile(filepath.Join(dir, "data/pg_hba.conf"), []byte("host all all all trust\n"), 0o644)).To(Succeed())
	lab.Start(net.Server(), peers.Command{
		Path: harness.ProgramPath("postgres"), User: account.Username, Dir: dir, Ready: peers.Readiness{Port: port},
		Args: []string{"-D", "data", "-p", strconv.Itoa(port), "-h", net.Server().IP().String(), "-k", "", "-F", "-c", "autovacuum=off"},
	})
}

// Neither pgxpool nor the driver has a limit of its own. A pool does not try again: the query may have been done.
var _ = DescribeTable("a pgx pool on a dead connection", harness.Programs("initdb", "postgres"),
	func(ctx SpecContext, end func(oracle.Kernel) oracle.Span, c pgxClient) {
		const port = 5432
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt)
		server(lab, net, port)
		c.Config = fmt.Sprintf("host=%s port=%d user=postgres dbname=postgres sslmode=disable pool_max_conns=4", net.Server().IP(), port)
		client := lab.Start(net.Client(), askPostgreSQL.With(c))
		got, err := askPostgreSQL.Value(kill(lab, net, port, client))
		Expect(err).NotTo(HaveOccurred())
		if c.Limit > 0 {
			expectFailures(lab, got, end(net.Client().Oracle()))
		} else {
			expectWait(lab, got, end(net.Client().Oracle()), 1)
		}
	},
	Entry("fails one query whose context has a deadline", byProgram(limit, "the context's deadline"), pgxClient{Limit: limit}),
	Entry("wrong: waits for a quarter of an hour without", byKernel(0), pgxClient{}),
)
