package handshake

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/peers"
)

const (
	// slowVariable makes this program a server that knows nothing of tcplab, as nginx does not: the address where it listens.
	slowVariable = "TCPLAB_HANDSHAKE_SLOW"
	// startup is how long it takes until it listens.
	startup = 300 * time.Millisecond
	served  = 7 // its exit status when it has answered a client
)

// serveSlowly answers one line, by what it reads from its standard input and by who it is.
func serveSlowly(address string) (err error) {
	greeting, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	time.Sleep(startup)
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	connection, err := listener.Accept()
	if err != nil {
		return err
	}
	defer connection.Close()
	name, err := bufio.NewReader(connection).ReadString('\n')
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(connection, "%s, %sthis is user %d\n", greeting, name, os.Getuid())
	return err
}

var _ = It("gets RST until a slow program listens, and then connects in one RTT",
	Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
		const port, nobody = 8080, 65534
		lab := harness.NewLab(ctx)
		net := lab.Path(shortRTT)
		wire := lab.Capture(net.Server())
		address := net.Server().Addr(port)
		self, err := os.Executable()
		Expect(err).NotTo(HaveOccurred())

		early := lab.Start(net.Client(), peers.Dial{Connect: address}).Wait().Connections[0]
		began := time.Now()
		server := lab.Start(net.Server(), peers.Command{
			Path: self, Env: []string{slowVariable + "=" + address.String()}, Dir: "/", User: "nobody", Stdin: []byte("hello"),
			Ready: peers.Readiness{Port: port}, ExitStatuses: []int{served},
		})
		ready := time.Since(began)
		client := lab.Start(net.Client(), peers.Script{Connect: address, Steps: peers.Steps(
			peers.WriteBytes([]byte("world\n")), peers.ReadBytes(fmt.Appendf(nil, "hello, world\nthis is user %d\n", nobody)), peers.ReadAll())})
		connection := client.Wait().Connections[0]

		Expect(early.Err).To(MatchError(unix.ECONNREFUSED))
		Expect(ready).To(BeNumerically(">=", startup))
		lab.Measure("connected after", connection.ConnectTime, oracle.Exactly(shortRTT).LateBy(harness.HostDelay), "RFC 9293, 3.5: one round trip")
		Expect(server.Wait().Command.ExitCode).To(Equal(served))
		// One SYN was answered by a reset, and one by a SYN-ACK.
		Expect(net.Server().Counters()).To(HaveCounters{"TcpOutRsts": 1, "TcpPassiveOpens": 1})
		Expect(wire.Stop().Segments(analysis.SYNs)).To(HaveLen(2))
		Expect(wire.Segments(analysis.SYNACKs)).To(HaveLen(1))
		Expect(wire.Segments(analysis.RSTs)).To(HaveLen(1))
	})
