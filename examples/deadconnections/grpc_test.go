package deadconnections

import (
	"context"
	"net"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/peers"
)

// serveGRPC is a gRPC server with the health service.
var serveGRPC = peers.Func("serve-grpc", func(t *peers.Task, address string) (struct{}, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return struct{}{}, err
	}
	// A server ends connections of clients that ping more often than each 5 minutes, unless it allows that.
	server := grpc.NewServer(grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second}))
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	context.AfterFunc(t.Context(), server.Stop)
	if err := t.Ready(listener.Addr()); err != nil {
		return struct{}{}, err
	}
	return struct{}{}, server.Serve(listener)
})

// A grpcClient is how one is set up.
type grpcClient struct {
	Address   string
	Keepalive keepalive.ClientParameters
}

var askGRPC = peers.Func("ask-grpc", func(t *peers.Task, c grpcClient) (outcome, error) {
	if err := t.Ready(nil); err != nil {
		return outcome{}, err
	}
	options := []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
	if c.Keepalive.Time > 0 {
		options = append(options, grpc.WithKeepaliveParams(c.Keepalive))
	}
	conn, err := grpc.NewClient("passthrough:///"+c.Address, options...)
	if err != nil {
		return outcome{}, err
	}
	defer conn.Close()
	client := grpc_health_v1.NewHealthClient(conn)
	return ask(t, func(ctx context.Context) error {
		_, err := client.Check(ctx, &grpc_health_v1.HealthCheckRequest{})
		return err
	}, limit)
})

var _ = DescribeTable("a gRPC client on a dead connection",
	func(ctx SpecContext, end func(oracle.Kernel) oracle.Span, parameters keepalive.ClientParameters) {
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt)
		address := net.Server().Addr(50051)
		lab.Start(net.Server(), serveGRPC.With(address.String()))
		client := lab.Start(net.Client(), askGRPC.With(grpcClient{Address: address.String(), Keepalive: parameters}))
		got, err := askGRPC.Value(kill(lab, net, address.Port(), client))
		Expect(err).NotTo(HaveOccurred())
		expectFailures(lab, got, end(net.Client().Oracle()))
	},
	// With keepalive parameters gRPC also sets TCP_USER_TIMEOUT, to their Timeout.
	Entry("fails one request with keepalive.ClientParameters", byKernel(limit), keepalive.ClientParameters{Time: 10 * time.Second, Timeout: limit}),
	Entry("wrong: fails all requests of a quarter of an hour without", byKernel(0), keepalive.ClientParameters{}),
)
