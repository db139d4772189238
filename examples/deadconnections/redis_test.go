package deadconnections

import (
	"context"
	"strconv"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/redis/go-redis/v9"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/peers"
)

// A redisClient is how one of go-redis is set up. ReadTimeout -1 is none.
type redisClient struct {
	Address     string
	ReadTimeout time.Duration
}

var askRedis = peers.Func("ask-redis", func(t *peers.Task, c redisClient) (outcome, error) {
	if err := t.Ready(nil); err != nil {
		return outcome{}, err
	}
	client := redis.NewClient(&redis.Options{Addr: c.Address, ReadTimeout: c.ReadTimeout})
	defer client.Close()
	return ask(t, func(ctx context.Context) error { return client.Ping(ctx).Err() }, 0)
})

// go-redis gives up a connection whose answer does not come within ReadTimeout, and tries again on another one (MaxRetries).
var _ = DescribeTable("a go-redis client on a dead connection", harness.Programs("redis-server"),
	func(ctx SpecContext, end func(oracle.Kernel) oracle.Span, readTimeout time.Duration) {
		const port = 6379
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt)
		lab.Start(net.Server(), peers.Command{
			Path: harness.ProgramPath("redis-server"), Dir: GinkgoT().TempDir(), Ready: peers.Readiness{Port: port},
			Args: []string{"--bind", net.Server().IP().String(), "--port", strconv.Itoa(port), "--protected-mode", "no", "--save", "", "--hz", "1"},
		})
		client := lab.Start(net.Client(), askRedis.With(redisClient{Address: net.Server().Addr(port).String(), ReadTimeout: readTimeout}))
		got, err := askRedis.Value(kill(lab, net, port, client))
		Expect(err).NotTo(HaveOccurred())
		expectWait(lab, got, end(net.Client().Oracle()), 0)
	},
	Entry("has its answer after the default ReadTimeout of 5 s", byProgram(5*time.Second, "redis.Options.ReadTimeout"), time.Duration(0)),
	Entry("has it after a ReadTimeout of 1 s", byProgram(time.Second, "redis.Options.ReadTimeout"), time.Second),
	Entry("wrong: waits for a quarter of an hour without", byKernel(0), time.Duration(-1)),
)
