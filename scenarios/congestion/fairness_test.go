package congestion

import (
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/bounds"
	"github.com/tcplab/tcplab/harness/kernel"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/peers"
)

// A shared bottleneck: its queue holds so many packets, and the way back has the delay, so that the queue is nothing but the buffer.
type shared struct {
	rate    int64
	packets int
}

// A competitor is one of several flows, each of a pair of hosts.
type competitor struct {
	congestion string
	rtt        time.Duration
}

// compete has flows share a bottleneck, and returns the rate of each, in bit/s, from a time on. n tells several such flows of a lab apart.
func compete(lab *harness.Lab, net *harness.Network, n int, b shared, flows []competitor, from, duration time.Duration) (rates []float64) {
	GinkgoHelper()
	net.ToServer.Impair(impair.Netem{Rate: impair.Rate{BitsPerSecond: b.rate}, Limit: b.packets})
	at := uint16(port + n)
	var samples []*harness.Samples
	var clients []*harness.Peer
	for i, f := range flows {
		net.Servers[i].End("eth0").Impair(impair.Netem{Delay: f.rtt, Limit: queueLimit}) // ACKs only
		samples = append(samples, net.Clients[i].Sample(time.Second, kernel.SocketFilter{States: []kernel.State{kernel.Established}, Port: at}))
		address := net.Servers[i].Addr(at)
		lab.Start(net.Servers[i], peers.BulkServer{Listen: address})
		clients = append(clients, lab.Start(net.Clients[i], peers.BulkClient{
			Connect: address, Duration: duration, Socket: peers.Socket{Congestion: f.congestion},
		}))
	}
	for i, client := range clients {
		c := client.Wait().Connections[0]
		expectUnlimited(lab, c)
		socket := samples[i].Stop().Connection(c.Local, c.Remote)
		Expect(socket).To(HaveEach(HaveField("Congestion", flows[i].congestion)))
		began := slices.IndexFunc(socket, func(p kernel.Point) bool { return p.At-socket[0].At >= from })
		ended := slices.IndexFunc(socket, func(p kernel.Point) bool { return p.At-socket[0].At >= duration-2*time.Second })
		Expect(began).To(And(BeNumerically(">", 0), BeNumerically("<", ended)), "what is measured")
		bytes := socket[ended].TCPInfo.Bytes_acked - socket[began].TCPInfo.Bytes_acked
		rates = append(rates, float64(bytes)*8/(socket[ended].At-socket[began].At).Seconds())
	}
	return rates
}

var _ = It("two CUBIC flows share a bottleneck, and neither has less than about half of what the other has", Label("long", "netem", "rfc9438"), func(ctx SpecContext) {
	const rtt = 100 * time.Millisecond
	path := oracle.Bottleneck{Rate: 4 * impair.Mbit, RTT: rtt}
	lab := harness.NewLab(ctx)
	net := lab.Dumbbell(2, largeBuffers)
	rates := compete(lab, net, 0, shared{path.Rate, int(path.BDP())}, []competitor{{"cubic", rtt}, {"cubic", rtt}}, 20*time.Second, 80*time.Second)
	// Each window swings between beta W and W, and which of them loses a packet when the queue is full is chance. Even if the one lost two
	// times in a row whenever the other lost none, and stayed so, it had beta squared of what the other had.
	const least = oracle.CubicBeta * oracle.CubicBeta
	lab.Measure("the lesser rate by the greater", min(rates[0]/rates[1], rates[1]/rates[0]), bounds.AtLeast(least), "RFC 9438, 4.6: beta, at two losses in a row")
	lab.Note("Jain's index", oracle.Jain(rates...))
})

var _ = It("of two flows with different RTTs the one with the shorter gets more, with Reno up to the square of the RTTs' ratio, with CUBIC less",
	Label("long", "netem", "rfc9438"), func(ctx SpecContext) {
		const short, long = 200 * time.Millisecond, 800 * time.Millisecond
		path := oracle.Bottleneck{Rate: 2 * impair.Mbit, RTT: short}
		lab := harness.NewLab(ctx)
		net := lab.Dumbbell(2, largeBuffers)
		buffer := int(path.BDP())
		ratio := func(n int, congestion string) float64 {
			rates := compete(lab, net, n, shared{path.Rate, buffer}, []competitor{{congestion, short}, {congestion, long}}, 40*time.Second, 160*time.Second)
			return rates[0] / rates[1]
		}
		reno, cubic := ratio(0, "reno"), ratio(1, "cubic")
		queue := time.Duration(buffer) * path.Frame()
		lab.Measure("the shorter's rate by the longer's, Reno", reno, oracle.Unfairness("reno", short, long, queue))
		// CUBIC's would go as the RTTs if the curve were all. But each loss costs two round trips in which the window does not grow, and here
		// those of the longer are as long as its K.
		lab.Measure("the same, CUBIC", cubic, bounds.Between(oracle.Unfairness("cubic", short, long, queue).Lower, reno), "RFC 9438, 3.3: fairer than Reno")
		lab.Note("ratio of the RTTs", long.Seconds()/short.Seconds())
	})
