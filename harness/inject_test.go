package harness

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket/pcapgo"
	"github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/impair/inject"
	"github.com/tcplab/tcplab/impair/middlebox"
	"github.com/tcplab/tcplab/peers"
)

func init() {
	fixtures["injects"] = fixture{netem: true, specs: func() {
		ginkgo.It("a reset", func(ctx ginkgo.SpecContext) {
			lab := NewLab(ctx)
			net := lab.Path(20 * time.Millisecond)
			wire := lab.Capture(net.Client(), net.ToClient)
			pair := lab.Connect(net.Client(), net.Server(),
				peers.Script{Steps: peers.Steps(peers.Try(peers.ReadAll()))},
				peers.Script{Steps: peers.Steps(peers.Sleep(peers.UntilStopped))})
			reset := inject.After(First(wire.SoFar(analysis.SYNACKs), "SYN-ACKs"))
			reset.Flags = analysis.FlagRST
			net.ToClient.Inject(reset)
			Expect(pair.Client.Wait().Connections[0].Steps[0].Err).To(MatchError(unix.ECONNRESET))
		})
	}}
	fixtures["middlebox"] = fixture{netem: true, specs: func() {
		ginkgo.It("clamps", func(ctx ginkgo.SpecContext) {
			lab := NewLab(ctx)
			net := lab.Routed()
			box := net.Routers[0].Middlebox(middlebox.Box{ClampMSS: 1000})
			lab.Start(net.Server(), peers.Accept{Listen: net.Server().Addr(80)})
			Expect(lab.Start(net.Client(), peers.Dial{Connect: net.Server().Addr(80)}).Wait().Connections[0].Err).To(BeNil())
			Expect(box.Packets("tcp option maxseg size set 1000")).To(Equal(2))
			Expect(box.Stop().Counts()).To(HaveLen(1))
		})
		ginkgo.It("has no such rule", func(ctx ginkgo.SpecContext) {
			lab := NewLab(ctx)
			net := lab.Routed()
			net.Routers[0].Middlebox(middlebox.Box{ClampMSS: 1000}).Packets("drop") // want: failed
		})
	}}
}

func TestInjectionOfASpec(t *testing.T) {
	t.Parallel()
	needNetem(t)
	g := NewWithT(t)
	record := start(t, "injects").finish(0).record()
	g.Expect(record.Impairments).To(HaveLen(3)) // two of netem
	injected := record.Impairments[2]
	g.Expect(injected.End).To(Equal("router/eth0"))
	g.Expect(string(injected.Asked)).To(And(ContainSubstring(`"inject":`), ContainSubstring(`RST `), ContainSubstring(`"frame":`)))

	// In the capture it has a comment where it left, and where it came in.
	file, err := os.Open(filepath.Join(record.Dir(), "capture.pcapng"))
	g.Expect(err).NotTo(HaveOccurred())
	defer file.Close()
	reader, err := pcapgo.NewNgReader(file, pcapgo.NgReaderOptions{WantMixedLinkType: true})
	g.Expect(err).NotTo(HaveOccurred())
	commented := map[int]int{}
	for {
		_, info, options, err := reader.ReadPacketDataWithOptions()
		if err != nil {
			break
		}
		for _, comment := range options.Comments {
			if strings.HasPrefix(comment, "injected at router/eth0: RST ") {
				commented[info.InterfaceIndex]++
			}
		}
	}
	g.Expect(commented).To(Equal(map[int]int{0: 1, 1: 1}))
}

func TestMiddleboxOfASpec(t *testing.T) {
	t.Parallel()
	needNetem(t)
	g := NewWithT(t)
	records := start(t, "middlebox").finish(1).records()
	g.Expect(records).To(HaveLen(2))
	for _, record := range records {
		made := record.Impairments[0]
		g.Expect(made).To(And(HaveField("End", "router"), HaveField("Direction", "forwarding")))
		g.Expect(string(made.Asked)).To(MatchJSON(`{"clamp_mss": 1000}`))
		if record.Scenario == "has no such rule" {
			g.Expect(record.Failure.Message).To(ContainSubstring(`"mangle: tcp option maxseg size set 1000"`))
			continue
		}
		// 40 bytes of IPv4 and TCP, and 20 of options: SYN and SYN-ACK.
		g.Expect(string(made.Applied)).To(MatchJSON(
			`[{"chain": "mangle", "rule": "tcp option maxseg size set 1000", "packets": 2, "bytes": 120}]`))
	}
}
