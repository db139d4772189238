// Package flows has the bulk flows that package bench measures: one spec for each rate and observer.
package flows

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/impair/rules"
	"github.com/tcplab/tcplab/peers"
)

func TestMain(m *testing.M) { harness.Main(m) }

func TestFlows(t *testing.T) { harness.RunSpecs(t, "flows") }

// rtt is that of the path.
const rtt = 40 * time.Millisecond

// userHz is how many ticks of /proc/stat are a second: USER_HZ of include/asm-generic/param.h.
const userHz = 100

var _ = It("nothing", func(ctx SpecContext) { harness.NewLab(ctx).Routed() })

// rates are in Mbit/s. The slower, the longer: the guest counts its idle time in ticks of 10 ms.
var rates = []struct {
	rate     int
	duration time.Duration
}{{1, 20 * time.Second}, {10, 10 * time.Second}, {20, 5 * time.Second}, {50, 5 * time.Second}, {100, 3 * time.Second}}

var observers = []struct {
	name string
	add  func(*harness.Lab, *harness.Network)
}{
	{"bare", func(*harness.Lab, *harness.Network) {}},
	{"capture", func(lab *harness.Lab, net *harness.Network) { lab.Capture(net.Client()) }},
	{"sample", func(lab *harness.Lab, net *harness.Network) { net.Client().Sample(100 * time.Millisecond) }},
	{"events", func(lab *harness.Lab, net *harness.Network) { lab.Events(net.Client()) }},
	{"rule", func(lab *harness.Lab, net *harness.Network) {
		net.ToServer.Rule(rules.Drop(rules.Data.Number(1 << 30))) // it is asked for each packet, and acts on none
	}},
}

var _ = func() bool {
	for _, r := range rates {
		for _, observer := range observers {
			It(fmt.Sprintf("%d Mbit/s, %s", r.rate, observer.name), SpecTimeout(time.Minute), func(ctx SpecContext) {
				lab := harness.NewLab(ctx)
				net := lab.Routed()
				net.ToServer.Impair(impair.Netem{Delay: rtt / 2, Rate: impair.Rate{BitsPerSecond: int64(r.rate) * 1e6}})
				net.ToClient.Impair(impair.Netem{Delay: rtt / 2})
				observer.add(lab, net)
				address := net.Server().Addr(5001)
				lab.Start(net.Server(), peers.BulkServer{Listen: address})
				client := lab.Start(net.Client(), peers.BulkClient{Connect: address, Duration: r.duration, AwaitBegin: true})

				idle, began := idleTime(), time.Now()
				client.Begin()
				sent := client.Wait().Connections[0]
				took, idle := time.Since(began), idleTime()-idle
				busy := took - idle
				Expect(sent.TCPInfo.Data_segs_out).To(BeNumerically(">", 0))
				lab.Note("virtual-s", took.Seconds())
				lab.Note("busy-%", 100*busy.Seconds()/took.Seconds())
				lab.Note("virtual-us/packet", float64(busy.Microseconds())/float64(sent.TCPInfo.Data_segs_out))
			})
		}
	}
	return true
}()

// idleTime is for how long the machine's CPU has been idle (proc_stat(5): the fourth and fifth numbers).
func idleTime() time.Duration {
	GinkgoHelper()
	text, err := os.ReadFile("/proc/stat")
	Expect(err).NotTo(HaveOccurred())
	line, _, _ := strings.Cut(string(text), "\n")
	fields := strings.Fields(line)
	Expect(len(fields)).To(BeNumerically(">", 5))
	var ticks int64
	for _, field := range fields[4:6] {
		n, err := strconv.ParseInt(field, 10, 64)
		Expect(err).NotTo(HaveOccurred())
		ticks += n
	}
	return time.Duration(ticks) * time.Second / userHz
}
